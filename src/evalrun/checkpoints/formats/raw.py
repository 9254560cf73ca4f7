"""What a trainer's files hold, by whatever container: tensors by name, values by name, and the files themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalrun.checkpoints.formats.torch_pickle import Spot

DCP, TORCH = "dcp", "torch"
CONTAINERS = {
    DCP: "torch.distributed.checkpoint",
    TORCH: "a file of torch.save",
}


@dataclass(frozen=True)
class Part:
    """A part of a tensor, in one archive."""

    offsets: tuple[int, ...]  # of its first number, in the tensor
    sizes: tuple[int, ...]
    file: Path
    start: int  # byte of the archive
    length: int | None  # bytes of the archive; None: to the end of the file
    place: Spot | None = None  # of its numbers, where they were looked for already


@dataclass(frozen=True)
class RawTensor:
    """A tensor under the trainer's own name."""

    dtype: str  # torch's name
    shape: tuple[int, ...]
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Raw:
    """All that a checkpoint's files say before any rule."""

    container: str  # a key of CONTAINERS
    folder: Path  # of the weights
    files: tuple[Path, ...]  # that hold the weights
    tables: tuple[Path, ...]  # that say where in them
    tensors: Mapping[str, RawTensor]
    values: Mapping[str, Any]  # dotted name -> number, text, truth
    strange: tuple[str, ...] = ()  # classes that a pickle names and that are no data


def flat(said: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names of all that mappings hold, and each once; what lists hold is not looked at."""
    if isinstance(said, Mapping):
        for key, value in said.items():
            yield from flat(value, f"{above}.{key}" if above else str(key))
    elif isinstance(said, Spot | int | float | str | bool):
        yield above, said


def tensor_at(place: Spot) -> RawTensor:
    """A tensor that lies in one file whole."""
    part = Part((0,) * len(place.shape), place.shape, place.file, 0, None, place)
    return RawTensor(place.dtype, place.shape, (part,))
