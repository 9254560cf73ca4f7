"""The files of one checkpoint's folder: whether all are there, which of them loading reads, and their digests."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from evalrun.digests import file_sha256
from evalrun.errors import CheckpointError
from evalrun.records import Cell

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SINGLE = ("model.safetensors", "pytorch_model.bin")


def check_folder(folder: Path, cell: Cell, trust_pickle: bool) -> None:
    """See that a checkpoint's folder has all its files.

    Raises:
        CheckpointError: naming what is missing.
    """
    if not folder.is_dir():
        hint = "train the embedded suite with `python -m evalrun tiny`" if cell.suite == "tiny" else "check model.path"
        raise CheckpointError(f"no checkpoint of {cell.label}: folder '{folder}' is not there; {hint}.")
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"checkpoint of {cell.label} is incomplete: '{folder}' has no config.json.")
    files = weight_files(folder)
    if not files:
        raise CheckpointError(f"checkpoint of {cell.label} is incomplete: '{folder}' has no weights.")
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise CheckpointError(f"checkpoint of {cell.label} is incomplete: '{folder}' lacks {', '.join(missing)}.")
    if files[0].suffix == ".bin" and not trust_pickle:
        raise CheckpointError(
            f"checkpoint of {cell.label} in '{folder}' has its weights as pickles only, which can run code: if you "
            "trust it, say trust_pickle=true."
        )


def weight_files(folder: Path) -> list[Path]:
    """The weight files that loading would read, safetensors first; shards by their index, present or not."""
    for index, single in zip(INDEXES, SINGLE, strict=True):
        if (folder / single).is_file():
            return [folder / single]
        if (folder / index).is_file():
            try:
                shards = set(json.loads((folder / index).read_text())["weight_map"].values())
            except (ValueError, KeyError, AttributeError):
                raise CheckpointError(f"'{folder / index}' is damaged: it lists no shards.") from None
            return [folder / shard for shard in sorted(shards)]
    return []


def weights_digest(folder: Path) -> str:
    """Sha256 over the names and sha256 of the weight files: equal digests are equal weights."""
    return files_digest(folder, weights_only=True)


def files_digest(folder: Path, weights_only: bool) -> str:
    """Sha256 over the names and sha256 of a checkpoint's files."""
    files = weight_files(folder)
    if not weights_only:
        files += [p for p in sorted(folder.glob("*.json")) if p not in files] + sorted(folder.glob("*.model"))
    lines = [f"{file.name} {file_sha256(file)}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
