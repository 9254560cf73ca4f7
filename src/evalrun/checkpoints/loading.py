"""Loading a checkpoint: its model and its tokenizer, or a sentence that says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evalrun import tokenizer
from evalrun.checkpoints.place import Located, tokenizer_folder
from evalrun.errors import CheckpointError, first_line


def load(located: Located, folder: Path, dtype: str, device: str, trust: dict[str, bool]) -> tuple[Any, Any]:
    """Load model and tokenizer.

    Args:
        located: Which checkpoint.
        folder: Where its files are.
        dtype: `auto` for the checkpoint's own, or a torch dtype's name.
        device: A torch device's name; `all`: its layers spread over every GPU, as accelerate places them.
        trust: `remote_code` and `pickle`, both off unless the user says so.

    Returns:
        A transformers causal language model in eval mode on the device, and its tokenizer: one object for all
        checkpoints of this process that have the same tokenizer files.

    Raises:
        CheckpointError: damaged or incomplete weights, a config transformers does not know, no memory.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    own = tokenizer_folder(located, folder)
    if not tokenizer.is_in(own):
        raise CheckpointError(
            f"checkpoint of {located.cell.label} has no tokenizer in '{own}': name the one that it was trained with, "
            "model.tokenizer=FOLDER or a repository of the hub."
        )
    label, code = located.cell.label, {"trust_remote_code": trust["remote_code"]}
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=None if trust["pickle"] else True, output_loading_info=True,
            device_map="auto" if device == "all" else None, **code,
        )  # fmt: skip
        model = (model if device == "all" else model.to(device)).eval()
    except torch.OutOfMemoryError:
        raise CheckpointError(f"{label} does not fit on {device}: choose another device or scorer.dtype.") from None
    except Exception as error:  # transformers, safetensors and json each raise their own
        raise CheckpointError(
            f"checkpoint of {label} in '{folder}' cannot be loaded: {first_line(error)} "
            f"({type(error).__name__}); fetch or write it again."
        ) from error
    try:
        made = tokenizer.load(own, trust["remote_code"])
    except Exception as error:  # transformers and tokenizers each raise their own
        raise CheckpointError(
            f"the tokenizer of {label} in '{own}' cannot be loaded: {first_line(error)} ({type(error).__name__}); it "
            f"has {', '.join(tokenizer.files(own))}: add what lacks, or name another with model.tokenizer=."
        ) from error
    absent = sorted(info["missing_keys"]) + sorted(str(key) for key in info.get("mismatched_keys", ()))
    if absent:
        raise CheckpointError(
            f"checkpoint of {label} in '{folder}' lacks {len(absent)} of its weights, the first {absent[0]}: it would "
            "be scored with random ones; fetch or write it again."
        )
    if located.cell.tokenizer is not None:
        tokenizer.check_fits(made, model.get_input_embeddings().num_embeddings, located.cell.tokenizer, label)
    return model, made
