"""Checkpoints that a command of the user's makes Hugging Face folders of: what each is made of, and what is there.

What is made is kept under a digest of the input's files, of the command and of the files that the command names, so
that a sweep that is started again finds it, and so that results are of what was converted and how.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from evalrun.checkpoints.folder_notes import notes, settled
from evalrun.checkpoints.formats.raw_checkpoint import named_config
from evalrun.config import converter
from evalrun.core.atomic import replace_file
from evalrun.core.errors import CheckpointError
from evalrun.core.hashing import file_sha256
from evalrun.core.records import Checkpoint

FOLDER = Path("multirun") / ".cache" / "converted"
MODEL = "model"  # in a conversion's folder: what was made, whole
RECORD = "converted.json"  # beside it: what it was made of, and how it did on the text
BEGUN, GONE = ".begun-", ".gone-"  # begin the names of what is not whole, or not any more
_PROGRAM = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")  # machine code: an interpreter, no script

Tree = list[tuple[str, int, int, int, int]]  # path below, bytes, inode, times of change of content and of inode (ns)


@dataclass(frozen=True)
class Conversion:
    """One checkpoint and what makes a Hugging Face folder of it."""

    cell: Checkpoint  # its location is what is converted
    command: str  # as it was typed
    key: str  # digest of all that determines what is made
    folder: Path  # of what is made, its record, and what is being made
    config: Mapping[str, Any] | None = None  # config.json of what the command makes without one

    @property
    def model(self) -> Path:
        """The Hugging Face folder, whole if it is there."""
        return self.folder / MODEL

    @property
    def is_here(self) -> bool:
        """Whether it is made, and nothing was found wrong with it."""
        return self.model.is_dir() and not self.record().get("fault")

    def record(self) -> dict[str, Any]:
        """What is noted of it; empty where it was never made."""
        return _read(self.folder / RECORD)

    def note(self, **news: Any) -> None:
        """Add to what is noted of it.

        Raises:
            OSError: the disk does not take it.
        """
        replace_file(self.folder / RECORD, json.dumps({**self.record(), **news}, indent=1))


def conversion(cell: Checkpoint, command: str, place: str | None, config: str | None = None) -> Conversion:
    """What is to be made of a checkpoint; its files are read for their digest, if they have changed since last time.

    Args:
        cell: Which checkpoint.
        command: checkpoint.convert, without `converter.problem`.
        place: checkpoint.converted.
        config: checkpoint.config.

    Raises:
        CheckpointError: there is nothing to convert, or no such config.
    """
    at = Path(cell.location)
    look = tree(at)
    if not look:
        what = "is empty" if at.is_dir() else "is not there"
        raise CheckpointError(f"no checkpoint of {cell.label} to convert: '{at}' {what}.")
    digest = notes().kept(at, f"files {digest_of(look)}", partial(_content, at, look), partial(settled, look))
    given = None if config is None else named_config(config)
    words = converter.filled(command, {converter.STEP: str(cell.step)})
    key = digest_of([digest, words, _scripts(command), *([] if given is None else [given])])
    return Conversion(cell, command, key, (FOLDER if place is None else Path(place)) / key[:32], given)


def tree(at: Path) -> Tree:
    """What lies at a path, a file or a folder with all below it, and when it changed; nothing where nothing is."""
    if at.is_file():
        return [_entry(at, at.name)]
    found: Tree = []
    for folder, below, files in os.walk(at):
        below.sort()
        for name in sorted(files):
            path = Path(folder) / name
            found.append(_entry(path, str(path.relative_to(at))))
    return found


def records(place: str | None) -> Iterator[dict[str, Any]]:
    """What is noted of all that was ever converted into a folder.

    Args:
        place: checkpoint.converted.
    """
    for path in sorted((FOLDER if place is None else Path(place)).glob(f"*/{RECORD}")):
        if said := _read(path):
            yield {**said, "folder": str(path.parent)}


def neighbours(wanted: Conversion, place: str | None) -> Mapping[int, dict[str, Any]]:
    """Step -> what is noted of the other checkpoints of its run that were converted and tried.

    Args:
        wanted: One of them.
        place: checkpoint.converted.
    """
    mine = of_run(wanted.cell, wanted.command)
    return {
        int(said["step"]): said
        for said in records(place)
        if said.get("step") != wanted.cell.step
        and said.get("loss") is not None
        and not said.get("fault")
        and all(said.get(name) == value for name, value in mine.items())
    }


def is_made(cell: Checkpoint, command: str, noted: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a checkpoint, as it is now, was converted and that is here; reads none of its files.

    Args:
        cell: Which.
        command: checkpoint.convert.
        noted: `records`.
    """
    mine = {**of_run(cell, command), "input": os.path.realpath(cell.location), "fault": None,
            "files": digest_of(tree(Path(cell.location)))}  # fmt: skip
    return any(
        all(said.get(name) == value for name, value in mine.items()) and Path(said["folder"], MODEL).is_dir()
        for said in noted
    )


def of_run(cell: Checkpoint, command: str) -> dict[str, Any]:
    """What two conversions have in common whose results must be alike: the run, its seed and the command."""
    return {"run": os.path.realpath(Path(cell.location).parent), "model": cell.model, "seed": cell.seed,
            "command": converter.parts(command)}  # fmt: skip


def bytes_of(at: Path) -> int:
    """What a folder or a file takes on the disk."""
    return sum(size for _, size, *_ in tree(at))


def delete(folder: Path) -> None:
    """Delete what was made in a conversion's folder; what is noted of it stays."""
    gone = folder / f"{GONE}{uuid.uuid4().hex[:12]}"
    with contextlib.suppress(FileNotFoundError):
        (folder / MODEL).rename(gone)  # at once, so that no part of it is ever taken for the whole
    shutil.rmtree(gone, ignore_errors=True)


def _scripts(command: str) -> list[tuple[str, str]]:
    """The files that a command names, with their digests: another script makes another model."""
    found = []
    for word in converter.parts(command):
        path = Path(word)
        if path.is_file():
            with path.open("rb") as stream:
                is_program = stream.read(4).startswith(_PROGRAM)
            if not is_program:
                found.append((word, file_sha256(path)))
    return found


def _content(at: Path, look: Tree) -> str:
    """A digest of the names and the content of all files."""
    return digest_of([(name, file_sha256(at / name if at.is_dir() else at)) for name, *_ in look])


def digest_of(what: Any) -> str:
    """A digest of plain values."""
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def _entry(path: Path, name: str) -> tuple[str, int, int, int, int]:
    try:
        stat = os.stat(path)
    except OSError:  # a link that leads nowhere
        stat = os.lstat(path)
    return name, stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns


def _read(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
