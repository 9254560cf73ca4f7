"""Taking one revision out of the hub's cache, of which `snapshots/COMMIT` holds links to files in `blobs`.

The hub's own client looks through the whole cache for it, passes over a repository in which one link is broken, and
counts a blob as nobody's that a download of another process is about to link to.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from evalrun.checkpoints.download_log import MARK

_WEIGHTS = (".safetensors", ".bin")  # of each step its own; configs and tokenizers are one blob for all steps


def blobs_of(snapshot: Path, only_weights: bool = False) -> set[Path]:
    """The blobs that a revision's files, or its weights alone, are links to."""
    files = (file for file in snapshot.rglob("*") if file.is_symlink())
    return {file.resolve() for file in files if not only_weights or file.suffix in _WEIGHTS}


def delete_snapshot(snapshot: Path) -> None:
    """Delete a revision's links and names; the mark that says whose it is goes last, whatever ends this before.

    Raises:
        OSError: something of it cannot be deleted.
    """
    refs = snapshot.parents[1] / "refs"
    for ref in [ref for ref in refs.rglob("*") if ref.is_file() and ref.read_text().strip() == snapshot.name]:
        ref.unlink()
    for file in snapshot.iterdir():
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        elif file.name != MARK:
            file.unlink()
    (snapshot / MARK).unlink(missing_ok=True)
    snapshot.rmdir()


def delete_blobs(repository: Path, blobs: Iterable[Path]) -> None:
    """Delete those blobs of a repository's folder in the cache that none of its revisions links to any more.

    Raises:
        OSError: one cannot be deleted.
    """
    in_use = blobs_of(repository / "snapshots")
    for blob in blobs:
        if blob not in in_use and repository.resolve() in blob.parents:
            blob.unlink(missing_ok=True)
