"""Which checkpoint runs a suite has and what each holds, by their tags alone."""

from __future__ import annotations

from collections.abc import Iterable

from evalrun.tracking import layout, sqlite_reader
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.sqlite_reader import Noted


def filed(link: MlflowConnection, suite: str) -> dict[str, layout.RunEntry]:
    """Every checkpoint run of a suite by its key: what it is and holds. Creates nothing (`Store.filed`)."""
    return {key: layout.RunEntry.of(run.tags) for key, run in by_key(link, suite).items()}


def noted(link: MlflowConnection, suite: str) -> list[Noted]:
    """Every checkpoint run of a suite, newest first."""
    return _through_mlflow(link, suite) if link.database is None else sqlite_reader.noted(link, suite)


def of_key(link: MlflowConnection, suite: str, run_key: str) -> Noted | None:
    """One checkpoint run of a store that is a file."""
    return _by_key(sqlite_reader.noted(link, suite, run_key)).get(run_key)


def by_key(link: MlflowConnection, suite: str) -> dict[str, Noted]:
    """The checkpoint runs of a suite by run key; of twins the one that holds most."""
    return _by_key(noted(link, suite))


def _by_key(runs: Iterable[Noted]) -> dict[str, Noted]:
    found: dict[str, Noted] = {}
    for run in runs:
        other = found.get(run.tags[layout.KEY])
        if other is None or len(layout.held(run.tags)) >= len(layout.held(other.tags)):
            found[run.tags[layout.KEY]] = run
    return found


def _through_mlflow(link: MlflowConnection, suite: str) -> list[Noted]:
    from evalrun.tracking.results_table import search

    with link.guard("looking up finished tasks"):
        experiment = link.experiment(suite)
        runs = [] if experiment is None else search(link, experiment.experiment_id, "checkpoint")
        return [
            Noted(run.info.run_id, run.info.status == "FINISHED", run.data.tags)
            for run in runs
            if layout.KEY in run.data.tags
        ]
