"""Which files are read: those that are named, and in folders every JSON and table."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from evalrun.commands.ingest import lm_eval_json, tidy_tables
from evalrun.commands.ingest.parsed import DamagedError, NotResultsError, ParsedResult, Skipped
from evalrun.core.errors import ConfigError
from evalrun.core.stages import stage

_TABLES = (".tsv", ".csv")
_KINDS = (".json", *_TABLES)


@dataclass
class Read:
    """What the files hold."""

    files: int = 0
    found: list[ParsedResult] = field(default_factory=list)
    left: list[Skipped] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)  # tables of something else, met in a folder


@stage("reading files")
def read(paths: Iterable[Path]) -> Read:
    """Read everything.

    Args:
        paths: Files and folders; a file that is named twice, also through its folder, is read once.

    Raises:
        ConfigError: paths that are not there, all of them at once.
    """
    paths = list(paths)
    absent = [path for path in paths if not path.exists()]
    if absent:
        raise ConfigError([f"'{path}' is not there: name files, folders or a checkout." for path in absent])
    content, seen = Read(), set()
    for path in paths:
        inside = sorted(_walk(path)) if path.is_dir() else [path]
        if not inside:
            content.left.append(Skipped(str(path), f"holds no {', '.join(_KINDS)} file"))
        for file in inside:
            real = file.resolve()
            if real not in seen:
                seen.add(real)
                _read_one(file, path.is_dir(), content)
    return content


def _walk(folder: Path) -> Iterable[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]  # .git, .venv
        yield from (Path(parent, name) for name in names if Path(name).suffix.lower() in _KINDS)


def _read_one(file: Path, in_folder: bool, content: Read) -> None:
    """Read a file into `content`, which is changed; a file that cannot be read is noted there.

    Args:
        file: JSON of lm-eval, or a table.
        in_folder: It was found in a folder, not named: a table of something else is then passed over.
        content: What was read so far.
    """
    shown, is_table = str(file), file.suffix.lower() in _TABLES
    content.files += 1
    try:
        if is_table:
            found, left = tidy_tables.read(file, shown)
            content.left += left
        else:
            found = lm_eval_json.read(file, shown)
        content.found += found
        content.left += [Skipped(shown, reason, "number") for one in found for reason in one.unread]
        if not found and not (is_table and left):
            content.left.append(Skipped(shown, "holds no results"))
    except DamagedError as error:
        content.left.append(Skipped(shown, str(error)))
    except NotResultsError as error:
        # A study's folder holds tables of many things, its statistics for one; a JSON that is no result is a surprise.
        if is_table and in_folder:
            content.passed.append(shown)
        else:
            content.left.append(Skipped(shown, str(error)))
