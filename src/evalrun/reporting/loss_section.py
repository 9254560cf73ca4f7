"""The report's sections on values over loss: whether sizes fall on one curve, and whether forecasts came true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from evalrun.reporting.loss_drawing import drawn_over_loss
from evalrun.reporting.regression_table import q_text
from evalrun.reporting.section_tables import Section, SectionPicture, TableCell, address_of, number_cell, signed
from evalrun.reporting.tasks_of_a_page import tasks_of_a_page
from evalrun.statistics.findings import Findings
from evalrun.statistics.over_loss.loss_findings import DEPENDS, over_loss_sentences

_MOST = 80  # rows of the table of what was left out
REFERENCES = {
    "Over loss": "Values as a cubic spline of the loss for all sizes (Du et al. 2024, arXiv:2403.15796, for the axis), "
    "and what size adds to it, tested with errors clustered by size (CR2, Bell & McCaffrey 2002; Satterthwaite’s "
    "degrees of freedom); one curve is shown by two one-sided tests against the smallest effect of interest.",
    "Forecast by loss": "L = A / N^a + B / D^b + E, then a sigmoid of the loss (Bhagia et al. 2024, arXiv:2412.04403), "
    "believed where sizes and late checkpoints that were left out are forecast.",
}


def over_loss(study: Findings) -> Section | None:
    """What is found of every task over loss; None where no loss is asked for."""
    found = study.over_loss
    if found.curves.empty:
        return None
    rows = [_row(row, study.choice.alpha) for row in found.curves.to_dict("records")]
    return Section(
        f"Over loss: {found.name}",
        "Do sizes fall on one curve of the loss? At the same loss a tenfold of parameters adds so much, early (at high "
        "losses) and late (at low ones), with intervals; one curve: both are shown to be smaller than the smallest "
        "effect of interest; depends on size: one is not 0. Errors are clustered by size. Leaves chance: the loss at "
        "which the curve of all sizes is the smallest change of interest away from it. Scatter: around one sigmoid for "
        "all. Emergent: curves with that label over tokens and over loss, by the same rule.",
        ["Task", "early", "late", "q", "Sizes", "leaves chance at", "scatter", "emergent: tokens, loss"],
        rows,
        pictures=[_picture(study)],
    )


def _row(row: Mapping[Any, Any], alpha: float) -> list[TableCell]:
    """A task's cells: what size adds early and late, the verdict, threshold, scatter, emergence."""
    bias = f"; at most {row['loss_error_bias']:.3f} of it by the loss’s own error" * pd.notna(row["loss_error_bias"])
    tested = f"p {q_text(row['p'])}; of one curve q {q_text(row['q_small'])}{bias}" if pd.notna(row["p"]) else ""
    kind = "number q yes" if row["verdict"] == DEPENDS and row["q"] < alpha else "number q"
    return [
        TableCell(str(row["title"])),
        *(_effect(row, name) for name in ("early", "late")),
        TableCell(q_text(row["q"]) if pd.notna(row["q"]) else "–", kind, tested),
        TableCell(str(row["verdict"] or "not known"), "", str(row["note"])),
        _threshold(row),
        number_cell(row["scatter"], 3),
        TableCell(f"{row['emergent_in_tokens']}, {row['emergent_in_loss']} of {row['curves']}", "number"),
    ]


def _effect(row: Mapping[Any, Any], name: str) -> TableCell:
    if pd.isna(row[name]):
        return TableCell("–", "number not", str(row["note"]))
    ends = f"{signed(row[f'{name}_low'], 3)} to {signed(row[f'{name}_high'], 3)}"
    return TableCell(signed(row[name], 3), "number", f"{ends}, per tenfold of parameters")


def _threshold(row: Mapping[Any, Any]) -> TableCell:
    if pd.isna(row["threshold"]):
        return TableCell("–", "number not", str(row["note"]))
    low, high = ("open" if pd.isna(row[name]) else f"{row[name]:.2f}" for name in ("threshold_low", "threshold_high"))
    return TableCell(f"{row['threshold']:.2f} ({low} to {high})", "number")


def given_over_loss(study: Findings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What `drawn_over_loss` draws of a study: as many tasks as a page has room for."""
    points, curves = study.over_loss.rows, study.over_loss.curves
    kept = tasks_of_a_page(points)
    shown = ["task", "title", "metric", "model", "seed", "n_params", "loss", "value", "stderr", "chance"]
    return (
        points.loc[points["task"].isin(kept), shown].reset_index(drop=True),
        curves[curves["task"].isin(kept)].reset_index(drop=True),
    )


def _picture(study: Findings) -> SectionPicture:
    image = drawn_over_loss(*given_over_loss(study)).svg().encode()
    return SectionPicture(
        "What that says",
        "A panel a task, a line a model; dashed: one sigmoid for all",
        "Each task’s values over loss, a line a model",
        address_of(image),
        over_loss_sentences(study.over_loss.curves),
        "drawn",
    )


def came_true(study: Findings) -> Section | None:
    """The forecasts by loss of what was left out, beside what is true; None where there are none."""
    held = study.over_loss.hold_out
    if held.empty:
        return None
    rows, before = [], ""
    for row in held.to_dict("records"):
        inside = row["low"] <= row["true"] <= row["high"]
        task = "" if row["task"] == before else str(row["title"])
        before = row["task"]
        rows.append(
            [
                TableCell(task),
                TableCell(f"{row['left_out']}: {row['model']}"),
                TableCell(f"{row['forecast']:z.3f} ({row['low']:z.3f} to {row['high']:z.3f})", "number"),
                number_cell(row["true"], 3),
                TableCell(signed(row["error"], 3), "number", "" if inside else "outside of its interval"),
            ]
        )
    return Section(
        "Do forecasts by loss come true?",
        "What was left out, forecast from the rest: size and tokens give the loss, the loss gives the value. A task "
        "that is off by the smallest change of interest or more has no forecast below.",
        ["Task", "left out", "forecast", "true", "error"],
        rows[:_MOST],
        f"{_MOST} of {len(rows)}; all are in tables/over_loss_hold_out.csv." if len(rows) > _MOST else "",
    )
