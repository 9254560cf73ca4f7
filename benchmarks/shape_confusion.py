"""How often each shape is recognised: curves made of each class, labelled, counted.

A task is a family of eight curves, as of eight models, of classes drawn at random (or all of one class). A value is
its curve's, plus item sampling error that checkpoints share in part (correlation 0.5: they answer the same items),
plus training noise of standard deviation 0.01. Run: python benchmarks/shape_confusion.py
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd

from evalrun.commands.table_input import config_of
from evalrun.statistics.findings import decide_curves
from evalrun.statistics.shapes.labels import LABELS, describe_shapes

CLASSES = ("positive", "inverse", "U-shaped", "inverted-U", "late drop", "emergent", "flat")
SHIFT = 0.3  # how far a curve moves
FAMILY = 8
_CORRELATION, _TRAINING = 0.5, 0.01

Array = np.ndarray[Any, np.dtype[np.float64]]


def curve(kind: str, t: Array, rng: np.random.Generator, shift: float = SHIFT) -> Array:
    """Expected values over t, the share of the log axis, of a curve that moves by `shift`."""
    turn = rng.uniform(0.4, 0.6)
    bowl = 1 - ((t - turn) / max(turn, 1 - turn)) ** 2
    late = rng.uniform(0.67, 0.8)
    made = {
        "positive": t,
        "inverse": 1 - t,
        "U-shaped": 1 - bowl,
        "inverted-U": bowl,
        "late drop": np.clip((1 - t) / (1 - late), 0, 1),
        "emergent": 1 / (1 + np.exp(-(t - rng.uniform(0.65, 0.8)) * 40)),
        "flat": np.full_like(t, 0.5),
    }[kind]
    return 0.5 + shift * (made - 0.5)


def make_table(
    rng: np.random.Generator, n: int, points: int, tasks: int, kinds: tuple[str, ...], shift: float = SHIFT
) -> tuple[pd.DataFrame, Array]:
    """Tasks of eight curves each, with what the analysis reads, and each curve's class (by task and model)."""
    t = np.linspace(0, 1, points)
    truth = rng.choice(np.array(kinds, dtype=object), (tasks, FAMILY))
    expected = np.stack([[curve(kind, t, rng, shift) for kind in family] for family in truth])
    error = np.sqrt(expected * (1 - expected) / n)
    shared = np.sqrt(_CORRELATION) * rng.normal(size=(tasks, FAMILY, 1))
    own = np.sqrt(1 - _CORRELATION) * rng.normal(size=expected.shape)
    value = np.clip(expected + error * (shared + own) + _TRAINING * rng.normal(size=expected.shape), 0, 1)
    task, model, step = (place.ravel() for place in np.indices(value.shape))
    table = pd.DataFrame(
        {
            "task": task,
            "title": "Made",
            "model": model,
            "n_params": 10.0**model,
            "seed": np.nan,
            "step": 2.0**step,
            "tokens": 10.0 ** (9 + 2 * t[step]),
            "value": value.ravel(),
            "stderr": np.sqrt(value * (1 - value) / (n - 1)).ravel(),
            "n": float(n),
            "higher_is_better": True,
        }
    )
    return table, truth.ravel()


def confusion(n: int, points: int, tasks: int, seed: int, mixed: bool = True, shift: float = SHIFT) -> pd.DataFrame:
    """Shares of the labels (columns) that curves of each class (rows) get.

    Args:
        n: Items of a task.
        points: Checkpoints of a model.
        tasks: Tasks made: of eight curves each, of all classes in turn where not mixed.
        seed: Of the noise.
        mixed: Whether a task's curves are of classes drawn at random, or all of one.
        shift: How far curves move.
    """
    rng = np.random.default_rng(seed)
    groups = [CLASSES] if mixed else [(kind,) for kind in CLASSES]
    truth, found = [], []
    for kinds in groups:
        table, made = make_table(rng, n, points, tasks // len(groups), kinds, shift)
        truth.append(made)
        found.append(labels_of(table))
    counted = pd.crosstab(np.concatenate(truth), np.concatenate(found), normalize="index")
    counted = counted.reindex(index=list(CLASSES), columns=list(LABELS[:-1]), fill_value=0.0)
    return counted.rename_axis(index=None, columns=None)


def labels_of(table: pd.DataFrame) -> Array:
    """What a report with these curves calls each of them."""
    return describe_shapes(decide_curves(table, config_of({}).analysis))["label"].to_numpy()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tasks", type=int, default=700)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shift", type=float, default=SHIFT)
    given = parser.parse_args()
    for mixed in (True, False):
        for points in (8, 16):
            for n in (300, 1000, 7000):
                print(
                    f"\n{n} items, {points} checkpoints, {'classes mixed in a task' if mixed else 'one class a task'}"
                )
                shares = confusion(n, points, given.tasks, given.seed, mixed, given.shift)
                print((100 * shares).round(1).to_string())


if __name__ == "__main__":
    main()
