"""How long a sweep will go on, from what its own jobs cost so far; nothing before one of them is done."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spent:
    """What a job that ended took."""

    model: str
    seconds: float
    measured: bool  # it scored and did not fail, so that others of its size may be expected to take as long


@dataclass(frozen=True)
class TimeLeft:
    """What is left of a sweep."""

    seconds: float
    bound: str = ""  # "at least" or "at most", where no job of some size has ended


def left(
    sizes: Mapping[str, int],
    ended: Sequence[Spent],
    begun: Sequence[tuple[str, float, float | None]],
    waiting: Sequence[str],
    elapsed: float,
) -> TimeLeft | None:
    """The time until the last job ends.

    A job costs the median of those of its model. Where none has ended yet, its cost follows a power law through the
    two measured models nearest in size, with an exponent within 0 and 1. A bound is all that is known of a model
    smaller than the measured ones, since overhead does not shrink with it, and of a larger one while only one is
    measured. Jobs run side by side as they have so far: seconds of jobs for each second of the sweep.

    Args:
        sizes: Parameters of each model.
        ended: The jobs that ended.
        begun: Of each job at work: its model, its seconds so far, and the share of its requests that is scored.
        waiting: The model of each job that waits.
        elapsed: Seconds since the first job began.

    Returns:
        None where nothing is known: no job is done, or the sizes to come lie on both sides of the one measured.
    """
    seconds = defaultdict(list)
    for job in ended:
        if job.measured:
            seconds[job.model].append(job.seconds)
    known = {model: statistics.median(several) for model, several in seconds.items()}
    if not known:
        return None
    remaining, bounds = [], set()
    for model, so_far, share in [*begun, *((model, 0.0, None) for model in waiting)]:
        cost, bound = _cost(model, sizes, known)
        bounds.add(bound)
        remaining.append(cost * (1 - share) if share is not None else max(0.0, cost - so_far))
    bounds.discard("")
    if len(bounds) > 1:
        return None
    busy = sum(job.seconds for job in ended) + sum(so_far for _, so_far, _ in begun)
    pace = elapsed / busy if busy > 0 else 1.0
    return TimeLeft(max([sum(remaining) * pace, *remaining[: len(begun)]]), bounds.pop() if bounds else "")


def _cost(model: str, sizes: Mapping[str, int], known: Mapping[str, float]) -> tuple[float, str]:
    """Seconds of a job, and whether they are a bound only."""
    if model in known:
        return known[model], ""
    size = max(1, sizes[model])
    near = sorted(known, key=lambda other: abs(math.log(size / max(1, sizes[other]))))
    nearest = near[0]
    ratio = size / max(1, sizes[nearest])
    other = next((one for one in near if sizes[one] != sizes[nearest]), None)
    if size < min(max(1, sizes[one]) for one in known):
        return known[nearest], "at most"
    if other is None:
        return known[nearest], "" if ratio == 1 else "at least"
    slope = math.log(known[other] / known[nearest]) / math.log(sizes[other] / sizes[nearest])
    return known[nearest] * ratio ** min(1.0, max(0.0, slope)), ""
