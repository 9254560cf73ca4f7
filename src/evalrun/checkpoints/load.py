"""Loading a checkpoint: its model and its tokenizer, or a sentence that says why not."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalrun.checkpoints import adapted, adapter_files, beside, causal, fit, headers, precision, tokenizer
from evalrun.checkpoints.contents import config_of, weight_files
from evalrun.checkpoints.formats import raw_model
from evalrun.checkpoints.locate import ResolvedCheckpoint, fetch, tokenizer_folder
from evalrun.core.errors import CheckpointError, NoMemoryError, first_line

_said: set[str] = set()  # transformers' warnings: of one run's hundred checkpoints each comes a hundred times


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory."""

    model: Any  # a transformers causal language model in eval mode, on its device
    tokenizer: Any  # one object for all checkpoints of this process that have the same tokenizer files
    unused: tuple[str, ...]  # files and tensors of the checkpoint that are no part of the model
    mixed: Mapping[str, int] = field(default_factory=dict)  # see `precision.mixed`
    adapter: str | None = None  # its kind and its base, of one; its numbers are those of both
    format: str | None = None  # the rules of conf/format that it was read by

    @property
    def said(self) -> dict[str, Any]:
        """What a result keeps of it."""
        said: dict[str, Any] = {"unused_weights": list(self.unused)}
        said |= {"stored_dtypes": dict(self.mixed)} if self.mixed else {}
        said |= {"format": self.format} if self.format else {}
        return said | ({"adapter": self.adapter} if self.adapter else {})

    @property
    def parameters(self) -> tuple[int, int] | None:
        """All parameters and those without embeddings, of the model as it is scored; None for a quantised one."""
        if hasattr(self.model.config, "quantization_config"):
            return None
        embedding, output = self.model.get_input_embeddings().weight, self.model.get_output_embeddings()
        total = sum(parameter.numel() for parameter in self.model.parameters())
        head = 0 if output is None or output.weight is embedding else output.weight.numel()
        return total, total - embedding.numel() - head


def load(
    located: ResolvedCheckpoint,
    folder: Path,
    dtype: str,
    device: str,
    trust: Mapping[str, bool],
    tokens_by: str = "file",
) -> Loaded:
    """Load model and tokenizer.

    Args:
        located: Which checkpoint.
        folder: Where its files are.
        dtype: `auto` for the checkpoint's own, or a torch dtype's name.
        device: A torch device's name; `all`: its layers spread over every GPU, as accelerate places them.
        trust: `remote_code`, `pickle` and `unused_weights`, all off unless the user says so.
        tokens_by: Whether a tokenizer follows its `file` or its `class` where these differ.

    Raises:
        CheckpointError: damaged or incomplete weights, weights that the model does not use, a config transformers does
            not know, a model that is not causal, an adapter that does not fit its base, no memory.
    """
    own = _tokenizer_place(located, folder)
    label = located.cell.label
    whose = "checkpoint of" if located.conversion is None else "what was converted of"
    where = f"{whose} {label} in '{folder}'"
    adapter = None if located.base is None else adapter_files.read(folder, located.base.cell.location)
    if located.base is None or adapter is None:
        adapted.forget()
        whole = folder
        if located.raw is None:
            model, unused = _whole(folder, where, label, dtype, device, trust)
        else:
            with _report_unsaid():
                model, unused = raw_model.model_of(
                    located.raw, where, dtype, device, trust.get("unused_weights", False)
                )
    else:
        whole = fetch(located.base, trust["pickle"], trust.get("unused_weights", False))
        model, unused = _with_adapter(located.base, whole, dtype, device, trust)
        adapted.put_on(model, folder, where, adapter.base)
    made = _tokenizer(own, label, trust, tokens_by)
    causal.check(model, label)
    if located.cell.tokenizer is not None:
        tokenizer.check_fits(made, model.get_input_embeddings().weight.shape[0], located.cell.tokenizer, label)
    several = _several(whole) if dtype == "auto" and located.raw is None else {}
    if several:
        precision.warn(label, several, model)
    said = None if adapter is None else f"{adapter.kind} on {adapter.base}"
    by = None if located.raw is None else located.raw.rules.name
    return Loaded(model, made, unused, several, said, by)


def load_tokenizer(located: ResolvedCheckpoint, folder: Path, trust: Mapping[str, bool], tokens_by: str) -> Any:
    """The tokenizer alone; the arguments are those of `load`.

    Raises:
        CheckpointError: there is none, or it cannot be loaded.
    """
    return _tokenizer(_tokenizer_place(located, folder), located.cell.label, trust, tokens_by)


def _tokenizer_place(located: ResolvedCheckpoint, folder: Path) -> Path:
    own = tokenizer_folder(located, folder)
    if not tokenizer.is_in(own):
        raise CheckpointError(
            f"checkpoint of {located.cell.label} has no tokenizer in '{own}': name the one that it was trained with, "
            "model.tokenizer=FOLDER or a repository of the hub."
        )
    return own


def _tokenizer(own: Path, label: str, trust: Mapping[str, bool], tokens_by: str) -> Any:
    try:
        return tokenizer.load(own, trust["remote_code"], tokens_by)
    except Exception as error:  # transformers and tokenizers each raise their own
        _say_code(error, f"the tokenizer of {label} in '{own}'", own)
        raise CheckpointError(
            f"the tokenizer of {label} in '{own}' cannot be loaded: {first_line(error)} ({type(error).__name__}); it "
            f"has {', '.join(tokenizer.files(own))}: add what lacks, or name another with model.tokenizer=."
        ) from error


def _several(folder: Path) -> Mapping[str, int]:
    return precision.mixed(config_of(folder), headers.read_all(weight_files(folder)))


def _whole(
    folder: Path, where: str, label: str, dtype: str, device: str, trust: Mapping[str, bool]
) -> tuple[Any, tuple[str, ...]]:
    """A whole model, and what of its folder is no part of it."""
    _check_quantisation(config_of(folder), where)
    model, info = _model(folder, where, label, dtype, device, trust)
    _check_precision(model, dtype, where)
    return model, tuple(_unused(folder, model, info, where, trust.get("unused_weights", False)))


def _with_adapter(
    base: ResolvedCheckpoint, folder: Path, dtype: str, device: str, trust: Mapping[str, bool]
) -> tuple[Any, tuple[str, ...]]:
    """The model that an adapter is put on, loaded where the last job had another, and what of it is left out.

    Args:
        base: Which.
        folder: Where its files are.
        dtype: As in `load`.
        device: As in `load`, and one.
        trust: As in `load`.

    Raises:
        CheckpointError: as `load` says.
    """
    label = base.cell.label
    if device == "all":
        raise CheckpointError(
            f"{label} cannot be spread over GPUs with an adapter on it: name one, scorer.device=cuda:0."
        )
    key = (base.identity, dtype, device, *sorted(trust.items()))
    return adapted.base_of(key, lambda: _whole(folder, f"{label} in '{folder}'", label, dtype, device, trust))


def _model(
    folder: Path, where: str, label: str, dtype: str, device: str, trust: Mapping[str, bool]
) -> tuple[Any, dict[str, Any]]:
    """The model on its device, and what transformers says of its weights."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        with beside.alone(folder) as place, _report_unsaid():
            model, info = AutoModelForCausalLM.from_pretrained(
                place, dtype=dtype, use_safetensors=None if trust["pickle"] else True, output_loading_info=True,
                device_map="auto" if device == "all" else None, trust_remote_code=trust["remote_code"],
                ignore_mismatched_sizes=True,  # so that they are told, below, instead of an error without their names
            )  # fmt: skip
        return (model if device == "all" else model.to(device)).eval(), info
    except torch.OutOfMemoryError:
        raise NoMemoryError(f"{label} does not fit on {device}: choose another device or scorer.dtype.") from None
    except Exception as error:  # transformers, safetensors and json each raise their own
        _say_code(error, where, folder)
        nested = isinstance(error, AttributeError) and "is_floating_point" in str(error)
        said = "its pickle holds no tensors by name, but a training state" if nested else first_line(error)
        remedy = "install what it names" if isinstance(error, ImportError) else _write_again(folder)
        raise CheckpointError(f"{where} cannot be loaded: {said} ({type(error).__name__}); {remedy}.") from error


def _unused(folder: Path, model: Any, info: Mapping[str, Any], where: str, allowed: bool) -> list[str]:
    """What of a checkpoint is no part of the model that was made of it.

    Raises:
        CheckpointError: something, where it is not allowed; or weights that the model needs are absent.
    """
    files = weight_files(folder)
    stored = headers.read_all(files)
    shapes = {name: stored[name].shape if name in stored else () for name in info["unexpected_keys"]}
    unexpected = sorted(name for name, shape in shapes.items() if not fit.is_leftover(name, shape))
    why = fit.misfit(info["missing_keys"], info.get("mismatched_keys", ()), unexpected, model)
    if why is not None:
        raise CheckpointError(f"{where} {why}")
    if not hasattr(model.config, "quantization_config") and (strange := fit.unreadable(stored, unexpected)):
        raise CheckpointError(
            f"{where} has quantised weights ({len(strange)}, the first {strange[0]} as {stored[strange[0]].dtype}), "
            "and its config.json has no quantization_config that says how to read them: write it again with it, or in "
            "bfloat16."
        )
    unexpected += fit.shadowed(stored, unexpected)
    if unexpected and not allowed:
        raise CheckpointError(f"{where} {fit.surplus(unexpected, model)}")
    second = beside.second_model(folder, files)
    return [*([second[0]] if second else []), *unexpected]


def _check_quantisation(config: Mapping[str, Any], where: str) -> None:
    """See that transformers knows how the weights are quantised: else it would take them as they are.

    Raises:
        CheckpointError: it does not.
    """
    method = _quantised_by(config)
    if method is None:
        return
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING as KNOWN

    if not any(str(known).startswith(method) for known in KNOWN):
        raise CheckpointError(
            f"{where} is quantised by '{method}', as its config.json says, which transformers does not know: write it "
            "again in bfloat16, or take quantization_config out of config.json if its weights are plain numbers."
        )


def _write_again(folder: Path) -> str:
    """What to do about weights that transformers cannot load, beside installing a package."""
    method = _quantised_by(config_of(folder))
    if method is None:
        return "fetch or write it again"
    return f"it is quantised by {method}, whose kernels may need another device or version; or write it in bfloat16"


def _check_precision(model: Any, dtype: str, where: str) -> None:
    """See that a quantised model computes in the precision that was asked for: some keep their own.

    Raises:
        CheckpointError: it does not.
    """
    own = str(model.dtype).removeprefix("torch.")
    if dtype not in ("auto", own) and hasattr(model.config, "quantization_config"):
        raise CheckpointError(
            f"{where} is quantised and computes in {own}, whatever is asked for, and scorer.dtype is {dtype}: leave it "
            "out, or say auto."
        )


def _quantised_by(config: Mapping[str, Any]) -> str | None:
    said = config.get("quantization_config")
    method = said.get("quant_method") if isinstance(said, Mapping) else None
    return None if method is None else str(method)


def _say_code(error: Exception, what: str, folder: Path) -> None:
    """Raise the sentence about code that is not trusted, if it is that."""
    if "trust_remote_code" in str(error):
        names = ", ".join(file.name for file in sorted(folder.glob("*.py"))) or "of another repository"
        raise CheckpointError(
            f"{what} has code of its own ({names}), which would run on this machine: if you trust it, say "
            "trust_remote_code=true."
        ) from None


@contextlib.contextmanager
def _report_unsaid() -> Iterator[None]:
    """Keep from the log transformers' table of weights that do not fit, which we say, and what it said before."""
    logger = logging.getLogger("transformers.modeling_utils")

    def is_new(record: logging.LogRecord) -> bool:
        text, before = record.getMessage(), len(_said)
        _said.add(text)
        return "LOAD REPORT" not in text and len(_said) > before

    logger.addFilter(is_new)
    try:
        yield
    finally:
        logger.removeFilter(is_new)
