"""How a sweep ended: what the store says, and in a launcher's words why the rest is not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evalrun.config.schema import TrackingConf
from evalrun.config.store_words import store_words
from evalrun.core.errors import EvalrunError
from evalrun.core.secrets import command_line
from evalrun.grid.job_spec import JobSpec
from evalrun.progress import sweep_start
from evalrun.tracking import Store


@dataclass(frozen=True)
class SweepOutcome:
    """Positions of the jobs that are not done."""

    failed: dict[int, str]  # why
    skipped: list[int]  # not started, because another one failed
    queued: dict[int, str]  # left to a cluster: where

    def not_ended(self, labels: Sequence[str], tracking: TrackingConf) -> Iterator[str]:
        """Sentences about jobs that neither ended nor failed.

        Args:
            labels: Of all jobs that were launched.
            tracking: The store that they deliver to.
        """
        if self.skipped:
            named = ", ".join(labels[position] for position in self.skipped[:20])
            more = ", ..." if len(self.skipped) > 20 else ""
            yield f"{len(self.skipped)} not started, because of fail_fast=true: {named}{more}."
        if self.queued:
            places = ", ".join(dict.fromkeys(self.queued.values()))
            status = command_line(["status", *store_words(tracking)])
            yield f"{len(self.queued):,} of {len(labels):,} jobs are left to {places}: `{status}` says"
            yield "how far they are; the same command queues none of them twice, and analyses when all are done."


def judge(jobs: Sequence[JobSpec], returns: Sequence[Any], sweep: str) -> SweepOutcome:
    """Sort the jobs of a launch; one is done if and only if its results are in the store.

    Args:
        jobs: Those that were launched.
        returns: Hydra's JobReturn for each.
        sweep: The multirun.

    Returns:
        Those that are not done. With `force=true` results of before are in the store too, so that there the job must
        also have returned.
    """
    returned = {position for position, back in enumerate(returns) if back.status.name == "COMPLETED"}
    others = [position for position in range(len(jobs)) if position not in returned]
    there, fault = _there(jobs, sorted(returned), sweep)
    there |= _there(jobs, others, sweep)[0]
    failed: dict[int, str] = {}
    skipped: list[int] = []
    queued: dict[int, str] = {}
    for position, (job, back) in enumerate(zip(jobs, returns, strict=True)):
        said = back._return_value
        if position in there and (position in returned or not job.config.force):
            continue
        if position in returned:
            failed[position] = f"it ended without an error, but {fault or 'its results are not in the store.'}"
        elif back.status.name == "FAILED":
            failed[position] = str(said) or type(said).__name__
        elif said is None:
            skipped.append(position)
        else:
            queued[position] = str(said)
    return SweepOutcome(failed, skipped, queued)


def _there(jobs: Sequence[JobSpec], positions: Sequence[int], sweep: str) -> tuple[set[int], str]:
    """Which have all their results in the store, or why that cannot be known."""
    if not positions:
        return set(), ""
    found: set[int] = set()
    try:
        Store(jobs[positions[0]].config.tracking).check()  # answers at once, where MLflow tries for minutes
        found = {positions[at] for at in sweep_start.delivered([jobs[at] for at in positions], sweep)}
        rest = [at for at in positions if at not in found]
        if rest:  # asked as by a command that resumes: what some are became known when they were fetched
            again = [replace(jobs[at], config=replace(jobs[at].config, force=False), results=None) for at in rest]
            found |= {rest[number] for number in sweep_start.start(again, sweep).done}
    except EvalrunError as error:
        return found, f"its results cannot be looked up: {error}"
    return found, ""
