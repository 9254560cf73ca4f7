"""A checkpoint run's tags and metrics, as every store can give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ITEMS_THERE = "evalrun.items"  # tag: `some` or `none` of its results have items; runs of earlier versions lack it


@dataclass(frozen=True)
class RunContent:
    """What of a run the table is made from."""

    run_id: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
