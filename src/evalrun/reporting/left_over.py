"""Files of an earlier analysis in the same folder that would be taken for this one's."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from evalrun.core.errors import StorageError
from evalrun.reporting.figure_files import EVERY_FORMAT, OF_TASKS, OVERVIEWS
from evalrun.reporting.item_page import FOLDER
from evalrun.reporting.kept_pictures import MADE
from evalrun.reporting.table_files import TABLES


def remove_left_over(out: Path, made: Collection[str]) -> None:
    """Remove the tables and figures that evalrun makes under names of its own and that were not made this time.

    Args:
        out: The report's folder. Of tables and overviews files under other names are the user's and stay; the folders
            of tasks' pictures and pages are evalrun's own.
        made: What was written now, below it.

    Raises:
        StorageError: one of them cannot be removed.
    """
    may_be = [f"tables/{name}.csv" for name in TABLES]
    may_be += [f"figures/{name}.{kind}" for name in OVERVIEWS for kind in EVERY_FORMAT]
    may_be += [MADE]
    drawn = [path for kind, ending in OF_TASKS.items() for path in (out / "figures" / kind).glob(f"*.{ending}")]
    may_be += [str(path.relative_to(out)) for path in drawn]
    may_be += [f"{FOLDER}/{path.name}" for path in (out / FOLDER).glob("*.html")]
    for name in may_be:
        if name not in made:
            try:
                (out / name).unlink(missing_ok=True)
            except OSError as error:
                raise StorageError(
                    f"{out / name}, of an earlier analysis, cannot be removed: {error.strerror}."
                ) from error
