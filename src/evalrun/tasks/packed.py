"""Data files that may be compressed: what kind of file is inside, and its content."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from evalrun.core.errors import TaskError, first_line

PACKED = {".gz": "gzip", ".zst": "zstd"}
UNKNOWN = (".bz2", ".xz", ".lzma", ".lz4", ".br", ".zip", ".7z", ".rar", ".z")  # in what else texts are sent around


def ending(path: Path) -> str:
    """The end of a file's name that says how it is read, in small letters, without that of its compression."""
    last = path.suffix.lower()
    return Path(path.stem).suffix.lower() if last in PACKED else last


def not_unpacked(path: Path, known: tuple[str, ...]) -> str | None:
    """The compression of a file that would be read were it in another one.

    Args:
        path: The file.
        known: Endings of what is read.
    """
    last = path.suffix.lower()
    inside = Path(path.stem).suffix.lower()
    return last if last in UNKNOWN and inside in known else None


@contextmanager
def opened(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """A file's text, line by line, as UTF-8 with or without the mark at its beginning.

    Args:
        path: The file.
        newline: As `open` has it.

    Raises:
        TaskError: compressed data that is cut off or is none.
    """
    if path.suffix.lower() not in PACKED:
        with path.open(encoding="utf-8-sig", newline=newline) as file:
            yield file
        return
    import pyarrow

    try:
        with (
            pyarrow.input_stream(str(path), compression=PACKED[path.suffix.lower()]) as stream,
            io.TextIOWrapper(stream, encoding="utf-8-sig", newline=newline) as file,
        ):
            yield file
    except OSError as error:
        raise _damaged(path, error) from None


def content(path: Path) -> bytes:
    """What is in a file.

    Raises:
        TaskError: compressed data that is cut off or is none.
    """
    if path.suffix.lower() not in PACKED:
        return path.read_bytes()
    import pyarrow

    try:
        with pyarrow.input_stream(str(path), compression=PACKED[path.suffix.lower()]) as stream:
            return bytes(stream.read())
    except OSError as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: OSError) -> TaskError:
    kind = PACKED[path.suffix.lower()]
    return TaskError(f"data file '{path}' cannot be unpacked as {kind} ({first_line(error)}): fetch or pack it again.")
