"""One command's evaluation, from its plan to its exit code: what the command, Hydra's sweeper and the library share."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from evalrun import study
from evalrun.checkpoints import devices, downloads
from evalrun.commands import summary
from evalrun.commands.plan import refuse_missing
from evalrun.commands.run.round_by_round import not_computed
from evalrun.core.errors import ConfigError, EvalrunError
from evalrun.core.progress_line import watched
from evalrun.core.secrets import command_line
from evalrun.grid.job_spec import JobSpec
from evalrun.grid.sweep_plan import Plan
from evalrun.launch import outcome
from evalrun.progress import sweep_start
from evalrun.progress.rounds import Rounds, cells_of
from evalrun.tasks.group_tree import task_groups
from evalrun.tracking import Store


@dataclass(frozen=True)
class JobFailure:
    """Why a job, or the sweep itself, did not do what it was to do."""

    name: str  # the job's; sweep or analysis
    message: str
    is_mistake: bool = False  # the request cannot be right

    @property
    def sentence(self) -> str:
        """With the name of the job."""
        return self.message if self.name in self.message else f"{self.name}: {self.message}"


class SweepSession:
    """A plan that is being carried out.

    Args:
        plan: What is to be done.
        words: As typed, for the notes of what it makes.
    """

    def __init__(self, plan: Plan, words: Sequence[str] = ()) -> None:
        self.plan = plan
        self.words = words
        self.jobs: Sequence[JobSpec] = plan.jobs  # once it has begun, with what was found out of them
        self.failures: list[JobFailure] = []
        self.rounds = Rounds(plan) if plan.config.until is not None and len(plan.jobs) > 1 else None
        self._is_over = False  # nothing more is to be launched: a cluster has the rest, or something failed for good
        self._not_ended: list[str] = []  # sentences about jobs that neither ended nor failed
        self._queued = False
        self._ledger = downloads.Ledger(replace(plan.config, sweep=plan.sweep))

    @property
    def exit_code(self) -> int:
        """0 done, 1 a job or the analysis failed, 2 the request cannot be right."""
        return 2 if any(failure.is_mistake for failure in self.failures) else int(bool(self.failures))

    @property
    def has_none(self) -> bool:
        """Whether every job failed."""
        return len(self.failures) == len(self.plan.jobs if self.rounds is None else self.rounds.jobs())

    def check_store(self) -> None:
        """See that the store takes results, before the first hour of computing and not after it.

        Where something is to be computed `begin` has MLflow open it too.

        Raises:
            TrackingError: it does not.
        """
        Store(self.plan.config.tracking).check(opens=False)

    def check_offline(self) -> None:
        """With offline=true, see that all is here.

        Raises:
            CheckpointError: naming what is not.
        """
        refuse_missing(self.plan)

    def begin(self, here: bool = True) -> sweep_start.SweepStart:
        """Find out which jobs are left; those that are refused are failures.

        Args:
            here: Whether the jobs run on this machine.

        Raises:
            EvalrunError: nothing can be started.
        """
        began = sweep_start.start(self.plan.jobs if self.rounds is None else self.rounds.fresh(), self.plan.sweep)
        self.jobs = began.jobs
        if began.todo:
            Store(self.plan.config.tracking).check()
        for position, error in began.refused.items():
            self.fail(self.jobs[position].cell.label, error)
        if here:
            devices.check([job.config for job in began.todo])
        self._ledger.expect([job.cell for job in began.todo])
        return began

    def fail(self, name: str, error: EvalrunError | str) -> None:
        """Note a failure."""
        self.failures.append(JobFailure(name, str(error), isinstance(error, ConfigError) and name == "sweep"))

    def begun(self, here: bool = True) -> Iterator[sweep_start.SweepStart]:
        """What is to be launched: all jobs at once or, with `until=`, round by round, each when the last has ended.

        Args:
            here: Whether the jobs run on this machine.

        Raises:
            EvalrunError: nothing can be started, or the store cannot be read between two rounds.
        """
        yield self.begin(here)
        while self.rounds is not None and not self._is_over and self.rounds.go_on():
            yield self.begin(here)

    def launches(self, here: bool) -> Iterator[list[JobSpec]]:
        """`begun`, said on the terminal; what was launched is to be told to `ended`."""
        try:
            for began in self.begun(here):
                some = "" if self.rounds is None else f"round {self.rounds.number}: "
                if began.done or (some and self.rounds and self.rounds.number > 1):
                    rest = f", {len(began.todo):,} to do" if began.todo else ""
                    print(f"{some}{len(began.done):,} of {len(self.jobs):,} jobs found done{rest}", flush=True)
                yield began.todo
        except EvalrunError as error:
            self.stop(error)

    def stop(self, error: EvalrunError) -> None:
        """When the sweep cannot go on: say why; what is journalled stays."""
        complain(error)
        self.fail("sweep", error)

    def ended(self, todo: Sequence[JobSpec], returns: Sequence[Any]) -> None:
        """Note how a launch ended.

        Args:
            todo: The jobs that were launched.
            returns: Hydra's JobReturn for each.
        """
        verdict = outcome.judge(todo, returns, self.plan.sweep)
        for position, said in verdict.failed.items():
            self.fail(todo[position].cell.label, said)
        self._not_ended += verdict.not_ended([job.cell.label for job in todo], self.plan.config.tracking)
        self._queued = bool(verdict.queued)
        self._is_over = bool(verdict.queued or verdict.skipped)

    def finish(self) -> None:
        """After the last job: say what failed, was not started or is still queued; show and analyse what is there."""
        if any(failure.name == "sweep" for failure in self.failures):
            return  # it was said when it stopped
        self.jobs = self.jobs if self.rounds is None else self.rounds.jobs()
        failed = [failure.sentence for failure in self.failures]
        if failed:
            print(f"\n{len(failed):,} of {len(self.jobs):,} jobs failed:", *failed, sep="\n  ", file=sys.stderr)
            rest = "What was computed is kept" if self.has_none or self._is_over else "The others are done"
            print(f"{rest}; the same command tries these again.", file=sys.stderr)
        for line in self._not_ended:
            print(line, file=sys.stderr)
        if self._queued:
            return
        self.end_downloads()
        self.note_groups()
        summary.show(self.jobs, self.plan.jobs)
        if self.rounds is not None and not self._is_over:
            print(*not_computed(self.rounds.left_out()), sep="\n", end="\n\n", flush=True)
        if not self.has_none and self.plan.config.analysis.after_sweep:
            self._analyse(failed)

    def note_groups(self) -> None:
        """See that the store knows which groups of tasks were asked for; that it cannot be written is a failure."""
        groups = task_groups(self.plan.tasks)
        store = Store(self.plan.config.tracking)
        try:
            for suite in dict.fromkeys(job.cell.suite for job in self.jobs):
                store.groups.record(suite, groups)
        except EvalrunError as error:
            complain(error)
            self.fail("sweep", error)

    def end_downloads(self) -> None:
        """Nothing that this sweep downloaded is needed any more."""
        self._ledger.finish()

    def _analyse(self, failed: Sequence[str]) -> None:
        """Make the sweep's reports; that they cannot be made is a failure.

        Args:
            failed: Why jobs have no result, a sentence each.
        """
        plan = self.plan
        try:
            settled = () if self.rounds is None else cells_of(self.rounds.left_out())
            asked = [job.cell for job in (self.jobs if self.rounds is None else plan.jobs)]
            selection = study.Selection(sweep=plan.sweep, tasks=plan.tasks, asked=asked, settled=settled)
            folder = plan.root / "analysis" / plan.sweep
            with watched("analysis"):
                study.analyse(plan.config, folder, selection, plan.final_steps, command_line(self.words), failed)
        except EvalrunError as error:
            complain(error)
            self.fail("analysis", str(error))


_current: ContextVar[SweepSession | None] = ContextVar("evalrun.session", default=None)


def current() -> SweepSession:
    """The session that this process is at: how what Hydra calls finds it."""
    session = _current.get()
    assert session is not None, "Hydra is started by the command alone"
    return session


@contextmanager
def registered(session: SweepSession) -> Iterator[SweepSession]:
    """Be the current session while the block lasts."""
    token = _current.set(session)
    try:
        yield session
    finally:
        _current.reset(token)


def complain(error: EvalrunError) -> None:
    """Each problem on a line of standard error."""
    for problem in error.problems:
        print(f"evalrun: {problem}", file=sys.stderr)
