"""A transformers model of a trainer's checkpoint: its tensors under their new names, each in memory once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalrun.checkpoints import fit
from evalrun.checkpoints.formats import arrange
from evalrun.checkpoints.formats.raw_checkpoint import RawCheckpoint
from evalrun.checkpoints.formats.tensor_reading import TensorFiles
from evalrun.checkpoints.formats.torch_pickle import TorchFileError
from evalrun.core.errors import CheckpointError, NoMemoryError, first_line


def model_of(known: RawCheckpoint, where: str, dtype: str, device: str, allowed: bool) -> tuple[Any, tuple[str, ...]]:
    """The model on its device, and the tensors that are no part of it.

    Args:
        known: The checkpoint.
        where: Names it in a sentence.
        dtype: A torch dtype's name; `auto`: the widest that is stored, so that nothing is rounded.
        device: A torch device's name; `all`: spread over every GPU.
        allowed: Whether tensors that the model has no place for may be left out.

    Raises:
        CheckpointError: tensors that are missing, too many or of another shape; a config that transformers does not
            know.
        NoMemoryError: it does not fit on the device.
    """
    import torch
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING as CLASSES
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    config = _config(known, where)
    if type(config) not in CLASSES:
        raise CheckpointError(f"{where} is of {known.config.get('model_type')}, which is no causal language model.")
    kind = CLASSES[type(config)]
    with torch.device("meta"):
        empty = kind(config)
    empty.tie_weights()
    shapes = {name: tensor.shape for name, tensor in empty.state_dict().items()}
    try:
        with TensorFiles() as files:
            read = files.take({name: one.tensor for name, one in known.weights.items()})
    except (TorchFileError, OSError) as error:
        raise CheckpointError(f"{where} {error}: fetch or write it again.") from None
    state = arrange.arranged(read, known.weights, shapes, config, where)
    stored = widest(state)
    taken = stored if dtype == "auto" else getattr(torch, dtype)
    state = arrange.with_zeros(state, shapes, known.rules, stored)
    _untwin(state, empty, where)
    unexpected = sorted(name for name in state.keys() - shapes.keys() if not _is_below(name, empty, shapes))
    _check_shapes(state, shapes, empty, known, where)
    if unexpected and not allowed:
        raise CheckpointError(f"{where} {fit.surplus(unexpected, empty)}")
    for name in unexpected:
        del state[name]
    try:
        model = kind.from_pretrained(
            None, config=config, state_dict=state, dtype=taken, device_map="auto" if device == "all" else None
        )
        return (model if device == "all" else model.to(device)).eval(), tuple(unexpected)
    except torch.OutOfMemoryError:
        raise NoMemoryError(f"{where} does not fit on {device}: choose another device or scorer.dtype.") from None


def _config(known: RawCheckpoint, where: str) -> Any:
    """The model's config, as transformers has it; its dtype is that of the weights, not of whoever wrote it.

    Raises:
        CheckpointError: transformers does not know it.
    """
    from transformers import AutoConfig

    said = {key: value for key, value in known.config.items() if key not in ("dtype", "torch_dtype", "auto_map")}
    try:
        return AutoConfig.for_model(**said)
    except Exception as error:  # transformers raises several
        raise CheckpointError(
            f"{where} has a config ({known.config_from}) that transformers does not take: {first_line(error)}."
        ) from None


def widest(state: Mapping[str, Any]) -> Any:
    """The torch dtype that holds every weight exactly."""
    import functools

    import torch

    kinds = {tensor.dtype for tensor in state.values() if tensor.is_floating_point()}
    return functools.reduce(torch.promote_types, sorted(kinds, key=str)) if kinds else torch.float32


def _untwin(state: dict[str, Any], empty: Any, where: str) -> None:
    """Take out the second of two names of one tied weight.

    Raises:
        CheckpointError: what they hold differs.
    """
    import torch

    first: dict[int, str] = {}
    for name, parameter in empty.named_parameters(remove_duplicate=False):
        if name not in state:
            continue
        kept = first.setdefault(id(parameter), name)
        if kept != name:
            if not torch.equal(state[kept], state[name]):
                raise CheckpointError(
                    f"{where} has {kept} and {name}, which its config ties, and they differ: say tie_word_embeddings: "
                    "false in the config, or write it again."
                )
            del state[name]


def _is_below(name: str, empty: Any, shapes: Mapping[str, Any]) -> bool:
    """Whether a name is a model's own without the first word, as a body that was saved without its head has it."""
    return f"{empty.base_model_prefix}.{name}" in shapes


def _check_shapes(
    state: dict[str, Any], shapes: Mapping[str, Any], empty: Any, known: RawCheckpoint, where: str
) -> None:
    """See that the model gets all its weights, each in its shape.

    Raises:
        CheckpointError: it does not.
    """
    for name in [name for name in state if name not in shapes and _is_below(name, empty, shapes)]:
        state[f"{empty.base_model_prefix}.{name}"] = state.pop(name)
    given = f"format {known.rules.name}, config from {known.config_from}"
    other = [name for name in state if name in shapes and tuple(state[name].shape) != tuple(shapes[name])]
    if other:
        name = min(other)
        more = f" ({len(other)} tensors do not fit)" if len(other) > 1 else ""
        raise CheckpointError(
            f"{where} does not fit its config: {name} is {list(state[name].shape)} in the file and "
            f"{list(shapes[name])} in the model{more} ({given}): name the config that it was trained with, "
            "checkpoint.config=."
        )
    tied: dict[int, bool] = {}
    parameters = list(empty.named_parameters(remove_duplicate=False))
    for name, parameter in parameters:
        tied[id(parameter)] = tied.get(id(parameter), False) or name in state
    absent = sorted(name for name, parameter in parameters if not tied[id(parameter)])
    if absent:
        some = f"{len(absent)} weights, the first {absent[0]}" if len(absent) > 1 else f"the weight {absent[0]}"
        there = sorted(state.keys() - shapes.keys())
        instead = f"; it holds {there[0]}, which the model has no place for" if there else ""
        raise CheckpointError(
            f"{where} lacks {some}{instead} ({given}): name another with checkpoint.format= or checkpoint.config=."
        )
