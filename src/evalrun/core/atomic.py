"""Whole files or none: written beside their place, then renamed, so that a reader sees the old or the new."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from evalrun.core.errors import StorageError

log = logging.getLogger(__name__)


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
    temporary = first or _beside(path)
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


def _beside(path: Path) -> Path:
    """Where a file is written before it takes its place."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")


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
            ready[path] = _beside(path)
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
