"""From a table of results and a reader of items to what the items do, task by task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pandas as pd

from evalrun.core.errors import AnalysisError, EvalrunError
from evalrun.core.ratios import ratio_of
from evalrun.core.stages import stage
from evalrun.core.text import counted, listed
from evalrun.statistics.dynamics.distractors import ItemWords, Words
from evalrun.statistics.dynamics.document_maps import DocumentMaps, document_maps
from evalrun.statistics.dynamics.item_columns import DIFFICULTY
from evalrun.statistics.dynamics.item_dynamics import ItemDynamics, ItemSettings, item_dynamics, turns_of
from evalrun.statistics.dynamics.item_grid import read_grid
from evalrun.statistics.dynamics.item_parts import DividedTask, Division, divide, divided_task
from evalrun.statistics.dynamics.item_sheet import tables_of
from evalrun.statistics.dynamics.packed_items import pack
from evalrun.statistics.items.clusters import Clusters, clusters_of_items
from evalrun.statistics.items.values import Items

if TYPE_CHECKING:  # the settings' shape alone, so that the analysis runs without the configuration's libraries
    from evalrun.config.schema import AnalysisConf


@dataclass(frozen=True)
class Followed:
    """What the items of all tasks do."""

    tasks: list[ItemDynamics]  # without their grids, in order of the table
    notes: list[str]  # why a task has none
    divided: list[DividedTask]  # tasks whose parts are to be judged
    documents: list[DocumentMaps] = field(default_factory=list)  # of tasks whose items are no answers but texts


def settings_of(conf: AnalysisConf) -> ItemSettings:
    """How items are judged."""
    return ItemSettings(conf.item_guess, conf.item_slip, conf.alpha, conf.corrections[0], conf.seed)


def follow_task(
    rows: pd.DataFrame,
    falls: pd.DataFrame,
    conf: AnalysisConf,
    items: Items,
    words: Words | None,
    clusters: Clusters | None = None,
) -> ItemDynamics:
    """Follow the items of one task, and pack them where `conf.item_pages` wants a page of them.

    Args:
        rows: Of `Prepared.table`, of this task.
        falls: `shapes.falls.find_falls` of the same rows.
        conf: What to do: conf/analysis.
        items: Gives per-item results.
        words: Gives the texts of the items; None to do without.
        clusters: Gives the clusters of a task's items, for errors; None for items that were drawn one by one.

    Raises:
        AnalysisError: there are no items, or none that can be followed.
    """
    tables = tables_of(items)
    has_page = conf.item_pages != "none"
    grid = read_grid(rows, tables, conf.item_guess, with_shares=has_page)
    if isinstance(grid, str):
        raise AnalysisError(f"task '{rows['task'].iloc[0]}' cannot be followed item by item: {grid}.")
    if clusters is not None:
        codes, why = clusters_of_items(clusters(grid.task), grid.keys)
        grid = replace(grid, clusters=codes, notes=[*grid.notes, *([f"Errors are {why}."] if why else [])])
    found = item_dynamics(grid, turns_of(falls, rows), tables, words, settings_of(conf))
    return replace(found, packed=pack(grid, found.courses, found.items)) if has_page else found


@stage("items over training")
def follow_tasks(
    table: pd.DataFrame,
    falls: pd.DataFrame,
    conf: AnalysisConf,
    items: Items | None,
    words: Words | None = None,
    clusters: Clusters | None = None,
) -> Followed:
    """Follow the items of every task that has several checkpoints of a model.

    Args:
        table: Rows of `Prepared.table`.
        falls: `shapes.falls.find_falls` of them.
        conf: What to do: conf/analysis.
        items: Gives per-item results; None for an empty answer.
        words: Gives the texts of the items, which are asked for where a curve falls; None to tell wrong choices apart
            by their places alone.
        clusters: Gives the clusters of a task's items, for errors; None for items that were drawn one by one.
    """
    if items is None or not conf.item_dynamics:
        return Followed([], [], [])
    found, notes, divided, documents = [], [], [], []
    undivided: dict[str, list[str]] = {}  # what to divide by -> why not, of each task
    textless: dict[str, str] = {}  # title -> why

    def told(task: str, keys: pd.DataFrame) -> ItemWords:
        assert words is not None
        own = words(task, keys)
        if own.why:
            textless[str(table.loc[table["task"] == task, "title"].iloc[0])] = own.why
        return own

    for _, rows in table.groupby("task", sort=False):
        if rows.groupby(["model", "seed"], dropna=False).size().max() < 2:
            continue
        if ratio_of(str(rows["metric"].iloc[0])) is not None:
            maps = document_maps(rows, items)
            if isinstance(maps, str):
                notes.append(f"{rows['title'].iloc[0]}: its documents cannot be shown one by one: {maps}.")
            else:
                documents.append(maps)
            continue
        try:
            one = follow_task(rows, falls, conf, items, None if words is None else told, clusters)
        except AnalysisError as error:
            notes += [f"{rows['title'].iloc[0]}: {problem}" for problem in error.problems]
            continue
        divisions = list(_divisions(one, conf.item_parts, words, undivided))
        if divisions and one.grid is not None:
            divided.append(divided_task(one.grid, rows, divisions))
        found.append(replace(one, grid=None, courses=()))  # tens of MB of answers a task, of which nothing is shown
    notes += [*_textless(textless), *(f"Parts: {_reason(why)}" for why in undivided.values())]
    return Followed(found, notes, divided, documents)


def _divisions(
    found: ItemDynamics, ways: Sequence[str], words: Words | None, undivided: dict[str, list[str]]
) -> Iterator[Division]:
    """The ways in which a task can be divided; why it cannot in others is added to `undivided`."""
    assert found.grid is not None
    for by in ways:
        texts = words(found.task, found.grid.keys) if words is not None and by != DIFFICULTY else None
        try:
            yield divide(found.grid, by, texts)
        except EvalrunError as error:
            undivided.setdefault(by, []).extend(error.problems)


def _reason(why: Sequence[str]) -> str:
    """The first reason, and of how many tasks there is another."""
    more = f" The same is so of {counted(len(why) - 1, 'other task')}." if len(why) > 1 else ""
    return f"{why[0]}{more}"


def _textless(why: Mapping[str, str]) -> Iterator[str]:
    """Which tasks' answers are told apart by their places alone, and why, each reason once."""
    for reason in dict.fromkeys(why.values()):
        titles = [title for title, own in why.items() if own == reason]
        yield f"Answers of {listed(titles, 6)} are told apart by their places alone. {reason}"
