"""From a trainer's names to those of a transformers model, by rules: which tensor is which, before one is read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evalrun.checkpoints import fit
from evalrun.checkpoints.formats.format_rules import FormatRules, TensorRule
from evalrun.checkpoints.formats.raw import Raw, RawTensor
from evalrun.core.errors import CheckpointError

_FIELD = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True)
class Renamed:
    """One tensor of the trainer, and what becomes of it."""

    tensor: RawTensor
    names: tuple[str, ...]  # in transformers
    rule: TensorRule | None  # None: it stays as it is


def renamed(raw: Raw, rules: FormatRules, where: str) -> dict[str, Renamed]:
    """Name of the trainer -> what becomes of it, for each weight.

    Args:
        raw: What the files say.
        rules: Of their format.
        where: Names the checkpoint in a sentence.

    Raises:
        CheckpointError: a tensor that no rule speaks of, two that become one, or none at all.
    """
    found: dict[str, Renamed] = {}
    taken: dict[str, str] = {}
    unknown = []
    for name, tensor in raw.tensors.items():
        begun = rules.weights.match(name)
        bare = fit.unwrapped(name[begun.end() :] if begun else name)
        if begun is None or (rules.skip and rules.skip.fullmatch(bare)):
            continue
        if rules.inside and (kept := rules.inside.match(bare)):
            bare = bare[kept.end() :]
        if fit.is_leftover(bare, tensor.shape):
            continue
        one = _by_rule(bare, tensor, rules)
        if one is None:
            unknown.append(name)
            continue
        for target in one.names:
            if target in taken:
                raise CheckpointError(
                    f"{where} has {taken[target]} and {name}, and by the rules of format {rules.name} both are {target}"
                    f": correct conf/format/{rules.name}.yaml."
                )
            taken[target] = name
        found[name] = one
    if unknown:
        more = f" ({len(unknown)} such tensors)" if len(unknown) > 1 else ""
        raise CheckpointError(
            f"{where} holds {unknown[0]}, of which the rules of format {rules.name} say nothing{more}: name another "
            f"with checkpoint.format=, or write rules for it in conf/format/NAME.yaml."
        )
    if not found:
        first = next(iter(raw.tensors), None)
        has = f"its first tensor is {first}" if first else "it holds no tensors"
        raise CheckpointError(
            f"{where} has no weights whose names begin as the rules of format {rules.name} say "
            f"('{rules.weights.pattern}'; {has}): name another with checkpoint.format=."
        )
    return found


def _by_rule(name: str, tensor: RawTensor, rules: FormatRules) -> Renamed | None:
    if not rules.tensors:
        return Renamed(tensor, (name,), None)
    for rule in rules.tensors:
        if match := rule.names.fullmatch(name):
            return Renamed(tensor, tuple(match.expand(to) for to in rule.to), rule)
    return None


def named_shapes(found: Mapping[str, Renamed]) -> dict[str, RawTensor]:
    """Tensors by transformers' names, as far as sizes matter: of one that is divided, the first has all."""
    return {one.names[0]: one.tensor for one in found.values()}


def value(text: Any, values: Mapping[str, Any]) -> Any:
    """What a value of the rules stands for: `{dotted.name}` what the trainer says, `A * B` a product.

    Args:
        text: As the rules have it.
        values: Of the trainer.

    Raises:
        KeyError: the trainer does not say it.
    """
    if isinstance(text, list):
        return [value(one, values) for one in text]
    if not isinstance(text, str) or not _FIELD.search(text):
        return text
    factors = [part.strip() for part in text.split("*")]
    said = [values[field[1]] if (field := _FIELD.fullmatch(part)) else _number(part) for part in factors]
    return said[0] if len(said) == 1 else math.prod(said)


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() else float(text)
