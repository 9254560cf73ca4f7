"""Numbers of a trainer's tensors: mapped from the file where they lie aligned and whole, else read into place once.

A file of `torch.save` has its numbers at multiples of 64 bytes: they are mapped, as transformers maps safetensors.
Files of torch.distributed.checkpoint are such archives one after the other, at any byte: each part is read straight
into the tensor that it is a part of. Either way a number is in memory once.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from evalrun.checkpoints.formats.raw import Part, RawTensor
from evalrun.checkpoints.formats.torch_pickle import DTYPES, Spot, TorchFileError, read_stream

_BLOCK = 1 << 25  # bytes that one thread reads at a time
_THREADS = 4


class TensorFiles:
    """The files of one checkpoint while it is read."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._open: dict[Path, BinaryIO] = {}
        self._mapped: dict[Path, Any] = {}

    def __enter__(self) -> TensorFiles:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def take(self, tensors: dict[str, RawTensor]) -> dict[str, Any]:
        """The torch tensors.

        Args:
            tensors: By whatever name.

        Raises:
            TorchFileError: a part is not where it should be, or not what it should be.
        """
        found: dict[str, Any] = {}
        left: list[tuple[int, int, Any]] = []
        for name, tensor in tensors.items():
            found[name] = self._whole(tensor)
            if found[name] is None:
                found[name], reads = self._empty(tensor)
                left += reads
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(_read, left))
        return found

    def place(self, part: Part) -> Spot:
        """Where a part's numbers are."""
        if part.place is not None:
            return part.place
        said = read_stream(self._stream(part.file), part.file, part.start, part.length).said
        if not isinstance(said, Spot) or said.shape != part.sizes:
            what = f"a tensor of {list(said.shape)}" if isinstance(said, Spot) else "no tensor"
            raise TorchFileError(f"holds {what} where one of {list(part.sizes)} should be: it is another save's")
        return said

    def _stream(self, file: Path) -> BinaryIO:
        if file not in self._open:
            self._open[file] = self._stack.enter_context(file.open("rb", buffering=4096))
        return self._open[file]

    def _whole(self, tensor: RawTensor) -> Any:
        """A view of the mapped file; None where a tensor has several parts, or does not lie at a multiple."""
        import torch

        if len(tensor.parts) != 1 or 0 in tensor.shape:
            return None
        place = self.place(tensor.parts[0])
        size = DTYPES[place.dtype][1]
        if place.start % size:
            return None
        if place.file not in self._mapped:
            length = os.stat(place.file).st_size
            self._mapped[place.file] = torch.UntypedStorage.from_file(str(place.file), shared=False, nbytes=length)
        empty = torch.empty(0, dtype=getattr(torch, place.dtype))
        return empty.set_(self._mapped[place.file], place.start // size, place.shape, place.stride)

    def _empty(self, tensor: RawTensor) -> tuple[Any, list[tuple[int, int, Any]]]:
        """A tensor to be read into, and what to read: file descriptor, byte, view of bytes."""
        import torch

        whole = torch.empty(tensor.shape, dtype=getattr(torch, tensor.dtype))
        reads: list[tuple[int, int, Any]] = []
        covered = 0
        for part in tensor.parts:
            covered += math.prod(part.sizes)
            if 0 in part.sizes:
                continue
            place = self.place(part)
            if place.dtype != tensor.dtype:
                raise TorchFileError(
                    f"holds a part in {place.dtype} of a tensor in {tensor.dtype}: it is another save's"
                )
            target = whole
            for axis, (offset, size) in enumerate(zip(part.offsets, part.sizes, strict=True)):
                target = target.narrow(axis, offset, size)
            stream = self._stream(part.file)
            if target.is_contiguous() and place.is_contiguous:
                reads += _blocks(stream.fileno(), place.start, target)
            else:
                target.copy_(_alone(stream.fileno(), place))
        if covered != math.prod(tensor.shape):
            raise TorchFileError(f"has parts of {covered} numbers for a tensor of {math.prod(tensor.shape)}")
        return whole, reads


def _alone(descriptor: int, place: Spot) -> Any:
    """A part as a tensor of its own, to be copied where it does not fill its place row by row."""
    import torch

    numbers = 1 + sum((size - 1) * stride for size, stride in zip(place.shape, place.stride, strict=True))
    plain = torch.empty(numbers, dtype=getattr(torch, place.dtype))
    for block in _blocks(descriptor, place.start, plain):
        _read(block)
    return plain.as_strided(place.shape, place.stride)


def _blocks(descriptor: int, start: int, target: Any) -> Iterator[tuple[int, int, Any]]:
    """What to read into a contiguous tensor: file descriptor, byte, view of bytes."""
    import torch

    view = memoryview(target.detach().reshape(-1).view(torch.uint8).numpy())
    for at in range(0, len(view), _BLOCK):
        yield descriptor, start + at, view[at : at + _BLOCK]


def _read(block: tuple[int, int, Any]) -> None:
    """Fill a view of bytes.

    Raises:
        TorchFileError: the file ends before.
    """
    descriptor, start, view = block
    done = 0
    while done < len(view):
        came = os.preadv(descriptor, [view[done:]], start + done)
        if came == 0:
            raise TorchFileError("ends before its tensors do")
        done += came
