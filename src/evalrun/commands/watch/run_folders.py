"""The folders of runs that patterns such as `runs/*` stand for, now: more may come."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from evalrun.config.schema import at_home
from evalrun.core.errors import suggest


@dataclass(frozen=True)
class FoundFolders:
    """What patterns stand for at one look."""

    folders: tuple[str, ...]  # as they are written, each once, by name
    problems: tuple[str, ...]  # a sentence for each pattern that matches nothing, and for what cannot be read
    twins: tuple[str, ...]  # a sentence for each that is another one by a link


def find_folders(patterns: Sequence[str]) -> FoundFolders:
    """The folders that patterns match; what is no folder, or begins with a dot, is passed over.

    Args:
        patterns: Each a path whose parts may hold *, ? and [...]; ~ is the user's home.
    """
    found: dict[str, None] = {}
    problems: list[str] = []
    for pattern in patterns:
        refused: list[str] = []
        matched = sorted(_expanded(pattern, refused))
        problems += refused
        if not matched and not refused:
            problems.append(_nothing(pattern))
        found.update(dict.fromkeys(matched))
    return _without_twins(list(found), problems)


def _expanded(pattern: str, refused: list[str]) -> list[str]:
    """The folders of one pattern; folders that cannot be read are told of."""
    path = Path(at_home(pattern))
    places = [path.anchor] if path.anchor else [""]
    for part in path.parts[1:] if path.anchor else path.parts:
        if glob.has_magic(part):
            places = [os.path.join(place, name) for place in places for name in _below(place, part, refused)]
        else:
            places = [os.path.join(place, part) for place in places]
            places = [place for place in places if os.path.isdir(place)]
    return [place for place in places if place]


def _below(place: str, part: str, refused: list[str]) -> list[str]:
    try:
        with os.scandir(place or ".") as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
    except OSError as error:
        refused.append(f"folder '{place or '.'}' cannot be read ({error.strerror}): check who may read it.")
        return []
    return [name for name in names if fnmatchcase(name, part) and not (name.startswith(".") and part[0] != ".")]


def _nothing(pattern: str) -> str:
    """What to say of a pattern that matches nothing: the first part of it that is not there, and what is."""
    path = Path(at_home(pattern))
    place = Path(path.anchor)
    for part in path.parts[1:] if path.anchor else path.parts:
        if glob.has_magic(part) or not (place / part).is_dir():
            there = [entry.name for entry in os.scandir(place) if entry.is_dir() and not entry.name.startswith(".")]
            if glob.has_magic(part) and not there:
                return f"paths={pattern} matches nothing: there is no folder in '{place}'."
            return f"paths={pattern} matches nothing in '{place}': {suggest(part, there)}"
        place = place / part
    return f"paths={pattern} matches nothing."


def _without_twins(folders: Sequence[str], problems: Sequence[str]) -> FoundFolders:
    """Of folders that are one by a link the one that is no link."""
    by_place: dict[str, str] = {}
    twins = []
    for folder in sorted(folders, key=lambda folder: (os.path.islink(folder), folder)):
        other = by_place.setdefault(os.path.realpath(folder), folder)
        if other != folder:
            twins.append(f"'{folder}' is '{other}' by another name: it is watched once.")
    return FoundFolders(tuple(sorted(by_place.values())), tuple(problems), tuple(twins))
