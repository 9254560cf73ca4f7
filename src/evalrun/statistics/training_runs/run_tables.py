"""What two groups of runs say of each other, as tables: each point, each task, and each look before the last one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student
from statsmodels.stats.proportion import proportion_confint

from evalrun.statistics.items.values import Floats
from evalrun.statistics.training_runs.run_differences import OTHER_SEEDS, SEEDS, Band, Bands
from evalrun.statistics.training_runs.seed_noise import between_seeds

BETTER, WORSE, NEITHER = "better", "worse", "no difference shown"
_TINY = 1e-12


def excludes(low: Floats, high: Floats) -> Floats:
    """(points,) 1 where a band lies above 0, -1 where below, 0 where it holds 0."""
    return np.where(low > 0, 1.0, np.where(high < 0, -1.0, 0.0))


def decided_at(side: Floats) -> int | None:
    """The first point from which the band stays on the side of 0 on which it ends; None where it ends around 0."""
    if not len(side) or side[-1] == 0:
        return None
    other = np.flatnonzero(side != side[-1])
    return 0 if not len(other) else int(other[-1]) + 1


def verdict_of(side: float, higher: bool) -> str:
    """What a side of 0 says of B, in the metric's direction."""
    return NEITHER if side == 0 else BETTER if (side > 0) == higher else WORSE


def point_rows(bands: Bands) -> pd.DataFrame:
    """One row for each task and point, in order of training: A, B, their difference with the bands, seeds' spread."""
    frames = []
    for task in bands.tasks:
        curves = task.curves
        low, high = _around(task, bands.critical * task.error)
        item_low, item_high = _around(task, bands.item_critical * task.item_error)
        frames.append(
            pd.DataFrame(
                {
                    "task": curves.task,
                    "title": curves.title,
                    "metric": curves.metric,
                    "higher_is_better": curves.higher,
                    "point": np.arange(len(curves.axis)),
                    "x": curves.x,
                    "step_a": curves.steps[0],
                    "step_b": curves.steps[1],
                    "tokens": curves.tokens,
                    "interpolated": curves.is_between,
                    "a": curves.first.mean(axis=0),
                    "b": curves.second.mean(axis=0),
                    "difference": task.difference,
                    "stderr": task.error,
                    "low": low,
                    "high": high,
                    "item_stderr": task.item_error,
                    "item_low": item_low,
                    "item_high": item_high,
                    "seed_sd": np.nan if task.noise is None else np.sqrt(task.noise.variance),
                    "side": excludes(low, high),
                    "item_side": excludes(item_low, item_high),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _around(task: Band, reach: Floats) -> tuple[Floats, Floats]:
    """The band so far around the difference, no further than two shares can differ."""
    most = 1.0 if task.curves.is_share else math.inf
    return np.maximum(task.difference - reach, -most), np.minimum(task.difference + reach, most)


def whole_curve(task: Band, bands: Bands) -> tuple[float, float, float]:
    """The mean difference over the points, with its interval of 1 - alpha (for this one number alone)."""
    curves, scale = task.curves, 1 / bands.runs[0] + 1 / bands.runs[1]
    mean = float(task.difference.mean())
    if task.deviations is not None:
        sums = task.deviations.mean(axis=1)
        squares = float((sums**2).sum())
    else:
        squares = float(np.mean(task.item_error**2))
    df = math.inf
    if bands.kind in (SEEDS, OTHER_SEEDS):
        groups = [_over_points(own) for own in (curves.first, curves.second, *curves.others)]
        noise = between_seeds([own for own in groups if own.size])
        if noise is None:
            return mean, math.nan, math.nan
        squares, df = max(squares, scale * float(noise.variance[0])), float(noise.df)
    elif task.noise is not None:
        squares, df = squares + scale * float(task.noise.variance[0]), float(task.noise.df)
    reach = float(student.isf(bands.settings.alpha / 2, df)) * math.sqrt(squares)
    most = 1.0 if curves.is_share else math.inf
    return mean, max(mean - reach, -most), min(mean + reach, most)


def _over_points(values: Floats) -> Floats:
    """(runs, 1) means over the points that all runs of a recipe reach; nothing where there is none."""
    known = np.isfinite(values).all(axis=0)
    return values[:, known].mean(axis=1, keepdims=True) if known.any() else values[:0, :1]


def at_the_end(task: Band, alpha: float) -> Mapping[str, float]:
    """Effect sizes on the items at the last point, with intervals of 1 - alpha over items; NaN without items.

    d_z, the mean difference by the standard deviation of the items' differences (its large-sample interval); for
    answers that are right or wrong, of one run each, the odds ratio: items that rose over items that fell, with the
    interval that the exact binomial one of the rising share gives (Clopper & Pearson 1934).
    """
    names = ("odds_ratio", "odds_low", "odds_high", "effect", "effect_low", "effect_high")
    found = dict.fromkeys(names, math.nan)
    curves = task.curves
    if curves.differences is None or curves.ends is None or len(curves.differences) < 2:
        return found
    change = curves.differences[:, -1]
    spread, n = float(change.std(ddof=1)), len(change)
    if spread > _TINY:
        effect = float(change.mean()) / spread
        reach = float(student.isf(alpha / 2, n - 1)) * math.sqrt(1 / n + effect**2 / (2 * n))
        found |= {"effect": effect, "effect_low": effect - reach, "effect_high": effect + reach}
    if np.isin(curves.ends, (0.0, 1.0)).all():
        rose, fell = int((change > 0).sum()), int((change < 0).sum())
        if rose + fell:
            low, high = proportion_confint(rose, rose + fell, alpha, "beta")
            ends = [share / (1 - share) if share < 1 else math.inf for share in (float(low), float(high))]
            found |= {"odds_ratio": rose / fell if fell else math.inf, "odds_low": ends[0], "odds_high": ends[1]}
    return found


def task_rows(bands: Bands, points: pd.DataFrame) -> pd.DataFrame:
    """One row a task: what is said of it in the end, over the whole curve, and how early.

    Args:
        bands: All tasks.
        points: Of `point_rows`.
    """
    rows: list[dict[str, Any]] = []
    groups = {str(task): own for task, own in points.groupby("task", sort=False)}
    for task in bands.tasks:
        own = groups[task.curves.task]
        last = own.iloc[-1]
        side, item_side = (own[name].to_numpy(dtype="float64") for name in ("side", "item_side"))
        from_point, items_from = decided_at(side), decided_at(item_side)
        mean, mean_low, mean_high = whole_curve(task, bands)
        largest = float((np.abs(task.difference) / task.error).max())
        known = task.item_error > 0
        item_largest = float((np.abs(task.difference[known]) / task.item_error[known]).max()) if known.any() else 0.0
        sd = float(last["seed_sd"])
        rows.append(
            {
                **{name: last[name] for name in ("task", "title", "metric", "higher_is_better")},
                "points": len(own),
                "n": 0 if task.curves.differences is None else len(task.curves.differences),
                "runs_a": bands.runs[0],
                "runs_b": bands.runs[1],
                **{f"final_{name}": last[name] for name in ("step_a", "step_b", "tokens")},
                **{name: last[name] for name in ("a", "b", "difference", "low", "high")},
                "p": bands.largest.p(largest),
                "verdict": verdict_of(float(side[-1]), task.curves.higher),
                "decided_point": from_point,
                "decided_step": np.nan if from_point is None else float(own["step_b"].iloc[from_point]),
                "decided_x": np.nan if from_point is None else float(own["x"].iloc[from_point]),
                "differs_at": int((side != 0).sum()),
                "mean_difference": mean,
                "mean_low": mean_low,
                "mean_high": mean_high,
                **at_the_end(task, bands.settings.alpha),
                "seed_effect": float(last["difference"]) / sd if sd > 0 else math.nan,
                "items_verdict": verdict_of(float(item_side[-1]), task.curves.higher),
                "items_decided_step": np.nan if items_from is None else float(own["step_b"].iloc[items_from]),
                "items_p": bands.item_largest.p(item_largest),
                **early_looks(own),
                "clustered": task.curves.clustered,
                "note": task.curves.note,
            }
        )
    return pd.DataFrame(rows)


def early_looks(own: pd.DataFrame) -> dict[str, float]:
    """How early a look would have told of one task what the last one tells.

    Args:
        own: Rows of `point_rows` of the task.

    Returns:
        same_sign, the share of the earlier points whose difference has the sign of the last one (half a point for
        none); same_verdict, the share whose band says what the last band says; said_from, the step of B from which on
        every band says it.
    """
    difference, side = (own[name].to_numpy(dtype="float64") for name in ("difference", "side"))
    agree = side == side[-1]
    wrong = np.flatnonzero(~agree)
    first = int(wrong[-1]) + 1 if len(wrong) else 0
    return {
        "same_sign": float(same_sign(difference[:-1], difference[-1]).mean()),
        "same_verdict": float(agree[:-1].mean()),
        "said_from": float(own["step_b"].iloc[first]),
    }


def same_sign(early: Floats, last: float | Floats) -> Floats:
    """1 where two differences have one sign, 0 where opposite ones, a half where either is 0."""
    return (np.sign(early) * np.sign(last) + 1) / 2


def look_rows(points: pd.DataFrame) -> pd.DataFrame:
    """Of each look before the last: how many tasks it would have decided as the last one does.

    A look is a number of checkpoints before the end, so that tasks with curves of several lengths are counted together.

    Args:
        points: Of `point_rows`.

    Returns:
        One row a look, in order of training: step_b and x of the longest curve, tasks, same_sign and same_verdict
        (shares of the tasks: decision accuracy), decided (tasks whose band excludes 0 there).
    """
    ends = points.groupby("task", sort=False)["point"].transform("max")
    last = points[points["point"] == ends].set_index("task")
    early = points[points["point"] < ends].assign(before=ends - points["point"])
    own = last.loc[early["task"]]
    early = early.assign(
        same_sign=same_sign(early["difference"].to_numpy(), own["difference"].to_numpy()),
        same_verdict=(early["side"].to_numpy() == own["side"].to_numpy()).astype("float64"),
        decided=(early["side"] != 0).astype("int64"),
    )
    looks = early.groupby("before", sort=False).agg(
        step_b=("step_b", "max"),
        x=("x", "first"),
        tasks=("task", "size"),
        same_sign=("same_sign", "mean"),
        same_verdict=("same_verdict", "mean"),
        decided=("decided", "sum"),
    )
    return looks.sort_index(ascending=False).reset_index()
