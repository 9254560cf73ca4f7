"""Reading back the per-item results: Parquet files that runs have as artifacts."""

from __future__ import annotations

import logging
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from evalrun.core.columns import TOKEN_LISTS
from evalrun.tracking.backends import backend_of
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.slugs import ITEMS, items_path

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

log = logging.getLogger(__name__)

_AT_ONCE = 8  # downloads


class ItemReader:
    """Reads items: called with a run, a task and columns. Use it in a `with` block.

    Files of a store on this machine are read where they lie. Those of a server, or of a bucket, are downloaded in the
    background, the first wanted first, to a folder that lives as long as the block.

    Args:
        link: The store.
        wanted: Run id and task of the results that will be asked for.
    """

    def __init__(self, link: MlflowConnection, wanted: Iterable[tuple[str, str]]) -> None:
        """Begin to fetch what is not on this machine, some runs at a time.

        Args:
            link: The store.
            wanted: Run id and task of all results that will be asked for.

        Raises:
            TrackingError: the store cannot be opened.
        """
        self._link = link
        tasks: dict[str, list[str]] = defaultdict(list)
        for run_id, task in wanted if link.exists() else ():
            tasks[run_id].append(task)
        self._folders = backend_of(link).artifact_folders(tasks) if tasks else {}
        self._there: dict[str, frozenset[str]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._fetched: dict[str, Future[dict[str, Path]]] = {}
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        known = self._folders.keys() | link.without_items
        remote = {run_id: names for run_id, names in tasks.items() if run_id not in known}
        if remote:
            with link.guard("opening the store"):
                _ = link.client  # opened once, not by each thread
            self._scratch = tempfile.TemporaryDirectory(prefix="evalrun-items-")
            self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="items")
            for run_id, names in remote.items():
                self._fetched[run_id] = self._pool.submit(self._fetch, run_id, names)

    def __enter__(self) -> ItemReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop downloading and delete what was downloaded."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        if self._scratch is not None:
            self._scratch.cleanup()

    def __call__(self, run_id: str, task: str, columns: Sequence[str] | None = None) -> pd.DataFrame | None:
        """The items of one result; safe in several threads.

        Args:
            run_id: MLflow run.
            task: Task name.
            columns: Those that are wanted; what the file lacks is left out. None for all.

        Returns:
            One row an item (and filter), columns as scoring writes them; None where the run has no such file, where it
            was not among those wanted of a server, or where it is damaged, which is logged.

        Raises:
            TrackingError: the server fails, or knows no such run.
        """
        table = self.table(run_id, task, columns)
        if table is None:
            return None
        frame: pd.DataFrame = table.to_pandas()
        return frame

    def table(self, run_id: str, task: str, columns: Sequence[str] | None = None) -> pa.Table | None:
        """Items as an Arrow table: lists of numbers stay together, which is many times as fast to compute with."""
        path = self._path(run_id, task)
        if path is None:
            return None
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(path) as file:
                there = set(file.schema_arrow.names)
                some = None if columns is None else [name for name in dict.fromkeys(columns) if name in there]
                return file.read(columns=some)
        except (pa.ArrowException, OSError) as error:
            log.warning("the per-item results of task '%s' on run %s cannot be read: %s", task, run_id, error)
            return None

    def tokens(self, run_id: str, task: str) -> pa.Table | None:
        """The tokens of a result's texts: doc_id, position, and the columns of `TOKEN_LISTS`; None where it keeps none.

        Args:
            run_id: MLflow run.
            task: Task name.
        """
        table = self.table(run_id, task, ["doc_id", *TOKEN_LISTS])
        if table is None or "token_ids" not in table.column_names:
            return None
        import pyarrow as pa
        import pyarrow.compute as pc

        lists = table["token_ids"].combine_chunks()
        parent = pc.list_parent_indices(lists)
        begin = pc.take(lists.offsets, parent)  # numbers of a list go on from those of the one before it
        columns = {"doc_id": table["doc_id"].combine_chunks().take(parent)}
        columns["position"] = pc.subtract(pa.array(range(len(parent)), pa.int64()), pc.cast(begin, pa.int64()))
        for name, (column, _) in TOKEN_LISTS.items():
            if name in table.column_names:
                columns[column] = pc.list_flatten(table[name].combine_chunks())
        return pa.table(columns)

    def _path(self, run_id: str, task: str) -> Path | None:
        """Where a result's items lie now; None where it has none."""
        there = self._there.get(run_id)
        if there is None:
            if run_id not in self._folders:
                name = items_path(task)
                return self._fetched[run_id].result().get(name) if run_id in self._fetched else None
            there = self._there[run_id] = self._names(run_id)
        # Thousands of runs may have none of any task.
        return self._folders[run_id] / name if there and (name := items_path(task)) in there else None

    def _names(self, run_id: str) -> frozenset[str]:
        """The items' files of a run on this machine: looked for once, not for each task of many."""
        try:
            found = os.listdir(f"{self._folders[run_id]}/{ITEMS}")
        except OSError:  # it has none, or they cannot be read
            found = []
        return frozenset(f"{ITEMS}/{name}" for name in found)

    def _fetch(self, run_id: str, tasks: Sequence[str]) -> dict[str, Path]:
        """Download what there is of these tasks' files: artifact name -> where it lies now."""
        assert self._scratch is not None
        target = Path(self._scratch.name) / run_id
        with self._link.guard("downloading per-item results"):
            there = {found.path for found in self._link.client.list_artifacts(run_id, ITEMS)}
            names = [name for name in map(items_path, tasks) if name in there]
            target.mkdir(exist_ok=True)
            return {name: Path(self._link.client.download_artifacts(run_id, name, str(target))) for name in names}
