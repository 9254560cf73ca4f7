"""From a table of results and a reader of items to what the items do, task by task."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd

from evalrun.core.errors import AnalysisError
from evalrun.core.stages import stage
from evalrun.statistics.dynamics.distractors import Words
from evalrun.statistics.dynamics.item_dynamics import ItemDynamics, ItemSettings, item_dynamics, turns_of
from evalrun.statistics.dynamics.item_grid import read_grid
from evalrun.statistics.dynamics.item_sheet import tables_of
from evalrun.statistics.items.values import Items

if TYPE_CHECKING:  # the settings' shape alone, so that the analysis runs without the configuration's libraries
    from evalrun.config.schema import AnalysisConf


@dataclass(frozen=True)
class Followed:
    """What the items of all tasks do."""

    tasks: list[ItemDynamics]  # without their grids, in order of the table
    notes: list[str]  # why a task has none


def settings_of(conf: AnalysisConf) -> ItemSettings:
    """How items are judged."""
    return ItemSettings(conf.item_guess, conf.item_slip, conf.alpha, conf.corrections[0], conf.seed)


def follow_task(
    rows: pd.DataFrame, falls: pd.DataFrame, conf: AnalysisConf, items: Items, words: Words | None
) -> ItemDynamics:
    """Follow the items of one task.

    Args:
        rows: Of `Prepared.table`, of this task.
        falls: `shapes.falls.find_falls` of the same rows.
        conf: What to do: conf/analysis.
        items: Gives per-item results.
        words: Gives the texts of the items; None to do without.

    Raises:
        AnalysisError: there are no items, or none that can be followed.
    """
    tables = tables_of(items)
    grid = read_grid(rows, tables, conf.item_guess)
    if isinstance(grid, str):
        raise AnalysisError(f"task '{rows['task'].iloc[0]}' cannot be followed item by item: {grid}.")
    return item_dynamics(grid, turns_of(falls, rows), tables, words, settings_of(conf))


@stage("items over training")
def follow_tasks(table: pd.DataFrame, falls: pd.DataFrame, conf: AnalysisConf, items: Items | None) -> Followed:
    """Follow the items of every task that has several checkpoints of a model.

    Wrong choices are told apart by their places: texts are in the tasks' files, whose changes a report does not notice.

    Args:
        table: Rows of `Prepared.table`.
        falls: `shapes.falls.find_falls` of them.
        conf: What to do: conf/analysis.
        items: Gives per-item results; None for an empty answer.
    """
    if items is None or not conf.item_dynamics:
        return Followed([], [])
    found, notes = [], []
    for _, rows in table.groupby("task", sort=False):
        if rows.groupby(["model", "seed"], dropna=False).size().max() < 2:
            continue
        try:
            one = follow_task(rows, falls, conf, items, None)
        except AnalysisError as error:
            notes += [f"{rows['title'].iloc[0]}: {problem}" for problem in error.problems]
            continue
        found.append(replace(one, grid=None, courses=()))  # tens of MB of answers a task, of which nothing is shown
    return Followed(found, notes)
