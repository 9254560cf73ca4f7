"""What of a store analyses are made from, as digests: whether anything has changed since."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod

from evalrun.tracking import sql_reader
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.slugs import ITEMS


class StoreState(ABC):
    """Asks the database, not MLflow. Every method raises TrackingError if that fails.

    Args:
        link: A store that is read by SQL.
    """

    def __init__(self, link: MlflowConnection) -> None:
        self._link = link

    @abstractmethod
    def stamp(self) -> str | None:
        """Differs once anybody has written what an analysis reads or leaves there; None where that cannot be asked."""

    @abstractmethod
    def content(self, suite: str) -> str | None:
        """Differs once the suite's table would, or what is kept beside it: the table's own digest."""

    def items(self, suite: str) -> str | None:
        """Differs once a file of per-item results does, by size and time; None where some are kept by a server.

        A folder that this machine lacks holds no items for a report that is made on it, whoever has them elsewhere.
        """
        found: list[tuple[str, str, int, int]] = []
        for run_id, folder in sql_reader.folders_of(self._link, suite):
            if folder is None:
                return None
            try:
                with os.scandir(f"{folder}/{ITEMS}") as entries:
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
        return sql_reader.is_active(self._link, run_id)
