"""Whether a checkpoint's folder has all its files, and no other model's."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from evalrun.checkpoints import beside
from evalrun.checkpoints.contents import ADAPTER, is_flat, is_raw, weight_files
from evalrun.checkpoints.folder_notes import notes
from evalrun.checkpoints.formats import found
from evalrun.checkpoints.formats.torch_pickle import TorchFileError
from evalrun.core.errors import CheckpointError
from evalrun.core.records import Checkpoint

log = logging.getLogger(__name__)


def check_folder(folder: Path, cell: Checkpoint, trust_pickle: bool, unused_weights: bool = False) -> None:
    """See that a checkpoint's folder has all its files, and no other model's.

    Args:
        folder: Where its files are.
        cell: Which checkpoint.
        trust_pickle: Pickled weights will do.
        unused_weights: A second model beside it is passed over.

    Raises:
        CheckpointError: naming what is missing, or what is there too.
    """
    look = partial(_doubt, folder, cell, trust_pickle, unused_weights)
    doubt = notes().kept(folder, f"whole {trust_pickle} {unused_weights}", look, partial(is_flat, folder))
    if doubt is not None and cell.revision is None:
        log.warning("%s: '%s' %s", cell.label, folder, doubt)


def _doubt(folder: Path, cell: Checkpoint, trust_pickle: bool, unused_weights: bool) -> str | None:
    """`check_folder`; what is odd about a folder that is whole, in a few words after its name."""
    if is_raw(folder):
        _check_raw(folder, cell, trust_pickle)
        return None
    if not folder.is_dir():
        hint = "train the embedded suite with `python -m evalrun tiny`" if cell.suite == "tiny" else "check model.path"
        raise CheckpointError(f"no checkpoint of {cell.label}: folder '{folder}' is not there; {hint}.")
    if not (folder / "config.json").is_file() and not (folder / ADAPTER).is_file():
        raise CheckpointError(f"checkpoint of {cell.label} is incomplete: '{folder}' has no config.json.")
    files = weight_files(folder)
    if not files:
        raise CheckpointError(f"checkpoint of {cell.label} is incomplete: '{folder}' {beside.no_weights(folder)[0]}.")
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise CheckpointError(f"checkpoint of {cell.label} is incomplete: '{folder}' lacks {', '.join(missing)}.")
    if (pointer := beside.pointer(folder)) is not None:
        raise CheckpointError(f"checkpoint of {cell.label} is incomplete: '{folder}' {pointer}.")
    if files[0].suffix == ".bin" and not trust_pickle:
        raise CheckpointError(
            f"checkpoint of {cell.label} in '{folder}' has its weights as pickles only, which can run code: if you "
            "trust it, say trust_pickle=true."
        )
    second = beside.second_model(folder, files)
    if second is not None and not unused_weights:
        raise CheckpointError(f"checkpoint of {cell.label} is refused: '{folder}' {second[1]}")
    return beside.newer_pickle(files) or beside.unread(folder, files) or beside.emptied(files)


def _check_raw(place: Path, cell: Checkpoint, trust_pickle: bool) -> None:
    """See that a trainer's checkpoint has all its files, and no objects that only code could read.

    Raises:
        CheckpointError: naming what is missing, or what is there too.
    """
    if (why := found.unfinished(place)) is not None:
        raise CheckpointError(f"checkpoint of {cell.label} is incomplete: '{place}' {why[0]}.")
    try:
        raw = found.look(place)
    except TorchFileError as error:
        raise CheckpointError(f"checkpoint of {cell.label} in '{place}' {error}: fetch or write it again.") from None
    if raw is not None and raw.strange and not trust_pickle:
        raise CheckpointError(
            f"checkpoint of {cell.label} in '{place}' holds objects of {raw.strange[0]} beside its tensors, which only "
            "that code could read: say trust_pickle=true to read its tensors and pass them over, and none of it is run."
        )
