"""Which commit each revision of the hub was when it was last seen: what is done needs no files, and no hub."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from evalrun.checkpoints.download_log import FOLDER
from evalrun.checkpoints.locate import ResolvedCheckpoint
from evalrun.core.atomic import keep_file
from evalrun.core.records import Checkpoint

FILE = FOLDER / "commits.json"


def remember(places: Sequence[ResolvedCheckpoint]) -> None:
    """Keep which commit each revision is, for a later start without the hub, when its files may be gone."""
    known = _commits()
    news = {_name(place.cell): place.commit for place in places if place.commit is not None}
    if all(known.get(name) == commit for name, commit in news.items()):
        return
    keep_file(FILE, json.dumps({**known, **news}, indent=1, sort_keys=True))


def recall(cell: Checkpoint) -> ResolvedCheckpoint | None:
    """A hub checkpoint as it was when it was last seen; its files may not be here."""
    commit = _commits().get(_name(cell)) if cell.revision is not None else None
    return None if commit is None else ResolvedCheckpoint(cell, f"hub:{cell.location}@{commit}", None, commit)


def _commits() -> Mapping[str, str]:
    """Revision -> commit, as kept; read again when the file is another one: it is asked of each checkpoint."""
    file = os.path.abspath(FILE)
    try:
        said = os.stat(file)
    except OSError:
        return {}
    read = (
        _read_commits if time.time() - said.st_ctime > 2 else _read_commits.__wrapped__
    )  # a change may bear this time
    return read(file, said.st_ino, said.st_size, said.st_mtime_ns, said.st_ctime_ns)


@lru_cache(maxsize=2)
def _read_commits(file: str, *_state: int) -> Mapping[str, str]:
    try:
        return {str(name): str(commit) for name, commit in json.loads(Path(file).read_text()).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _name(cell: Checkpoint) -> str:
    return f"{cell.location}@{cell.revision}"
