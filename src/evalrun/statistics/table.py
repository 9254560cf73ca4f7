"""From the tidy table to the rows that are analysed: one metric a task, no duplicates, no faulty or logless
checkpoints.

Nothing is left out silently: each stage returns sentences that end up in the report.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from evalrun.config.steps import suspect_steps
from evalrun.core.columns import TABLE_COLUMNS, table_columns
from evalrun.core.errors import AnalysisError, suggest
from evalrun.core.stages import stage
from evalrun.core.text import listed
from evalrun.core.text_columns import TEXT
from evalrun.statistics.items.continuous import METRICS
from evalrun.statistics.naming import CHECKPOINT, MOST_NOTES, capped, checkpoint_name
from evalrun.statistics.repeated import merge_repeated
from evalrun.statistics.ways_of_scoring import asked_notes

__all__ = ["SAME_WITHIN", "Prepared", "capped", "check", "checkpoint_name", "numbers_of", "prepare", "without"]

SAME_WITHIN = 0.001  # what conf/analysis says, for callers without a configuration
_OTHER_METRIC, _REPEATED = "it has another metric alone", "repeated"  # why a row is not analysed
_ORIGIN = ("run_id", "task_key", "weights", "settings", "disputed", "finished_ms")
_MAY_LACK = ("role", "disputed")  # columns that tables of earlier versions do not have


@dataclass(frozen=True)
class Prepared:
    """The rows that are analysed, and what was done to get them."""

    table: pd.DataFrame  # columns as columns.TABLE_COLUMNS; one row for each task, model, seed and step
    notes: list[str]  # one sentence for each thing left out, merged or doubtful
    seen: pd.DataFrame  # CHECKPOINT, task, title and why: every cell that had a row; why it is left out, or ""
    disagreeing: pd.DataFrame  # CHECKPOINT, task and why: the values of cells whose results contradict one another


@stage("preparing")
def prepare(
    table: pd.DataFrame,
    metric: str | None,
    finals: Mapping[str, int] | None = None,
    same_within: float = SAME_WITHIN,
) -> Prepared:
    """Select and clean the rows to analyse.

    The stages, in order: one metric for each task; rows without a value left out; of duplicates (same suite, model,
    seed, step, task and metric) the last in table order kept (`repeated.merge_repeated`); of steps of one model (and
    seed) that share a weights digest all but the final one left out (all of them, if it is not among them:
    `steps.suspect_steps`); checkpoints at 0 tokens left out, because 0 has no logarithm.

    Args:
        table: The tidy table with the columns of `columns.TABLE_COLUMNS`, older results first.
        metric: Metric to analyse in every task that has it; None for each task's primary metric.
        finals: Model -> the last step that its suite released. For a model that is not named, its last step here.
        same_within: Share of a value up to which two results of one cell are one result.

    Returns:
        The rows, sorted by task title, model size, model, seed and step, with the notes.

    Raises:
        AnalysisError: When columns or rows are missing, no task has the metric, or nothing is left.
    """
    check(table)
    table = table.assign(**{name: "" for name in _MAY_LACK if name not in table.columns})
    rows = every = _typed(table)
    rows, notes = _select_metric(rows, metric)
    why: dict[Any, str] = dict.fromkeys(every.index.difference(rows.index), _OTHER_METRIC)
    rows, more = _drop_missing(rows, why)
    merged = merge_repeated(rows, same_within)
    why |= dict.fromkeys(rows.index.difference(merged.rows.index), _REPEATED)
    rows, notes = merged.rows, [*notes, *more, *merged.notes]
    drop_shared_weights = partial(_drop_shared_weights, finals=finals or {})
    for drop, reason in ((drop_shared_weights, "its weights are another step’s"), (_drop_step_zero, "0 tokens")):
        fewer, more = drop(rows)
        why |= dict.fromkeys(rows.index.difference(fewer.index), reason)
        rows, notes = fewer, [*notes, *more]
    if rows.empty:
        raise AnalysisError("no result is left to analyse: " + " ".join(notes))
    notes += _doubts(rows)
    rows = rows.assign(_order=rows["title"].map({title: _natural(title) for title in rows["title"].unique()}))
    rows = rows.sort_values(["_order", "task", "n_params", "model", "seed", "step"], kind="stable")
    prepared = rows.drop(columns="_order").reset_index(drop=True)
    return Prepared(prepared, notes, _seen(every, why), merged.disagreeing)


def _seen(every: pd.DataFrame, why: Mapping[Any, str]) -> pd.DataFrame:
    """Every cell of the table once, with the reason why no row of it is analysed.

    Args:
        every: All rows as they came.
        why: Label of a row -> why it is left out.
    """
    place = [*CHECKPOINT, "task"]
    cells = every[[*place, "title"]].assign(why=pd.Series(why, dtype=object).reindex(every.index).fillna(""))
    # A row that is analysed goes before any other; of a repeated one the row that was kept tells what became of it.
    cells["_rank"] = cells["why"].map({"": 0, _OTHER_METRIC: 2, _REPEATED: 3}).fillna(1)
    cells = cells[cells["step"].notna()].sort_values("_rank", kind="stable").drop_duplicates(place)
    return cells.drop(columns="_rank").sort_index().reset_index(drop=True)


def check(table: object) -> None:
    """Refuse what is no table of results, or an empty one.

    Raises:
        AnalysisError: with what it is or lacks.
    """
    if not isinstance(table, pd.DataFrame):
        raise AnalysisError(
            f"the table of results is {table!r:.60}: give a DataFrame, as `evaluate` and `results` return it."
        )
    if table.empty:
        raise AnalysisError("there are no results to analyse: evaluate some checkpoints first.")
    missing = [column for column in TABLE_COLUMNS if column not in (*table.columns, *_MAY_LACK)]
    if missing:
        columns = "column" if len(missing) == 1 else "columns"
        raise AnalysisError(
            f"the table of results lacks the {columns} {', '.join(missing)}: give a table as "
            "`evaluate` and `results` of this version return it."
        )


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """The table with numbers as numbers and text as text, whatever a store or a CSV file made of them."""
    columns = table_columns(table.columns)
    rows = table.loc[:, list(columns)].reset_index(drop=True)
    for name, column in columns.items():
        if column.is_number:
            numbers = pd.to_numeric(rows[name], errors="coerce").astype("float64")
            rows[name] = numbers.replace([np.inf, -np.inf], np.nan)
        elif column.dtype == "str":
            text = rows[name] if isinstance(rows[name].dtype, pd.StringDtype) else rows[name].astype(object)
            rows[name] = text.fillna("").astype(TEXT)
        elif rows[name].dtype != bool:
            rows[name] = rows[name].map(lambda value: str(value).lower() in ("true", "1", "1.0"))
    rows["title"] = rows["title"].where(rows["title"] != "", rows["task"])
    return rows


def _select_metric(rows: pd.DataFrame, metric: str | None) -> tuple[pd.DataFrame, list[str]]:
    """One metric for each task, and which tasks lack it."""
    if metric is None:
        chosen = without(rows, ~rows["primary"])
        if chosen.empty:
            raise AnalysisError(
                "no result is marked as a task's primary metric: name a metric with analysis.metric=..."
            )
    else:
        chosen = rows[rows["metric"] == metric]
        if chosen.empty:
            raise AnalysisError(f"no task has the metric '{metric}': {nearest_metrics(metric, rows)}")
    notes = []
    what = "primary metric" if metric is None else f"metric '{metric}'"
    lacking = sorted(set(rows["task"].unique()) - set(chosen["task"].unique()))
    if lacking:
        notes.append(f"Left out, having no {what}: {listed(lacking, MOST_NOTES)}.")
    for task, own in chosen.groupby("task")["metric"]:  # the column alone: groups of whole rows are copies of them
        counts = own.value_counts().sort_index().sort_values(ascending=False, kind="stable")
        if len(counts) > 1:
            chosen = chosen[(chosen["task"] != task) | (chosen["metric"] == counts.index[0])]
            others = listed([str(name) for name in counts.index[1:]], MOST_NOTES)
            notes.append(
                f"{task} has several primary metrics: {counts.index[0]}, the most frequent, is analysed; not {others}."
            )
    return chosen, notes


def nearest_metrics(metric: str, table: pd.DataFrame) -> str:
    """What to name instead of a metric that no result of a table has: those it has, and those of the items."""
    return suggest(metric, {*table["metric"], *METRICS})


def _drop_missing(rows: pd.DataFrame, why: dict[Any, str]) -> tuple[pd.DataFrame, list[str]]:
    """Leave out rows without a value; why a row is left out is added to `why`, which is changed."""
    bad = rows[rows["value"].isna() | rows["tokens"].isna() | rows["step"].isna()]
    notes = []
    for label, row in zip(bad.index, bad.to_dict("records"), strict=True):
        why[label] = f"no {_absent(row)}" if not row["disputed"] or not pd.isna(row["value"]) else row["disputed"]
        reason = f"having {why[label]}" if why[label].startswith("no ") else f"because {why[label]}"
        notes.append(f"{checkpoint_name(row)}, {row['task']}: left out, {reason}.")
    return without(rows, rows.index.isin(bad.index)), capped(notes)


def _absent(row: Mapping[Any, Any]) -> str:
    return " and ".join(name for name in ("value", "tokens", "step") if pd.isna(row[name]))


def _drop_shared_weights(rows: pd.DataFrame, finals: Mapping[str, int]) -> tuple[pd.DataFrame, list[str]]:
    """Leave out steps whose weights are another step's too; the notes name each.

    Args:
        rows: Of the tidy table.
        finals: Model -> its last released step, whose weights are taken as its own.
    """
    drop = pd.Series(False, index=rows.index)
    notes = []
    known = rows[rows["weights"] != ""].drop_duplicates([*CHECKPOINT, "weights"])
    # A stage may save the weights that it starts from as its own step 0.
    alike = ["suite", "model", "seed", *(["stage"] if "stage" in rows else []), "weights"]
    shared = known[known.duplicated(alike, keep=False)]  # few, of thousands
    for _, group in shared.groupby(alike, dropna=False, sort=True):
        steps = sorted(group["step"].unique())
        if len(steps) < 2:
            continue
        first = group.iloc[0]
        same_model = (rows["suite"] == first["suite"]) & (rows["model"] == first["model"])
        same_seed = rows["seed"].isna() if pd.isna(first["seed"]) else rows["seed"] == first["seed"]
        if "stage" in rows:
            same_model &= rows["stage"] == first["stage"]
        final = rows.loc[same_model & same_seed, "step"].max()
        if not first.get("stage"):
            final = finals.get(first["model"], final)
        faulty = suspect_steps(steps, final)
        drop |= same_model & same_seed & rows["step"].isin(faulty)
        named = checkpoint_name({**first.to_dict(), "step": np.nan})
        all_steps = listed([f"{step:.0f}" for step in faulty])
        if final in steps:
            what = f"{'its' if len(faulty) == 1 else 'their'} weights are those of the final step {final:.0f}"
        else:
            what = "they have the same weights and nothing tells which step these belong to"
        notes.append(
            f"{named} {'step' if len(faulty) == 1 else 'steps'} {all_steps}: left out, because {what} "
            f"(digest {first['weights'][:12]}): a fault of the published checkpoints."
        )
    return without(rows, drop), notes  # never cut: each is a fault that the reader must know of


def _drop_step_zero(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    zero = rows[rows["tokens"] <= 0]
    names = sorted({checkpoint_name(row) for row in zero.drop_duplicates(CHECKPOINT).to_dict("records")})
    notes = [f"Left out, because 0 tokens have no logarithm: {listed(names, MOST_NOTES)}."] if names else []
    return without(rows, rows.index.isin(zero.index)), notes


def _doubts(rows: pd.DataFrame) -> list[str]:
    """What is kept but should be known."""
    notes = asked_notes(rows)
    owned = rows.loc[rows["weights"] != "", [*CHECKPOINT, "weights"]].drop_duplicates()
    for weights, group in owned[owned.duplicated("weights", keep=False)].groupby("weights"):
        owners = sorted({checkpoint_name(row) for row in group.to_dict("records")})
        if len(owners) > 1:
            notes.append(
                f"{listed(owners, MOST_NOTES)} have the same weights (digest {str(weights)[:12]}); all are kept."
            )
    about = rows.groupby("task")["n"].agg(["min", "max"])
    for task, low, high in about.itertuples():
        if low != high and not pd.isna(low):
            notes.append(f"{task}: checkpoints were scored on different numbers of items, {low:.0f} to {high:.0f}.")
    return notes


def numbers_of(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without what says where they are from, to which nothing is fitted: half of the memory of a copy.

    Which model a row is of becomes a number beside the names: every method asks for that.
    """
    named = {name: rows[name].astype("category") for name in ("suite", "model", "metric")}
    return rows.drop(columns=[*_ORIGIN]).assign(**named)


def without(rows: pd.DataFrame, drop: Any) -> pd.DataFrame:
    """The rows but those that are to be dropped: the frame itself where none are, of which a copy may be gigabytes.

    Args:
        rows: Any.
        drop: (rows,) whether each is.
    """
    return rows[~drop] if drop.any() else rows


def _natural(title: str) -> str:
    """A sorting key that puts `task 2` before `task 10`."""
    return re.sub(r"\d+", lambda number: number.group().zfill(12), title.casefold())
