"""Which reports of a folder need not be made again: those whose data, settings, code and files are what they were.

Each report has a receipt of what it was made from. One more speaks of all of them and of the store, so that an
analysis in which nothing has changed is known without reading a result.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from evalrun.core.receipt import Receipt, key_of, read_receipts, receipt_of, write_receipts
from evalrun.tracking.store_state import StoreState

_FILE = "made.json"
_ALL = ""  # the receipt of all


class KeptReports:
    """The reports of an analysis that are there, and those that are made now.

    Args:
        folder: Of the reports.
        state: The store's; None where it cannot be asked quickly: then all is made again.
        inputs: All that goes into a report beside the store and the files of tasks.
        digest: Task -> what its file and data are now, of those whose texts or clusters a report shows.
    """

    def __init__(self, folder: Path, state: StoreState | None, inputs: object, digest: Callable[[str], str]) -> None:
        self._folder = folder
        self._state = state
        self._digest = digest
        self._key = "" if self._state is None else key_of(inputs)
        self._kept = {} if self._state is None else read_receipts(folder / _FILE)
        self._new: dict[str, Receipt] = {}
        self._runs: dict[str, Callable[[], str]] = {}
        self._read: dict[str, tuple[str | None, str | None]] = {}  # suite -> digests of its results and items

    def all_of_them(self) -> list[Path] | None:
        """The pages, if nothing has changed at all; None if anything has."""
        if self._state is None or _ALL not in self._kept:
            return None
        kept, stamp = self._kept[_ALL], self._state.stamp()
        if stamp is None or kept.about.get("stamp") != stamp:
            return None  # before the folders of all runs are looked through
        try:
            read = {suite: (content, self._state.items(suite)) for suite, (content, _) in _loaded(kept, "read").items()}
            pages = [self._folder / self._kept[title].about["page"] for title in _loaded(kept, "titles")]
            receipts = [self._kept[title] for title in _loaded(kept, "all")]
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        if kept.key != self._key_of_all(read) or not all(one.is_whole(self._folder) for one in receipts):
            return None
        return pages if all(self._has_same_tasks(one) for one in receipts) else None

    def saw(self, suite: str, content: str | None) -> None:
        """Note what the results of a suite are, as they were read now."""
        self._read[suite] = (content, None if self._state is None else self._state.items(suite))

    def page_of(self, title: str, suite: str) -> Path | None:
        """The page of a report that is up to date; None where it is to be made."""
        kept = self._kept.get(title)
        if self._state is None or kept is None or kept.key != self._key_of(suite) or not kept.is_whole(self._folder):
            return None
        if "page" not in kept.about or not self._state.has(kept.about.get("run", "")):
            return None
        if not self._has_same_tasks(kept):
            return None
        self._new[title] = kept
        return self._folder / kept.about["page"]

    def made(
        self,
        title: str,
        suite: str,
        page: Path,
        files: Iterable[Path],
        run: Callable[[], str],
        tasks: Mapping[str, str],
    ) -> None:
        """Keep what a report was made from.

        Args:
            title: Of the report.
            suite: Whose results it shows.
            page: The report.
            files: All of its files.
            run: Gives what it is filed as; asked for when the receipts are written.
            tasks: The tasks whose files were read, each with its digest before that.
        """
        if self._state is not None and None not in self._read[suite]:
            about = {"page": str(page.relative_to(self._folder)), "tasks": json.dumps(dict(tasks))}
            self._new[title] = receipt_of(self._key_of(suite), self._folder, files, about)
            self._runs[title] = run

    def close(self, beside: Iterable[Path], is_all: bool, is_unwritten: bool = False) -> None:
        """Write the receipts; that of all only if the store still holds what was read.

        Args:
            beside: Files that were made from several reports.
            is_all: Whether the reports that were kept are all that there are.
            is_unwritten: Whether nobody has written results since they were read; else they are looked through again.

        Raises:
            StorageError: they cannot be written.
            TrackingError: the store cannot be read.
        """
        if self._state is None:
            return
        new = dict(self._new)
        for title, run in self._runs.items():
            new[title] = replace(new[title], about={**new[title].about, "run": run()})
        if is_all and new:
            titles = list(new)
            new["/"] = receipt_of("", self._folder, beside, {})
            about = {"read": json.dumps(self._read), "titles": json.dumps(titles), "all": json.dumps(list(new))}
            stamp = self._state.stamp()  # before the results are looked through
            if stamp is not None and all(self._is_as_read(self._state, suite, is_unwritten) for suite in self._read):
                new[_ALL] = Receipt(self._key_of_all(self._read), {}, {**about, "stamp": stamp})
        write_receipts(self._folder / _FILE, new)

    def _has_same_tasks(self, kept: Receipt) -> bool:
        """Whether the files of tasks that a report was made from are what they were before they were read."""
        try:
            tasks = _loaded(kept, "tasks") if "tasks" in kept.about else {}
            return all(self._digest(task) == digest for task, digest in tasks.items())
        except (ValueError, AttributeError):
            return False

    def _is_as_read(self, state: StoreState, suite: str, is_unwritten: bool) -> bool:
        """Whether the store still holds what was read; False of what it cannot say, whose report was not kept."""
        read = self._read[suite]
        now = read[0] if is_unwritten else state.content(suite), state.items(suite)
        return None not in read and read == now

    def _key_of(self, suite: str) -> str:
        return repr((self._key, self._read[suite]))

    def _key_of_all(self, read: dict[str, tuple[str | None, str | None]]) -> str:
        return repr((self._key, sorted(read.items())))


def _loaded(kept: Receipt, name: str) -> Any:
    return json.loads(kept.about[name])
