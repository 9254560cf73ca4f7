"""Made training runs: items answered over training by runs whose seeds differ as real ones do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evalrun.statistics.training_runs.run_curves import TaskCurves

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Recipe:
    """What the runs of a recipe share, and how far its seeds differ; skills are logits."""

    tasks: int = 3
    points: int = 11
    items: int = 300
    timing: float = 0.15  # standard deviation of when a run learns, in doublings of the tokens
    level: float = 0.1  # of what a seed shifts for good
    passing: float = 0.1  # of single checkpoints
    taste: float = 1.0  # of what a run finds hard for itself, item by item
    damaged_from: int | None = None  # point from which on it learns less
    damage: float = 0.0  # logits that it loses, within one doubling
    seed: int = 0  # of the items, which all runs are asked


def answers(recipe: Recipe, run: np.random.Generator) -> list[Array]:
    """Of each task (items, points) of ones and zeros: what a run of the recipe answers."""
    items, found = np.random.default_rng(recipe.seed), []
    at = np.arange(recipe.points, dtype="float64")
    when, level = run.normal(0, recipe.timing), run.normal(0, recipe.level)
    for _ in range(recipe.tasks):
        middle, slope = items.uniform(0.3, 0.7) * recipe.points, items.uniform(0.5, 1.5)
        difficulty = items.normal(0, 1.0, (recipe.items, 1))
        own = run.normal(0, recipe.taste, (recipe.items, 1))
        skill = 3 / (1 + np.exp(-slope * (at - middle - when - run.normal(0, recipe.timing)))) - 1
        skill = skill + level + run.normal(0, recipe.level) + run.normal(0, recipe.passing, recipe.points)
        if recipe.damaged_from is not None:
            skill = skill - recipe.damage * np.clip(at - recipe.damaged_from + 1, 0, 1)
        # An item is right where skill exceeds its difficulty, with a little chance at each checkpoint.
        chance = run.logistic(0, 0.3, (recipe.items, recipe.points))
        found.append((skill + chance > difficulty + own).astype("float64"))
    return found


def made_curves(
    a: Sequence[list[Array]], b: Sequence[list[Array]], others: Sequence[list[Array]] = ()
) -> list[TaskCurves]:
    """The curves of two groups of runs, and of runs of a third recipe that tell of seeds."""
    found = []
    for task in range(len(a[0])):
        first, second, third = (np.array([run[task] for run in runs]) for runs in (a, b, others or a[:0]))
        points = first.shape[2]
        tokens = 2.0 ** np.arange(points)
        found.append(
            TaskCurves(
                task=f"task_{task}",
                title=f"Task {task}",
                metric="acc",
                higher=True,
                is_share=True,
                axis=np.log10(tokens),
                x=tokens,
                first=first.mean(axis=1),
                second=second.mean(axis=1),
                others=(third.mean(axis=1),) if len(others) else (),
                steps=(tokens, tokens),
                tokens=tokens,
                is_between=np.zeros(points, dtype=bool),
                errors=np.full(points, np.nan),
                differences=second.mean(axis=0) - first.mean(axis=0),
                ends=np.column_stack([first.mean(axis=0)[:, -1], second.mean(axis=0)[:, -1]]),
            )
        )
    return found
