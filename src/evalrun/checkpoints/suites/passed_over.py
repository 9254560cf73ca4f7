"""What in a run's folder looks like a checkpoint by its name and is none, or is another under a second name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from evalrun.checkpoints.formats.found import FILES
from evalrun.config import step_names

_DRAFT = re.compile(r"(?:tmp|\.tmp|_tmp)[-_.]?(.*\d.*)|(.*\d.*)[-_.](?:tmp|incomplete|partial|lock)")


def names_below(root: Path) -> list[str]:
    """The names of what may be a checkpoint in a run's folder; of links to one of them, and it, only its own."""
    below = [entry.name for entry in root.iterdir() if entry.is_dir() or FILES.fullmatch(entry.name)]
    own = {name for name in below if not (root / name).is_symlink()}
    return [name for name in below if name in own or not _leads_into(root, name, own)]


def _leads_into(root: Path, name: str, own: set[str]) -> bool:
    there = (root / name).resolve()
    return there.parent == root.resolve() and there.name in own


def sentences(root: Path, named: Sequence[str]) -> Iterator[str]:
    """A sentence for each entry of a run's folder that is passed over for what it is.

    Args:
        root: The run's folder.
        named: Those that are checkpoints, whole or not.
    """
    for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
        if entry.name in named:
            continue
        if _DRAFT.fullmatch(entry.name) and entry.is_dir():
            yield f"'{root / entry.name}' is passed over: by its name it is still being written or was cut short."
        elif entry.is_symlink() and step_names.parse_numbered_names([entry.name]):
            yield from _link(root / entry.name)


def _link(path: Path) -> Iterator[str]:
    """What to say of a link that is named as a checkpoint and leads to none."""
    target = os.readlink(path)
    try:
        os.stat(path)
    except FileNotFoundError:
        yield f"'{path}' is passed over: it is a link to '{target}', which is not there."
    except OSError:
        yield f"'{path}' is passed over: it is a link to '{target}', which leads back to itself."
