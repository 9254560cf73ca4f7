"""What of a store in a SQLite file analyses are made from, as digests: whether anything has changed since."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from evalrun.tracking import sqlite_reader
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.slugs import ITEMS

if TYPE_CHECKING:
    from evalrun.tracking.mlflow_private import OwnCommits


class FileState:
    """Asks SQLite and the file system; only `watch` needs MLflow. Every method raises TrackingError if they fail."""

    def __init__(self, link: MlflowConnection) -> None:
        self._link = link
        self._own: OwnCommits | None = None
        self._counted: int | None = None

    def watch(self) -> str:
        """Begin to notice who else writes, with MLflow, which takes seconds; returns the stamp of now.

        SQLite counts the transactions that change a file; those of this process are counted too, by its own client.
        """
        from evalrun.tracking import mlflow_private

        with self._link.guard("opening the store"):
            self._own = mlflow_private.OwnCommits(self._link.client)
        self._counted = sqlite_reader.transactions(self._link)
        return self.stamp()

    def others_wrote(self) -> bool:
        """Whether anything but this process's client has, or may have, written the file since `watch`."""
        if self._own is None or self._counted is None:
            return True
        return sqlite_reader.transactions(self._link) != self._counted + self._own.count

    def stamp(self) -> str:
        """Differs once anybody has written the file, whatever it was."""
        return repr(sqlite_reader.stamp(self._link))

    def content(self, suite: str) -> str:
        """Differs once the suite's table would, or what is kept beside it."""
        return sqlite_reader.content_digest(self._link, suite)

    def items(self, suite: str) -> str | None:
        """Differs once a file of per-item results does, by size and time; None where some are not on this machine."""
        found: list[tuple[str, str, int, int]] = []
        for run_id, folder in sqlite_reader.folders_of(self._link, suite):
            if folder is None:
                return None
            try:
                with os.scandir(folder / ITEMS) as entries:
                    for entry in entries:
                        said = entry.stat()
                        found.append((run_id, entry.name, said.st_size, said.st_mtime_ns))
            except FileNotFoundError:
                continue
            except OSError:
                return None
        return hashlib.sha256(repr(sorted(found)).encode("utf-8", "surrogatepass")).hexdigest()

    def has(self, run_id: str) -> bool:
        """Whether a run is there and not deleted."""
        return sqlite_reader.is_active(self._link, run_id)
