"""Sha256 of files, read once while they stay as they are."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path


def file_sha256(file: Path) -> str:
    """Sha256 of a file; read once while it stays as it is, and not at all where the hub's cache names it by that.

    Raises:
        OSError: it cannot be read.
    """
    return _sha256(file.absolute(), *_stamp(file))


def _stamp(file: Path) -> tuple[int, int, int]:
    stat = os.stat(file)
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns  # the last cannot be set back


@lru_cache(maxsize=4096)
def _sha256(file: Path, size: int, mtime_ns: int, ctime_ns: int) -> str:
    """The sha256 of a file as it is now; a hub download is named by its own already."""
    blob = file.resolve().name
    if file.is_symlink() and len(blob) == 64 and set(blob) <= set("0123456789abcdef"):
        return blob
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
