"""The page of two groups of runs: what is said, the difference in its band, both curves, the numbers; and as files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from evalrun.core.version import __version__
from evalrun.reporting.csv_text import csv_text
from evalrun.reporting.figure_files import EVERY_FORMAT, image_files
from evalrun.reporting.page_templates import page_template
from evalrun.reporting.runs_drawing import drawn_difference, drawn_groups
from evalrun.reporting.section_tables import Section, TableCell, interval_cell, number_cell, signed
from evalrun.reporting.table_files import Column, latex_table
from evalrun.statistics.training_runs.run_comparison import RunComparison
from evalrun.statistics.training_runs.run_sentences import claim_of, look_sentence, methods_of, run_sentences
from evalrun.statistics.training_runs.run_tables import NEITHER

_MINUS = re.compile(r"(?<=[\s(\[])-(?=\d)")


def runs_contents(
    found: RunComparison, labels: tuple[str, str], scored: str, axis: str, notes: Sequence[str]
) -> dict[str, str | bytes]:
    """Path below the folder -> content: report.html last, tables as CSV and LaTeX, figures as SVG, PNG and PDF.

    Args:
        found: Two groups of runs compared.
        labels: What A and B are called.
        scored: How they were scored.
        axis: What is matched, in words.
        notes: What was left out, and what is doubtful.
    """
    difference = image_files("difference", drawn_difference, (found.points, found.at), EVERY_FORMAT)
    curves = image_files("curves", drawn_groups, (found.points, found.at, labels), EVERY_FORMAT)
    page = page_template("runs.html.j2").render(
        labels=labels,
        axis=axis,
        scored=scored,
        said=[_MINUS.sub("−", said) for said in run_sentences(found)],
        claim=claim_of(found.bands),
        look=look_sentence(found),
        difference=_inner(difference["figures/difference.svg"]),
        curves=_inner(curves["figures/curves.svg"]),
        sections=[_tasks(found), _early(found)],
        notes=[*methods_of(found), *notes],
        version=__version__,
        light=[],
        dark=[],
    )
    tables = {
        "tasks.csv": csv_text(found.tasks.drop(columns="decided_point")),
        "points.csv": csv_text(found.points),
        "looks.csv": csv_text(found.looks),
        "tasks.tex": latex_table(_latex_rows(found), _LATEX),
    }
    return {**difference, **curves, **tables, "report.html": page}


def _inner(svg: bytes) -> str:
    text = svg.decode()
    return text[text.index("<svg") :]


def _tasks(found: RunComparison) -> Section:
    """What is said of each task."""
    rows = [_task(row) for row in found.tasks.to_dict("records")]
    level = f"{100 * (1 - found.bands.settings.alpha):g} %"
    about = (
        f"The difference at the last point with its band ({level} for all points and tasks together). Its mean over "
        "the curve with an interval of its own. d_z, the mean by the standard deviation of the items’ changes, and the "
        "odds ratio of items that rose to items that fell (single runs, right or wrong), with intervals over items. "
        "p, of a difference as large anywhere on any task’s curve."
    )
    heads = [
        "Task",
        "A",
        "B",
        "B − A",
        "Mean over the curve",
        "d_z",
        "Odds ratio",
        "In sd of seeds",
        "p",
        "B is",
        "From step",
    ]
    return Section("The tasks", about, heads, rows)


def _task(row: Mapping[Any, Any]) -> list[TableCell]:
    """The cells of one task."""
    decided = row["verdict"] != NEITHER
    step = f"{row['decided_step']:.0f}" if decided else "–"
    odds = "–" if pd.isna(row["odds_ratio"]) else _odds(row)
    p = "–" if pd.isna(row["p"]) else "<.001" if row["p"] < 0.0005 else f"{row['p']:.3f}"
    return [
        TableCell(str(row["title"])),
        number_cell(row["a"], 3),
        number_cell(row["b"], 3),
        interval_cell(row["difference"], row["low"], row["high"]),
        interval_cell(row["mean_difference"], row["mean_low"], row["mean_high"]),
        TableCell("–")
        if pd.isna(row["effect"])
        else interval_cell(row["effect"], row["effect_low"], row["effect_high"]),
        TableCell(odds),
        TableCell(signed(row["seed_effect"], 1)),
        TableCell(p, "yes" if decided else "not"),
        TableCell(str(row["verdict"]), "yes" if decided else "not"),
        TableCell(step),
    ]


def _odds(row: Mapping[Any, Any]) -> str:
    ends = [f"{row[name]:.2f}" if row[name] < 1000 else "∞" for name in ("odds_ratio", "odds_low", "odds_high")]
    return f"{ends[0]} ({ends[1]} to {ends[2]})"


def _early(found: RunComparison) -> Section:
    """Whether earlier looks would have said the same."""
    rows = [
        [
            TableCell(f"{row['step_b']:.0f}"),
            TableCell(f"{row['tasks']:.0f}"),
            TableCell(f"{row['decided']:.0f}"),
            number_cell(row["same_sign"], 2),
            number_cell(row["same_verdict"], 2),
        ]
        for row in found.looks.to_dict("records")
    ]
    about = (
        "Had this been the last look at the training: on how many tasks the band excludes no difference, and the "
        "shares of tasks whose difference has the sign, and whose band gives the verdict, of the last look (decision "
        "accuracy; half is chance for the sign)."
    )
    return Section(
        "Would an earlier look have said the same?",
        about,
        ["Step", "Tasks", "Decided", "Same sign", "Same verdict"],
        rows,
    )


def _latex_rows(found: RunComparison) -> pd.DataFrame:
    tasks = found.tasks
    band = [f"[{low:+.3f}, {high:+.3f}]" for low, high in zip(tasks["low"], tasks["high"], strict=True)]
    return tasks.assign(band=band, decided=tasks["decided_step"])


def _fixed(value: float) -> str:
    return f"{value:.3f}"


_LATEX: dict[str, Column] = {
    "title": ("Task", str),
    "a": ("A", _fixed),
    "b": ("B", _fixed),
    "difference": (r"$B - A$", lambda value: f"{value:+.3f}"),
    "band": ("Band", str),
    "effect": ("$d_z$", lambda value: f"{value:.2f}"),
    "p": ("$p$", _fixed),
    "decided": ("From step", lambda value: f"{value:.0f}"),
}
