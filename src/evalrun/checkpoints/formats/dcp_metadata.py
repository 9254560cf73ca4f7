"""What the `.metadata` of torch.distributed.checkpoint says: its tensors, and in which bytes of which files they lie.

It is a pickle. As in `torch_pickle`, nothing is looked up: classes of the library have stand-ins here, and a name that
is none of theirs refuses the file.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from evalrun.checkpoints.formats.torch_pickle import DTYPES, TorchFileError

NAME = ".metadata"


@dataclass(frozen=True)
class Chunk:
    """A part of a tensor: an archive of `torch.save` inside a file."""

    offsets: tuple[int, ...]  # of its first number, in the tensor
    sizes: tuple[int, ...]
    file: str  # relative to the folder
    start: int  # bytes
    length: int


@dataclass(frozen=True)
class Sharded:
    """A tensor of the checkpoint."""

    dtype: str  # torch's name
    shape: tuple[int, ...]
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True)
class Metadata:
    """All that one `.metadata` says of tensors, and where objects lie."""

    tensors: dict[str, Sharded]
    objects: dict[str, tuple[str, int, int]]  # name -> file, first byte, bytes


class _Record:
    """Stands for any record of the library."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple):  # of a frozen record, or of a tensor's properties
            self.__dict__["listed"] = state
        else:
            self.__dict__.update(state)


class _Index(_Record):
    """A tensor's name, and which part of it."""

    def __hash__(self) -> int:
        return id(self)


class _Odd:
    """Stands for a value that is not needed, such as a path."""

    def __init__(self, *given: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


_MODULE = "torch.distributed.checkpoint.metadata"
_STANDINS: dict[tuple[str, str], Any] = {
    **{(_MODULE, name): type(f"_{name}", (_Record,), {}) for name in (
        "Metadata", "TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata", "TensorProperties",
    )},
    (_MODULE, "MetadataIndex"): _Index,
    (_MODULE, "StorageMeta"): _Odd,
    (_MODULE, "_MEM_FORMAT_ENCODING"): _Odd,
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"): type("_StorageInfo", (_Record,), {}),
    ("torch.distributed.checkpoint.filesystem", "_StoragePrefix"): _Odd,
    ("torch", "Size"): tuple,
    ("torch.serialization", "_get_layout"): str,
    ("collections", "OrderedDict"): dict,
    ("pathlib", "PosixPath"): _Odd,
    ("pathlib", "WindowsPath"): _Odd,
    ("pathlib._local", "PosixPath"): _Odd,
    ("builtins", "set"): set,
}  # fmt: skip


class _MetadataReader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name.

        Raises:
            TorchFileError: nothing does.
        """
        if (module, name) in _STANDINS:
            return _STANDINS[module, name]
        if module == "torch" and name in DTYPES:
            return name
        raise TorchFileError(f"names {module}.{name}, which is no part of torch.distributed.checkpoint: it is not read")


def read(folder: Path) -> Metadata:
    """What a folder's `.metadata` says; read once while it stays as it is.

    Raises:
        TorchFileError: it is damaged, or holds what is not the library's.
    """
    file = folder / NAME
    try:
        stat = file.stat()
        return _read(file.absolute(), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    except OSError as error:
        raise TorchFileError(f"cannot be read ({error.strerror or error})") from None


@lru_cache(maxsize=64)
def _read(file: Path, *stamp: int) -> Metadata:
    """The table.

    Args:
        file: It.
        stamp: Size and times, as long as which it is not read again.
    """
    try:
        with file.open("rb") as stream:
            said = _MetadataReader(stream).load()
        places = {}
        objects = {}
        for index, info in said.storage_data.items():
            if getattr(info, "transform_descriptors", None):
                raise TorchFileError(f"has {index.fqn} stored as {info.transform_descriptors[0]}: save it plainly")
            place = (_inside(info.relative_path), int(info.offset), int(info.length))
            offset = getattr(index, "offset", None)
            places[index.fqn, None if offset is None else tuple(offset)] = place
            if offset is None:
                objects[index.fqn] = place
        tensors = {}
        for name, stored in said.state_dict_metadata.items():
            if not hasattr(stored, "chunks"):
                continue
            chunks = [
                Chunk(tuple(chunk.offsets), tuple(chunk.sizes), *places[name, tuple(chunk.offsets)])
                for chunk in stored.chunks
            ]
            tensors[str(name)] = Sharded(str(stored.properties.listed[0]), tuple(stored.size), tuple(chunks))
    except TorchFileError:
        raise
    except Exception as error:  # a damaged pickle raises whatever its bytes lead to
        raise TorchFileError(f"is damaged or of another version of torch ({type(error).__name__})") from None
    return Metadata(tensors, {name: place for name, place in objects.items() if name not in tensors})


def _inside(name: str) -> str:
    """A file's name, which must not lead out of the folder.

    Raises:
        TorchFileError: it does.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise TorchFileError(f"names the file {name}, which is outside its folder")
    return name
