"""Many checkpoints at once: what `runs.deliver` does for one, for thousands, in a transaction for some hundred runs.

MLflow's client takes 100 ms for a run of twelve tasks, which for thousands is minutes. So new runs are made ready here,
and a `RunWriter` puts their rows into MLflow's own tables. The ordinary way is for what is not simply new, and for
every store but a SQLite file (`server_backend`): only beside a file does a lock keep two processes apart.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from evalrun.core.plain_names import slug
from evalrun.core.records import TaskResult
from evalrun.tracking import layout, new_runs, sql_reader
from evalrun.tracking.new_runs import RunPlace
from evalrun.tracking.run_writer import RunWriter

_RUNS_A_TRANSACTION = 1000  # bounds memory, and how long others who write wait: some 90,000 rows, a second
_RUNS_A_LOCK = 10_000  # bounds how long others wait who file results of the suite
_STEP_DIGITS = 8  # of the 32 of an id
_AHEAD = 2  # transactions that may wait for the one that is being written: bounds memory


def deliver_one(writer: RunWriter, results: layout.Delivery, sweep: str | None, config_yaml: str | None) -> str:
    """File the results of one checkpoint; a run that a file does not hold yet takes one transaction, not a dozen."""
    first = results[0][0] if results else None
    if first is not None and len({(one.run_key, one.cell) for one, _ in results}) == 1:
        place = writer.place(first.cell.suite)()
        with writer.link.lock(f"runs-{slug(first.cell.suite)}"):
            if not sql_reader.runs(writer.link, first.cell.suite, first.run_key):
                return _write(writer, place, [results], {first.run_key: layout.Origin(sweep, config_yaml)})[0]
    return writer.deliver(results, sweep, config_yaml)()


def deliver(writer: RunWriter, results: layout.Delivery, origins: Mapping[str, layout.Origin]) -> None:
    """File results of any number of checkpoints, thousands in seconds; what it leaves is what `deliver_one` leaves."""
    suites: dict[str, dict[str, list[tuple[TaskResult, Path | None]]]] = defaultdict(lambda: defaultdict(list))
    for result, path in results:
        suites[result.cell.suite][result.run_key].append((result, path))
    for suite, groups in suites.items():
        there = _write_fresh(writer, suite, groups, origins)
        for key, group in groups.items():
            if key in there and not there[key].holds(result for result, _ in group):
                origin = origins.get(key, layout.Origin())
                writer.deliver(group, origin.sweep, origin.config_yaml)()


def _write_fresh(
    writer: RunWriter, suite: str, groups: Mapping[str, layout.Delivery], origins: Mapping[str, layout.Origin]
) -> dict[str, layout.RunEntry]:
    """Write the runs that are not there yet; returns those that were there."""
    place = writer.place(suite)()
    place = replace(place, sizes=place.sizes | {group[0][0].cell.n_params for group in groups.values()})
    there: dict[str, layout.RunEntry] = {}
    # In the order of ids MLflow's indexes grow at a few places, and not a page of them for each run.
    todo = sorted(groups, key=lambda key: _id_of(groups[key][0][0]))
    for start in range(0, len(todo), _RUNS_A_LOCK):
        keys = todo[start : start + _RUNS_A_LOCK]
        # Two processes that both find a run absent would both write it: the lock is the one of `runs.deliver`.
        with writer.link.lock(f"runs-{slug(suite)}"):
            there |= layout.by_key(sql_reader.runs_of_keys(writer.link, suite, keys))
            _write(writer, place, [groups[key] for key in keys if key not in there], origins)
    return there


def _write(
    writer: RunWriter, place: RunPlace, groups: Sequence[layout.Delivery], origins: Mapping[str, layout.Origin]
) -> list[str]:
    """New runs: their artifacts first, then all rows of some in one transaction; what is killed before leaves no run.

    Returns:
        Their ids.
    """
    ids = _new_ids(writer, [group[0][0] for group in groups])
    answers: list[Callable[[], None]] = []
    with ExitStack() as written:  # all that was asked for is there at its end, also where something else failed
        for start, end in _transactions(len(ids), writer.is_beside):
            made = []
            for run_id, group in zip(ids[start:end], groups[start:end], strict=True):
                newest, origin = _newest(group), origins.get(group[0][0].run_key)
                run = new_runs.make(place, run_id, [result for result, _ in newest], origin)
                new_runs.upload(run.artifacts, newest, origin)
                made.append(run)
            if len(answers) > _AHEAD:
                answers[-1 - _AHEAD]()
            answers.append(written.callback(writer.write(place, made)))
    return ids


def _transactions(runs: int, is_beside: bool) -> Iterator[tuple[int, int]]:
    """Which runs are written together; the first are few where another process waits for something to write."""
    start, size = 0, _RUNS_A_TRANSACTION // (8 if is_beside else 1)
    while start < runs:
        size = max(size, 1)
        yield start, min(start + size, runs)
        start, size = start + size, min(2 * size, _RUNS_A_TRANSACTION)


def _newest(group: layout.Delivery) -> layout.Delivery:
    """Each task once, as in runs.deliver."""
    return list({pair[0].task: pair for pair in sorted(group, key=lambda pair: pair[0].finished_ms)}.values())


def _new_ids(writer: RunWriter, results: Iterable[TaskResult]) -> list[str]:
    """Ids that follow from the keys, so that a second try finds the folders of a killed one; others if taken."""
    ids = [_id_of(result) for result in results]
    taken = writer.taken(ids)()
    return [uuid.uuid4().hex if run_id in taken else run_id for run_id in ids]


def _id_of(result: TaskResult) -> str:
    """The step, then a digest: MLflow's indexes of values are in the order of steps, and its others in that of ids."""
    step = min(result.cell.step, 16**_STEP_DIGITS - 1)
    return f"{step:0{_STEP_DIGITS}x}{hashlib.sha256(result.run_key.encode()).hexdigest()[: 32 - _STEP_DIGITS]}"
