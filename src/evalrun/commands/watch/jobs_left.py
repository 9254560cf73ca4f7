"""Which checkpoints of a look have all their results already, and which jobs are left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from evalrun.checkpoints.folder_notes import notes
from evalrun.commands.watch.store_view import StoreView
from evalrun.commands.watch.watched_run import WatchedRun
from evalrun.core.errors import CheckpointError, ConfigError, EvalrunError, TrackingError
from evalrun.core.records import Checkpoint
from evalrun.grid import namesakes
from evalrun.grid.job_spec import JobResults, JobSpec
from evalrun.grid.locating import locate_all
from evalrun.journal import job_state
from evalrun.progress import JobProgress, RunsBySuite
from evalrun.progress import of as progress_of

LATER = "This watch tries again at its next look."


class JobsLeft:
    """What there is of the checkpoints that a look found new, by the journal and the store.

    Args:
        view: What the store holds.
        complain: Gets a sentence where it cannot be asked.
    """

    def __init__(self, view: StoreView, complain: Callable[[str], None]) -> None:
        self._view = view
        self._complain = complain
        self._named: set[int] = set()  # groups of runs whose name was seen to be their own
        self._queued_ms: dict[tuple[int, int], int] = {}  # run and step -> when it was left to a cluster

    def of(self, turns: Sequence[tuple[WatchedRun, int]]) -> list[tuple[WatchedRun, JobSpec]]:
        """The jobs that are to be run, with what was found out of them; what is done is noted, what cannot be had too.

        Args:
            turns: Runs and steps that are new.

        Raises:
            TaskError: a task's file or data cannot be read.
        """
        jobs: list[tuple[WatchedRun, JobSpec]] = []
        for run, step in turns:
            try:
                jobs.append((run, run.job(step)))
            except EvalrunError as error:
                run.failing(step, error)
        with notes().one_look():
            return self._left(jobs)

    def _left(self, jobs: Sequence[tuple[WatchedRun, JobSpec]]) -> list[tuple[WatchedRun, JobSpec]]:
        """`of`, by one look at each folder.

        Args:
            jobs: Of what is new.

        Raises:
            TaskError: as `of` says.
        """
        places = locate_all([job for _, job in jobs])
        there: list[tuple[WatchedRun, JobSpec]] = []
        for (run, job), (stamp, place) in zip(jobs, places, strict=True):
            if isinstance(place, CheckpointError):
                run.failing(job.config.step, place)
            else:
                there.append((run, replace(job, results=JobResults(place, "", {}, stamp))))
        held = self._held({job.cell.suite for _, job in there})
        identities = [job.results.located.identity for _, job in there if job.results is not None]
        entries = progress_of([replace(job, results=None) for _, job in there], held, dict(enumerate(identities)))
        left, found = [], []
        for (run, job), entry in zip(there, entries, strict=True):
            if held is not None and not entry.missing and not entry.undelivered and not job.config.force:
                run.found(job.config.step, str(entry.run_key))
                found.append(job.cell)
            elif held is not None or entry.missing:  # what is in the journal can wait for the store
                left.append((run, _with_results(job, entry)))
        own = self._of_own_name(left)
        if held is not None:
            self._settle_tokens([*found, *(job.cell for _, job in own)])
        return [(run, job) for run, job in own if not self._has_failed(run, job)]

    def _settle_tokens(self, cells: list[Checkpoint]) -> None:
        try:
            self._view.settle_tokens(cells)
        except TrackingError as error:
            self._complain(f"{str(error).rstrip('.')}. {LATER}")

    def _held(self, suites: set[str]) -> RunsBySuite | None:
        """What the store holds of suites; None where it cannot be asked."""
        try:
            return {suite: self._view.filed(suite) for suite in suites}
        except TrackingError as error:
            self._complain(f"{str(error).rstrip('.')}. {LATER}")
            return None

    def _of_own_name(self, left: Sequence[tuple[WatchedRun, JobSpec]]) -> list[tuple[WatchedRun, JobSpec]]:
        """The jobs of runs whose name is not that of another run's results."""
        kept: list[tuple[WatchedRun, JobSpec]] = []
        for run in {id(run): run for run, _ in left}.values():
            own = [job for other, job in left if other is run]
            if run.group not in self._named:
                try:
                    places = [job.results.located for job in own if job.results is not None]
                    namesakes.refuse([job.config for job in own], places, self._view.filed)
                    self._named.add(run.group)
                except TrackingError:
                    pass  # asked again with the next checkpoint; results wait in the journal
                except ConfigError as error:
                    for job in own:
                        run.failing(job.config.step, error)
                    continue
            kept += [(run, job) for job in own]
        order = {id(job): number for number, (_, job) in enumerate(left)}
        return sorted(kept, key=lambda one: order[id(one[1])])

    def run_key(self, job: JobSpec) -> str | None:
        """Under which key a job's results are, after it ended elsewhere; None where there are none.

        Raises:
            TrackingError: the store cannot be read.
        """
        suite = job.cell.suite
        if job.results is not None and self._view.again(suite, job.results.run_key) is not None:
            return job.results.run_key
        (entry,) = progress_of([replace(job, results=None)], {suite: self._view.filed(suite)})
        return entry.run_key

    def queued(self, run: WatchedRun, job: JobSpec, where: str) -> None:
        """Note that a job is in a cluster's queue; one that is there anew was lost there, and counts as a fault."""
        step = job.config.step
        before = run.queued.get(step)
        if before is not None and before != where:
            run.failing(
                step, EvalrunError(f"{job.cell.label} was lost by {before}, and is in the queue again: {where}.")
            )
        if before != where:
            self._queued_ms[run.group, step] = int(time.time() * 1000)
        run.queued[step] = where

    def _has_failed(self, run: WatchedRun, job: JobSpec) -> bool:
        """Whether a job that was left to a cluster has failed there since; said, and tried again later."""
        step = job.config.step
        if step not in run.queued:
            return False
        state = job_state.read(job.state)
        if state is None or state.state != job_state.FAILED or state.seen_ms < self._queued_ms[run.group, step]:
            return False
        run.failing(step, EvalrunError(f"{job.cell.label}: {state.cause}"))
        return True


def _with_results(job: JobSpec, entry: JobProgress) -> JobSpec:
    assert job.results is not None
    return replace(job, results=replace(job.results, run_key=str(entry.run_key), keys=entry.keys))
