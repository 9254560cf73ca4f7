"""Where an export is kept: whose folder it is, one writer at a time, whole files or none."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from evalrun.core.atomic import unwritten, write_file
from evalrun.core.errors import ConfigError, StorageError
from evalrun.core.text import listed

NOTE = ".evalrun-export"  # JSON that says what the folder holds; without the ending, readers of JSON pass over it
_LOCK = ".evalrun-export.lock"
_FIRST = ".evalrun-*.tmp"  # where files are written first: at the top, by a name that no reader takes for its own
_PATIENCE_S = 30.0


class ExportFolder:
    """A folder that holds one export; made by `open_folder`.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: list[Path] = []
        self.kept = 0  # files that were as they should be

    def write(self, name: str, content: str | bytes) -> None:
        """Put a file in its place, unless it is there already.

        Args:
            name: Path below the folder.
            content: Text, written as UTF-8, or bytes.

        Raises:
            StorageError: it cannot be written; what was there before is there still.
        """
        path, data = self.folder / name, content.encode() if isinstance(content, str) else content
        if _content(path) == data:
            self.kept += 1
            return
        write_file(path, data, first=self.free_path())
        self.written.append(path)

    def extend(self, name: str, content: bytes) -> None:
        """`write`, but what has only grown is appended to, so that a program which has it open reads on.

        Args:
            name: Path below the folder.
            content: Of records, of which a reader passes over one that breaks off.

        Raises:
            StorageError: as `write`.
        """
        path = self.folder / name
        before = _content(path)
        if not before or before == content or not content.startswith(before):
            self.write(name, content)
            return
        try:
            with path.open("ab") as file:
                try:
                    file.write(content[len(before) :])
                    file.flush()
                except OSError:
                    os.truncate(path, len(before))
                    raise
        except OSError as error:
            raise unwritten(path, content, error) from error
        self.written.append(path)

    def sweep(self) -> None:
        """Delete what lies at free paths."""
        for left in self.folder.glob(_FIRST):
            _remove(left)

    def free_path(self) -> Path:
        """A path for what is to be moved to its place; what a kill leaves there the next export deletes."""
        return self.folder / _FIRST.replace("*", uuid.uuid4().hex[:12])


@contextlib.contextmanager
def open_folder(folder: Path, about: Mapping[str, str]) -> Iterator[ExportFolder]:
    """Make a folder one export's, or go on with that which is there; nobody else writes it while the block lasts.

    Args:
        folder: Made if need be.
        about: What the export is of, `format` first: another one is refused.

    Raises:
        ConfigError: it holds something else.
        StorageError: it cannot be written, or somebody else is writing it.
    """
    _check(folder, about)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / _LOCK, timeout=_PATIENCE_S):
            _check(folder, about)  # another export may have begun it since
            kept = ExportFolder(folder)
            kept.sweep()
            if not (folder / NOTE).exists():
                write_file(folder / NOTE, json.dumps(about, indent=1) + "\n", first=kept.free_path())
            yield kept
    except Timeout:
        said = f"another export has been writing {folder} for {_PATIENCE_S:.0f} s: try again later."
        raise StorageError(said) from None
    except OSError as error:
        raise unwritten(folder, "", error) from error


def _check(folder: Path, about: Mapping[str, str]) -> None:
    """Refuse a folder that holds something else.

    Raises:
        ConfigError: with what it holds.
        StorageError: it cannot be read.
    """
    try:
        if not folder.is_dir():
            if folder.exists() or folder.is_symlink():
                raise ConfigError(f"{folder} is a file, and an export to {about['format']} is a folder: name another.")
            return
        there = sorted(entry.name for entry in folder.iterdir() if not entry.match(_FIRST) and entry.name != _LOCK)
        note = _content(folder / NOTE)
    except OSError as error:
        raise StorageError(f"{folder} cannot be read: {error.strerror or error}.") from error
    if note is None and there:
        raise ConfigError(
            f"{folder} holds something that is no export of evalrun ({listed(there, 3)}): name a folder of its own, "
            f"such as {folder / 'evalrun'}."
        )
    if note is not None and (differs := _difference(note, about)):
        raise ConfigError(f"{folder} holds an export {differs}: name another folder, or delete this one first.")


def _difference(note: bytes, about: Mapping[str, str]) -> str:
    """In what the export that is there differs from this one, in words; empty where it does not."""
    try:
        known = json.loads(note)
    except ValueError:
        known = None
    if not isinstance(known, dict):
        return f"whose {NOTE} cannot be read"
    for name, here in about.items():
        if (there := known.get(name)) != here:
            return f"of {name} '{there}', and this one is of '{here}'"
    return ""


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _remove(path: Path) -> None:
    if path.is_dir():
        import shutil

        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
