"""What was found out of local folders, kept while they stay as they are: thousands are not read again at each start.

A folder is as it was if each entry has its name, size, inode and both times. The time of the last change of an inode
(ctime) cannot be set back, so that a file that was written again with its old date is seen. A folder that changed a
moment ago is not kept: a second change could bear the same time. Another version of this package keeps nothing of
what an earlier one found.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from evalrun.checkpoints.download_log import FOLDER
from evalrun.checkpoints.formats.found import INNER
from evalrun.core.atomic import keep_file
from evalrun.core.memory import remembered

FILE = FOLDER / "folders.json"
_SETTLED_S = 2.0  # the coarsest times that file systems keep
_MOST = 200_000  # folders; the oldest go

Entries = list[tuple[str, int, int, int, int]]  # name, bytes, inode, time of change of content and of inode (ns)


class FolderNotes:
    """The notes of one file, read once a session.

    Args:
        file: Where they are kept.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._folders = _read(file)
        self._news: dict[str, dict[str, Any]] = {}
        self._seen: dict[str, tuple[str, Entries, str]] | None = None  # path -> full name, entries, their stamp

    @contextlib.contextmanager
    def one_look(self) -> Iterator[None]:
        """Look at each folder once meanwhile: what is asked about one is about it as it was at the first question."""
        before, self._seen = self._seen, self._seen if self._seen is not None else {}
        try:
            yield
        finally:
            self._seen = before

    def entries(self, folder: str) -> Entries:
        """What lies in a folder, as `entries` says; during `one_look` what lay there when it was first asked."""
        return self._look(folder)[1]

    def _look(self, folder: str) -> tuple[str, Entries, str]:
        if self._seen is not None and folder in self._seen:
            return self._seen[folder]
        found = entries(folder)
        look = os.path.abspath(folder), found, _stamp(found)
        if self._seen is not None:
            self._seen[folder] = look
        return look

    def kept(self, folder: Path, what: str, find: Callable[[], Any], whole: Callable[[], bool] = lambda: True) -> Any:
        """What `find` says of a folder, from the notes where the folder is as it was.

        Args:
            folder: A local one.
            what: Names the finding, and all that it depends on beside the folder's own entries.
            find: Finds it out; a JSON value.
            whole: Whether the finding depends on the folder's own entries alone, asked after `find`.

        Raises:
            Exception: whatever `find` raises; that is not kept.
        """
        name, before, stamp = self._look(str(folder))
        known = self._news.get(name) or self._folders.get(name)
        if known is not None and known.get("stamp") == stamp and what in known["found"]:
            return known["found"][what]
        found = find()
        if settled(before) and whole() and _stamp(entries(folder)) == stamp:
            same = known is not None and known.get("stamp") == stamp
            self._news[name] = {"stamp": stamp, "found": {**(known["found"] if same and known else {}), what: found}}
        return found

    def has(self, folder: str) -> bool:
        """Whether anything is kept of a folder, which may have changed since."""
        name = os.path.abspath(folder)
        return name in self._news or name in self._folders

    def save(self) -> None:
        """Keep what is new for the next process, beside what others kept meanwhile.

        Only where something was evaluated before: `plan` makes no folder.
        """
        if not self._news or not self.file.parent.parent.is_dir():
            return
        everything = {**_read(self.file), **self._news}
        kept = dict(list(everything.items())[-_MOST:])
        keep_file(self.file, json.dumps({"by": _code(), "folders": kept}, separators=(",", ":")))
        self._folders, self._news = kept, {}


def notes() -> FolderNotes:
    """Those beside the jobs' folders, of the folder that the command runs in."""
    return _notes(os.getcwd())


@remembered
def _notes(folder: str) -> FolderNotes:
    return FolderNotes(Path(folder) / FILE)


def entries(folder: str | Path) -> Entries:
    """What lies in a folder and in those folders of it that hold weights, and when it changed.

    Of a file that file; nothing of what cannot be read.
    """
    try:
        with os.scandir(folder) as there:
            inside = list(there)
    except NotADirectoryError:
        stat = os.stat(folder)
        return [(os.path.basename(folder), stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)]
    except OSError:
        return []
    found = [_entry(one) for one in inside]
    for one in inside:
        if INNER.fullmatch(one.name) and one.is_dir():
            found += [(f"{one.name}/{inner[0]}", *inner[1:]) for inner in entries(one.path)]
    return sorted(found)


def _entry(one: os.DirEntry[str]) -> tuple[str, int, int, int, int]:
    try:
        stat = one.stat()
    except OSError:  # a link that leads nowhere
        stat = one.stat(follow_symlinks=False)
    return one.name, stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns


def _stamp(found: Entries) -> str:
    return hashlib.sha256(repr(found).encode()).hexdigest()


def settled(found: Entries) -> bool:
    """Whether nothing of it changed a moment ago, so that a further change would show."""
    newest = max((max(changed, moved) for *_, changed, moved in found), default=None)
    return newest is not None and newest < (time.time() - _SETTLED_S) * 1e9


def _read(file: Path) -> dict[str, dict[str, Any]]:
    """Folder -> its notes; none where the file cannot be read, or is another version's."""
    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
        said = json.loads(file.read_bytes())
        if said.get("by") == _code():
            return {
                str(name): note
                for name, note in said["folders"].items()
                if isinstance(note, dict) and isinstance(note.get("found"), dict)
            }
    return {}


@cache
def _code() -> str:
    """A digest of the code that finds things out: what an earlier one kept may be what it would not say."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
