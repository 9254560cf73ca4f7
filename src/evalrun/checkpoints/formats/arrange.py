"""A trainer's tensors as those of a transformers model: views of what was read, wherever a view will do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalrun.checkpoints.formats.format_rules import FormatRules, TensorRule
from evalrun.checkpoints.formats.renaming import Renamed
from evalrun.core.errors import CheckpointError


def arranged(
    read: dict[str, Any], found: Mapping[str, Renamed], shapes: Mapping[str, Any], config: Any, where: str
) -> dict[str, Any]:
    """Name in transformers -> tensor. Takes the tensors out of `read`, so that none is in memory twice.

    Args:
        read: By the trainer's names.
        found: What becomes of each.
        shapes: Of the model's tensors, by name.
        config: The model's.
        where: Names the checkpoint in a sentence.

    Raises:
        CheckpointError: rows that cannot be seen or divided as the rules say.
    """
    state: dict[str, Any] = {}
    for name in list(read):
        tensor, one = read.pop(name), found[name]
        if one.rule is not None:
            if one.rule.view:
                tensor = _swapped(tensor, one.rule, config, f"{where} has {name} of {list(tensor.shape)}")
            if one.rule.transpose and tensor.dim() == 2:
                tensor = tensor.t()
        if len(one.names) == 1:
            state[one.names[0]] = tensor
            continue
        rows = [int(shapes[target][0]) if target in shapes else 0 for target in one.names]
        if sum(rows) != tensor.shape[0] or 0 in rows:
            parts = ", ".join(f"{target} ({count})" for target, count in zip(one.names, rows, strict=True))
            raise CheckpointError(
                f"{where} has {name} of {tensor.shape[0]} rows, which cannot be divided among {parts}: its config is "
                "another model's, or the rules are."
            )
        state |= dict(zip(one.names, tensor.split(rows), strict=True))
    return state


def with_zeros(state: dict[str, Any], shapes: Mapping[str, Any], rules: FormatRules, dtype: Any) -> dict[str, Any]:
    """Add the tensors that a trainer leaves out because they are zero; none, where it has any of them."""
    import torch

    if rules.zeros is None or any(rules.zeros.fullmatch(name) for name in state):
        return state
    absent = [name for name in shapes if rules.zeros.fullmatch(name)]
    return state | {name: torch.zeros(tuple(shapes[name]), dtype=dtype) for name in absent}


def _swapped(tensor: Any, rule: TensorRule, config: Any, what: str) -> Any:
    """The rows in another order.

    Raises:
        CheckpointError: they cannot be seen as the rule says.
    """
    sizes = [size if isinstance(size, int) else getattr(config, str(size), None) for size in rule.view]
    try:
        seen = tensor.reshape(*sizes, *tensor.shape[1:])
        return seen.transpose(*rule.swap).reshape(tensor.shape)
    except (RuntimeError, TypeError, IndexError):
        raise CheckpointError(f"{what}, whose rows cannot be seen as {list(rule.view)} ({sizes}).") from None
