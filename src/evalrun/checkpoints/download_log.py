"""The file of what sweeps downloaded: a line on disk before each step, read back as one state."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from evalrun.core.records import Checkpoint

FOLDER = Path("multirun") / ".cache"
MARK = ".evalrun"  # in a revision's folder; loading looks at no hidden file


@dataclass(frozen=True)
class ClaimedPlace:
    """Where a checkpoint is about to be put."""

    cell: Checkpoint
    folder: Path  # which carries the claim's token
    is_there: Callable[[], bool]
    size: Callable[[int], int]  # bytes that it will take, of the whole budget
    what: Mapping[str, Any]  # for its claim


@dataclass
class LedgerState:
    """What the lines say together."""

    claims: dict[str, dict[str, Any]] = field(default_factory=dict)  # token -> claim that is not gone
    wanted: dict[str, dict[str, int]] = field(default_factory=dict)  # sweep -> revision's name -> jobs
    used: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))  # sweep, name -> jobs
    deleting: dict[str, dict[str, list[str]]] = field(default_factory=dict)  # token -> a deletion that has not ended


@contextmanager
def locked() -> Iterator[None]:
    """Keep the other processes of this folder from the file."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with FileLock(FOLDER / ".lock"):
        yield


def append(line: Mapping[str, Any]) -> None:
    """One whole line at the end; what a kill cut off before it is closed first, so that it spoils itself alone."""
    path = FOLDER / "downloads.jsonl"
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read() -> LedgerState:
    """The state that all whole lines together describe."""
    book = LedgerState()
    try:
        lines = (FOLDER / "downloads.jsonl").read_text().splitlines()
    except OSError:
        return book
    for text in lines:
        try:
            line = json.loads(text)
            _enter(book, line)
        except (ValueError, KeyError, TypeError):
            continue  # cut off by a kill: the step that it speaks of was not taken
    return book


def _enter(book: LedgerState, line: Mapping[str, Any]) -> None:
    """Apply one line of the log to the state.

    Raises:
        KeyError: the line lacks what its event needs.
    """
    match line["event"]:
        case "claim":
            book.claims[line["token"]] = dict(line)
        case "expect":
            book.wanted[line["sweep"]] = line["wanted"]
            for sweep, name in list(book.used):
                if sweep == line["sweep"]:
                    del book.used[sweep, name]
        case "used":
            book.used[line["sweep"], line["name"]].add(line["job"])
        case "deleting":
            book.deleting[line["token"]] = {"blobs": line["blobs"], "weights": line.get("weights", [])}
        case "gone":
            book.claims.pop(line["token"], None)
            book.deleting.pop(line["token"], None)


def is_marked(token: str, claim: Mapping[str, Any]) -> bool:
    """Whether a claim's folder still carries its token."""
    try:
        return (Path(claim["snapshot"]) / MARK).read_text() == token
    except OSError:
        return False


def write(path: Path, text: str) -> None:
    """Write a small file that is on disk when this returns."""
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
