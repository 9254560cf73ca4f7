"""Results on their way to a store, by suite and run; and the ids of runs that are not there yet."""

from __future__ import annotations

import hashlib
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from evalrun.core.records import TaskResult
from evalrun.tracking.layout import Delivery

_STEP_DIGITS = 8  # of the 32 of an id


def grouped(results: Delivery) -> dict[str, dict[str, Delivery]]:
    """Suite -> run key -> its results."""
    suites: dict[str, dict[str, list[tuple[TaskResult, Path | None]]]] = defaultdict(lambda: defaultdict(list))
    for result, path in results:
        suites[result.cell.suite][result.run_key].append((result, path))
    return {suite: dict(groups) for suite, groups in suites.items()}


def is_one_run(results: Delivery) -> bool:
    """Whether there are results, all of one checkpoint and its settings."""
    return len({(result.run_key, result.cell) for result, _ in results}) == 1


def newest(group: Delivery) -> Delivery:
    """Each task once, as in runs.deliver."""
    return list({pair[0].task: pair for pair in sorted(group, key=lambda pair: pair[0].finished_ms)}.values())


def in_order(groups: Mapping[str, Delivery]) -> list[str]:
    """Run keys in the order of their runs' ids: a database's indexes grow at a few places then, not at one a run."""
    return sorted(groups, key=lambda key: _id_of(groups[key][0][0]))


def new_ids(groups: Iterable[Delivery], taken: Callable[[Sequence[str]], set[str]]) -> list[str]:
    """Ids that follow from the keys, so that a second try finds the folders of a killed one; others if taken.

    Args:
        groups: The results of each run.
        taken: Says which of some ids a run has.
    """
    ids = [_id_of(group[0][0]) for group in groups]
    there = taken(ids)
    return [uuid.uuid4().hex if run_id in there else run_id for run_id in ids]


def _id_of(result: TaskResult) -> str:
    """The step, then a digest: MLflow's indexes of values are in the order of steps, and its others in that of ids."""
    step = min(result.cell.step, 16**_STEP_DIGITS - 1)
    return f"{step:0{_STEP_DIGITS}x}{hashlib.sha256(result.run_key.encode()).hexdigest()[: 32 - _STEP_DIGITS]}"
