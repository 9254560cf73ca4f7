"""In which order the steps of a training run are evaluated: as in training, the last first, or coarse to fine.

Coarse to fine: the first level has the two ends, and each further level a step within every gap of the levels before
it, the one nearest to the gap's middle. Steps are laid out by their logarithm, as curves over training are drawn and
judged, so that steps that double and steps at equal distances both give a curve that can be read early.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from evalrun.config.validate import BISECT, GIVEN, NEWEST
from evalrun.grid.job_spec import JobSpec


def ordered(steps: Sequence[int], order: str) -> list[int]:
    """Steps in the order in which they are to be evaluated.

    Args:
        steps: Of one training run, each once.
        order: One of validate.ORDERS.

    Returns:
        The same steps: as they were given; the last one first; or level by level, ascending within each.
    """
    return list(steps) if order == GIVEN else [step for level in turns(steps, order) for step in level]


def turns(steps: Sequence[int], order: str) -> list[list[int]]:
    """Which steps go together before which others, so that several runs can take turns.

    Args:
        steps: Of one training run, each once.
        order: One of validate.ORDERS.

    Returns:
        One list of steps a turn: all of them at once as given, one by one from the last, or the levels of bisecting.
    """
    return {GIVEN: _at_once, NEWEST: _from_the_last, BISECT: levels}[order](steps)


def levels(steps: Sequence[int]) -> list[list[int]]:
    """The levels of bisecting, ascending within each: the ends, then the middle of each gap that is left.

    Of two steps that are equally near to a middle the later one is taken.
    """
    steps = sorted(steps)
    place = _places(steps)
    found = [[at for at in sorted({0, len(steps) - 1}) if steps]]
    gaps = [(0, len(steps) - 1)]
    while gaps := [(low, high) for low, high in gaps if high - low > 1]:
        middles = [_nearest(place, low, high) for low, high in gaps]
        found.append(middles)
        gaps = [
            half
            for (low, high), at in zip(gaps, middles, strict=True)
            for half in ((low, at), (at, high))
        ]  # fmt: skip
    return [[steps[at] for at in level] for level in found if level]


def with_turns(jobs: Sequence[JobSpec]) -> tuple[JobSpec, ...]:
    """Jobs of a plan, each with the turn that its step has among those of its group."""
    by_group: dict[int, list[JobSpec]] = {}
    for job in jobs:
        by_group.setdefault(job.group, []).append(job)
    turn = {
        (group, step): number
        for group, own in by_group.items()
        for number, level in enumerate(turns([job.config.step for job in own], own[0].config.order))
        for step in level
    }
    return tuple(replace(job, turn=turn[job.group, job.config.step]) for job in jobs)


def _at_once(steps: Sequence[int]) -> list[list[int]]:
    return [list(steps)]


def _from_the_last(steps: Sequence[int]) -> list[list[int]]:
    return [[step] for step in sorted(steps, reverse=True)]


def _places(steps: Sequence[int]) -> list[float]:
    """log2 of ascending steps; the untrained step 0 lies a doubling before the first that was trained."""
    first = next((step for step in steps if step > 0), 1)
    return [math.log2(step) if step > 0 else math.log2(first) - 1 for step in steps]


def _nearest(place: Sequence[float], low: int, high: int) -> int:
    """Which place between two others is the nearest to their middle, the later of two."""
    middle = (place[low] + place[high]) / 2
    return min(range(low + 1, high), key=lambda at: (round(abs(place[at] - middle), 9), -at))
