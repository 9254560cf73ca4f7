"""Whole files or none: written beside their place, then renamed, so that a reader sees the old or the new."""

from __future__ import annotations

import errno
import logging
import os
import uuid
from pathlib import Path

from evalrun.core.errors import StorageError

log = logging.getLogger(__name__)


def replace_file(path: Path, content: str | bytes, durable: bool = False) -> None:
    """Put a file in its place; its folder is made if need be, and nothing is left beside it.

    Args:
        path: The file.
        content: Text, written as UTF-8, or bytes.
        durable: Wait until the disk has it, so that not even a power cut takes it.

    Raises:
        OSError: as the system says it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
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


def write_file(path: Path, content: str | bytes) -> Path:
    """`replace_file` for what a user asked for.

    Returns:
        The path.

    Raises:
        StorageError: the disk is full, the folder not writable, or another system error in the way.
    """
    try:
        replace_file(path, content)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            size = len(content.encode() if isinstance(content, str) else content)
            raise StorageError(f"No space left for {path} ({size:,} bytes); free some and run it again.") from error
        raise StorageError(f"{path} cannot be written: {error.strerror or error}.") from error
    return path


def keep_file(path: Path, content: str | bytes) -> None:
    """`replace_file` for what can be had again: where it cannot be kept, nothing is lost but time."""
    try:
        replace_file(path, content)
    except OSError as error:
        log.debug("'%s' cannot be kept (%s)", path, error.strerror or error)
