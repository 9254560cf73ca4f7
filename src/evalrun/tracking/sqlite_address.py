"""The address of a SQLite file as SQLAlchemy reads it: a ? begins options there, and %41 is an A."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from evalrun.core.errors import TrackingError

_PREFIX = "sqlite:///"


def path_of(uri: str) -> Path | None:
    """The file that a tracking URI names; None where it names something else."""
    return Path(unquote(uri.removeprefix(_PREFIX))) if uri.startswith(_PREFIX) else None


def address_of(path: Path) -> str:
    """What MLflow is told of a file.

    Args:
        path: In full.

    Raises:
        TrackingError: the SQLAlchemy that is installed, one before 2.1, has no way to write it.
    """
    text = str(path)
    plain = f"{_PREFIX}{text}"
    if not {"?", "%"} & set(text):
        return plain
    from sqlalchemy import make_url  # only here, since it takes time

    # Of an address that begins with sqlite:/// MLflow makes the folders, as they are written.
    quoted = f"sqlite+pysqlite:///{text.replace('%', '%25').replace('?', '%3F')}"
    for address in (plain, quoted):
        if make_url(address).database == text:
            return address
    raise TrackingError(
        f"the store '{text}' has a ? or % in its path, which SQLAlchemy before 2.1 cannot open: update it "
        "(pip install -U sqlalchemy), or set tracking.root to another folder."
    )
