"""What a trainer left in a folder or file: found by looking at names, read as far as names, shapes and plain values."""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from evalrun.checkpoints.formats import dcp_metadata, torch_pickle
from evalrun.checkpoints.formats.raw import DCP, TORCH, Part, Raw, RawTensor, flat, tensor_at
from evalrun.checkpoints.formats.torch_pickle import DTYPES, Spot, TorchFileError

FILES = re.compile(r".*\.(?:ckpt|pth?)|pytorch_model_fsdp\.bin", re.DOTALL)
_NO_MODEL = re.compile(
    r"(?:optim|sched|scaler|rng|training_args|random_states|loss|dataloader|train_state|zero_|bf16_zero|fp16_zero|mp_rank"
    r"|layer_|meta\.pt).*"
)
# Folders of a checkpoint that trainers keep its weights in.
INNER = re.compile(r"pytorch_model_fsdp_\d+|model_and_optim|model|checkpoint|dcp|distcp|app|global_step\d+")
_SHARD = re.compile(r".*\.distcp")
_FIRST = ("lit_model.pth", "ckpt.pt", "model.pt", "model.pth")
_STATES = "mp_rank_00_model_states.pt"  # DeepSpeed's, whole but for ZeRO 3
_SMALL = 1 << 20  # bytes of an object that is looked into
_INTEGERS = {"int64": "<q", "int32": "<i", "int16": "<h", "int8": "<b", "uint8": "<B"}


def container_of(place: Path) -> tuple[str, Path] | None:
    """Which container lies in a folder, or a file is, and where; None where neither is known here.

    Args:
        place: A checkpoint's folder, or a file that is one checkpoint.
    """
    if place.is_file():
        return (TORCH, place) if FILES.fullmatch(place.name) else None
    names = _names(place)
    for folder in (place, *(place / name for name in sorted(names) if INNER.fullmatch(name))):
        inside = names if folder is place else _names(folder)
        if dcp_metadata.NAME in inside or any(map(_SHARD.fullmatch, inside)):
            return DCP, folder
        if _STATES in inside:
            return TORCH, folder / _STATES
    files = [name for name in sorted(names) if FILES.fullmatch(name) and not _NO_MODEL.match(name)]
    chosen = next((name for name in _FIRST if name in files), files[0] if len(files) == 1 else None)
    return None if chosen is None or not (place / chosen).is_file() else (TORCH, place / chosen)


def weight_files(place: Path) -> list[Path]:
    """The files that hold a checkpoint's weights, present or not; none where there is nothing of a known container."""
    found = container_of(place)
    if found is None:
        return []
    container, where = found
    if container == TORCH:
        return [where]
    try:
        said = dcp_metadata.read(where)
    except TorchFileError:
        return sorted(where.glob("*.distcp"))
    return [where / name for name in sorted({chunk.file for one in said.tensors.values() for chunk in one.chunks})]


def unfinished(place: Path) -> tuple[str, bool] | None:
    """Why a checkpoint cannot be whole, after its name, and whether it may still be growing; None for a whole one.

    Args:
        place: As `container_of` knows it.
    """
    found = container_of(place)
    if found is None:
        return None
    container, where = found
    try:
        if container == TORCH:
            torch_pickle.read(where)
            return None
        if not (where / dcp_metadata.NAME).is_file():
            return "has shards of torch.distributed.checkpoint and no .metadata, which is written last", True
        said = dcp_metadata.read(where)
    except TorchFileError as error:
        name = where.name if container == TORCH else dcp_metadata.NAME
        return f"has a {name} that {error}", "cut short" in str(error)
    ends: dict[str, int] = {}
    for one in said.tensors.values():
        for chunk in one.chunks:
            ends[chunk.file] = max(ends.get(chunk.file, 0), chunk.start + chunk.length)
    absent = sorted(name for name in ends if not (where / name).is_file())
    if absent:
        return f"lacks {len(absent)} of {len(ends)} files that its .metadata names, the first {absent[0]}", True
    cut = sorted(name for name, end in ends.items() if (where / name).stat().st_size < end)
    return (f"has a {cut[0]} that ends before its .metadata says", True) if cut else None


def look(place: Path) -> Raw | None:
    """What a checkpoint's files say; None where they are of no known container. Read once while they stay as they are.

    Raises:
        TorchFileError: they are damaged.
    """
    found = container_of(place)
    if found is None:
        return None
    container, where = found
    table = where if container == TORCH else where / dcp_metadata.NAME
    try:
        stat = table.stat()
    except OSError as error:
        raise TorchFileError(f"cannot be read ({error.strerror or error})") from None
    return _look(container, where.absolute(), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@lru_cache(maxsize=16)
def _look(container: str, where: Path, *stamp: int) -> Raw:
    """What the files say.

    Args:
        container: A key of CONTAINERS.
        where: The file, or the folder of the table.
        stamp: Size and times of the table, as long as which it is not read again.
    """
    if container == TORCH:
        read = torch_pickle.read(where)
        said = dict(flat(read.said))
        tensors = {name: tensor_at(one) for name, one in said.items() if isinstance(one, Spot)}
        values = {name: one for name, one in said.items() if not isinstance(one, Spot)}
        return Raw(TORCH, where.parent, (where,), (), tensors, values, read.strange)
    metadata = dcp_metadata.read(where)
    tensors = {
        name: RawTensor(
            one.dtype,
            one.shape,
            tuple(
                Part(chunk.offsets, chunk.sizes, where / chunk.file, chunk.start, chunk.length) for chunk in one.chunks
            ),
        )
        for name, one in metadata.tensors.items()
    }
    return Raw(
        DCP,
        where,
        tuple(weight_files(where)),
        (where / dcp_metadata.NAME,),
        tensors,
        _objects(where, metadata, tensors),
    )


def _objects(where: Path, metadata: dcp_metadata.Metadata, tensors: Mapping[str, RawTensor]) -> dict[str, Any]:
    """The plain values of a sharded checkpoint: small objects, and whole numbers that are tensors.

    Args:
        where: Its folder.
        metadata: What its table says.
        tensors: Of it.
    """
    values: dict[str, Any] = {}
    for name, (file, start, length) in metadata.objects.items():
        if length <= _SMALL:
            try:
                said = torch_pickle.read(where / file, start, length).said
            except TorchFileError:
                continue  # bytes of another kind, such as a data loader's
            values |= {key: one for key, one in flat(said, name) if not isinstance(one, Spot)}
    for name, tensor in tensors.items():
        if tensor.shape in ((), (1,)) and tensor.dtype in _INTEGERS and not name.startswith("optim"):
            part = tensor.parts[0]
            try:
                place = torch_pickle.read(part.file, part.start, part.length).said
                with part.file.open("rb") as stream:
                    stream.seek(place.start)
                    (values[name],) = struct.unpack(_INTEGERS[tensor.dtype], stream.read(DTYPES[tensor.dtype][1]))
            except (TorchFileError, OSError, struct.error, AttributeError):
                continue
    return values


def beside(place: Path, reads: Mapping[str, str]) -> tuple[dict[str, Any], list[Path]]:
    """Values of other files of a checkpoint, and these files.

    Args:
        place: The checkpoint's.
        reads: What names of values begin with -> file, relative to the checkpoint's folder.

    Raises:
        TorchFileError: one is damaged.
    """
    folder = place if place.is_dir() else place.parent
    values: dict[str, Any] = {}
    files = []
    for above, name in reads.items():
        file = folder / name
        if not file.is_file():
            continue
        files.append(file)
        if FILES.fullmatch(file.name):
            said = torch_pickle.read(file).said
        else:
            try:
                text = file.read_text(encoding="utf-8")
                said = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
            except (OSError, ValueError, yaml.YAMLError) as error:
                raise TorchFileError(f"has a {name} that cannot be read ({type(error).__name__})") from None
        values |= {key: one for key, one in flat(said, above) if not isinstance(one, Spot)}
    return values, files


def config_json(place: Path) -> dict[str, Any] | None:
    """A config.json of transformers beside a checkpoint, in its folder or the one above."""
    folder = place if place.is_dir() else place.parent
    for near in (folder, folder.parent):
        try:
            said = json.loads((near / "config.json").read_text())
        except (OSError, ValueError):
            continue
        if isinstance(said, dict) and isinstance(said.get("model_type"), str):
            return said
    return None


def _names(folder: Path) -> set[str]:
    try:
        return {entry.name for entry in os.scandir(folder)}
    except OSError:
        return set()
