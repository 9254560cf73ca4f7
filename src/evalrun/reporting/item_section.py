"""The report's section on the regression of single answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from evalrun.core.ratios import ratio_of
from evalrun.reporting.regression_table import q_text
from evalrun.reporting.section_tables import Section, TableCell, number_cell, signed
from evalrun.statistics.findings import Findings
from evalrun.statistics.regression.model_frame import EFFECTS

REFERENCES = {
    "Single items": "Logistic regression with crossed random effects of items, models and checkpoints, by Laplace’s "
    "approximation (Baayen, Davidson & Bates 2008; Bates et al. 2015), variances by restricted likelihood (Noh & Lee "
    "2007); analysis.item_model=ml for lme4’s glmer.",
}

_CLUSTERED = (
    " Items that share a value of analysis.cluster_by count as one cluster, in the errors of effects too; beside the "
    "number of clusters stands by how much they multiply the standard errors of accuracies, in the middle checkpoint."
)


def by_items(study: Findings) -> Section | None:
    """Effects on the log-odds of an answer and on accuracy; None where no task could be fitted."""
    found = study.item_effects
    if not found["p"].notna().any():
        return None
    alpha, clustered = study.choice.alpha, bool(found["n_clusters"].notna().any())
    rows = []
    lower = set(study.table.loc[~study.table["higher_is_better"].astype(bool), "task"])
    of_texts = {
        task for task, metric in zip(study.table["task"], study.table["metric"], strict=True) if ratio_of(metric)
    }
    for task, own in found[~found["task"].isin(of_texts)].groupby("task", sort=False):
        mark = " (lower is better)" if task in lower else ""
        for row in own.to_dict("records"):
            first = row["effect"] == EFFECTS[0]
            rows.append(
                [
                    TableCell(f"{row['title']}{mark}" if first else ""),
                    *_cells(row, alpha, first),
                    *_clusters(row, first)[:clustered],
                ]
            )
    return Section(
        "By single items",
        "The chance that an item counts as right, by size and training, from single answers and not from one number a "
        f"checkpoint. Log-odds for ten times the parameters or tokens with their {100 * (1 - alpha):g} % interval; "
        f"bold: q < {alpha:g}. Change of accuracy: what ten times as much, around the mean, does over all items and "
        "models. Items, models, slopes, checkpoints: standard deviations, in log-odds, of items, of models’ levels, of "
        "their slopes over training, and of checkpoints. Effects are tested against how much models differ, by t with "
        "two degrees of freedom fewer than there are models (or by z, without any in brackets): many items do not make "
        "up for few models. That items are learnt at different speeds widens the errors; hover for that."
        + (_CLUSTERED if clustered else ""),
        ["Task", "Effect", "log-odds", "t (df)", "q", "change of accuracy", "items", "models", "slopes", "checkpoints"]
        + ["clusters (errors)"] * clustered,
        rows,
    )


def _clusters(row: Mapping[Any, Any], first: bool) -> list[TableCell]:
    """How many clusters the items are of, and what they make of the accuracies' errors; in a task's first row only."""
    if not first:
        return [TableCell("")]
    if pd.isna(row["n_clusters"]):
        return [TableCell("–", "number", str(row["note"]))]
    return [TableCell(f"{row['n_clusters']:,.0f} (× {row['error_ratio']:.2f})", "number")]


def _cells(row: Mapping[Any, Any], alpha: float, first: bool) -> list[TableCell]:
    """What follows the task in a row; the spreads stand in its first row only."""
    effect = TableCell(str(row["effect"]))
    spreads = [
        number_cell(row[f"sd_{name}"] if first else float("nan"), 2)
        for name in ("items", "models", "slopes", "checkpoints")
    ]
    if not first:
        spreads = [TableCell("")] * 4
    if pd.isna(row["p"]):
        return [effect, TableCell("–", "number not", str(row["note"])), *[TableCell("–", "number")] * 3, *spreads]
    hint = f"{row['n_items']:,.0f} items, {row['n_checkpoints']:,.0f} checkpoints, {row['n_models']:.0f} models"
    hint += f"; for a standard deviation {signed(row['estimate'], 3)}, error {row['stderr']:.3f}"
    hint += f"; {100 * row['from_items']:.0f} % of the squared error is due to items that have courses of their own"
    hint += f"; {row['note']}" if row["note"] else ""
    shown = row["q"] < alpha
    df = "" if row["df"] == float("inf") else f" ({row['df']:.0f})"
    return [
        effect,
        TableCell(
            _with_interval(row, "raw_estimate", "raw_low", "raw_high", 2), "number yes" if shown else "number not", hint
        ),
        TableCell(signed(row["t"], 2) + df, "number"),
        TableCell(q_text(row["q"]), "number q yes" if shown else "number q not"),
        TableCell(_with_interval(row, "change", "change_low", "change_high", 3), "number"),
        *spreads,
    ]


def _with_interval(row: Mapping[Any, Any], middle: str, low: str, high: str, digits: int) -> str:
    if pd.isna(row[middle]):
        return "–"
    return f"{signed(row[middle], digits)} ({signed(row[low], digits)} to {signed(row[high], digits)})"
