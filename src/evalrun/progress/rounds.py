"""`until=settled`: which tasks of which jobs a sweep computes, round by round, and what it need not compute.

A round's jobs follow from the results of the rounds before it and from nothing else, so that a sweep that was killed
asks for the same again, and `status` and `plan` know what it would ask for. Results that are there without having been
asked for count in no decision.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from evalrun import progress
from evalrun.core.errors import AnalysisError, ConfigError
from evalrun.core.text import counted
from evalrun.grid.job_spec import JobSpec
from evalrun.grid.step_order import levels
from evalrun.grid.sweep_plan import Plan
from evalrun.progress.judged_curves import curves_of
from evalrun.tracking import Store

if TYPE_CHECKING:
    from evalrun.statistics.shapes.settling import CurveSoFar

Curve = tuple[str, str, str, int | None]  # suite, task, model, seed
Cell = tuple[str, str, str, int | None, int]  # suite, task, model, seed, step


@dataclass(frozen=True)
class LeftOut:
    """What was not computed of a curve."""

    curve: Curve
    label: str
    steps: tuple[int, ...]  # of training, not computed
    of: int  # steps that were asked for


class Rounds:
    """The rounds of a sweep.

    Args:
        plan: With `until=` and `order=bisect`.

    Raises:
        ConfigError: a checkpoint is there more than once, scored in several ways.
        TaskError: tasks that cannot be read.
    """

    def __init__(self, plan: Plan) -> None:
        """Begin with the levels that every curve gets.

        Args:
            plan: As for the class.
        """
        self._plan = plan
        self._finals = plan.final_steps
        self._job: dict[tuple[str, str, int | None, int], int] = {}
        self._steps: dict[Curve, list[int]] = defaultdict(list)
        self._wanted: list[set[str]] = []
        self.number = 1  # of the round
        self.labels: dict[Curve, str] = {}
        for number, job in enumerate(plan.jobs):
            cell, names = job.cell, [file.name for file in job.files]
            if self._job.setdefault((cell.suite, cell.model, cell.seed, cell.step), number) != number:
                raise ConfigError(
                    f"until={plan.config.until} takes one way of scoring, and {cell.label} is to be scored in several: "
                    "give a command for each."
                )
            for name in names:
                self._steps[cell.suite, name, cell.model, cell.seed].append(cell.step)
            self._wanted.append(set(names) if job.turn < plan.config.until_levels else set())
        self._fresh = [set(tasks) for tasks in self._wanted]  # what this round asks for

    def jobs(self) -> list[JobSpec]:
        """The jobs of all rounds so far, each for the tasks that were asked for."""
        jobs = self._plan.jobs
        return [self._limited(job, wanted) for job, wanted in zip(jobs, self._wanted, strict=True) if wanted]

    def fresh(self) -> list[JobSpec]:
        """The jobs of this round, each for the tasks that it adds."""
        jobs = self._plan.jobs
        return [self._limited(job, tasks) for job, tasks in zip(jobs, self._fresh, strict=True) if tasks]

    def _limited(self, job: JobSpec, wanted: set[str]) -> JobSpec:
        names = tuple(file.name for file in job.files if file.name in wanted)
        return job if len(names) == len(job.files) else replace(job, only=names)

    def go_on(self) -> bool:
        """Decide by the results of the rounds so far what the next one computes.

        Returns:
            Whether there is anything.

        Raises:
            TrackingError: the store cannot be read.
        """
        fresh: list[set[str]] = [set() for _ in self._wanted]
        for curve, found in self._judged():
            suite, task, model, seed = curve
            for middle in next_steps(found, self._steps[curve]):
                fresh[self._job[suite, model, seed, middle]].add(task)
        # A step that failed is in no curve, so that its gap asks for it again: once is enough for one command.
        self._fresh = [new - old for new, old in zip(fresh, self._wanted, strict=True)]
        self._wanted = [new | old for new, old in zip(fresh, self._wanted, strict=True)]
        self.number += any(self._fresh)
        return any(self._fresh)

    def _judged(self) -> Iterator[tuple[Curve, CurveSoFar]]:
        """The curves as they are by what was asked for."""
        store, config = Store(self._plan.config.tracking), self._plan.config
        jobs = self.jobs()
        for suite in dict.fromkeys(job.cell.suite for job in jobs):
            own = [job for job in jobs if job.cell.suite == suite]
            held = {suite: store.filed(suite)}
            asked = {
                (held[suite][str(entry.run_key)].run_id, task)
                for entry in progress.of(own, held)
                if entry.run_key in held[suite]
                for task in entry.tasks
            }
            table = store.read(suite).of()
            rows = table[[pair in asked for pair in zip(table["run_id"], table["task"], strict=True)]]
            try:
                found = list(curves_of(config, store, rows, self._finals))
            except AnalysisError:  # nothing to judge yet: all of it failed
                continue
            for one in found:
                curve = suite, one.task, one.model, one.seed
                self.labels[curve] = one.label
                yield curve, one

    def replay(self) -> bool:
        """Decide all that the results which are there allow; whether nothing is left to compute.

        Raises:
            TaskError: tasks that cannot be read.
            TrackingError: the store cannot be read.
        """
        store = Store(self._plan.config.tracking)
        while True:
            jobs = self.jobs()
            held, fault = progress.runs_of(store, {job.cell.suite for job in jobs})
            if fault is not None or any(entry.missing or entry.undelivered for entry in progress.of(jobs, held)):
                return False
            if not self.go_on():
                return True

    def left_out(self) -> list[LeftOut]:
        """The curves of which steps were not computed, in the order of the plan."""
        wanted = {
            (job.cell.suite, task, job.cell.model, job.cell.seed, job.cell.step)
            for job, tasks in zip(self._plan.jobs, self._wanted, strict=True)
            for task in tasks
        }
        found = []
        for curve, steps in self._steps.items():
            rest = tuple(step for step in sorted(steps) if (*curve, step) not in wanted)
            if rest:
                found.append(LeftOut(curve, self.labels.get(curve, "not known"), rest, len(steps)))
        return found


def next_steps(curve: CurveSoFar, steps: Sequence[int]) -> list[int]:
    """The steps that a curve needs next: the middle of each gap that is open.

    Args:
        curve: As it is known.
        steps: All that were asked for.
    """
    for gaps in (curve.gaps, curve.before):
        inside = [[low, *(step for step in sorted(steps) if low < step < high), high] for low, high in gaps]
        if found := [levels(within)[1][0] for within in inside if len(within) > 2]:
            return found
    return []


def cells_of(left_out: Sequence[LeftOut]) -> tuple[Cell, ...]:
    """Suite, task, model, seed and step of all that was not computed."""
    return tuple((*one.curve, step) for one in left_out for step in one.steps)


def asked_so_far(plan: Plan) -> tuple[Plan, Rounds | None, bool]:
    """A plan without what `until=` need not compute, by the results that are there.

    Returns:
        The plan, its rounds if it has any, and whether the last of them is done: else later ones may ask for more.

    Raises:
        EvalrunError: as `Rounds` and `Rounds.replay`.
    """
    if plan.config.until is None or len(plan.jobs) < 2:
        return plan, None, True
    rounds = Rounds(plan)
    is_done = rounds.replay()
    return replace(plan, jobs=tuple(rounds.jobs())), rounds, is_done


def said_of(rounds: Rounds, is_done: bool) -> str:
    """How far the rounds of a sweep are, in a line."""
    if not is_done:
        return f"round {rounds.number} of until=settled is not done: which steps come after it follows from its results"
    cells = sum(len(one.steps) for one in rounds.left_out())
    return f"until=settled: {counted(cells, 'result')} of the grid not needed after {counted(rounds.number, 'round')}"
