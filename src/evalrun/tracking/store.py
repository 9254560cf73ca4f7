"""The one door to MLflow: what can be asked of the place that keeps the results."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from evalrun.config.schema import TrackingConf
from evalrun.config.store_words import store_words
from evalrun.core.errors import TrackingError
from evalrun.core.records import TaskResult
from evalrun.tracking import layout
from evalrun.tracking.alarms import Alarms
from evalrun.tracking.backends import backend_of
from evalrun.tracking.connection import PORT, MlflowConnection
from evalrun.tracking.layout import RunEntry
from evalrun.tracking.suite_groups import SuiteGroups
from evalrun.tracking.token_counts import TokenCounts

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.tracking.file_state import FileState
    from evalrun.tracking.filed_results import FiledRun
    from evalrun.tracking.item_files import ItemReader
    from evalrun.tracking.store_state import StoreState
    from evalrun.tracking.suite_table import SuiteTable

# The modules behind these methods import mlflow at their top; importing them inside the methods keeps this one cheap.


class Store:
    """Where results are kept: a local SQLite file by default, or an MLflow server.

    Building one touches nothing; every method raises TrackingError, one sentence, when MLflow or its database fails.

    Args:
        conf: Where; `uri: null` means SQLite and artifacts under `root`.
        patience_s: Seconds to wait for a locked database or a silent server before giving up.
    """

    def __init__(self, conf: TrackingConf, patience_s: float = 10.0) -> None:
        self.conf = conf
        self.patience_s = patience_s
        self._link = MlflowConnection(conf.uri, Path(conf.root), patience_s, conf.upgrade)
        self._backend = backend_of(self._link)
        self.groups = SuiteGroups(self._link, self._backend)  # of tasks, that suites were evaluated on
        self.tokens = TokenCounts(self._link)  # of checkpoints
        self.alarms = Alarms(self._link, self._backend)  # what watches found to be worse

    def __reduce__(self) -> tuple[type[Store], tuple[TrackingConf, float]]:
        """Pickle by configuration: a connection belongs to the process that opened it."""
        return type(self), (self.conf, self.patience_s)

    @property
    def uri(self) -> str:
        """The MLflow tracking URI, absolute and without a password."""
        return self._link.shown

    def check(self, opens: bool = True) -> None:
        """Make sure that results can be delivered; unless `opens`, MLflow is spared and a local file looked at without.

        Raises:
            TrackingError: when the folder cannot be written, the database is locked, damaged or of another MLflow
                version, or the server does not answer.
        """
        self._link.check(opens)

    def written_beside(self) -> AbstractContextManager[None]:
        """In the block a process beside this one writes what is delivered to a file, where one may be forked."""
        return self._backend.written_beside()

    def check_soon(self) -> Callable[[], None]:
        """Begin to make sure that results can be delivered; what is returned waits for the answer, as of `check`."""
        return self._backend.check_soon()

    def delivered(self, suite: str, run_key: str) -> dict[str, str]:
        """What the run of this key already holds: task -> task key; empty when there is no run. Creates nothing."""
        run = self.entry(suite, run_key)
        return {} if run is None else run.tasks

    def entry(self, suite: str, run_key: str) -> RunEntry | None:
        """The checkpoint run of this key; None where there is none. Creates nothing."""
        if not self._link.exists():
            return None
        return layout.by_key(self._backend.runs(suite, run_key)).get(run_key)

    def delivered_all(self, suite: str) -> dict[str, dict[str, str]]:
        """What every run of a suite holds: run key -> task -> task key."""
        return {key: run.tasks for key, run in self.filed(suite).items()}

    def filed(self, suite: str) -> dict[str, RunEntry]:
        """Every checkpoint run of a suite by its key: what it is and holds. Creates nothing."""
        if not self._link.exists():
            return {}
        return layout.by_key(self._backend.runs(suite))

    def state(self) -> StoreState | None:
        """What tells whether anything has changed; None where there is nothing that can be asked for it."""
        return self._backend.state() if self._link.exists() else None

    def file_state(self) -> FileState | None:
        """The state of a SQLite file, which other processes may read and write beside this one; None without one."""
        from evalrun.tracking.file_state import FileState

        return FileState(self._link) if self._link.database is not None and self._link.exists() else None

    def check_readable(self) -> None:
        """Make sure that the store can be asked, without making one; a TrackingError, soon, if it cannot."""
        self._backend.check_readable()

    def deliver(
        self, results: Sequence[tuple[TaskResult, Path | None]], sweep: str | None, config_yaml: str | None
    ) -> str:
        """File the results of one checkpoint; delivering the same again adds nothing, a later delivery replaces.

        Args:
            results: Task results of one run key, each with its Parquet file of per-item results, or None where there
                are no items.
            sweep: Names the multirun that wanted them, or None.
            config_yaml: The resolved configuration, kept as an artifact; None where there is none.

        Returns:
            The MLflow run's id.

        Raises:
            TrackingError: when MLflow fails; what was not delivered stays in the journal and can be delivered again.
            StorageError: when a Parquet file is missing or is not the one that was scored.
            ValueError: when the results do not belong together.
        """
        with self._link.guard("delivering results"):
            return self._backend.deliver(results, sweep, config_yaml)

    def deliver_many(
        self,
        results: Sequence[tuple[TaskResult, Path | None]],
        origins: Mapping[str, tuple[str | None, str | None]] | None = None,
    ) -> None:
        """File results of any number of checkpoints, thousands in seconds; what it leaves is what `deliver` leaves.

        Only the artifacts differ where a run key has no origin: the records of a new run are then together in one
        results.json.

        Args:
            results: Task results of any run keys, each with its Parquet file of per-item results or None.
            origins: Run key -> the sweep that wanted it and its resolved configuration, as for `deliver`.

        Raises:
            TrackingError: when MLflow fails; what was not delivered is delivered when this is asked again.
            StorageError: when a Parquet file is missing or is not the one that was scored.
        """
        known = {key: layout.Origin(*origin) for key, origin in (origins or {}).items()}
        with self._link.guard("delivering results"):
            self._backend.deliver_many(results, known)

    def mark(self, suite: str, run_key: str, sweep: str | None) -> None:
        """Note that a sweep wanted this run too, though it was done already."""
        if not self._link.exists():
            return
        from evalrun.tracking import runs

        with self._link.guard("marking a finished run"):
            runs.mark(self._link, suite, run_key, sweep)

    def mark_all(self, suite: str, run_keys: Iterable[str], sweep: str) -> None:
        """Note for many runs that a sweep wanted them; those that are marked already are not touched."""
        if not self._link.exists():
            return
        with self._link.guard("marking finished runs"):
            self._backend.mark_many(suite, run_keys, sweep)

    def past(self, suite: str) -> list[RunEntry]:
        """The suite's checkpoint runs at a glance, oldest first; a local store is read without MLflow. Creates nothing.

        Raises:
            TrackingError: the store cannot be read.
        """
        if not self._link.exists():
            return []
        self._backend.check_readable()
        return [run for run in reversed(self._backend.runs(suite)) if run.checkpoint is not None]

    def suites(self) -> list[str]:
        """The suites that have checkpoint runs, sorted."""
        if not self._link.exists():
            return []
        with self._link.guard("listing suites"):
            return self._backend.suites()

    def recent_suites(self) -> list[str]:
        """The suites that have checkpoint runs, what was computed last first."""
        if not self._link.exists():
            return []
        from evalrun.tracking import results_table

        with self._link.guard("listing suites"):
            return sorted(results_table.suites(self._link), key=lambda suite: -results_table.latest(self._link, suite))

    def table(self, suite: str, sweep: str | None = None) -> pd.DataFrame:
        """The tidy table of a suite, read from MLflow alone: columns are columns.TABLE_COLUMNS.

        Args:
            suite: Which suite; an unknown one gives an empty table.
            sweep: Only the runs that this multirun wanted.
        """
        return self.read(suite).of(sweep)

    def read(self, suite: str) -> SuiteTable:
        """All results of a suite, read once for several uses; an unknown suite has none."""
        from evalrun.tracking.suite_table import suite_table

        if not self._link.exists():
            return suite_table([])
        with self._link.guard("reading results"):
            return self._backend.table(suite)

    def table_of(self, run_ids: Sequence[str]) -> pd.DataFrame:
        """The tidy table of some runs alone: no others are read."""
        with self._link.guard("reading results"):
            return self._backend.table_of(run_ids).of()

    def items(self, wanted: Iterable[tuple[str, str]]) -> ItemReader:
        """A reader of the per-item results of these runs and tasks, for a `with` block: see `item_files.ItemReader`."""
        from evalrun.tracking.item_files import ItemReader

        return ItemReader(self._link, wanted)

    def whole_runs(self, entries: Sequence[RunEntry]) -> Iterator[FiledRun]:
        """Runs with their records, items and configs, one after the other: see `filed_results.whole_runs`."""
        from evalrun.tracking import filed_results

        return filed_results.whole_runs(self._link, entries)

    def rebuild_curves(self, suite: str, made: tuple[str, str] | None = None, table: SuiteTable | None = None) -> None:
        """Bring `<suite>-curves`, its saved charts and the experiments' notes up to date; writes only what changed.

        Args:
            suite: Which suite.
            made: A sweep and the command that made it, without secrets, for the notes.
            table: What `read` gave, to spare reading it again where nobody has written since.
        """
        if not self._link.exists():
            return
        with self._link.guard("rebuilding the curves"):
            self._backend.rebuild_curves(suite, table, made)

    def log_report(
        self,
        suite: str,
        files: Mapping[str, Path],
        metrics: Mapping[str, float],
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> str:
        """File an analysis as a run of `<suite>-report`.

        Args:
            suite: Which suite was analysed.
            files: Artifact path, such as `report.html` or `figures/fit.png` -> local file.
            metrics: Numbers worth comparing between analyses; those that are not finite are left out.
            params: What was chosen.
            tags: Anything else.

        Returns:
            The MLflow run's id. The run is FAILED if this raises.
        """
        from evalrun.tracking import report_runs

        with self._link.guard("filing the report"):
            return report_runs.log(self._link, suite, files, metrics, params, tags)

    def view_path(self, suite: str) -> str:
        """The part of the UI's address, from `#` on, for the suite's accuracy curves; TrackingError without any."""
        from evalrun.tracking import views

        with self._link.guard("looking up the curves"):
            return views.curves_path(self._link, suite)

    def run_address(self, suite: str) -> str:
        """A run's address in a browser, `{run}` for its id (a local store's is `evalrun ui`'s); empty without runs."""
        from evalrun.tracking import views

        with self._link.guard("looking up the runs"):
            found = self._backend.experiment_id(suite) if self._link.exists() else None
            return "" if found is None else views.run_address(self._link, found)

    def serve(self, port: int = PORT) -> None:
        """Become MLflow's UI on this store, at a free port if `port` is taken; or say where the server is."""
        from evalrun.tracking import mlflow_ui

        views: dict[str, str | None] = dict.fromkeys(self.recent_suites())
        for suite in views:
            with contextlib.suppress(TrackingError):  # it has no curves yet
                views[suite] = self.view_path(suite)
        mlflow_ui.serve(self._link, port, views, store_words(self.conf))
