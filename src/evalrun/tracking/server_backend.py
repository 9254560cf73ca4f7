"""A store that a server keeps, MLflow's own or a database's: asked by MLflow's client alone, run by run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evalrun.core.plain_names import slug
from evalrun.tracking import delivery_groups, layout
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.layout import Delivery, Origin, RunEntry
from evalrun.tracking.store_state import StoreState

if TYPE_CHECKING:
    from evalrun.tracking.suite_table import SuiteTable

# Importing mlflow takes seconds: what needs it is imported where it is used.


class ServerBackend:
    """How its runs are read and written; the calls are those of `backends.Backend`."""

    def __init__(self, link: MlflowConnection) -> None:
        self._link = link

    def check_readable(self) -> None:
        """One request, where MLflow's own client would try for minutes."""
        self._link.check()

    def suites(self) -> list[str]:
        """The suites that have checkpoint runs, sorted."""
        from evalrun.tracking import results_table

        return results_table.suites(self._link)

    def experiment_id(self, suite: str) -> str | None:
        """MLflow's id of a suite's experiment; None where there is none."""
        found = self._link.experiment(suite)
        return None if found is None else str(found.experiment_id)

    def runs(self, suite: str, run_key: str | None = None) -> list[RunEntry]:
        """Checkpoint runs of a suite, or those of one key, newest first."""
        from evalrun.tracking.results_table import search

        with self._link.guard("looking up finished tasks"):
            experiment = self._link.experiment(suite)
            found = [] if experiment is None else search(self._link, experiment.experiment_id, "checkpoint", run_key)
            runs = [RunEntry(run.info.run_id, run.info.status == "FINISHED", run.data.tags) for run in found]
        return [run for run in runs if layout.KEY in run.tags]

    def looks(self, suite: str) -> list[RunEntry]:
        """Checkpoint runs with all their tags."""
        return self.runs(suite)

    def state(self) -> StoreState | None:
        """None: MLflow does not tell."""
        return None

    def table(self, suite: str) -> SuiteTable:
        """All results of a suite."""
        from evalrun.tracking import results_table

        return results_table.read(self._link, suite)

    def table_of(self, run_ids: Sequence[str]) -> SuiteTable:
        """The results of some runs, asked for one by one."""
        from evalrun.tracking import results_table

        return results_table.of_runs(self._link, run_ids)

    def group_tags(self, suite: str) -> dict[str, str]:
        """All tags of a suite's experiment."""
        with self._link.guard("reading groups of tasks"):
            found = self._link.experiment(suite)
            return {} if found is None else dict(found.tags)

    def rebuild_curves(self, suite: str, table: SuiteTable | None, made: tuple[str, str] | None) -> None:
        """Bring the curves of a suite up to date; it is read anew, since others may have written since."""
        from evalrun.tracking import curve_runs

        curve_runs.rebuild(self._link, suite, lambda: self.table(suite).of(), curve_runs.ClientWriter(self._link), made)

    def artifact_folders(self, run_ids: Collection[str]) -> dict[str, Path]:
        """None: they are downloaded."""
        return {}

    def deliver(self, results: Delivery, sweep: str | None, config_yaml: str | None) -> str:
        """File the results of one checkpoint; returns the run's id."""
        from evalrun.tracking import claims, runs

        return runs.deliver(self._link, results, sweep, config_yaml, claims.create)

    def deliver_many(self, results: Delivery, origins: Mapping[str, Origin]) -> None:
        """File results of any number of checkpoints; what is there already is not sent."""
        for suite, groups in delivery_groups.grouped(results).items():
            there = layout.by_key(self.runs(suite))
            for key, group in groups.items():
                if key not in there or not there[key].holds(result for result, _ in group):
                    origin = origins.get(key, Origin())
                    self.deliver(group, origin.sweep, origin.config_yaml)

    @contextlib.contextmanager
    def written_beside(self) -> Iterator[None]:
        """This process writes in the block, too: a server may keep one waiting, which is to be seen here."""
        yield

    def check_soon(self) -> Callable[[], None]:
        """Make sure that results can be delivered; what is returned does nothing any more."""
        self._link.check()
        return lambda: None

    def mark_many(self, suite: str, run_keys: Iterable[str], sweep: str) -> None:
        """Note on runs that are done that a sweep wanted them too."""
        from evalrun.tracking import runs

        with self._link.lock(f"runs-{slug(suite)}"):  # each sweep adds itself to a list of them
            for run_id, tags in runs.sweep_marks(self._link, layout.by_key(self.runs(suite)), run_keys, sweep).items():
                runs.set_tags(self._link, run_id, tags)
