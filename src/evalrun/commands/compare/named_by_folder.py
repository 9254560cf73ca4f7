"""Names that are a run's folder: the last part is its name, unless the run of that name lies in another folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from evalrun.core.errors import ConfigError
from evalrun.tracking import RunEntry

R = TypeVar("R")


def in_folder(word: str, written: str, runs: Sequence[R], entries: Callable[[R], Iterable[RunEntry]]) -> list[R]:
    """Those of some runs whose folder a path can be.

    Args:
        word: The path, such as `runs/b/mine`, or a glob such as `runs/b/*`.
        written: What means those runs whatever their folder, for the message.
        runs: Those whose name is its last part.
        entries: What the store has of one.

    Raises:
        ConfigError: all of them lie in other folders; with one of those.
    """
    others: list[RunEntry] = []
    found = []
    for run in runs:
        elsewhere = [one for one in entries(run) if one.folder is not None and not _is_it(word, one.model, one.folder)]
        if len(elsewhere) < len(list(entries(run))):
            found.append(run)
        others += elsewhere
    if others and not found:
        raise ConfigError(
            f"no results of '{word}': those of '{others[0].model}' are of the run in '{others[0].folder}'; write "
            f"{written} if that is meant."
        )
    return found


def _is_it(word: str, name: str, folder: str) -> bool:
    """Whether a path can be that of a run's folder.

    Args:
        word: The path as typed.
        name: The run's.
        folder: In full, where it was when the results were computed: perhaps on another machine.
    """
    above = os.path.dirname(word)
    if folder in (os.path.realpath(os.path.join(above, name)), os.path.join(os.path.realpath(above), name)):
        return True
    if os.path.isdir(above):
        return not os.path.isdir(folder)  # it may have been moved here
    parts = [part for part in above.split("/") if part not in ("", ".")]
    return os.path.dirname(folder).split("/")[-len(parts) :] == parts
