"""The effects of size and training on single answers: a table of the logistic regression of each task.

An answer is right or wrong, so what is modelled is the log-odds that an item is answered, not one number a checkpoint.
Items differ in how hard they are, models in their level and in how they learn, checkpoints by the chance of training;
each has an effect of its own in `laplace`, and the effects of size and training are tested against what these leave.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from evalrun.core.text import counted
from evalrun.statistics.items.laplace import Crossed, CrossedFit, fit_crossed
from evalrun.statistics.items.modes import Answers
from evalrun.statistics.items.paired import corrected
from evalrun.statistics.items.values import Aligned, Items, align, columns_of, item_values
from evalrun.statistics.regression.clustered import few_models
from evalrun.statistics.regression.estimators import Fit, no_fit, t_fit
from evalrun.statistics.regression.model_frame import (
    EFFECTS,
    Array,
    Design,
    RegressionSettings,
    TaskFrame,
    join_notes,
    task_frames,
)

LIKELIHOODS = {
    "reml": "restricted likelihood, t with few degrees of freedom",
    "ml": "likelihood and z, as lme4’s glmer",
}
COLUMNS = [
    *("task", "title", "effect", "estimate", "stderr", "low", "high", "t", "df", "p", "q"),
    *("raw_estimate", "raw_low", "raw_high", "accuracy", "change", "change_low", "change_high"),
    *("n_items", "n_checkpoints", "n_models", "sd_items", "sd_models", "sd_slopes", "sd_checkpoints", "note"),
]
_UNCLEAR = 0.05  # share of answers that are neither right nor wrong, as ties are, beyond which they are other values
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(41)


def fit_items(
    table: pd.DataFrame, items: Items | None, choice: RegressionSettings, likelihood: str | None, most: int
) -> pd.DataFrame:
    """Fit the answers of every task.

    Args:
        table: Rows of `Prepared.table`: one for each task, model, seed and step.
        items: Gives per-item results; None for an empty table.
        choice: Predictors, level and, first, the correction.
        likelihood: A key of `LIKELIHOODS`; None for an empty table.
        most: Checkpoints that a task may have: the time grows with their cube.

    Returns:
        One row for each task and effect, with the columns of `COLUMNS`: estimates are in log-odds for a standard
        deviation of the predictor, raw ones for a factor of ten; change is what a factor of ten around the mean does to
        the accuracy over all items and models, whose mean is accuracy (none of an interaction: that of log-odds is no
        single difference of accuracies; Ai & Norton 2003, Economics Letters 80:123-129). sd_ are the standard
        deviations of the random effects. Where nothing could be fitted the numbers are NaN and the note says why.
    """
    rows: list[dict[str, Any]] = []
    if likelihood is None or items is None:
        return pd.DataFrame(rows, columns=COLUMNS)
    for frame in task_frames(table, choice):
        rows += _task_rows(frame, items, choice, likelihood, most)
    found = pd.DataFrame(rows, columns=COLUMNS)
    found["q"] = corrected(found["p"].to_numpy(dtype="float64"), choice.corrections[0])
    return found


def _task_rows(
    frame: TaskFrame, items: Items, choice: RegressionSettings, likelihood: str, most: int
) -> list[dict[str, Any]]:
    """The rows of one task; the arguments are those of `fit_items`."""
    about = {name: frame.labels[name] for name in ("task", "title")}
    if frame.design is None:
        return [
            {**about, "effect": name, "note": join_notes(note, frame.left_out)} for name, note in frame.notes.items()
        ]
    if len(frame.rows) > most:
        why = f"{len(frame.rows):,} checkpoints: more than analysis.item_model_most ({most:,})"
        return [{**about, "effect": name, "note": why} for name in EFFECTS]
    design, aligned = _answers(frame, items)
    why = aligned.note if design is None else _unfit(design, aligned.values)
    if design is None or why:
        return [{**about, "effect": name, "note": why} for name in EFFECTS]
    crossed = _crossed(design)
    found = fit_crossed(Answers.of(aligned.values), crossed, likelihood == "reml")
    fit = _tested(found, design, crossed, choice.alpha, likelihood)
    known: dict[str, Any] = {
        "n_items": len(aligned.values),
        "n_checkpoints": len(design.x),
        "n_models": design.clusters,
    }
    if found is not None:
        known |= {f"sd_{name}": value for name, value in asdict(found.spreads).items()}
    by_effect = dict(zip(design.effects, _effect_rows(fit, found, design), strict=True))
    told = join_notes(fit.note, aligned.note, _ties(aligned.values), frame.left_out)
    return [
        {**about, "effect": name, **known, **by_effect.get(name, {}), "note": join_notes(frame.notes[name], told)}
        for name in EFFECTS
    ]


def _answers(frame: TaskFrame, items: Items) -> tuple[Design | None, Aligned]:
    """The checkpoints whose items there are, with their answers; no design where there are none, and why.

    Args:
        frame: A task.
        items: Gives per-item results.
    """
    found = [
        item_values(items(str(row.run_id), str(row.task), columns_of(str(row.metric))), str(row.metric))
        for row in frame.rows.itertuples()
    ]
    there = [values for values in found if values is not None]
    if not there or frame.design is None:
        return None, Aligned(np.empty((0, 0)), "no per-item results")
    aligned = align(there)
    if not len(aligned.values):
        return None, aligned
    lost = len(found) - len(there)
    note = f"{counted(lost, 'checkpoint')} without per-item results left out" if lost else ""
    keep = np.array([values is not None for values in found])
    return frame.design.keep(keep), Aligned(aligned.values, join_notes(note, aligned.note))


def _unfit(design: Design, values: Array) -> str:
    """Why answers cannot be fitted; empty where they can be."""
    unclear = (values != 0) & (values != 1)
    if unclear.mean() > _UNCLEAR or values.min() < 0 or values.max() > 1:
        return "its items are not right or wrong: there are no answers to count"
    if len(design.x) <= design.x.shape[1] or np.linalg.matrix_rank(design.x) < design.x.shape[1]:
        return "too few checkpoints with per-item results"
    if len(values) < 2 or values.std() == 0:
        return f"all answers are alike ({counted(len(values), 'item')})"
    if design.slope != 1:  # a column of sizes is there
        few = few_models(design)
        return f"{counted(design.clusters, 'model')}: too few to see how much models differ" if few else ""
    return ""


def _ties(values: Array) -> str:
    ties = int(((values != 0) & (values != 1)).sum())
    return f"{counted(ties, 'answer')} of choices that tie, counted as their share" if ties else ""


def _crossed(design: Design) -> Crossed:
    """The random effects that these checkpoints allow: of several models level and slope, of their checkpoints each.

    One model's level and slope cannot be told from the effect of training.
    """
    several = not few_models(design)
    rows, models = design.x.shape[0], design.clusters
    along = design.slope if several and design.slope is not None and rows > 2 * models else None
    apart = rows > 2 * models if several else rows > design.x.shape[1] + 1
    return Crossed(design.x, design.groups if several else None, along, apart)


def _tested(found: CrossedFit | None, design: Design, crossed: Crossed, alpha: float, likelihood: str) -> Fit:
    """Tests and intervals of the effects, in log-odds for a standard deviation.

    Args:
        found: The maximum, if there is one.
        design: The checkpoints.
        crossed: The same, with their random effects.
        alpha: Of the intervals.
        likelihood: `ml` tests by z; else by t with between-within degrees of freedom (Schluchter & Elashoff 1990):
            models less the coefficients of their level, or of their slopes; of one model, checkpoints less those.
    """
    if found is None:
        return no_fit(design, "the likelihood has no maximum")
    at = slice(1, 1 + len(design.effects))
    if likelihood == "ml":
        return t_fit(found.estimate[at], found.stderr[at], np.inf, alpha, _absent(found, crossed))
    rows, count = design.x.shape[0], design.clusters
    if crossed.groups is None:
        df: Array = np.full(design.x.shape[1], float(rows - design.x.shape[1]))
    else:
        _, first = np.unique(design.groups, return_index=True)
        between = (np.abs(design.x - design.x[first][design.groups]) < 1e-12).all(axis=0)
        upper, lower = int(between.sum()), int((~between).sum())
        within = count - lower if crossed.slope is not None else rows - count - lower
        df = np.where(between, count - upper, within).astype("float64")
    return t_fit(found.estimate[at], found.stderr[at], df[at], alpha, _absent(found, crossed))


def _absent(found: CrossedFit, crossed: Crossed) -> str:
    """What the model leaves out where a model's own effects cannot be estimated."""
    if crossed.groups is None:
        return "one model: its own level and slope are part of the effect, which says nothing of other models"
    return "" if crossed.slope is not None else "one checkpoint a model or few: models differ in their level only"


def _effect_rows(fit: Fit, found: CrossedFit | None, design: Design) -> list[dict[str, float]]:
    """Numbers of each effect, on three scales.

    Args:
        fit: Tests, in log-odds for a standard deviation.
        found: The maximum, if there is one.
        design: The checkpoints.
    """
    rows = []
    for i, name in enumerate(design.effects):
        tens = design.per_ten[i]
        row = {key: float(getattr(fit, key)[i]) for key in ("estimate", "stderr", "low", "high", "t", "df", "p")}
        row |= {f"raw_{key}": row[key] * tens for key in ("estimate", "low", "high")}
        if found is not None:
            middle, spread = (
                found.estimate[0],
                np.hypot(found.spreads.items, np.hypot(found.spreads.models, found.spreads.checkpoints)),
            )
            row["accuracy"] = average(middle, spread)
            if name != "interaction":
                for to, key in (("change", "estimate"), ("change_low", "low"), ("change_high", "high")):
                    reach = row[f"raw_{key}"] / 2
                    row[to] = average(middle + reach, spread) - average(middle - reach, spread)
        rows.append(row)
    return rows


def average(log_odds: float, spread: float) -> float:
    """The mean accuracy over items and models whose log-odds have this mean and this standard deviation."""
    return float(_WEIGHTS @ expit(log_odds + spread * _NODES) / _WEIGHTS.sum())
