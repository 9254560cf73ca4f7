"""How a sweep ended: what the store says, and in a launcher's words why the rest is not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evalrun import progress
from evalrun.config.schema import Config
from evalrun.core.errors import EvalrunError
from evalrun.tracking import Store


@dataclass(frozen=True)
class SweepOutcome:
    """Positions of the jobs that are not done."""

    failed: dict[int, str]  # why
    skipped: list[int]  # not started, because another one failed
    queued: dict[int, str]  # left to a cluster: where

    def not_ended(self, labels: Sequence[str]) -> Iterator[str]:
        """Sentences about jobs that neither ended nor failed.

        Args:
            labels: Of all jobs that were launched.
        """
        if self.skipped:
            named = ", ".join(labels[position] for position in self.skipped[:20])
            more = ", ..." if len(self.skipped) > 20 else ""
            yield f"{len(self.skipped)} not started, because of fail_fast=true: {named}{more}."
        if self.queued:
            places = ", ".join(dict.fromkeys(self.queued.values()))
            yield f"{len(self.queued)} of {len(labels)} jobs are left to {places}: `python -m evalrun status` says how"
            yield "far they are; the same command queues none of them twice, and analyses when all are done."


def judge(configs: Sequence[Config], returns: Sequence[Any], sweep: str) -> SweepOutcome:
    """Sort the jobs of a launch; one is done if and only if its results are in the store.

    Args:
        configs: Of the jobs that were launched.
        returns: Hydra's JobReturn for each.
        sweep: The multirun.

    Returns:
        Those that are not done. With `force=true` results of before are in the store too, so that there the job must
        also have returned.
    """
    returned = {position for position, back in enumerate(returns) if back.status.name == "COMPLETED"}
    others = [position for position in range(len(configs)) if position not in returned]
    there, fault = _there(configs, sorted(returned), sweep)
    there |= _there(configs, others, sweep)[0]
    failed: dict[int, str] = {}
    skipped: list[int] = []
    queued: dict[int, str] = {}
    for position, (config, back) in enumerate(zip(configs, returns, strict=True)):
        said = back._return_value
        if position in there and (position in returned or not config.force):
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


def _there(configs: Sequence[Config], positions: Sequence[int], sweep: str) -> tuple[set[int], str]:
    """Which have all their results in the store, or why that cannot be known."""
    if not positions:
        return set(), ""
    try:  # asked as by a command that resumes
        Store(configs[positions[0]].tracking).check()  # answers at once, where MLflow tries for minutes
        found, _ = progress.find_done([replace(configs[position], force=False) for position in positions], sweep)
    except EvalrunError as error:
        return set(), f"its results cannot be looked up: {error}"
    return {positions[number] for number in found}, ""
