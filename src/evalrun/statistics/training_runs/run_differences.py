"""The difference between two groups of runs over training, with a band for the whole curve and all tasks.

The curves of A and B are compared at points of training that all runs passed (`matched_points`), B - A, by a band with
one error rate for all points and tasks (`curve_bands`). What the band allows for decides what may be claimed:

- Several runs of a recipe, or seeds of other recipes that were named: the variance between seeds. The claim is about
  the recipes. Items alone would call any two seeds different, because they are.
- One run each and no seeds: the items' error, the runs' own wobble from checkpoint to checkpoint, and what
  conf/analysis assumes of seeds. The claim is about the recipes as far as that assumption is right.
- Beside it, for one run each, a band by items alone: about these two trained models, on items like these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evalrun.statistics.items.values import Floats
from evalrun.statistics.training_runs.curve_bands import (
    FEWEST_WAYS,
    LargestT,
    by_exchanged_runs,
    by_few_seeds,
    item_deviations,
    item_signs,
    ways_of,
)
from evalrun.statistics.training_runs.run_curves import TaskCurves
from evalrun.statistics.training_runs.seed_noise import AssumedSeeds, SeedNoise, assumed_noise, between_seeds

SEEDS, OTHER_SEEDS, WOBBLE, ITEMS = "seeds", "other seeds", "wobble", "items"  # what a band allows for
_TINY = 1e-12


@dataclass(frozen=True)
class BandSettings:
    """Of conf/analysis."""

    alpha: float = 0.05
    draws: int = 9999
    seed: int = 0
    seed_shift: float = 0.02  # points of a share, of other metrics a share of their size
    seed_timing: float = 0.35  # doublings of the tokens


@dataclass(frozen=True)
class Band:
    """B - A of one task with what is known of its errors; every array is (points,)."""

    curves: TaskCurves
    difference: Floats
    item_error: Floats  # standard error by items
    deviations: Floats | None  # (items or clusters, points) as `item_signs` takes them
    noise: SeedNoise | None  # of one run by its seed
    error: Floats  # the standard error that the band is made of


@dataclass(frozen=True)
class Bands:
    """All tasks, with how wide their bands are."""

    tasks: tuple[Band, ...]
    kind: str  # SEEDS, OTHER_SEEDS, WOBBLE or ITEMS
    runs: tuple[int, int]  # of A and of B
    df: int  # of the variance between seeds; 0 where there is none
    exchanged: int  # ways in which runs changed sides; 0 where they did not
    largest: LargestT
    critical: float
    item_largest: LargestT  # of the band by items alone
    item_critical: float
    settings: BandSettings


def bands_of(curves: Sequence[TaskCurves], settings: BandSettings) -> Bands:
    """Put a band around the difference of each task, with one error rate for all points of all of them.

    Args:
        curves: Tasks with two points or more.
        settings: Level and draws.
    """
    runs = len(curves[0].first), len(curves[0].second)
    scale = 1 / runs[0] + 1 / runs[1]
    # A task that runs of a group lack has fewer; the variance of the fewest counts for all.
    held = [between_seeds([one.first, one.second, *one.others]) for one in curves]
    kind = (SEEDS if max(runs) > 1 else OTHER_SEEDS) if all(one is not None for one in held) else WOBBLE
    if kind == WOBBLE:
        held = [_assumed(one, settings) for one in curves]
        if any(one is None for one in held):
            kind, held = ITEMS, [None] * len(curves)
    tasks = tuple(_band(one, noise, kind, scale) for one, noise in zip(curves, held, strict=True))
    by_items = _largest_by_items(tasks, settings)
    df = min((noise.df for noise in held if noise is not None), default=0)
    points, alpha = max(len(one.axis) for one in curves), settings.alpha
    exchanged = 0
    if kind == SEEDS and ways_of(*runs) >= FEWEST_WAYS / alpha:
        exchanged = min(ways_of(*runs), settings.draws)
        largest = _exchanged(tasks, runs, settings)
    elif kind == ITEMS:
        largest = by_items
    else:
        largest = by_few_seeds(points, len(curves), df, alpha, settings.draws, settings.seed, kind == WOBBLE)
    return Bands(
        tasks=tasks,
        kind=kind,
        runs=runs,
        df=df,
        exchanged=exchanged,
        largest=largest,
        critical=largest.critical(alpha),
        item_largest=by_items,
        item_critical=by_items.critical(alpha),
        settings=settings,
    )


def _assumed(curves: TaskCurves, settings: BandSettings) -> SeedNoise | None:
    """The noise of a seed where none is known; None of too few points."""
    values = np.concatenate([curves.first, curves.second])
    size = 1.0 if curves.is_share else float(np.abs(values).mean())
    items = np.nan_to_num(curves.errors)
    if curves.differences is not None:
        items = item_deviations(curves.differences, curves.codes)[1]
    taken = AssumedSeeds(settings.seed_shift * size, settings.seed_timing)
    return assumed_noise(curves.axis, curves.tokens, values, items**2, taken)


def _band(curves: TaskCurves, noise: SeedNoise | None, kind: str, scale: float) -> Band:
    """The difference of a task with its errors.

    Args:
        curves: Of the task.
        noise: Of one run by its seed.
        kind: What the band allows for.
        scale: Of the variance of one run, in that of the difference between the means of both groups.
    """
    difference = curves.second.mean(axis=0) - curves.first.mean(axis=0)
    deviations, errors = None, np.nan_to_num(curves.errors)
    if curves.differences is not None:
        deviations, errors = item_deviations(curves.differences, curves.codes)
    squares = errors**2
    if noise is not None:
        # Between seeds on the same items is all that differs by chance; what a wobble is, comes on top of what two
        # models answer differently for good.
        seeds = scale * noise.variance
        squares = squares + seeds if kind == WOBBLE else np.maximum(squares, seeds)
    return Band(curves, difference, errors, deviations, noise, np.sqrt(np.maximum(squares, _TINY**2)))


def _largest_by_items(tasks: Sequence[Band], settings: BandSettings) -> LargestT:
    """The largest |t| of all tasks by items alone; independent points where there are none."""
    drawn = []
    rng = np.random.default_rng(settings.seed)
    for number, task in enumerate(tasks):
        if task.deviations is not None:
            drawn.append(item_signs(task.deviations, task.item_error, settings.draws, settings.seed + number))
        else:
            drawn.append(np.abs(rng.standard_normal((settings.draws, len(task.difference)))).max(axis=1))
    return LargestT((np.sort(np.max(drawn, axis=0)),), 1)


def _exchanged(tasks: Sequence[Band], runs: tuple[int, int], settings: BandSettings) -> LargestT:
    """The largest |t| when runs change sides, all tasks and points of a run together."""
    values = [np.concatenate([task.curves.first, task.curves.second]) for task in tasks]
    floors = [np.maximum(task.item_error.min(), _TINY) if len(task.item_error) else _TINY for task in tasks]
    scale = 1 / runs[0] + 1 / runs[1]

    def largest(way: Sequence[int]) -> float:
        side = np.zeros(sum(runs), dtype=bool)
        side[list(way)] = True
        most = 0.0
        for every, floor in zip(values, floors, strict=True):
            a, b = every[side], every[~side]
            noise = between_seeds([a, b])
            assert noise is not None  # of more ways than two there are several runs
            error = np.maximum(np.sqrt(scale * noise.variance), floor)
            most = max(most, float((np.abs(b.mean(axis=0) - a.mean(axis=0)) / error).max()))
        return most

    return by_exchanged_runs(sum(runs), runs[0], largest, settings.draws, settings.seed)
