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

from evalrun.core.stages import stage
from evalrun.statistics.items.answer_sheet import AnswerSheet, answer_sheet
from evalrun.statistics.items.clusters import Clusters
from evalrun.statistics.items.laplace import Crossed, CrossedFit, fit_crossed
from evalrun.statistics.items.modes import Answers
from evalrun.statistics.items.own_courses import unmodelled_variance
from evalrun.statistics.items.paired import corrected
from evalrun.statistics.items.values import Items
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
    *("n_items", "n_checkpoints", "n_models", "sd_items", "sd_models", "sd_slopes", "sd_checkpoints"),
    *("from_items", "n_clusters", "error_ratio", "note"),
]
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(41)


@stage("the model of items")
def fit_items(
    table: pd.DataFrame,
    items: Items | None,
    choice: RegressionSettings,
    likelihood: str | None,
    most: int,
    clusters: Clusters | None = None,
) -> pd.DataFrame:
    """Fit the answers of every task.

    Args:
        table: Rows of `Prepared.table`: one for each task, model, seed and step.
        items: Gives per-item results; None for an empty table.
        choice: Predictors, level and, first, the correction.
        likelihood: A key of `LIKELIHOODS`; None for an empty table.
        most: Checkpoints that a task may have: the time grows with their cube.
        clusters: Gives the clusters of a task's items; None for items that were drawn one by one.

    Returns:
        One row for each task and effect, with the columns of `COLUMNS`: estimates are in log-odds for a standard
        deviation of the predictor, raw ones for a factor of ten; change is what a factor of ten around the mean does to
        the accuracy over all items and models, whose mean is accuracy (none of an interaction: that of log-odds is no
        single difference of accuracies; Ai & Norton 2003, Economics Letters 80:123-129). sd_ are the standard
        deviations of the random effects; from_items is the share of the squared error that is there because items, or
        clusters of them, have courses of their own (`own_courses`; 0 with `ml`, which is what glmer prints). With
        clusters, n_clusters says how many, and error_ratio how much larger they make the standard errors of accuracies.
        Where nothing could be fitted the numbers are NaN and the note says why.
    """
    rows: list[dict[str, Any]] = []
    if likelihood is None or items is None:
        return pd.DataFrame(rows, columns=COLUMNS)
    for frame in task_frames(table, choice):
        rows += _task_rows(frame, items, choice, likelihood, most, clusters)
    found = pd.DataFrame(rows, columns=COLUMNS)
    found["q"] = corrected(found["p"].to_numpy(dtype="float64"), choice.corrections[0])
    return found


def _task_rows(
    frame: TaskFrame,
    items: Items,
    choice: RegressionSettings,
    likelihood: str,
    most: int,
    clusters: Clusters | None,
) -> list[dict[str, Any]]:
    """The rows of one task; the arguments are those of `fit_items`."""
    about = {name: frame.labels[name] for name in ("task", "title")}
    if frame.design is None:
        return [
            {**about, "effect": name, "note": join_notes(note, frame.left_out)} for name, note in frame.notes.items()
        ]
    if frame.count > most:
        why = f"{frame.count:,} checkpoints: more than analysis.item_model_most ({most:,})"
        return [{**about, "effect": name, "note": why} for name in EFFECTS]
    sheet = answer_sheet(frame, frame.design, items, clusters)
    if isinstance(sheet, str):
        return [{**about, "effect": name, "note": sheet} for name in EFFECTS]
    design, crossed = sheet.design, _crossed(sheet.design)
    found = fit_crossed(Answers.of(sheet.values), crossed, likelihood == "reml")
    fit, from_items = _tested(found, sheet, crossed, choice.alpha)
    known: dict[str, Any] = {
        "n_items": len(sheet.values),
        "n_checkpoints": len(design.x),
        "n_models": design.clusters,
        "n_clusters": sheet.clusters,
        "error_ratio": sheet.error_ratio,
    }
    if found is not None:
        known |= {f"sd_{name}": value for name, value in asdict(found.spreads).items()}
    effects = zip(_effect_rows(fit, found, design), from_items, strict=True)
    by_effect = {name: {**row, "from_items": share} for name, (row, share) in zip(design.effects, effects, strict=True)}
    told = join_notes(fit.note, sheet.note, frame.left_out)
    return [
        {**about, "effect": name, **known, **by_effect.get(name, {}), "note": join_notes(frame.notes[name], told)}
        for name in EFFECTS
    ]


def _crossed(design: Design) -> Crossed:
    """The random effects that these checkpoints allow: of several models level and slope, of their checkpoints each.

    One model's level and slope cannot be told from the effect of training.
    """
    several = not few_models(design)
    rows, models = design.x.shape[0], design.clusters
    along = design.slope if several and design.slope is not None and rows > 2 * models else None
    apart = rows > 2 * models if several else rows > design.x.shape[1] + 1
    return Crossed(design.x, design.groups if several else None, along, apart)


def _tested(found: CrossedFit | None, sheet: AnswerSheet, crossed: Crossed, alpha: float) -> tuple[Fit, Array]:
    """Tests and intervals of the effects, in log-odds for a standard deviation; and what of their variance is of items.

    Likelihood without restriction: z, as glmer. Else t with between-within degrees of freedom (Schluchter & Elashoff
    1990): models less the coefficients of their level, or of their slopes; of one model, checkpoints less coefficients.
    The variance by items that the model misses is added, with its own degrees of freedom (Satterthwaite 1946).

    Args:
        found: The maximum, if there is one.
        sheet: The answers.
        crossed: The checkpoints with their random effects.
        alpha: Of the intervals.
    """
    design = sheet.design
    at, none = slice(1, 1 + len(design.effects)), np.zeros(len(design.effects))
    if found is None:
        return no_fit(design, "the likelihood has no maximum"), none
    if found.mode is None:
        return t_fit(found.estimate[at], found.stderr[at], np.inf, alpha, _absent(crossed)), none
    rows, count = design.x.shape[0], design.clusters
    if crossed.groups is None:
        df: Array = np.full(design.x.shape[1], float(rows - design.x.shape[1]))
    else:
        _, first = np.unique(design.groups, return_index=True)
        between = (np.abs(design.x - design.x[first][design.groups]) < 1e-12).all(axis=0)
        upper, lower = int(between.sum()), int((~between).sum())
        within = count - lower if crossed.slope is not None else rows - count - lower
        df = np.where(between, count - upper, within).astype("float64")
    added, of_items = unmodelled_variance(sheet.values, found.mode, design.x.shape[1], sheet.codes)
    own = found.stderr**2
    whole = own + added
    df = whole**2 / (own**2 / df + added**2 / of_items)
    fit = t_fit(found.estimate[at], np.sqrt(whole)[at], df[at], alpha, _absent(crossed))
    return fit, np.asarray((added / whole)[at])


def _absent(crossed: Crossed) -> str:
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
