"""The analysis: a pure function of the tidy table and of per-item results, from rows to a report."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from evalrun.core.second_process import beside
from evalrun.core.stages import stage
from evalrun.core.task_group import Groups
from evalrun.reporting.curve_view import CurveView, curve_view
from evalrun.reporting.effect_words import signs, which_stars
from evalrun.reporting.figure_files import drawn, folded
from evalrun.reporting.html_page import render
from evalrun.reporting.item_page import item_pages
from evalrun.reporting.left_over import with_note, write_report
from evalrun.reporting.regression_sentences import significant, stories
from evalrun.reporting.table_files import table_files
from evalrun.reporting.terminal_table import TWO_STORIES, effects_text
from evalrun.statistics.coverage import Cell, Place
from evalrun.statistics.dynamics.distractors import Words
from evalrun.statistics.expected import expected_sentences
from evalrun.statistics.findings import Findings, analyze_table
from evalrun.statistics.items.clusters import Clusters
from evalrun.statistics.items.values import Items
from evalrun.statistics.regression.interactions import CORRECTIONS
from evalrun.statistics.regression.orientation import turned

if TYPE_CHECKING:  # the settings' shape alone, so that the analysis runs without the configuration's libraries
    from evalrun.config.schema import AnalysisConf

__all__ = ["Analysis", "run_analysis"]


@dataclass(frozen=True)
class Analysis:
    """What an analysis made."""

    files: dict[str, Path]  # name, such as tables/falls.csv -> where it lies
    metrics: dict[str, float]  # counts that summarise it
    text: str  # the table for a terminal, at most 100 columns wide
    notes: list[str]  # what was left out, merged or is doubtful


def run_analysis(
    table: pd.DataFrame,
    conf: AnalysisConf,
    suite: str,
    out: Path,
    context: Mapping[str, str],
    finals: Mapping[str, int] | None = None,
    items: Items | None = None,
    runs_at: str = "",
    width: int = 100,
    failed: Sequence[str] = (),
    wanted: Collection[Place] | None = None,
    settled: Collection[Cell] = (),
    clusters: Clusters | None = None,
    words: Words | None = None,
    groups: Groups | None = None,
    logged: pd.DataFrame | None = None,
    word_correlates: pd.DataFrame | None = None,
    remarks: Sequence[str] = (),
) -> Analysis:
    """Fit, test, class, draw and write.

    Files: report.html; effects.csv, .tex and .md (the headline regression), results.csv (the table as it came); tables/
    with all else; figures/ as `conf.figures` says; items/, a page for each task that is followed (`conf.item_pages`).

    Args:
        table: The tidy table with the columns of `columns.TABLE_COLUMNS`, older results first.
        conf: What to do: conf/analysis.
        suite: The suite's name: the report's title.
        out: Folder to write into; made if need be, files of the same names replaced.
        context: Further lines of the report's settings, such as the tracking store: name -> value.
        finals: Model -> the last step that its suite released, for `table.prepare`.
        items: Gives per-item results, for paired tests and continuous metrics; None to do without.
        runs_at: The address of an MLflow run, `{run}` for its id, for the report's links; empty for none.
        width: Columns of the text, 80 or more.
        failed: Why checkpoints that were wanted have no result, a sentence each: told among the notes.
        wanted: The grid that was asked for, as (model, seed, step); None where nothing says so.
        settled: What of it was not computed because `until=` found no need, as (task, model, seed, step).
        clusters: Gives the clusters of a task's items; None for items that were drawn one by one.
        words: Gives the texts of a task's items; None to do without.
        groups: Groups of the tasks, which get means and no tests; None for none.
        logged: Losses of training logs (`loss_rows.LOSS_COLUMNS`), where `conf.x` names these.
        word_correlates: How words go with lists (`word_curves.CORRELATES`), where `conf.word_predictors` asks.
        remarks: Sentences about the results that the table does not tell: told among the notes.

    Returns:
        The files, counts, text and notes.

    Raises:
        AnalysisError: When there is nothing to analyse, no task has the metric, or a setting is none of those allowed.
        StorageError: When a file cannot be written.
    """
    study = analyze_table(table, conf, suite, finals, items, failed, wanted, settled, clusters, words, groups, logged)
    told = [*study.notes, *remarks, *study.groups.notes, *folded(study, conf.figures)]
    study = replace(study, notes=told, word_correlates=pd.DataFrame() if word_correlates is None else word_correlates)
    with beside(partial(drawn, study, conf.figures, out), conf.figures == "all") as figures:
        with stage("tables"):
            contents: dict[str, str | bytes] = {**table_files(study, table)}
        with stage("the page"):
            contents["report.html"] = render(study, context, runs_at)
        with stage("pages of items"):
            contents |= with_note(item_pages(study, words if conf.item_pages == "prompts" else None))
        with stage("figures"):
            contents |= figures()
    with stage("the page"):
        files = write_report(out, contents)
    return Analysis(files, _summary(study), _text(study, width), study.notes)


def _text(study: Findings, width: int) -> str:
    """The table of the headline method, and what the other methods say of it."""
    view, choice = curve_view(study), study.choice
    text = effects_text(
        turned(study.headline),
        view.labels,
        _legend(study, view),
        choice.alpha,
        width,
        axis=choice.axis,
        beside=None if study.beside is None else turned(study.beside),
        two_stories=list(study.two_stories["task"]),
    )
    told = "".join(textwrap.fill(sentence, width) + "\n" for sentence in expected_sentences(study.expected))
    if len(choice.methods) == 1:
        return text + told
    tested = study.effects.groupby("method")["p"].count()
    counts = [f"{method} {len(significant(study, method)) if tested[method] else '-'}" for method in choice.methods]
    said = textwrap.fill(f"Significant, of {tested[choice.methods[0]]}: {', '.join(counts)}.", width)
    return f"{text}{said}\n{told}"


def _legend(study: Findings, view: CurveView) -> list[str]:
    """What the marks of the terminal's table mean."""
    choice, tests = study.choice, int(study.headline["p"].notna().sum())
    by_ols = 0 if study.beside is None else int(study.beside["p"].notna().sum())
    over = f"q < {choice.alpha:g}, corrected over {tests or by_ols} tests ({CORRECTIONS[choice.corrections[0]]})"
    if tests:
        marks = f"* {over}{'' if study.beside is None else '; + the same by OLS'}. "
    else:
        marks = f"+ {over}, by OLS. " if by_ols else ""
    said = [f"{marks}Shape: in {view.where}.", which_stars(study)]
    said += [signs(study)] if signs(study) else []
    return said + [f"{TWO_STORIES} {sentence}" for sentence in stories(study)]


def _summary(study: Findings) -> dict[str, float]:
    """Counts for the report's run in MLflow."""
    headline = study.headline
    counts = {
        "n_rows": len(study.table),
        "n_tasks": study.table["task"].nunique(),
        "n_models": study.table["model"].nunique(),
        "n_steps": study.table["step"].nunique(),
        "n_tests": headline["p"].notna().sum(),
        "n_significant": (headline["q"] < study.choice.alpha).sum(),
        "n_falls": study.falls["falls"].sum(),
        "n_notes": len(study.notes),
    }
    return {name: float(count) for name, count in counts.items()}
