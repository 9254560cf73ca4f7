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
from evalrun.commands.own_words import take_own_words
from evalrun.commands.run.inprocess import Value
from evalrun.commands.selecting_words import refuse_unselecting
from evalrun.commands.table_input import config_of, prepared_rows
from evalrun.config.compose import hydra_session
from evalrun.config.schema import Config
from evalrun.core.errors import AnalysisError, ConfigError, suggest
from evalrun.core.plain_names import slug
from evalrun.core.scored_ways import HOW_SCORED, chosen_way
from evalrun.core.text import listed
from evalrun.reporting.item_words import words_of
from evalrun.tracking import Store

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.statistics.dynamics.distractors import Words
    from evalrun.statistics.dynamics.item_dynamics import ItemDynamics

_HOW_BY = "write by=difficulty, by=gold_position, by=prompt_length or by=COLUMN, several with commas"
_WHAT = {  # words that are read here, and what is to stand in them; the others are a grid and keys of a run
    "task": "name one, for example task=tiny_obey_quote",
    "suite": "name a suite, or leave it out",
    "scored": HOW_SCORED,
    "out": "name a folder, or leave it out",
    "by": _HOW_BY,
}


@dataclass(frozen=True)
class _ItemsRequest:
    """What the words of `items` ask for."""

    task: str
    scored: str | None  # in which way, where there are several
    by: list[str]  # what to divide the items by
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
    texts = words_of(asked.config)
    found = follow(rows, asked.config, store, texts, asked.by)
    suite = str(rows["suite"].iloc[0])
    page = _page(found, suite, texts if asked.config.analysis.item_pages == "prompts" else None)
    files = render.write(found, asked.folder / slug(suite) / slug(asked.task), page)
    if "--json" in words:
        print(json.dumps(render.to_json(found, suite, files), indent=1))
    else:
        print(render.text(found, suite, files, asked.config.analysis.alpha))
    return 0


def follow(table: pd.DataFrame, config: Config, store: Store, words: Words, by: Sequence[str] = ()) -> ItemDynamics:
    """Follow the items of one task.

    Args:
        table: Its rows of the tidy table.
        config: Settings of the analysis, and where the task's data is.
        store: Where the items are.
        words: Gives their texts.
        by: Ways to divide the items; those of `analysis.item_parts` where there are none.

    Raises:
        ConfigError: there is nothing to divide them by.
        AnalysisError: no result is left, or there are no items.
        TrackingError: the store cannot be read.
    """
    from evalrun.statistics.dynamics.followed import follow_task
    from evalrun.statistics.dynamics.item_columns import DIFFICULTY
    from evalrun.statistics.dynamics.item_parts import divide, divided_task, hidden_sentences, parts
    from evalrun.statistics.findings import judge_curves, part_judge

    conf, clusters = config.analysis, study.clusters_of(config)
    rows = prepared_rows(table, config)
    with study.items_of(study.with_items(config), store, rows, words) as items:
        assert items is not None
        _, _, falls = judge_curves(rows, conf, items, clusters)
        found = follow_task(rows, falls, conf, items, words, clusters)
    ways = list(by or conf.item_parts)
    if not ways or found.grid is None:
        return found
    grid = found.grid
    divisions = [divide(grid, way, None if way == DIFFICULTY else words(found.task, grid.keys)) for way in ways]
    divided = parts([divided_task(grid, rows, divisions)], falls, part_judge(conf, clusters))
    notes = [*hidden_sentences(divided.found), *found.notes]
    return replace(found, parts=divided.found, part_curves=divided.curves, notes=notes)


def _page(found: ItemDynamics, suite: str, words: Words | None) -> str | None:
    """The page of the task's items, with texts where they are given; None where no page is wanted."""
    from evalrun.reporting.item_page import render_items

    if found.packed is None:
        return None
    own = None if words is None else words(found.task, found.packed.keys)
    return render_items(found.packed, found.title, suite, own, found.notes)


def follow_table(
    table: pd.DataFrame, task: str | None, by: str | Sequence[str] | None, settings: Mapping[str, Value]
) -> ItemDynamics:
    """Follow the items of a task of a table, in the current folder's store.

    Args:
        table: Of results.
        task: Which task; None where it has one.
        by: What to divide the items by; None for the whole alone.
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
    config = config_of({"item_pages": "none", **settings})  # a program has the answers themselves
    ways = _ways([by] if isinstance(by, str) else list(by or ()))
    rows = table if task is None else table[table["task"] == task]
    return follow(rows, config, Store(config.tracking), words_of(config), ways)


def _ways(given: Sequence[str]) -> list[str]:
    """What to divide items by.

    Raises:
        ConfigError: an empty name, or one twice.
    """
    ways = [str(name).strip() for name in given]
    if not all(ways) or len(set(ways)) < len(ways):
        raise ConfigError(f"by='{','.join(ways)}' does not name each way to divide items once: {_HOW_BY}.")
    return ways


def _ask(words: Sequence[str]) -> _ItemsRequest:
    """Read the words of `items`.

    Raises:
        ConfigError: no task or several, or what concerns neither the store, a grid nor the analysis.
    """
    bare = [word for word in words if "=" not in word and not word.startswith("-")]
    if bare:
        raise ConfigError(f"items does not know what '{bare[0]}' is: if it is a task, write task={bare[0]}.")
    own, rest = _own_words(words)
    with hydra_session():
        refuse_unselecting("items", rest, ("profile",))  # which says how texts of items read
        plan, selection = analyze.select(rest, own.get("suite"), None)
    folder = Path(own["out"]).expanduser() if "out" in own else plan.root / "items"
    ways = _ways(own["by"].split(",")) if "by" in own else []
    return _ItemsRequest(own["task"], own.get("scored"), ways, folder, plan.config, selection)


def _own_words(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The words of `_WHAT` with their values, a task among them, and the others.

    Raises:
        ConfigError: no task or several, a word twice, or one without a value.
    """
    for name, _, value in (word.partition("=") for word in words):
        if name == "tasks":
            raise ConfigError(f"items takes one task: write task={value.strip('[]').split(',')[0] or 'NAME'}.")
    own, rest = take_own_words(words, _WHAT)
    if "task" not in own:
        raise ConfigError("no task is given: name one, for example `python -m evalrun items task=tiny_obey_quote`.")
    if "," in own["task"] or own["task"].startswith("glob("):
        raise ConfigError(f"items takes one task, not '{own['task']}': start it once for each.")
    return own, rest


def _rows(tables: dict[str, pd.DataFrame], asked: _ItemsRequest) -> pd.DataFrame:
    """The rows of the task, of one suite and one way of scoring.

    Raises:
        ConfigError: no such task, several suites have it, or it was scored in several ways or not in the wanted one.
    """
    own = {suite: rows for suite, table in tables.items() if not (rows := table[table["task"] == asked.task]).empty}
    if not own:
        there = {str(task) for table in tables.values() for task in table["task"].unique()}
        raise ConfigError(f"there are no results of task '{asked.task}': {suggest(asked.task, there)}")
    if len(own) > 1:
        raise ConfigError(f"task '{asked.task}' has results of the suites {listed(sorted(own))}: add suite=NAME.")
    (rows,) = own.values()
    way = chosen_way(map(str, rows["settings"].unique()), asked.scored, f"task '{asked.task}' was")
    return rows[rows["settings"] == way]
