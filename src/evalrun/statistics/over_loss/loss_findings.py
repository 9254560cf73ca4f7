"""What is found of every task over loss: one curve or several, where it leaves chance, and forecasts by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evalrun.core.stages import stage
from evalrun.core.text import counted, listed
from evalrun.statistics.multiplicity import adjusted
from evalrun.statistics.over_loss.fitted_form import SIGMOID, fit_sigmoid
from evalrun.statistics.over_loss.loss_forecasts import FORECASTS, forecasts_of
from evalrun.statistics.over_loss.loss_rows import LossRows, with_loss
from evalrun.statistics.over_loss.one_curve import SizeEffect, TaskOverLoss, Threshold, size_effect, threshold
from evalrun.statistics.over_loss.two_steps import HOLD_OUT
from evalrun.statistics.regression.model_frame import PARAMS, RegressionSettings
from evalrun.statistics.shapes.curves import over_training
from evalrun.statistics.shapes.decision import decide
from evalrun.statistics.shapes.labels import describe_shapes
from evalrun.statistics.shapes.thresholds import ShapeSettings, smallest_changes

if TYPE_CHECKING:  # the settings' shape alone, so that the analysis runs without the configuration's libraries
    from evalrun.config.schema import AnalysisConf

ONE, DEPENDS, UNDECIDED = "one curve", "depends on size", "undecided"
CURVES = [
    *("task", "title", "metric", "higher_is_better", "chance", "sizes", "rows", "loss_low", "loss_high"),
    *("early", "early_low", "early_high", "late", "late_low", "late_high", "p", "q", "p_small", "q_small", "margin"),
    *("verdict", "loss_error_bias", *SIGMOID, "scatter", "threshold", "threshold_low", "threshold_high"),
    *("rise", "rise_low", "rise_high", "curves", "emergent_in_tokens", "emergent_in_loss", "note", "sentence"),
]
_LATER = ("q", "q_small", "verdict", "sentence")  # columns that need all tasks
_MOST = 24  # names in a sentence
_ONES = ("early", "late")


@dataclass(frozen=True)
class OverLoss:
    """Tasks over loss; everything is empty where no loss is asked for."""

    name: str = ""  # of the loss
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)  # LossRows.table
    curves: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=CURVES))  # a row a task
    shapes: pd.DataFrame = field(default_factory=pd.DataFrame)  # labels.describe_shapes, with loss across
    forecasts: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=FORECASTS))
    hold_out: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["task", "title", *HOLD_OUT]))
    notes: list[str] = field(default_factory=list)


@stage("over loss")
def over_loss(
    rows: pd.DataFrame,
    raw: pd.DataFrame,
    conf: AnalysisConf,
    choice: RegressionSettings,
    shapes: pd.DataFrame,
    logged: pd.DataFrame | None = None,
) -> OverLoss:
    """Look at every task over the loss that `conf.x` names.

    Args:
        rows: Of `Prepared.table`.
        raw: The tidy table that they were prepared from.
        conf: What to do: conf/analysis.
        choice: Parameter count, level, correction, draws.
        shapes: `describe_shapes` of the rows, with tokens across.
        logged: Losses of training logs, where `conf.x` names these.

    Raises:
        AnalysisError: there is no such loss, or no checkpoint has one.
    """
    found = with_loss(rows, raw, conf, logged)
    if found is None:
        return OverLoss()
    there = found.table[found.table[PARAMS[choice.params]] > 0]
    curves, labels = curves_over_loss(LossRows(found.name, there, []), conf, choice, shapes)
    forecasts, held = forecasts_of(there, choice, conf.smallest_change, curves)
    return OverLoss(found.name, there, curves, labels, forecasts, held, found.notes)


def curves_over_loss(
    found: LossRows, conf: AnalysisConf, choice: RegressionSettings, shapes: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ask of each task whether the sizes fall on one curve of loss, where it leaves chance, and what is emergent.

    Args:
        found: The rows with their losses.
        conf: Margins, and thresholds of shapes.
        choice: Parameter count, level, correction.
        shapes: `describe_shapes` of the rows, with tokens across.

    Returns:
        One row a task, with the columns of `CURVES`; and `describe_shapes` of the curves with loss across. early and
        late are what ten times the parameters add at the same loss, at the high and the low losses that two sizes or
        more share, in the metric's units, with intervals of 1 - alpha; p is of both being 0, p_small of one being as
        large as the margin; the q are corrected over tasks. loss_error_bias is how far they may be off, at most, by the
        loss's own error. floor, ceiling, slope and middle are the sigmoid's, scatter the standard deviation around it.
        threshold is the loss at which the curve is the smallest change of interest away from chance; rise is from the
        highest to the lowest loss. The emergent are counts of curves with that label over either axis.
    """
    labels = shapes_over_loss(found.table, ShapeSettings.of(conf))
    margins, changes = (smallest_changes(found.table, one) for one in (conf.smallest_effect, conf.smallest_change))
    told = []
    for task, own in found.table.groupby("task", sort=False):
        at = own.index[0]
        row = _task(own, choice, float(margins[at]), float(changes[at]))
        for name, of in (("tokens", shapes), ("loss", labels)):
            mine = of.loc[of["task"] == task, "label"]
            row |= {"curves": len(mine), f"emergent_in_{name}": int((mine == "emergent").sum())}
        told.append(row)
    curves = pd.DataFrame(told, columns=[name for name in CURVES if name not in _LATER])
    for p, q in (("p", "q"), ("p_small", "q_small")):
        known = curves[p].notna()
        curves[q] = np.nan
        if known.any():
            curves.loc[known, q] = adjusted(
                curves.loc[known, p].to_numpy(dtype="float64"), choice.corrections[0], choice.alpha
            )
    curves["verdict"] = np.select(
        [curves["p"].isna(), curves["q_small"] < choice.alpha, curves["q"] < choice.alpha],
        ["", ONE, DEPENDS],
        UNDECIDED,
    )
    curves["sentence"] = [curve_sentence(row) for row in curves.to_dict("records")]
    return curves[CURVES], labels


def shapes_over_loss(table: pd.DataFrame, settings: ShapeSettings) -> pd.DataFrame:
    """Label each curve with loss across, by the rules for tokens: the axis is stretched to as many decades as those.

    So a jump within a factor of two of the tokens, and one within the same share of the losses, are one rule.

    Args:
        table: Rows with loss.
        settings: Thresholds of conf/analysis.
    """
    curve = ["task", "model", "seed"]
    logs = pd.Series(np.log10(table["tokens"].to_numpy(dtype="float64")), table.index)
    groups = [table[name] for name in curve]
    least, most = (logs.groupby(groups, dropna=False).transform(how) for how in ("min", "max"))
    low, high = (table["loss"].groupby(groups, dropna=False).transform(how) for how in ("min", "max"))
    gone = (high - table["loss"]) / (high - low).where(high > low, 1.0)
    rank = table["loss"].groupby(groups, dropna=False).rank(method="first", ascending=False)
    across = least + gone * (most - least) + 1e-9 * rank  # equal losses stay in some order
    return describe_shapes(decide(over_training(table.assign(tokens=10**across)), settings))


def _task(own: pd.DataFrame, choice: RegressionSettings, margin: float, change: float) -> dict[str, Any]:
    """All of a task's row but what is corrected over tasks.

    Args:
        own: The task's rows, with loss.
        choice: Parameter count and level.
        margin: The smallest effect of interest, in units of the metric.
        change: The smallest change of interest, in the same.
    """
    first = own.iloc[0]
    numbers = {name: own[name].to_numpy(dtype="float64") for name in ("value", "loss", "loss_stderr")}
    size = np.log10(own[PARAMS[choice.params]].to_numpy(dtype="float64"))
    of = TaskOverLoss(numbers["value"], numbers["loss"], size, numbers["loss_stderr"])
    row = {name: first[name] for name in ("task", "title", "metric", "higher_is_better")}
    chance = float(own["chance"].median())
    row |= {"chance": chance, "sizes": len(np.unique(size)), "rows": len(own), "margin": margin}
    effect, away = size_effect(of, margin, choice.alpha), threshold(of, chance, change, choice.alpha)
    notes = []
    if isinstance(effect, SizeEffect):
        row |= {"p": effect.p, "p_small": effect.p_small, "loss_error_bias": effect.bias}
        row |= dict(zip(("loss_low", "loss_high"), effect.shared, strict=True))
        for place, name in enumerate(_ONES):
            row |= {name: effect.estimate[place], f"{name}_low": effect.low[place], f"{name}_high": effect.high[place]}
    else:
        notes.append(effect)
    if isinstance(away, Threshold):
        row |= {"threshold": away.loss, "threshold_low": away.low, "threshold_high": away.high}
        row |= {"rise": away.rise, "rise_low": away.rise_low, "rise_high": away.rise_high}
        notes.append(away.note)
    if np.ptp(of.value) > 0 and np.ptp(of.loss) > 0 and len(of.value) > len(SIGMOID):
        is_share = bool(((of.value >= 0) & (of.value <= 1)).all())
        fitted = fit_sigmoid(of.loss, of.value, of.clusters, is_share)
        row |= {**dict(zip(SIGMOID, fitted.parameters, strict=True)), "scatter": fitted.sd}
    return row | {"note": "; ".join(note for note in notes if note)}


def over_loss_sentences(curves: pd.DataFrame) -> list[str]:
    """What is to be said of all tasks: those alike in one sentence, each that depends on size in its own.

    Args:
        curves: Of `curves_over_loss`.
    """
    told, rows = [], curves.to_dict("records")
    by_verdict = {verdict: [row for row in rows if row["verdict"] == verdict] for verdict in (ONE, UNDECIDED, "")}
    if one := by_verdict[ONE]:
        told.append(f"All sizes fall on one curve of loss in {_of_all(one, rows)}.")
    told += [_of_size(row) for row in rows if row["verdict"] == DEPENDS]
    if open_still := by_verdict[UNDECIDED]:
        told.append(f"Whether size matters at the same loss is undecided in {_of_all(open_still, rows)}.")
    told += [_of_size(row) for row in by_verdict[""]]
    told += [f"{row['title']}: {said[0].lower()}{said[1:]}" for row in rows if (said := _of_chance(row))]
    tokens, loss = (
        [row for row in rows if 2 * row[f"emergent_in_{name}"] >= row["curves"]] for name in ("tokens", "loss")
    )
    if jumps := [row for row in tokens if row not in loss]:
        told.append(f"Emergent over tokens in half of the curves or more, and gradual over loss: {_titles(jumps)}.")
    if loss:
        told.append(f"Emergent over loss in half of the curves or more: {_titles(loss)}.")
    return told


def _of_all(some: list[dict[Any, Any]], rows: list[dict[Any, Any]]) -> str:
    return f"{len(some)} of {counted(len(rows), 'task')}: {_titles(some)}"


def _titles(rows: list[dict[Any, Any]]) -> str:
    return listed([str(row["title"]) for row in rows], _MOST)


def curve_sentence(row: Mapping[Any, Any]) -> str:
    """What is found of a task over loss, in one or two sentences: size, chance, emergence."""
    return " ".join(part for part in (_of_size(row), _of_chance(row), _of_emergence(row)) if part)


def _of_size(row: Mapping[Any, Any]) -> str:
    """Whether sizes fall on one curve, and else which way size goes at the same loss."""
    title = row["title"]
    if not row["verdict"]:
        return f"{title}: whether sizes fall on one curve is not known ({row['note'] or 'no test'})."
    parts = ", ".join(f"{row[name]:+z.3f} {'at high' if name == 'early' else 'at low'} losses" for name in _ONES)
    parts = parts.replace("-", "−")
    if row["verdict"] == ONE:
        return f"{title}: all sizes fall on one curve of loss, within {row['margin']:.2g} per tenfold ({parts})."
    if row["verdict"] == UNDECIDED:
        return f"{title}: whether size matters at the same loss is undecided ({parts} per tenfold)."
    better = 1 if row["higher_is_better"] else -1
    shown = [name for name in _ONES if row[f"{name}_low"] > 0 or row[f"{name}_high"] < 0] or list(_ONES)
    worse = [name for name in shown if better * row[name] < 0]
    how = "worse" if len(worse) == len(shown) else "better" if not worse else "not the same"
    inverse = ": inverse in size, whatever the loss" if how == "worse" else ""
    return f"{title}: at the same loss larger models are {how} ({parts} per tenfold){inverse}."


def _of_chance(row: Mapping[Any, Any]) -> str:
    told = ""
    better = 1 if row["higher_is_better"] else -1
    if pd.notna(row["rise"]) and better * row["rise_high" if better > 0 else "rise_low"] < 0:
        told = f"It gets worse as the loss falls, by {abs(row['rise']):.3f}."
    if pd.isna(row["threshold"]):
        return told
    ends = [f"{row[name]:.2f}" if pd.notna(row[name]) else "open" for name in ("threshold_low", "threshold_high")]
    return f"{told} It leaves chance at a loss of {row['threshold']:.2f} ({ends[0]} to {ends[1]}).".strip()


def _of_emergence(row: Mapping[Any, Any]) -> str:
    """Emergent over tokens and over loss, where it is so over either."""
    tokens, loss, curves = row["emergent_in_tokens"], row["emergent_in_loss"], row["curves"]
    if not tokens and not loss:
        return ""
    if tokens and not loss:
        return f"Emergent over tokens ({tokens} of {counted(curves, 'curve')}), gradual over loss."
    if loss and not tokens:
        return f"Emergent over loss ({loss} of {counted(curves, 'curve')}), not over tokens."
    return f"Emergent over tokens in {tokens} and over loss in {loss} of {counted(curves, 'curve')}."
