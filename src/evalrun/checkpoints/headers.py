"""What safetensors files say they hold: names, types and shapes of their tensors, without reading one."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

_CHUNK = 1 << 20
_GLANCE = 64  # bytes that tell at once that a tensor is not zero
_TAIL = 512  # bytes of zeros, in which no numbers end that a training moved


@dataclass(frozen=True)
class Stored:
    """One tensor of a safetensors file."""

    file: Path
    dtype: str  # as safetensors spells it: F32, BF16, I8
    shape: tuple[int, ...]
    start: int  # bytes into the file
    end: int


def read(file: Path) -> dict[str, Stored] | None:
    """Name -> tensor; None where the file is cut short or no safetensors file."""
    if file.suffix != ".safetensors":
        return None
    stat = os.stat(file)
    return _read(file.absolute(), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def read_all(files: Iterable[Path]) -> dict[str, Stored]:
    """The tensors of all shards; nothing of what is no safetensors file."""
    found: dict[str, Stored] = {}
    for file in files:
        found.update(read(file) or {})
    return found


def equal(one: Stored, other: Stored) -> bool:
    """Whether two tensors are the same, byte for byte; reads no further than the first difference."""
    if (one.dtype, one.shape, one.end - one.start) != (other.dtype, other.shape, other.end - other.start):
        return False
    return _equal(one, other, *(os.stat(each.file).st_ctime_ns for each in (one, other)))


def is_hollow(file: Path) -> bool:
    """Whether a file names tensors and holds not one number: placeholders, the same in whatever step they are of."""
    tensors = (read(file) or {}).values()
    return bool(tensors) and all(stored.start == stored.end for stored in tensors)


def zeros(file: Path) -> list[str]:
    """The matrices of a file that hold zeros alone; of any other no more is read than a few bytes in its middle."""
    matrices = {
        name: stored
        for name, stored in (read(file) or {}).items()
        if len(stored.shape) > 1 and stored.start < stored.end and stored.dtype.startswith(("F", "BF"))
    }
    with file.open("rb") as stream:
        return sorted(name for name, stored in matrices.items() if _is_zero(stream, stored))


def zero_tail(file: Path) -> str | None:
    """The tensor in which the zeros begin that a file ends in, where it holds other numbers too; None without any.

    So ends what was copied into a place made ready for it, and not to the end. Zeros of whole tensors say nothing.
    """
    with file.open("rb") as stream:
        for name, stored in sorted((read(file) or {}).items(), key=lambda one: -one[1].start):
            tail = replace(stored, start=max(stored.start, stored.end - _TAIL))
            if not _is_zero(stream, stored):
                return name if tail.start > stored.start and _is_zero(stream, tail) else None
    return None


def _is_zero(stream: BinaryIO, stored: Stored) -> bool:
    middle = (stored.start + stored.end) // 2
    for begin, end in ((middle, min(middle + _GLANCE, stored.end)), (stored.start, stored.end)):
        stream.seek(begin)
        left = end - begin
        while left > 0:
            block = stream.read(min(left, _CHUNK))
            if not block or block.count(0) < len(block):
                return False
            left -= len(block)
    return True


@lru_cache(maxsize=4096)
def _equal(one: Stored, other: Stored, *times: int) -> bool:
    with one.file.open("rb") as a, other.file.open("rb") as b:
        a.seek(one.start)
        b.seek(other.start)
        left = one.end - one.start
        while left > 0:
            length = min(left, _CHUNK)
            if a.read(length) != b.read(length):
                return False
            left -= length
    return True


@lru_cache(maxsize=4096)
def _read(file: Path, size: int, *times: int) -> dict[str, Stored] | None:
    """Eight bytes with the length of a JSON object, that object, then the data it gives offsets into."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > size - 8:
                return None
            said = json.loads(stream.read(length))
        said.pop("__metadata__", None)
        begin = 8 + length
        if begin + max((entry["data_offsets"][1] for entry in said.values()), default=0) != size:
            return None
        found = {}
        for name, entry in said.items():
            start, end = entry["data_offsets"]
            found[name] = Stored(file, str(entry["dtype"]), tuple(entry["shape"]), begin + start, begin + end)
        return found
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None
