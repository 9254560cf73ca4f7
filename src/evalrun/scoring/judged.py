"""An item of a task, answered and judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evalrun.scoring.asked_items import AskedItem


def primary_among(metrics: Mapping[str, Any]) -> str:
    """The metric that an analysis uses: acc, or the first; "" where there is none."""
    return "acc" if "acc" in metrics else next(iter(metrics), "")


@dataclass(frozen=True)
class Judged:
    """One item under one filter: what was answered, and the metrics of that."""

    item: AskedItem
    filtered_by: str
    answers: list[Any]  # of each request, or of each sample, as the filter leaves it
    metrics: Mapping[str, Any]
    samples: Mapping[str, list[Any]] = field(default_factory=dict)  # metric -> its value of each sample
