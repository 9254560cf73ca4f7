"""A checkpoint run's tags and metrics, as every store can give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class RunContent:
    """What of a run the table is made from."""

    run_id: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
