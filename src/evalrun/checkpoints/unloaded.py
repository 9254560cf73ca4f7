"""A checkpoint whose weights are in another process: its shape and its tokenizer, without a number."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from evalrun.checkpoints import tokenizer
from evalrun.checkpoints.load import Loaded, load_tokenizer
from evalrun.checkpoints.locate import ResolvedCheckpoint
from evalrun.core.errors import CheckpointError, first_line


def describe(located: ResolvedCheckpoint, folder: Path, trust: Mapping[str, bool], tokens_by: str) -> Loaded:
    """What `checkpoints.load` gives, with a model on torch's device `meta`: it has shapes, and holds nothing.

    Args:
        located: Which checkpoint.
        folder: Where its files are.
        trust: As in `checkpoints.load`.
        tokens_by: As in `checkpoints.load`.

    Raises:
        CheckpointError: a config or tokenizer that cannot be read, an adapter, what a trainer wrote.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    label = located.cell.label
    if located.base is not None:
        raise CheckpointError(
            f"{label} in '{folder}' is an adapter, and an engine has whole models: merge it into its base, or use "
            "scorer=shared_prefix."
        )
    if located.raw is not None:
        raise CheckpointError(
            f"{label} in '{folder}' is as its trainer wrote it ({located.raw.rules.name}), which no engine reads: name "
            "a converter with checkpoint.convert=, or use scorer=shared_prefix."
        )
    made = load_tokenizer(located, folder, trust, tokens_by)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust["remote_code"])
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust["remote_code"]).eval()
        if (folder / "generation_config.json").is_file():
            model.generation_config = GenerationConfig.from_pretrained(folder)
    except Exception as error:  # transformers and json each raise their own
        code = "trust_remote_code" in str(error)
        remedy = "if you trust its own code, say trust_remote_code=true" if code else "look at its config.json"
        raise CheckpointError(
            f"what {label} in '{folder}' is cannot be read: {first_line(error)} ({type(error).__name__}); {remedy}."
        ) from error
    if located.cell.tokenizer is not None:
        tokenizer.check_fits(made, model.get_input_embeddings().weight.shape[0], located.cell.tokenizer, label)
    return Loaded(model, made, ())
