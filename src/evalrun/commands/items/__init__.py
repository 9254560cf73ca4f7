"""`items`: what each item of a task does over training: learned, lost, regained, and which answer took over."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from evalrun import study
from evalrun.commands import analyze
from evalrun.commands.items import render
from evalrun.commands.run.inprocess import Value
from evalrun.commands.table_input import config_of, prepared_rows
from evalrun.config.compose import hydra_session
from evalrun.config.schema import Config
from evalrun.core.errors import AnalysisError, ConfigError, suggest
from evalrun.core.text import listed
from evalrun.tracking import Store
from evalrun.tracking.slugs import slug

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.statistics.dynamics.item_dynamics import ItemDynamics
    from evalrun.statistics.items.values import Items

_OWN = ("task", "suite", "out", "by")  # words that are read here; the others are a grid and keys of a run


@dataclass(frozen=True)
class _ItemsRequest:
    """What the words of `items` ask for."""

    task: str
    suite: str | None
    by: str | None  # what to divide the items by
    folder: Path  # for the tables
    config: Config
    selection: study.Selection


def command(words: Sequence[str]) -> int:
    """Follow the items of a task, print what they do and write the tables.

    Raises:
        ConfigError: words that cannot be right, or a task that has no results.
        AnalysisError: there are no results, or no items.
        TrackingError: the store cannot be read.
        StorageError: a table cannot be written.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    asked = _ask([word for word in words if word != "--json"])
    store = Store(asked.config.tracking)
    store.check_readable()
    rows = _rows(study.tables(store, asked.selection), asked)
    found = follow(rows, asked.config, store, asked.by)
    suite = str(rows["suite"].iloc[0])
    files = render.write(found, asked.folder / slug(suite) / slug(asked.task))
    if "--json" in words:
        print(json.dumps(render.to_json(found, suite, files), indent=1))
    else:
        print(render.text(found, suite, files, asked.config.analysis.alpha))
    return 0


def follow(table: pd.DataFrame, config: Config, store: Store, by: str | None = None) -> ItemDynamics:
    """Follow the items of one task, whose texts are looked up in the task's file.

    Args:
        table: Its rows of the tidy table.
        config: Settings of the analysis, and where the task's data is.
        store: Where the items are.
        by: `difficulty` or a column of the task's data, to divide the items by; None for the whole alone.

    Raises:
        ConfigError: there is nothing to divide them by.
        AnalysisError: no result is left, or there are no items.
        TrackingError: the store cannot be read.
    """
    from evalrun.reporting.item_words import words_of
    from evalrun.statistics.dynamics.followed import follow_task
    from evalrun.statistics.dynamics.item_parts import DIFFICULTY, divide, hidden_sentences, parts
    from evalrun.statistics.findings import decide_curves
    from evalrun.statistics.shapes.falls import find_falls
    from evalrun.statistics.shapes.labels import describe_shapes

    conf = config.analysis
    rows = prepared_rows(table, conf)
    wanted = rows[["run_id", "task"]].drop_duplicates()
    with store.items(wanted.itertuples(index=False, name=None)) as items:
        decision = decide_curves(rows, conf, items, study.clusters_of(config))
        falls, words = find_falls(decision, describe_shapes(decision)), words_of(config)
        found = follow_task(rows, falls, conf, items, words)
    if by is None or found.grid is None:
        return found

    def judge(table: pd.DataFrame, items: Items) -> tuple[pd.DataFrame, pd.DataFrame]:
        decision = decide_curves(table, conf, items)
        labels = describe_shapes(decision)
        return labels, find_falls(decision, labels)

    texts = None if by == DIFFICULTY else words(found.task, found.grid.keys)
    divided = parts(found.grid, rows, falls, divide(found.grid, by, texts), judge)
    return replace(found, parts=divided, notes=[*hidden_sentences(divided, by), *found.notes])


def follow_table(table: pd.DataFrame, task: str | None, settings: Mapping[str, Value]) -> ItemDynamics:
    """Follow the items of a task of a table, in the current folder's store.

    Args:
        table: Of results.
        task: Which task; None where it has one.
        settings: Keys of conf/analysis and the store.

    Raises:
        ConfigError, AnalysisError, TrackingError: as `evalrun.items`.
    """
    from evalrun.statistics.table import check

    check(table)
    there = sorted(map(str, table["task"].unique()))
    if task is None and len(there) > 1:
        raise AnalysisError(f"the table has results of {len(there)} tasks: name one, task='{there[0]}'.")
    if task is not None and task not in there:
        raise ConfigError(f"there are no results of task '{task}': {suggest(str(task), there)}")
    config = config_of(settings)
    return follow(table if task is None else table[table["task"] == task], config, Store(config.tracking))


def _ask(words: Sequence[str]) -> _ItemsRequest:
    """Read the words of `items`.

    Raises:
        ConfigError: no task or several, or what concerns neither the store, a grid nor the analysis.
    """
    bare = [word for word in words if "=" not in word and not word.startswith("-")]
    if bare:
        raise ConfigError(f"items does not know what '{bare[0]}' is: if it is a task, write task={bare[0]}.")
    own = {name: value for name, _, value in (word.partition("=") for word in words) if name in _OWN}
    task = own.get("task", "")
    if not task or "," in task:
        raise ConfigError(f"items takes one task, not '{task}': name it, for example `task=tiny_obey_quote`.")
    rest = [word for word in words if word.partition("=")[0] not in _OWN]
    with hydra_session():
        plan, selection = analyze.select(rest, own.get("suite"), None)
    folder = Path(own["out"]).expanduser() if own.get("out") else plan.root / "items"
    return _ItemsRequest(task, own.get("suite"), own.get("by"), folder, plan.config, selection)


def _rows(tables: dict[str, pd.DataFrame], asked: _ItemsRequest) -> pd.DataFrame:
    """The rows of the task, of one suite and one way of scoring.

    Raises:
        ConfigError: no such task, or several suites or ways of scoring have it.
    """
    own = {suite: rows for suite, table in tables.items() if not (rows := table[table["task"] == asked.task]).empty}
    if not own:
        there = {str(task) for table in tables.values() for task in table["task"].unique()}
        raise ConfigError(f"there are no results of task '{asked.task}': {suggest(asked.task, there)}")
    if len(own) > 1:
        raise ConfigError(f"task '{asked.task}' has results of the suites {listed(sorted(own))}: add suite=NAME.")
    (rows,) = own.values()
    ways = sorted(map(str, rows["settings"].unique()))
    if len(ways) > 1:
        raise ConfigError(
            f"task '{asked.task}' was scored in {len(ways)} ways ({listed(ways)}), which are not followed as one: "
            'choose one in a program, evalrun.items(table[table["settings"] == "..."]).'
        )
    return rows
