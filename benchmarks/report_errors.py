"""How often a report says something of studies in which nothing happens, and how often it finds what does happen.

A study is one task, 8 models and 8 checkpoints. Items are answered by thresholds: an item's difficulty (shared by all),
a part of item and model (shared by a model's checkpoints) and a part of its own, so that answers correlate as those of
real checkpoints do. Worlds: `same` (one accuracy for all, independent answers), `levels` (each model its own level, sd
.05), `noise` (the same, and each checkpoint shifted by training noise of sd .01), `drift` (levels, and an AR(1) of sd
.02 around them), `slopes` (levels, and each model its own slope, sd .03 over the axis, mean 0); `late` and `U` (levels,
and in the largest model a drop at the last two checkpoints, or a U). Run: python benchmarks/report_errors.py
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from evalrun.commands.table_input import config_of
from evalrun.core.columns import TABLE_COLUMNS
from evalrun.reporting.highlights import examples
from evalrun.statistics.findings import choice_of, decide_curves
from evalrun.statistics.regression.interactions import fit_interactions
from evalrun.statistics.shapes.falls import find_falls
from evalrun.statistics.shapes.labels import describe_shapes, shapes_over_size
from evalrun.statistics.table import prepare

SIZES = np.array([70e6, 160e6, 410e6, 1e9, 1.4e9, 2.8e9, 6.9e9, 12e9])
STEPS = np.array([2000, 4000, 8000, 16000, 32000, 64000, 128000, 143000])
FLAT = ("same", "levels", "noise", "drift", "slopes")
_PARTS = np.array([0.7, 0.5, 0.5])  # of an answer: the item's, the item's in a model, its own
_SCALE = _PARTS / np.sqrt((_PARTS**2).sum())
_CONF = config_of({}).analysis

Array = np.ndarray[Any, np.dtype[np.float64]]


def expected(rng: np.random.Generator, world: str, size: float) -> Array:
    """(models, checkpoints) true accuracies."""
    models, steps = len(SIZES), len(STEPS)
    place = np.log10(STEPS / STEPS[0]) / np.log10(STEPS[-1] / STEPS[0])
    level = np.full((models, 1), 0.5) if world == "same" else np.clip(rng.normal(0.55, 0.05, (models, 1)), 0.2, 0.9)
    p = np.repeat(level, steps, axis=1)
    if world == "noise":
        p += rng.normal(0, 0.01, p.shape)
    if world == "drift":
        shift = rng.normal(0, 0.02, models)
        for step in range(steps):
            p[:, step] += shift
            shift = 0.8 * shift + rng.normal(0, 0.02 * 0.6, models)
    if world == "slopes":
        p += rng.normal(0, 0.03, (models, 1)) * (place - place.mean())
    if world == "late":
        p[-1, -2:] -= size
    if world == "U":
        p[-1] -= size * (1 - ((place - 0.5) / 0.5) ** 2)
    return np.clip(p, 0.01, 0.99)


def study(rng: np.random.Generator, world: str, items: int, size: float = 0.0) -> pd.DataFrame:
    """The table of one study."""
    p = expected(rng, world, size)
    models, steps = p.shape
    if world == "same":
        right = rng.uniform(size=(models, steps, items)) < p[:, :, None]
    else:
        shared, of_model = rng.normal(size=(1, 1, items)), rng.normal(size=(models, 1, items))
        own = rng.normal(size=(models, steps, items))
        right = _SCALE[0] * shared + _SCALE[1] * of_model + _SCALE[2] * own < norm.ppf(p)[:, :, None]
    value = right.mean(axis=2)
    model, step = (place.ravel() for place in np.indices(value.shape))
    rows = {
        "suite": "made", "model": [f"m{place}" for place in model], "n_params": SIZES[model],
        "n_params_nonembedding": SIZES[model] * 0.9, "n_params_nominal": SIZES[model], "step": STEPS[step],
        "tokens": STEPS[step] * 2_097_152.0, "seed": np.nan, "task": "made", "title": "Made", "cause": "", "role": "",
        "metric": "acc", "value": value.ravel(), "stderr": np.sqrt(value * (1 - value) / (items - 1)).ravel(),
        "n": float(items), "chance": 0.5, "primary": True, "higher_is_better": True, "weights": "", "task_key": "key",
        "run_id": "", "settings": "", "finished_ms": np.arange(models * steps),
    }  # fmt: skip
    table = pd.DataFrame({**rows, "flops": 6 * SIZES[model] * 0.9 * STEPS[step] * 2_097_152.0})
    return prepare(table.reindex(columns=list(TABLE_COLUMNS)), None).table


def said(table: pd.DataFrame, regression: bool = True) -> dict[str, bool]:
    """What a report of one study says."""
    decision = decide_curves(table, _CONF)
    shapes = describe_shapes(decision)
    falls = find_falls(decision, shapes)
    sizes = shapes_over_size(table, "nominal", decision.settings)
    last = sizes[sizes["step"] == sizes["step"].max()]
    moved = shapes["falls"] | shapes["rises"]
    named = {example.heading for example in examples(table, shapes)}
    found = {
        "some curve moves": bool(moved.any()),
        "some curve falls": bool(falls["falls"].any()),
        "opening: worse": "Worse with training" in named,
        "falls with size": bool(last["falls"].any()),
        "largest falls": bool(falls["falls"].iloc[-1]),
        "largest is a late drop": shapes["label"].iloc[-1] == "late drop",
        "largest is a U": shapes["label"].iloc[-1] == "U-shaped",
    }
    if regression:
        methods = ["ols", "cr2"]
        effects = fit_interactions(table, replace(choice_of(_CONF), methods=methods))
        for method in methods:
            found[f"star by {method}"] = bool((effects.loc[effects["method"] == method, "q"] < _CONF.alpha).any())
    return found


def shares(world: str, items: int, studies: int, seed: int, size: float = 0.0, regression: bool = True) -> pd.Series:
    """Share of studies in which a report says each thing."""
    rng = np.random.default_rng([seed, items])
    return pd.DataFrame([said(study(rng, world, items, size), regression) for _ in range(studies)]).mean()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    worlds = [(world, 0.0) for world in FLAT] + [("late", 0.05), ("late", 0.1), ("late", 0.2), ("U", 0.1), ("U", 0.2)]
    for items in (300, 900, 1800, 7000):
        frame = pd.DataFrame(
            {
                f"{world} {size:g}" if size else world: shares(world, items, given.studies, given.seed, size, not size)
                for world, size in worlds
            }
        )
        print(f"\n{items} items, per cent of {given.studies} studies")
        print((100 * frame).round(1).to_string(na_rep=""), flush=True)


if __name__ == "__main__":
    main()
