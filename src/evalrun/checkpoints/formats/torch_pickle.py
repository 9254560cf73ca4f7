"""What files of `torch.save` say, read without torch and without running anything: places of tensors, plain values.

The unpickler below looks nothing up: for every name in a pickle it has a stand-in of its own, so that no code of a
file's choice is ever called. Tensors become their places in the file; what is neither a tensor nor plain
data becomes `Inert`, and its name is kept.

Format: https://pytorch.org/docs/stable/notes/serialization.html (a zip archive, uncompressed: data.pkl and data/N).
"""

from __future__ import annotations

import codecs
import io
import pickle
import struct
import zipfile
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

# torch's name of a type -> as safetensors spells it, bytes of one number.
DTYPES = {
    "float64": ("F64", 8),
    "float32": ("F32", 4),
    "float16": ("F16", 2),
    "bfloat16": ("BF16", 2),
    "float8_e4m3fn": ("F8_E4M3", 1),
    "float8_e5m2": ("F8_E5M2", 1),
    "complex64": ("C64", 8),
    "int64": ("I64", 8),
    "int32": ("I32", 4),
    "int16": ("I16", 2),
    "int8": ("I8", 1),
    "uint8": ("U8", 1),
    "bool": ("BOOL", 1),
}
_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "ComplexFloatStorage": "complex64",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
_PLAIN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    ("collections", "Counter"): Counter,
    ("_codecs", "encode"): codecs.encode,
    **{("builtins", kind.__name__): kind for kind in (set, frozenset, list, dict, tuple, int, float, complex, bool)},
    **{("__builtin__", kind.__name__): kind for kind in (set, frozenset, list, dict, tuple)},
}
# Modules whose objects are data; what they hold is of no use here, and no reason to refuse a file.
_DATA = ("torch", "numpy", "argparse", "pathlib", "datetime", "collections", "enum")


class TorchFileError(ValueError):
    """The end of a sentence that begins with the file's name."""


class Inert(dict[Any, Any]):
    """Stands for an object whose class is not looked up: it takes whatever a pickle does to it, and does nothing."""

    def __new__(cls, *given: Any, **named: Any) -> Inert:
        """An object, whatever it is made of."""
        return super().__new__(cls)

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        pass

    def __hash__(self) -> int:  # type: ignore[override]  # keys of a mapping may be objects
        return id(self)

    def append(self, value: Any) -> None:
        """Take a value as a list would, and drop it."""

    def extend(self, values: Any) -> None:
        """Take values as a list would, and drop them."""


@dataclass(frozen=True)
class _Storage:
    """A run of numbers in the archive."""

    key: str
    dtype: str | None  # torch's name; None: the tensor says it
    numbers: int


@dataclass(frozen=True)
class Spot:
    """A tensor of a file: all that is needed to read it."""

    file: Path
    dtype: str  # torch's name
    shape: tuple[int, ...]
    stride: tuple[int, ...]  # in numbers
    start: int  # byte of its first number in the file

    @property
    def is_contiguous(self) -> bool:
        """Whether its numbers lie one after the other, the last dimension fastest."""
        step = 1
        for size, stride in zip(reversed(self.shape), reversed(self.stride), strict=True):
            if size != 1 and stride != step:
                return False
            step *= size
        return True


@dataclass(frozen=True)
class TorchFile:
    """The content of one archive."""

    said: Any  # what was saved, tensors as `Spot`
    strange: tuple[str, ...] = ()  # names of classes and functions that only its code could read


def read(file: Path, start: int = 0, length: int | None = None) -> TorchFile:
    """Read what was saved, but for the numbers of tensors.

    Args:
        file: Of `torch.save`, or a file with several such archives in it.
        start: The archive's first byte.
        length: Its bytes; None: to the end of the file.

    Raises:
        TorchFileError: it is damaged or cut short, or no such file.
    """
    try:
        with file.open("rb") as stream:
            return read_stream(stream, file, start, length)
    except OSError as error:
        raise TorchFileError(f"cannot be read ({error.strerror or error})") from None


def read_stream(stream: BinaryIO, file: Path, start: int = 0, length: int | None = None) -> TorchFile:
    """Read what was saved from a file that is open.

    Args:
        stream: The file.
        file: Its name, for the places of tensors.
        start: The archive's first byte.
        length: Its bytes; None: to the end of the file.

    Raises:
        TorchFileError: as `read` says.
    """
    window = stream if start == 0 and length is None else _Window(stream, start, length)
    try:
        with zipfile.ZipFile(window) as archive:
            records = {info.filename.partition("/")[2]: info for info in archive.infolist()}
            if "byteorder" in records and archive.read(records["byteorder"]) != b"little":
                raise TorchFileError("was written on a machine of the other byte order: save it again on this one")
            reader = _Reader(io.BytesIO(archive.read(records["data.pkl"])), file)
            for name, info in records.items():
                if name.startswith("data/"):
                    reader.begins[name[5:]] = (start + info.header_offset, info.file_size)
            reader.stream = stream
            return TorchFile(reader.load(), tuple(dict.fromkeys(reader.strange)))
    except TorchFileError:
        raise
    except zipfile.BadZipFile:
        raise TorchFileError("is cut short, or no file of torch.save since torch 1.6") from None
    except Exception as error:  # a damaged pickle raises whatever its bytes lead to
        raise TorchFileError(f"is damaged, or no file of torch.save since torch 1.6 ({type(error).__name__})") from None


class _Window(io.RawIOBase):
    """A part of a file as a file."""

    def __init__(self, stream: BinaryIO, start: int, length: int | None) -> None:
        self._stream, self._start, self._at = stream, start, 0
        self._length = stream.seek(0, io.SEEK_END) - start if length is None else length

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0 if whence == io.SEEK_SET else self._at if whence == io.SEEK_CUR else self._length)
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._length - self._at)
        self._stream.seek(self._start + self._at)
        found = self._stream.read(left if size is None or size < 0 else min(size, left))
        self._at += len(found)
        return found


class _Reader(pickle.Unpickler):
    """An unpickler that has a stand-in for every name."""

    def __init__(self, stream: BinaryIO, file: Path) -> None:
        super().__init__(stream)
        self.begins: dict[str, tuple[int, int]] = {}  # key -> byte of its header in the file, bytes of its numbers
        self.strange: list[str] = []
        self.stream: BinaryIO = stream
        self._file = file
        self._starts: dict[str, int] = {}
        self._classes: dict[str, type[Inert]] = {}

    def persistent_load(self, pid: Any) -> _Storage:
        """A storage, by what the pickle says of it."""
        _, kind, key, _, numbers = pid
        return _Storage(str(key), kind if isinstance(kind, str) else None, int(numbers))

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name."""
        if (module, name) in _PLAIN:
            return _PLAIN[module, name]
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch" and name in DTYPES:
            return name
        if (module, name) == ("torch.storage", "UntypedStorage"):
            return None
        if module == "torch" and name == "Size":
            return tuple
        if module == "torch._utils" and (made := _REBUILD.get(name)) is not None:
            return lambda *given: made(self._tensor, *given)
        whole = f"{module}.{name}"
        if module.partition(".")[0] not in _DATA:
            self.strange.append(whole)
        return self._classes.setdefault(whole, type(name.rpartition(".")[2] or "Object", (Inert,), {}))

    def _tensor(self, storage: Any, offset: int, shape: Any, stride: Any, dtype: str | None) -> Spot:
        """A tensor's place.

        Raises:
            TorchFileError: it is said to be larger than what is stored.
        """
        kind = dtype or storage.dtype
        size, begin = DTYPES[kind][1], self._start(storage.key)
        shape, stride = tuple(map(int, shape)), tuple(map(int, stride))
        last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) + 1 if 0 not in shape else 0
        if min((offset, *shape, *stride)) < 0 or last * size > self.begins[storage.key][1]:
            raise TorchFileError("holds a tensor that is larger than its numbers: it is damaged")
        return Spot(self._file, kind, shape, stride, begin + offset * size)

    def _start(self, key: str) -> int:
        """The byte where a storage's numbers begin: after its local header of the zip format, whose length varies."""
        if key not in self._starts:
            header = self.begins[key][0]
            self.stream.seek(header + 26)
            name, extra = struct.unpack("<HH", self.stream.read(4))
            self._starts[key] = header + 30 + name + extra
        return self._starts[key]


def _plain(tensor: Callable[..., Spot], storage: Any, offset: int, shape: Any, stride: Any, *rest: Any) -> Spot:
    return tensor(storage, offset, shape, stride, None)


def _typed(
    tensor: Callable[..., Spot], storage: Any, offset: int, shape: Any, stride: Any, grad: bool, hooks: Any,
    dtype: str, *rest: Any,
) -> Spot:  # fmt: skip
    return tensor(storage, offset, shape, stride, dtype)


def _same(tensor: Callable[..., Spot], data: Any, *rest: Any) -> Any:
    return data


def _of_type(tensor: Callable[..., Spot], make: Callable[..., Any], kind: Any, given: Any, *rest: Any) -> Any:
    return make(*given)


_REBUILD: Mapping[str, Callable[..., Any]] = {
    "_rebuild_tensor": _plain,
    "_rebuild_tensor_v2": _plain,
    "_rebuild_tensor_v3": _typed,
    "_rebuild_parameter": _same,
    "_rebuild_parameter_with_state": _same,
    "_rebuild_from_type": _of_type,
    "_rebuild_from_type_v2": _of_type,
}
