"""What the readers hand on: one task's result as a file tells it, and what a file holds that cannot be taken."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalrun.commands.ingest.model_args import ModelArgs

UNRECORDED = "unrecorded"  # the scorer of a table that says nothing about how its values were computed


@dataclass(frozen=True)
class ParsedResult:
    """One task's result in a file; None and empty where the file does not say."""

    file: str  # its path as it was given, for messages
    model: ModelArgs
    task: str  # the file's name for it
    metrics: dict[str, float]
    stderrs: dict[str, float]
    settings: dict[str, Any]  # `scorer` at least; what else determined the numbers
    primary: str | None = None
    higher_is_better: bool | None = None
    lower: list[str] | None = None  # metrics of which less is better
    n: int | None = None
    chance: float | None = None
    num_fewshot: int | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    finished_ms: int | None = None  # Unix time in milliseconds
    weights: str = ""
    samples: Path | None = None  # lm-eval's per-item file
    unread: tuple[str, ...] = ()  # what the file says in a way that cannot be read, a reason each


@dataclass(frozen=True)
class Skipped:
    """Something that is not filed: where, and why."""

    file: str
    reason: str
    kind: str = "file"  # those of one kind are told together


class NotResultsError(Exception):
    """The file is whole, and holds no results."""


class DamagedError(Exception):
    """The file cannot be read, or breaks off."""


def number(value: Any) -> float | None:
    """A value as a number, NaN included; None for anything that is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def whole(value: Any) -> int | None:
    """A value as a whole number, or None."""
    found = number(value)
    return int(found) if found is not None and math.isfinite(found) and found == int(found) else None


def mapping(value: Any) -> Mapping[str, Any]:
    """A value if it is a mapping, else an empty one: foreign files hold anything anywhere."""
    return value if isinstance(value, Mapping) else {}
