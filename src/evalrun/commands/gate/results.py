"""What a gate asks of which tasks, with the results of both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evalrun import study
from evalrun.commands.compare.result_rows import fewshot_of, latest_rows, of_metric
from evalrun.commands.compare.selection import ComparedCheckpoint, tokenizers_apart
from evalrun.commands.gate.broken import with_broken
from evalrun.commands.gate.references import GateSides
from evalrun.commands.gate.verdicts import GateCheck, GateReference, GateTask, failing, judge
from evalrun.config.gate_thresholds import thresholds
from evalrun.config.own_yaml import conf_dirs
from evalrun.config.schema import Config, GateConf
from evalrun.core.errors import AnalysisError, ConfigError, suggest
from evalrun.core.text import listed
from evalrun.tracking import Store


@dataclass(frozen=True)
class GateResult:
    """A checkpoint that was held against a gate."""

    gate: GateConf
    sides: GateSides
    checks: list[GateCheck]
    notes: list[str]

    @property
    def failing(self) -> list[GateCheck]:
        """The checks for which it does not pass."""
        return list(failing(self.checks, self.gate.undecided))


@dataclass(frozen=True)
class _Side:
    """The results of one checkpoint, by task."""

    label: str
    rows: dict[str, dict[Any, Any]]
    fewshot: dict[str, int | None]


def gate_results(config: Config, sides: GateSides, tasks: Sequence[str] | None, store: Store) -> GateResult:
    """Hold a checkpoint against what a gate asks.

    Args:
        config: The gate, and the settings of the analysis.
        sides: The checkpoint and its references.
        tasks: Those that are asked for; None for all of the references and of the gate.
        store: Where the results are.

    Raises:
        ConfigError: the gate names a task that there is not, or nothing is asked.
        AnalysisError: no task can be held against anything.
        TrackingError: the store cannot be read.
    """
    import pandas as pd

    from evalrun.reporting.item_words import words_of

    config = study.with_items(config)
    both = (sides.checkpoint, *sides.references)
    table = store.table_of([run.run_id for side in both for run in side.runs])
    table = of_metric(study.with_metric(config, store, table), config.analysis.metric)
    mine, *others = (_side(table, side) for side in both)
    asked = _tasks(config.gate, mine, others, tasks)
    used = [task.row for task in asked if task.row] + [ref.row for task in asked for ref in task.references]
    if not used:
        raise AnalysisError(f"{mine.label} and {sides.against} have no results of {listed(t.name for t in asked)}.")
    words = words_of(config, fetch=False)
    with study.items_of(config, store, pd.DataFrame(used), words) as items:
        checks = judge(asked, items, study.clusters_of(config), config.gate.alpha)
        checks = [
            with_broken(check, mine.rows[check.task], items, words, config.gate.items) if check.reference else check
            for check in checks
        ]
    notes = _notes(mine, others, asked)
    for reference in sides.references:
        notes += tokenizers_apart(reference, sides.checkpoint)
    return GateResult(config.gate, sides, checks, notes)


def _side(table: Any, side: ComparedCheckpoint) -> _Side:
    rows = latest_rows(table, side, None)
    held = {str(row["task"]): row for row in rows.to_dict("records")}
    return _Side(side.label, held, fewshot_of(rows, side))


def _tasks(gate: GateConf, mine: _Side, others: Sequence[_Side], named: Sequence[str] | None) -> list[GateTask]:
    """What is asked, task by task.

    Args:
        gate: What it says.
        mine: The checkpoint's results.
        others: Those of the references.
        named: The tasks that were asked for; None for all.

    Raises:
        ConfigError: the gate names a task that there is not, or asks nothing.
    """
    there = {task for side in (mine, *others) for task in side.rows}
    if problems := [*_unknown(gate, there)]:
        raise ConfigError(problems)
    compared = sorted({task for side in others for task in side.rows}) if gate.margin is not None else []
    names = list(dict.fromkeys([*compared, *gate.tasks])) if named is None else list(named)
    found = []
    for name in names:
        if not (asked := thresholds(gate, name)):
            continue
        references = [
            GateReference(side.rows[name], side.label, side.fewshot[name]) for side in others if name in side.rows
        ]
        row = mine.rows.get(name)
        lacking = mine.label if row is None else listed(side.label for side in others[-1:])
        lacks = f"{lacking} has no result of {name}: evaluate it with task={name}, or leave it out with task="
        found.append(GateTask(name, asked, row, mine.fewshot.get(name), references, lacks))
    if not found:
        raise ConfigError(
            "the gate asks for nothing: set gate.margin, or a threshold of a task with gate.tasks={memo_trap: 0.05}."
        )
    return sorted(found, key=lambda task: ("" if task.row is None else str(task.row["title"]), task.name))


def _unknown(gate: GateConf, there: set[str]) -> list[str]:
    """Sentences about tasks that a gate names and that are neither in the results nor in conf/task."""
    return [
        f"gate.tasks names '{task}', which has no results and is not in conf/task: {suggest(task, there)}"
        for task in gate.tasks
        if task not in there and not any((folder / "task" / f"{task}.yaml").is_file() for folder in conf_dirs())
    ]


def _notes(mine: _Side, others: Sequence[_Side], asked: Sequence[GateTask]) -> list[str]:
    """What was left out, and one checkpoint under two names."""
    notes = []
    names = {task.name for task in asked}
    if alone := sorted(set(mine.rows) - names - {task for side in others for task in side.rows}):
        notes.append(f"Held against nothing, because no reference has a result: {listed(alone)}.")
    weights = {str(row["weights"]) for row in mine.rows.values()} - {""}
    for side in others:
        if weights & {str(row["weights"]) for row in side.rows.values()}:
            notes.append(f"{mine.label} and {side.label} have the same weights: one checkpoint under two names.")
    return notes
