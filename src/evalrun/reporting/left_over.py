"""Files of an earlier analysis in the same folder that would be taken for this one's."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

from evalrun.core.atomic import write_files
from evalrun.core.errors import StorageError
from evalrun.core.hashing import file_sha256
from evalrun.core.receipt import Receipt, read_receipts, receipts_text
from evalrun.reporting.figure_files import EVERY_FORMAT, OVERVIEWS
from evalrun.reporting.item_page import FOLDER
from evalrun.reporting.kept_pictures import MADE
from evalrun.reporting.table_files import TABLES

PAGES = f"{FOLDER}/made.json"  # which pages of items are evalrun's
NOTES = (MADE, PAGES)  # of the report's folder alone: nothing to show or to send elsewhere


def with_note(pages: Mapping[str, str]) -> dict[str, str]:
    """Pages of items, and beside them the file that says that they were made; nothing where there are none."""
    digests = {path: hashlib.sha256(content.encode()).hexdigest() for path, content in pages.items()}
    return {**pages, PAGES: receipts_text({"pages": Receipt("", digests, {})})} if pages else {}


def write_report(out: Path, contents: Mapping[str, str | bytes]) -> dict[str, Path]:
    """Put a report's files in their places, and remove what an earlier analysis made there and this one did not.

    What a user put there stays: tables and overviews have names of their own; pictures and pages of tasks go where the
    notes of the earlier analysis say that it made them, and they are as they were made.

    Args:
        out: The report's folder; made if need be.
        contents: Path below it -> text or bytes.

    Returns:
        Path below it -> the file, without the notes.

    Raises:
        StorageError: one cannot be written or removed.
    """
    receipts = [one for note in NOTES for one in read_receipts(out / note).values()]  # before they are replaced
    files = write_files(out, contents)
    _remove_left_over(out, contents, {path: digest for one in receipts for path, digest in one.files.items()})
    return {name: path for name, path in files.items() if name not in NOTES}


def _remove_left_over(out: Path, made: Collection[str], earlier: Mapping[str, str]) -> None:
    """Remove what is not made any more.

    Args:
        out: The report's folder.
        made: What was written now, below it.
        earlier: Pictures and pages that were made before: path below it -> SHA-256.

    Raises:
        StorageError: one of them cannot be removed.
    """
    may_be = [f"tables/{name}.csv" for name in TABLES]
    may_be += [f"figures/{name}.{kind}" for name in OVERVIEWS for kind in EVERY_FORMAT]
    may_be += NOTES
    of_tasks = [path for path in earlier if path not in made and path not in may_be]
    for name in [*may_be, *of_tasks]:
        if name in made:
            continue
        try:
            if name in may_be or _is_as_made(out, name, earlier[name]):
                (out / name).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{out / name}, of an earlier analysis, cannot be removed: {error.strerror}.") from error


def _is_as_made(out: Path, name: str, digest: str) -> bool:
    """Whether a file lies below the folder and is what was written there: a note may have been changed by hand."""
    is_below = not Path(name).is_absolute() and ".." not in Path(name).parts
    return is_below and (out / name).is_file() and file_sha256(out / name) == digest
