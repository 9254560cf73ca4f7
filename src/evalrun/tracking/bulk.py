"""Many checkpoints at once: what `runs.deliver` does for one, for thousands, in a transaction for some hundred runs.

MLflow's client takes 100 ms for a run of twelve tasks, which for thousands is minutes. So new runs are made ready here,
and a `RunWriter` puts their rows into MLflow's own tables. The ordinary way is for what is not simply new. This is for
a SQLite file, where a lock keeps two processes apart; `bulk_claimed` is for PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from evalrun.core.plain_names import slug
from evalrun.tracking import delivery_groups, layout, new_runs, sql_reader
from evalrun.tracking.new_runs import RunPlace
from evalrun.tracking.run_writer import RunWriter

_RUNS_A_TRANSACTION = 1000  # bounds memory, and how long others who write wait: some 90,000 rows, a second
_RUNS_A_LOCK = 10_000  # bounds how long others wait who file results of the suite
_AHEAD = 2  # transactions that may wait for the one that is being written: bounds memory


def deliver_one(writer: RunWriter, results: layout.Delivery, sweep: str | None, config_yaml: str | None) -> str:
    """File the results of one checkpoint; a run that a file does not hold yet takes one transaction, not a dozen."""
    if delivery_groups.is_one_run(results):
        first = results[0][0]
        place = writer.place(first.cell.suite)()
        with writer.link.lock(f"runs-{slug(first.cell.suite)}"):
            if not sql_reader.runs(writer.link, first.cell.suite, first.run_key):
                return _write(writer, place, [results], {first.run_key: layout.Origin(sweep, config_yaml)})[0]
    return writer.deliver(results, sweep, config_yaml)()


def deliver(writer: RunWriter, results: layout.Delivery, origins: Mapping[str, layout.Origin]) -> None:
    """File results of any number of checkpoints, thousands in seconds; what it leaves is what `deliver_one` leaves."""
    for suite, groups in delivery_groups.grouped(results).items():
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
    todo = delivery_groups.in_order(groups)
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
    ids = delivery_groups.new_ids(groups, lambda some: writer.taken(some)())
    answers: list[Callable[[], None]] = []
    with ExitStack() as written:  # all that was asked for is there at its end, also where something else failed
        for start, end in _transactions(len(ids), writer.is_beside):
            made = []
            for run_id, group in zip(ids[start:end], groups[start:end], strict=True):
                newest, origin = delivery_groups.newest(group), origins.get(group[0][0].run_key)
                made.append(new_runs.make(place, run_id, newest, origin))
            if writer.is_behind():  # else it has the time
                made = [new_runs.uploaded(run) for run in made]
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
