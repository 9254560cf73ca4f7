"""Which results make a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from evalrun.core.records import Checkpoint
from evalrun.core.scored_ways import chosen_way, ways_meant
from evalrun.core.task_group import Groups, TaskGroup, in_order, tasks_of
from evalrun.tasks import task_file
from evalrun.tasks.group_tree import task_groups

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.statistics.coverage import Cell, Place


@dataclass(frozen=True)
class Selection:
    """Which results make a study; None means all."""

    suite: str | None = None
    sweep: str | None = None  # the checkpoints that this multirun wanted
    tasks: Sequence[str] | None = None  # tasks or sets
    cells: Sequence[Checkpoint] | None = None  # a grid, such as an experiment's
    scored: str | None = None  # in this way alone
    asked: Sequence[Checkpoint] | None = None  # all that should be there, if that was said
    settled: Sequence[tuple[str, str, str, int | None, int]] = ()  # of that, not needed by `until=`

    def of(self, table: pd.DataFrame) -> pd.DataFrame:
        """The selected rows of a suite's table."""
        if (names := self.task_names()) is not None:
            table = table[table["task"].isin(names)]
        if self.cells is not None:
            grid = {(cell.model, cell.step) for cell in self.cells}
            table = table[[place in grid for place in zip(table["model"], table["step"], strict=True)]]
        if self.scored is not None:
            table = table[table["settings"].isin(ways_meant(map(str, table["settings"].unique()), self.scored))]
        return table

    def other_ways(self, table: pd.DataFrame) -> set[str]:
        """In which ways the rows were scored that are selected but for `scored`; none where that selects nothing."""
        return (
            set() if self.scored is None else set(map(str, replace(self, scored=None).of(table)["settings"].unique()))
        )

    def refuse_way(self, ways: set[str]) -> None:
        """Say, where nothing is selected, that it is `scored` which selects nothing.

        Args:
            ways: Those that there are, of all suites (`other_ways`).

        Raises:
            ConfigError: there are some; with them.
        """
        if ways:
            chosen_way(ways, self.scored, "these results were")

    def task_names(self) -> list[str] | None:
        """The tasks by name, sets resolved; None for all."""
        if self.tasks is None:
            return None
        files = task_file.resolve(self.tasks, trust_code=True)  # for their names: nothing of them is run
        return [file.name for file in files]

    def named_groups(self) -> dict[str, TaskGroup]:
        """The groups among the tasks that were named, with those that they hold."""
        return task_groups(self.tasks or ())

    def groups(self, known: Groups) -> dict[str, TaskGroup]:
        """The groups that were named, and of those that a store knows the ones whose tasks are all selected."""
        names = self.task_names()
        there = known if names is None else {n: g for n, g in known.items() if set(tasks_of(known, n)) <= set(names)}
        return in_order({**there, **self.named_groups()})

    def wanted(self, suite: str) -> list[Place] | None:
        """The checkpoints of a suite that should be there, as (model, seed, step); None where nothing says which."""
        if self.asked is None:
            return None
        return [(cell.model, cell.seed, cell.step) for cell in self.asked if cell.suite == suite]

    def grid_of(self, suite: str) -> tuple[list[Place] | None, list[Cell]]:
        """`wanted`, and what of it `until=` found no need for, as (task, model, seed, step)."""
        return self.wanted(suite), [cell[1:] for cell in self.settled if cell[0] == suite]

    def describe(self) -> str:
        """In words, for the report."""
        parts = [f"of sweep {self.sweep}"] if self.sweep else []
        parts += [f"of a grid of {len(self.cells)}"] if self.cells is not None else []
        parts += [f"scored by {self.scored}"] if self.scored else []
        return ", ".join(parts) or "all of the suite"

    def asked_for(self) -> str:
        """In words, with the tasks, for a message."""
        return self.describe() + ("" if self.tasks is None else f", task={','.join(self.tasks)}")
