"""Many checkpoints at once: what `runs.deliver` does for one, for thousands, in a transaction for some hundred runs.

MLflow's client takes 100 ms for a run of twelve tasks, which for thousands is minutes. So new runs are made ready here,
and a `RunWriter` puts their rows into MLflow's own tables. The ordinary way is for what is not simply new. This is for
a SQLite file, where a lock keeps two processes apart; `bulk_claimed` is for PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from evalrun.core.plain_names import slug
from evalrun.tracking import delivery_groups, layout, new_runs, sql_reader
from evalrun.tracking.new_runs import RunPlace
from evalrun.tracking.run_writer import RunWriter

_RUNS_A_TRANSACTION = 500  # bounds memory, and how long others who write wait: some 45,000 rows, half a second
_RUNS_A_LOCK = 10_000  # bounds how long others wait who file results of the suites
_AHEAD = 2  # transactions that may wait for the one that is being written: bounds memory


def deliver_one(writer: RunWriter, results: layout.Delivery, sweep: str | None, config_yaml: str | None) -> str:
    """File the results of one checkpoint; a run that a file does not hold yet takes one transaction, not a dozen."""
    if delivery_groups.is_one_run(results):
        first = results[0][0]
        place = writer.place(first.cell.suite)()
        with writer.link.lock(f"runs-{slug(first.cell.suite)}"):
            if not sql_reader.runs(writer.link, first.cell.suite, first.run_key):
                return _write(writer, [(place, results)], {first.run_key: layout.Origin(sweep, config_yaml)})[0]
    return writer.deliver(results, sweep, config_yaml)()


def deliver(writer: RunWriter, results: layout.Delivery, origins: Mapping[str, layout.Origin]) -> None:
    """File results of any number of checkpoints, thousands in seconds; what it leaves is what `deliver_one` leaves."""
    suites = delivery_groups.grouped(results)
    asked = {suite: writer.place(suite) for suite in sorted(suites)}
    places = {suite: _with_sizes(place(), suites[suite].values()) for suite, place in asked.items()}
    todo = [(suite, key) for suite in places for key in delivery_groups.in_order(suites[suite])]
    for start in range(0, len(todo), _RUNS_A_LOCK):
        some: dict[str, dict[str, layout.Delivery]] = {}
        for suite, key in todo[start : start + _RUNS_A_LOCK]:
            some.setdefault(suite, {})[key] = suites[suite][key]
        for group in _write_fresh(writer, places, some, origins):
            origin = origins.get(group[0][0].run_key, layout.Origin())
            writer.deliver(group, origin.sweep, origin.config_yaml)()


def _with_sizes(place: RunPlace, groups: Iterable[layout.Delivery]) -> RunPlace:
    return replace(place, sizes=place.sizes | {group[0][0].cell.n_params for group in groups})


def _write_fresh(
    writer: RunWriter,
    places: Mapping[str, RunPlace],
    suites: Mapping[str, Mapping[str, layout.Delivery]],
    origins: Mapping[str, layout.Origin],
) -> list[layout.Delivery]:
    """Write the runs that are not there yet.

    Args:
        writer: Of the store.
        places: Suite -> where its runs go.
        suites: Suite -> run key -> its results.
        origins: Run key -> where its results come from.

    Returns:
        Of the runs that were there, the results of those that lack some of them.
    """
    fresh: list[tuple[RunPlace, layout.Delivery]] = []
    lacking: list[layout.Delivery] = []
    with ExitStack() as locked:
        # Two processes that both find a run absent would both write it: the locks are those of `runs.deliver`, taken
        # in one order, so that no two processes wait for each other.
        for name in sorted({slug(suite) for suite in suites}):
            locked.enter_context(writer.link.lock(f"runs-{name}"))
        for suite, groups in suites.items():
            there = layout.by_key(sql_reader.runs_of_keys(writer.link, suite, [*groups]))
            fresh += [(places[suite], group) for key, group in groups.items() if key not in there]
            lacking += [groups[key] for key, run in there.items() if not run.holds(one for one, _ in groups[key])]
        _write(writer, fresh, origins)
    return lacking


def _write(
    writer: RunWriter, runs: Sequence[tuple[RunPlace, layout.Delivery]], origins: Mapping[str, layout.Origin]
) -> list[str]:
    """New runs: their artifacts first, then all rows of some in one transaction; what is killed before leaves no run.

    Args:
        writer: Of the store.
        runs: Where each goes, and its results; those of one place stand together.
        origins: Run key -> where its results come from.

    Returns:
        Their ids.
    """
    ids = delivery_groups.new_ids([group for _, group in runs], lambda some: writer.taken(some)())
    answers: list[Callable[[], None]] = []
    with ExitStack() as written:  # all that was asked for is there at its end, also where something else failed
        for start, end in _transactions([place for place, _ in runs], writer.is_beside):
            made = []
            for run_id, (place, group) in zip(ids[start:end], runs[start:end], strict=True):
                newest, origin = delivery_groups.newest(group), origins.get(group[0][0].run_key)
                run = new_runs.make(place, run_id, [result for result, _ in newest], origin)
                new_runs.upload(run.artifacts, newest, origin)
                made.append(run)
            if len(answers) > _AHEAD:
                answers[-1 - _AHEAD]()
            answers.append(written.callback(writer.write(runs[start][0], made)))
    return ids


def _transactions(places: Sequence[RunPlace], is_beside: bool) -> Iterator[tuple[int, int]]:
    """Which runs are written together: of one place, and the first few where another process waits for some."""
    start, size = 0, _RUNS_A_TRANSACTION // (8 if is_beside else 1)
    while start < len(places):
        most = min(start + max(size, 1), len(places))
        end = next((at for at in range(start, most) if places[at] is not places[start]), most)
        yield start, end
        start, size = end, min(2 * max(size, 1), _RUNS_A_TRANSACTION)
