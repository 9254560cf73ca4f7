"""Whole files or none: written beside their place, then renamed, so that a reader sees the old or the new."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from evalrun.core.errors import StorageError
from evalrun.core.process import is_alive, place_of_processes

log = logging.getLogger(__name__)

_DRAFT = re.compile(r"\..+\.([0-9a-f]{4})([0-9a-f]{6})[0-9a-f]{6}\.tmp")  # whose it is: machine, process
_PIDS = 0xFFFFFF
_ANYONES_S = 86400.0  # age at which another machine's draft goes, of which nobody here knows whether it lives
_swept: set[Path] = set()  # folders that this process has looked through


def replace_file(path: Path, content: str | bytes, durable: bool = False, first: Path | None = None) -> None:
    """Put a file in its place; its folder is made if need be, and nothing is left beside it.

    Args:
        path: The file.
        content: Text, written as UTF-8, or bytes.
        durable: Wait until the disk has it, so that not even a power cut takes it.
        first: Where it is written first, on the same disk; None for beside its place.

    Raises:
        OSError: as the system says it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = first or draft_beside(path)
    try:
        with temporary.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def draft_beside(path: Path) -> Path:
    """Where a file, or a folder, is written before it takes its place.

    What processes that were killed left of theirs is removed, when this one first writes in the same folder.
    """
    folder = path.parent
    if folder not in _swept:
        _swept.add(folder)
        with contextlib.suppress(OSError):
            _sweep(folder)
    return path.with_name(f".{path.name}.{_machine()}{os.getpid() & _PIDS:06x}{secrets.token_hex(3)}.tmp")


def _sweep(folder: Path) -> None:
    """Remove drafts whose process lives no more."""
    now = time.time()
    with os.scandir(folder) as entries:
        drafts = [(entry, said) for entry in entries if (said := _DRAFT.fullmatch(entry.name))]
    for entry, said in drafts:
        if said[1] == _machine():
            is_left = not is_alive(int(said[2], 16))
        else:
            is_left = now - entry.stat(follow_symlinks=False).st_mtime > _ANYONES_S
        if is_left:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink(missing_ok=True)


def _machine() -> str:
    """Where a process number means one process, in few letters."""
    return hashlib.sha256(place_of_processes().encode()).hexdigest()[:4]


def obstacle(path: Path) -> str | None:
    """Why a file could not be put in its place, by trying to write beside it; None where it could. Nothing is left."""
    folder = next(parent for parent in path.absolute().parents if parent.exists() or parent.is_symlink())
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)


def write_file(path: Path, content: str | bytes, first: Path | None = None) -> Path:
    """`replace_file` for what a user asked for.

    Returns:
        The path.

    Raises:
        StorageError: the disk is full, the folder not writable, or another system error in the way.
    """
    try:
        replace_file(path, content, first=first)
    except OSError as error:
        raise unwritten(path, content, error) from error
    return path


def write_files(folder: Path, contents: Mapping[str, str | bytes]) -> dict[str, Path]:
    """`write_file` for files that belong together: all of them are whole on the disk before the first takes its place.

    Args:
        folder: Made if need be.
        contents: Path below the folder -> text or bytes, in the order in which they take their places.

    Returns:
        Path below the folder -> the file.

    Raises:
        StorageError: as `write_file`; what was there before is there still.
    """
    ready: dict[Path, Path] = {}
    path, content = folder, next(iter(contents.values()), "")
    try:
        for name, content in contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            ready[path] = draft_beside(path)
            ready[path].write_bytes(content.encode() if isinstance(content, str) else content)
        for path, temporary in ready.items():
            temporary.replace(path)
    except OSError as error:
        raise unwritten(path, content, error) from error
    finally:
        for temporary in ready.values():
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
    return {name: folder / name for name in contents}


def unwritten(path: Path, content: str | bytes, error: OSError) -> StorageError:
    """Why a file cannot be written, in a sentence."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        size = len(content.encode() if isinstance(content, str) else content)
        return StorageError(f"No space left for {path} ({size:,} bytes); free some and run it again.")
    return StorageError(f"{path} cannot be written: {error.strerror or error}.")


def keep_file(path: Path, content: str | bytes) -> None:
    """`replace_file` for what can be had again: where it cannot be kept, nothing is lost but time."""
    try:
        replace_file(path, content)
    except OSError as error:
        log.debug("'%s' cannot be kept (%s)", path, error.strerror or error)
