"""The connection: where the store is, opening it safely, and one sentence for every way it can fail."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shlex
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from evalrun.config.validate import URIS
from evalrun.core.errors import TrackingError
from evalrun.core.plain_names import slug
from evalrun.core.secrets import hide_password, masked, restore_password
from evalrun.tracking import database_schema, mlflow_private, moved, sqlite_address
from evalrun.tracking.database_server import DatabaseServer
from evalrun.tracking.failures import explain, is_of_store
from evalrun.tracking.server_artifacts import see_that_they_arrive
from evalrun.tracking.server_greeting import greet

_KEEP_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
_UNLESS_SET = {  # bars are for people who wait, and each artifact of a server would write one into the logs of a sweep
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
PORT = 5000  # of the page on a local store, unless another is asked for
_numbers = itertools.count()  # of connections
_LOCK_WAIT_S = 120.0  # others may be waiting their turn to open the store, a second or two each


def quiet() -> None:
    """Switch off MLflow's telemetry, chatter, bars and printed addresses; call it before mlflow is imported."""
    os.environ.update(_KEEP_QUIET | {name: os.environ.get(name, usual) for name, usual in _UNLESS_SET.items()})
    # The last logs a full traceback before it raises, and the caller hears of the error anyway.
    levels = {"mlflow": logging.WARNING, "alembic": logging.WARNING, "mlflow.store.db.utils": logging.CRITICAL}
    for name, level in levels.items():
        if logging.getLogger(name).level != level:  # to set it costs a visit to every logger that there is
            logging.getLogger(name).setLevel(level)


class MlflowConnection:
    """An MLflow store and the connection to it, opened on first use."""

    def __init__(self, uri: str | None, root: Path, patience_s: float, upgrade: bool = False) -> None:
        """Say where the store is (no uri: an SQLite file in `root`); nothing is opened."""
        self.upgrade = upgrade  # whether an older database may be migrated
        self.root = root.expanduser().absolute()
        self.patience_s = patience_s
        path = self.root / "mlflow.db" if uri is None else sqlite_address.path_of(uri)
        self.database = None if path is None else path.expanduser().absolute()  # the SQLite file, where there is one
        address = str(uri) if self.database is None else sqlite_address.address_of(self.database)
        self.uri = restore_password(
            hide_password(address)
        )  # it is in the environment then, and in no message of MLflow's
        self.server = DatabaseServer(self.uri, self.shown, patience_s)  # of use where the URI names one
        self.without_items: set[str] = set()  # runs that were read and say so: a server is not asked for theirs
        self._client: Any = None
        self._number = next(_numbers)
        self._settled: int | None = None  # inode of the database that was looked through
        self._has_tables = False  # of this MLflow's, in a database server that was asked

    @property
    def remote(self) -> bool:
        """Whether a server keeps the store, rather than a database that this process writes itself."""
        return self.uri.startswith(("http://", "https://"))

    @property
    def shown(self) -> str:
        """The URI for messages, without a password."""
        return masked(self.uri)

    @property
    def place(self) -> str:
        """What to call the store in messages: its file or its address."""
        return self.shown if self.database is None else str(self.database)

    @property
    def client(self) -> Any:
        """An `MlflowClient`; the first use opens the store."""
        if self._client is None:
            quiet()
            if self.remote:
                self._client = self._connect()
            else:
                with self._first_use():
                    self._client = self._connect()
        mlflow_private.keep_folders_apart(self._number)
        return self._client

    def exists(self) -> bool:
        """Whether there can be anything to read; a local database need not be made for reading."""
        return self.database is None or self.database.exists()

    def has_tables(self) -> bool:
        """Whether there is anything to read in a database server, which MLflow is not asked for.

        Raises:
            TrackingError: it does not answer, or is of another MLflow.
        """
        if not self._has_tables:
            with self.guard("connecting to the database"):
                self.server.reach()
            with self._first_use():  # another process may be making them
                pass
        return self._has_tables

    def check(self, opens: bool = True) -> None:
        """Raise TrackingError, soon, if nothing could be delivered; MLflow opens a file if `opens`, in seconds."""
        if self.database is None and not self.uri.startswith(URIS):
            raise TrackingError(
                f"the tracking URI '{self.shown}' does not work here; tracking.uri takes null, sqlite:///FILE, "
                "http(s)://HOST:PORT or a database such as postgresql://USER@HOST/NAME."
            )
        if self.remote:
            with self.guard("greeting the server"):
                greet(self.uri, self.shown, self.patience_s)
            return
        if self.database is None:
            with self.guard("connecting to the database"):
                self.server.reach()
        else:
            try:
                self.root.mkdir(parents=True, exist_ok=True)
                self.database.parent.mkdir(parents=True, exist_ok=True)
                probe = self.root / f".write-test-{os.getpid()}"
                probe.touch()
                probe.unlink(missing_ok=True)
            except OSError as error:
                raise TrackingError(
                    f"the tracking folder {self.root} cannot be written ({error.strerror}); set tracking.root."
                ) from error
            with self._first_use():
                self._check_sqlite(self.database)
            if not opens:
                return
        with self.guard("opening the store"):
            self.client.search_experiments(max_results=1)

    def experiment(self, name: str, create: bool = False, kind: str = "") -> Any:
        """The experiment of this name, or None; made if wanted.

        Raises:
            TrackingError: when somebody deleted it: restoring would bring back the runs they did not want.
        """
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is None and create:
            # A server decides itself where artifacts go.
            folder = None if self.remote else (self.root / "artifacts" / slug(name)).as_uri()
            tags = {"evalrun.kind": kind}
            if self.database is not None and self.database.parent != self.root:
                tags[moved.APART] = str(self.root)  # chosen by somebody: no trace of a store that moved
            # Another process may be faster; then it has the same to offer.
            with contextlib.suppress(MlflowException):
                self.client.create_experiment(name, artifact_location=folder, tags=tags)
            found = self.client.get_experiment_by_name(name)
            if found is None:
                raise TrackingError(
                    f"MLflow at {self.shown} does not make an experiment named '{name}'; rename the suite."
                )
        if found is not None and found.lifecycle_stage != "active":
            raise self.deleted(name, found.experiment_id)
        if found is not None and create and self.remote:
            see_that_they_arrive(name, found.artifact_location, self.shown)
        if found is not None and create and kind and not found.tags.get("evalrun.kind"):  # somebody else's
            self.tag_experiment(found.experiment_id, "evalrun.kind", kind)
        return found

    def tag_experiment(self, experiment_id: str, key: str, value: str) -> None:
        """Set a tag of an experiment; twice if another process makes it this moment, which MLflow refuses."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.set_experiment_tag(experiment_id, key, value)
        except MlflowException as error:
            if error.error_code != "BAD_REQUEST":
                raise
            self.client.set_experiment_tag(experiment_id, key, value)

    def deleted(self, name: str, experiment_id: str | int) -> TrackingError:
        """Somebody deleted an experiment that is needed."""
        do = f"MLFLOW_TRACKING_URI={shlex.quote(self.shown)} python -m mlflow"
        return TrackingError(
            f"the MLflow experiment '{name}' was deleted: `{do} experiments restore -x {experiment_id}` restores it, "
            f"`{do} gc --experiment-ids {experiment_id}` removes it for good with what it holds; or choose another "
            "suite name."
        )

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Keep out other processes (of this file, else of this machine); a TrackingError if one stays too long."""
        folder = self.root if self.database is None else self.database.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / f".{name}.lock", timeout=_LOCK_WAIT_S):
                yield
        except Timeout as error:
            raise TrackingError(
                f"another process has held {error.lock_file} for {_LOCK_WAIT_S:.0f} seconds; end it and run this again."
            ) from error

    @contextlib.contextmanager
    def guard(self, doing: str) -> Iterator[None]:
        """Turn whatever MLflow, its database or the network throws into one TrackingError."""
        quiet()
        try:
            yield
        except Exception as error:
            if not is_of_store(error):
                raise
            raise TrackingError(explain(error, doing, self.place, self.shown)) from error

    def _connect(self, uri: str | None = None) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=uri or self.uri, registry_uri=uri or self.uri)

    @contextlib.contextmanager
    def _first_use(self) -> Iterator[None]:
        """Let one process at a time open the store: concurrent first use of a fresh SQLite database corrupts it."""
        folder = self.root if self.database is None else self.database.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / ".mlflow.lock", timeout=_LOCK_WAIT_S)
            lock.acquire()
        except Timeout as error:
            raise TrackingError(
                f"another process has been opening {self.place} for {_LOCK_WAIT_S:.0f} seconds; end it and try again."
            ) from error
        except OSError:
            if not self.exists():
                raise
            self._check_schema(may_write=False)
            yield  # a store that may only be read was initialised by somebody else
            return
        try:
            self._make_database()
            self._check_schema(may_write=True)
            yield
        finally:
            lock.release()

    def _make_database(self) -> None:
        """Make an SQLite database that is not there yet: beside its place, and renamed when it is whole.

        MLflow makes one in some fifty steps, and one that was killed half-way it can never open again.
        """
        if self.database is None or (self.database.is_file() and self.database.stat().st_size):
            return
        new = self.database.with_name(f".{self.database.name}.new")
        with self.guard("making the database"):
            for left in new.parent.glob(f"{new.name}*"):  # of a killed process; its rollback journal too
                left.unlink()
            with mlflow_private.synced_at_the_end(new):
                (client := self._connect(sqlite_address.address_of(new))).search_experiments(max_results=1)
                mlflow_private.close_database(client)
            new.replace(self.database)

    def _check_schema(self, may_write: bool) -> None:
        """Before MLflow opens a database: it is this version's, and its paths are those of the place where it is."""
        with self.guard("looking at the database"):
            if self.database is None:
                self._has_tables = database_schema.check_server(self.uri, self.shown, self.upgrade)
                return
            if self._settled != self.database.stat().st_ino:  # else by an earlier job of this process
                database_schema.check_file(self.database, self.patience_s, self.upgrade and may_write)
                if may_write:
                    moved.settle(self.database, self.root, self.patience_s)
                    self._settled = self.database.stat().st_ino

    def _check_sqlite(self, path: Path) -> None:
        """Ask SQLite itself, which answers sooner and clearer than MLflow: is this a database, and may we write now?"""
        try:
            with contextlib.closing(sqlite3.connect(path, timeout=self.patience_s, isolation_level=None)) as database:
                database.execute("BEGIN IMMEDIATE")
                database.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise TrackingError(explain(error, "opening the database", self.place, self.shown)) from error
