"""Where the slope over training and the shapes of the curves tell two stories: slopes before and after the turn.

A straight line through curves that all rise and then fall has a slope, and the slope may well be significant: that of
the n-gram correlations of Michaelov et al. (2025) is, while every one of their curves is an inverted U.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from evalrun.statistics.regression.model_frame import AXES, RegressionSettings

COLUMNS = [
    *("task", "title", "method", "t", "q", "label", "curves", "of"),
    *("before", "before_low", "before_high", "after", "after_low", "after_high", "models", "higher_is_better"),
]
TURNING = ("U-shaped", "inverted-U", "late drop", "non-monotonic")
_RISES, _FALLS = ("positive", "emergent"), ("inverse",)
_UNTOLD = ("too few points",)
SHARE = 0.5  # of a task's curves that tell another story than its slope


def two_stories(
    table: pd.DataFrame, effects: pd.DataFrame, shapes: pd.DataFrame, choice: RegressionSettings, methods: Sequence[str]
) -> pd.DataFrame:
    """The tasks whose effect of training is significant while half of their curves or more turn, or go the other way.

    The slope of one side of a curve is that of least squares over its checkpoints up to the turn, or from it on. It
    says how steep the sides are; as the turn was sought in the same curve, it is no test. A model's curves (seeds) are
    averaged; the interval is Student's for the mean over models.

    Args:
        table: Rows of `Prepared.table`.
        effects: What `fit_interactions` returns.
        shapes: What `describe_shapes` returns for the same table.
        choice: Axis and level.
        methods: By which of them an effect may be significant; of several the first is told.

    Returns:
        A row a task, in table order, with the columns of `COLUMNS`: t and q of the effect of training by the method;
        the label that most of the curves in question have, how many have it, of how many curves; before and after, the
        mean slopes in the metric's units for a factor of ten of tokens (or FLOPs) with intervals of 1 - alpha, over
        `models` with curves of this label (NaN where that label has no turn, or the models are fewer than two). Signs
        are in the metric's own direction.
    """
    found = []
    known = shapes[~shapes["label"].isin(list(_UNTOLD))]
    for task, curves in known.groupby("task", sort=False):
        rows = effects[(effects["task"] == task) & (effects["effect"] == "tokens") & (effects["q"] < choice.alpha)]
        rows = rows[rows["method"].isin(list(methods))]
        if rows.empty:
            continue
        row = rows.iloc[0]
        rises = (row["estimate"] > 0) == bool(row["higher_is_better"])
        other = curves[curves["label"].isin([*TURNING, *(_FALLS if rises else _RISES)])]
        if len(other) < SHARE * len(curves):
            continue
        counts = other["label"].value_counts()
        label = next(name for name in other["label"] if counts[name] == counts.max())
        own = other[other["label"] == label]
        sides = _sides(table[table["task"] == task], own, choice) if label in TURNING else {}
        found.append(
            {
                **{name: row[name] for name in ("task", "title", "method", "t", "q", "higher_is_better")},
                "label": label,
                "curves": len(own),
                "of": len(curves),
                "models": own["model"].nunique(),
                **sides,
            }
        )
    return pd.DataFrame(found, columns=COLUMNS)


def _sides(rows: pd.DataFrame, curves: pd.DataFrame, choice: RegressionSettings) -> dict[str, float]:
    """Mean slopes before and after the turn with their intervals.

    Args:
        rows: Of one task.
        curves: Its curves that turn, with `turn_step`.
        choice: Axis and level.
    """
    slopes: dict[str, list[tuple[str, float]]] = {"before": [], "after": []}
    for curve in curves.to_dict("records"):
        seed = rows["seed"].isna() if pd.isna(curve["seed"]) else rows["seed"] == curve["seed"]
        own = rows[(rows["model"] == curve["model"]) & seed & (rows[AXES[choice.axis]] > 0)]
        for name, side in (("before", own["step"] <= curve["turn_step"]), ("after", own["step"] >= curve["turn_step"])):
            x, y = np.log10(own.loc[side, AXES[choice.axis]].to_numpy()), own.loc[side, "value"].to_numpy()
            if len(np.unique(x)) > 1:
                centred = x - x.mean()
                slopes[name].append((str(curve["model"]), float(centred @ y / (centred @ centred))))
    told: dict[str, float] = {}
    for name, pairs in slopes.items():
        each = pd.DataFrame(pairs, columns=["model", "slope"]).groupby("model")["slope"].mean().to_numpy()
        told[name] = float(each.mean()) if len(each) else np.nan
        if len(each) > 1:
            reach = stats.t.ppf(1 - choice.alpha / 2, len(each) - 1) * each.std(ddof=1) / np.sqrt(len(each))
            told |= {f"{name}_low": told[name] - float(reach), f"{name}_high": told[name] + float(reach)}
    return told
