"""A store that was moved or copied: MLflow keeps the full paths of artifacts, and so would go on in the old place.

The paths are put right in the database before MLflow opens it: the results of a store that moved are found, and work in
a copy writes nothing into the original.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from evalrun.core.text import counted

log = logging.getLogger(__name__)
APART = "evalrun.artifacts_apart"  # tag of an experiment whose artifacts were put elsewhere than beside the database
_FOLDER = "artifacts"  # below the store's root
_PLAIN = frozenset("%?#;")  # an address with none of these is the path itself


def settle(database: Path, root: Path, patience_s: float) -> None:
    """Make the paths in a database those of the folder that it lies in.

    Args:
        database: A SQLite file.
        root: The store's folder. Where the file lies elsewhere, somebody chose both, and nothing is changed.
        patience_s: Seconds to wait for a locked database.

    Raises:
        sqlite3.Error: it cannot be read or written.
    """
    if database.parent != root:
        return
    with contextlib.closing(sqlite3.connect(database, timeout=patience_s)) as connection:
        try:
            places = connection.execute(
                "SELECT e.artifact_location FROM experiments e JOIN experiment_tags t ON t.experiment_id = "
                "e.experiment_id WHERE t.key = 'evalrun.kind' AND e.experiment_id NOT IN "
                "(SELECT experiment_id FROM experiment_tags WHERE key = ?)",
                (APART,),
            ).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):  # MLflow has made none yet
                return
            raise
        for old in dict.fromkeys(_roots(place for (place,) in places)):
            if not _is_same(old, root):
                _move(connection, old, root)


def here(uri: str, root: Path) -> Path | None:
    """Where the artifacts of an address lie on this machine, those of a store that moved below its root; or None."""
    found = folder_here(uri, root)
    return None if found is None else Path(found)


def folder_here(uri: str, root: Path | str) -> str | None:
    """What `here` says, as text: of thousands of runs, paths as objects take ten times as long."""
    plain = uri.removeprefix("file://") if uri.startswith("file:///") else uri
    if not plain.startswith("/") or not _PLAIN.isdisjoint(plain):
        parts = urlsplit(uri)
        if parts.scheme not in ("", "file"):
            return None
        plain = str(Path(unquote(parts.path)))
    _, *place = plain.rsplit("/", 4)
    if len(place) == 4 and place[0] == _FOLDER and not os.path.isdir(plain):
        moved = os.path.join(root, *place)  # artifacts/<suite>/<run>/artifacts
        return moved if os.path.isdir(moved) else plain
    return plain


def _roots(places: Iterable[str | None]) -> Iterator[Path]:
    """The stores' folders that experiments name as theirs."""
    for place in places:
        parts = urlsplit(place or "")
        folder = Path(unquote(parts.path))
        if parts.scheme == "file" and folder.parent.name == _FOLDER:
            yield folder.parent.parent


def _is_same(old: Path, root: Path) -> bool:
    if old == root:
        return True
    with contextlib.suppress(OSError):
        return os.path.samefile(old, root)  # by another name, as through a link
    return False


def _move(connection: sqlite3.Connection, old: Path, root: Path) -> None:
    """Rewrite what begins with the old folder, all of it or nothing."""
    before, after = f"{(old / _FOLDER).as_uri()}/", f"{(root / _FOLDER).as_uri()}/"
    runs = [uri for (uri,) in connection.execute("SELECT artifact_uri FROM runs") if (uri or "").startswith(before)]
    with connection:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                (after, len(before) + 1, len(before), before),
            )
    log.warning(
        "this store was in %s before: the artifacts of its %s are looked for in %s now",
        *(old, counted(len(runs), "run"), root),
    )
    left = [uri for uri in runs if _is_folder(uri) and not _is_folder(after + uri.removeprefix(before))]
    if left:
        log.warning(
            "the artifacts of %s are there only: `cp -rn %s/. %s` brings them here",
            counted(len(left), "run"), old / _FOLDER, root / _FOLDER,
        )  # fmt: skip


def _is_folder(uri: str) -> bool:
    return Path(unquote(urlsplit(uri).path)).is_dir()
