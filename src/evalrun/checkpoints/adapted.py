"""Adapters on a base model that is loaded once: a swap costs the adapter's own size.

An adapter's layers stand beside those of the base and are never merged into it: taking a merge back leaves rounding in
the base. So an adapter of zeros gives the base's numbers to the bit, before and after others. What peft puts in is
taken out again by putting the base's own modules back: peft's own way leaves trained copies of whole layers in.
"""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalrun.checkpoints.contents import weight_files
from evalrun.core.errors import CheckpointError, first_line

_NAME = "default"  # of the adapter, to peft
_REMEDY = "name the base that it was trained on with base="


@dataclass(frozen=True)
class _Base:
    """A base in memory, without an adapter or with one."""

    key: tuple[Any, ...]
    model: Any
    modules: Mapping[str, Any]  # name -> module, as they were before any adapter
    unused: tuple[str, ...]


_kept: list[_Base] = []  # one at most


def forget() -> None:
    """Let go of the base, before another model is loaded."""
    while _kept:
        _free(_kept.pop().model)


def let_go(model: Any) -> None:
    """A job is done with its model: its memory is given back, but for a base, which gives up its adapter."""
    if _kept and _kept[0].model is model:
        _take_out(_kept[0])
    else:
        _free(model)


def _free(model: Any) -> None:
    """Give back the memory of the weights now, whoever still holds the model: loading one leaves cycles of frames."""
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        with contextlib.suppress(NotImplementedError):  # torchao's tensors cannot be emptied: they go with the model
            tensor.data = tensor.data.new_empty(0)


def base_of(key: tuple[Any, ...], load: Callable[[], tuple[Any, tuple[str, ...]]]) -> tuple[Any, tuple[str, ...]]:
    """The bare base model, and what of its files is no part of it.

    Args:
        key: What determines it: its identity, precision, device.
        load: Loads it, where the last job's base was another.

    Raises:
        CheckpointError: as `load` does.
    """
    if not _kept or _kept[0].key != key:
        forget()
        model, unused = load()
        _kept.append(_Base(key, model.requires_grad_(False), dict(model.named_modules()), unused))
    base = _kept[0]
    _take_out(base)
    return base.model, base.unused


def put_on(model: Any, folder: Path, where: str, base: str) -> None:
    """Put an adapter on its base, in place.

    Args:
        model: As `base_of` gives it.
        folder: The adapter's.
        where: Names the adapter in a sentence.
        base: Names the base in a sentence.

    Raises:
        CheckpointError: damaged files, or tensors that are not those which this base has a place for.
    """
    import peft
    from peft.tuners.tuners_utils import cast_adapter_dtype

    on = f"{where} does not fit its base '{base}'"
    try:
        state = _state(weight_files(folder)[0], model.get_input_embeddings().weight.device)
        config = peft.PeftConfig.from_pretrained(str(folder))
    except Exception as error:  # safetensors, torch and peft each raise their own
        raise CheckpointError(
            f"{where} cannot be loaded: {first_line(error)} ({type(error).__name__}); fetch or write it again."
        ) from error
    config.inference_mode = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by an old name
            # With low_cpu_mem_usage peft rounds an adapter in float32 to a base in halves.
            wrapped = peft.PeftModel(model, config, _NAME)
    except ValueError as error:  # none of its target modules is there
        raise CheckpointError(f"{on}: {first_line(error)}; {_REMEDY}.") from error
    places = peft.get_peft_model_state_dict(wrapped, adapter_name=_NAME, save_embedding_layers=False)
    if (why := _misfit(state, places)) is not None:
        raise CheckpointError(f"{on}: {why}; {_REMEDY}.")
    cast_adapter_dtype(wrapped, _NAME)
    peft.set_peft_model_state_dict(wrapped, state, adapter_name=_NAME)
    model.eval()


def _state(file: Path, device: Any) -> dict[str, Any]:
    """The adapter's tensors; halves as float32, as peft has them on any base."""
    import torch
    from safetensors.torch import load_file

    if file.suffix == ".safetensors":
        state = load_file(file, device=str(device))
    else:
        state = torch.load(file, map_location=device, weights_only=True)
    halves = (torch.float16, torch.bfloat16)
    return {name: tensor.float() if tensor.dtype in halves else tensor for name, tensor in state.items()}


def _misfit(state: Mapping[str, Any], places: Mapping[str, Any]) -> str | None:
    """Why an adapter's tensors are not those that a base has places for; None where they are."""
    for name in sorted(state.keys() & places.keys()):
        there, here = list(state[name].shape), list(places[name].shape)
        if there != here:
            return f"{name} is {there} in the file and {here} on this base"
    if absent := sorted(places.keys() - state.keys()):
        return f"it lacks {len(absent)} tensors that this base has a place for, the first {absent[0]}"
    if surplus := sorted(state.keys() - places.keys()):
        return f"it holds {len(surplus)} tensors that this base has no place for, the first {surplus[0]}"
    return None


def _take_out(base: _Base) -> None:
    for name, module in base.modules.items():
        above, _, last = name.rpartition(".")
        if name and getattr(base.modules[above], last) is not module:
            setattr(base.modules[above], last, module)
    if hasattr(base.model, "peft_config"):
        del base.model.peft_config
