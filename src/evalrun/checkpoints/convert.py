"""Running the user's command that makes a Hugging Face folder of a checkpoint, once for each.

The folder takes its place when it is whole: it is written beside it, looked through, and renamed. What lies under
another name was cut short, and is deleted by the next who comes. Jobs that need the same wait for one another.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from evalrun.checkpoints import tokenizer
from evalrun.checkpoints.complete import check_folder
from evalrun.checkpoints.contents import is_adapter
from evalrun.checkpoints.conversions import BEGUN, GONE, Conversion, bytes_of, delete, digest_of, of_run, tree
from evalrun.config import converter
from evalrun.core.errors import CheckpointError, first_line
from evalrun.core.process import end_group
from evalrun.core.text import last_words

log = logging.getLogger(__name__)


def made(wanted: Conversion, trust_pickle: bool = False, unused_weights: bool = False) -> Path:
    """The Hugging Face folder of a checkpoint, made now if it is not there.

    Args:
        wanted: Which.
        trust_pickle: Pickled weights will do.
        unused_weights: A second model beside it is passed over.

    Raises:
        CheckpointError: the converter fails, or what it leaves is no whole checkpoint; nothing is kept then.
    """
    try:
        lock = wanted.folder.with_name(f".{wanted.folder.name}.lock")
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            _clear(wanted)
            if not wanted.is_here:
                delete(wanted.folder)
                _make(wanted, trust_pickle, unused_weights)
    except OSError as error:
        raise CheckpointError(
            f"{wanted.cell.label} cannot be converted into '{wanted.folder}': {first_line(error)}; check the disk, or "
            "name another folder with checkpoint.converted=."
        ) from None
    return wanted.model


def _make(wanted: Conversion, trust_pickle: bool, unused_weights: bool) -> None:
    """Run the converter, look through what it leaves, and put that in its place.

    Args:
        wanted: Which; its folder is ours alone.
        trust_pickle: Pickled weights will do.
        unused_weights: A second model beside it is passed over.

    Raises:
        CheckpointError: as `made` says.
    """
    cell, at = wanted.cell, Path(wanted.cell.location)
    before = tree(at)
    begun = wanted.folder / f"{BEGUN}{uuid.uuid4().hex[:12]}"
    wanted.folder.mkdir(exist_ok=True)
    log.info("%s: converting it with `%s`", cell.label, wanted.command)
    try:
        _run(wanted, begun.absolute())
        if not begun.is_dir():
            raise CheckpointError(f"the converter of {cell.label} left no folder in the place of {{output}}.")
        _complete(begun, at, wanted.config)
        try:
            check_folder(begun, cell, trust_pickle, unused_weights)
        except CheckpointError as error:
            said = str(error).replace(str(begun), "{output}")
            raise CheckpointError(f"what the converter of {cell.label} left cannot be used: {said}") from None
        if is_adapter(begun):
            raise CheckpointError(f"the converter of {cell.label} left an adapter: let it merge that into its base.")
        if tree(at) != before:
            raise CheckpointError(
                f"'{at}' of {cell.label} changed while it was converted (or the converter wrote into it): run the same "
                "command again when it is at rest."
            )
        wanted.note(**of_run(cell, wanted.command), input=os.path.realpath(at), step=cell.step, files=digest_of(before),
                    bytes=bytes_of(begun), fault=None, loss=None)  # fmt: skip
        begun.rename(wanted.model)
    finally:
        shutil.rmtree(begun, ignore_errors=True)


def _complete(made_now: Path, at: Path, config: Mapping[str, Any] | None) -> None:
    """Give what was made the config and the tokenizer that it lacks, from what it was made of.

    Args:
        made_now: What the converter left.
        at: What it was made of.
        config: Of checkpoint.config, in place of the one there.
    """
    file = made_now / "config.json"
    if not file.exists():
        if config is not None:
            file.write_text(json.dumps(config))
        elif (at / file.name).is_file():
            shutil.copyfile(at / file.name, file)
    if not tokenizer.is_in(made_now):
        for name in tokenizer.files(at):
            shutil.copyfile(at / name, made_now / name)


def _run(wanted: Conversion, output: Path) -> None:
    """Run the converter in a process group of its own, so that nothing of it goes on when the job is stopped.

    Raises:
        CheckpointError: it cannot be started, or ends with another exit code than 0.
    """
    label, at = wanted.cell.label, Path(wanted.cell.location).absolute()
    places = {"{input}": str(at), "{output}": str(output), converter.STEP: str(wanted.cell.step)}
    words = converter.filled(wanted.command, places)
    errors = wanted.folder / "stderr.txt"
    with (wanted.folder / "stdout.txt").open("wb") as out, errors.open("wb") as err:
        try:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise CheckpointError(
                f"the converter of {label}, '{words[0]}', could not be started: {first_line(error)}; see "
                "checkpoint.convert."
            ) from None
        try:
            code = process.wait()
        finally:
            end_group(process.pid)
            process.wait()
    if code:
        said = last_words(errors.read_text(errors="replace")) or "it said nothing on its standard error"
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        raise CheckpointError(f"the converter of {label} {how}: {said} (all of it: '{errors}').")


def _clear(wanted: Conversion) -> None:
    """Delete what a killed converter or a killed deletion left."""
    for path in wanted.folder.glob(".*"):
        if path.name.startswith((BEGUN, GONE)):
            shutil.rmtree(path, ignore_errors=True)
