"""What is asked of a format, and what it says of what it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from evalrun.core.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.config.schema import Config
    from evalrun.tracking import Store


@dataclass(frozen=True)
class ExportRequest:
    """What is to be exported, and where to."""

    table: pd.DataFrame  # the selected rows, columns as `columns.TABLE_COLUMNS`, of all suites
    store: Store
    config: Config
    target: Path
    about: Mapping[str, str]  # the format, the store, the selection: what the target is noted to hold
    x: str  # step or tokens


@dataclass
class ExportSummary:
    """What an export did."""

    held: str  # what the target holds now, in words
    written: list[Path] = field(default_factory=list)
    kept: int = 0  # files that were there as they should be
    notes: list[str] = field(default_factory=list)
    look: str = ""  # the command that opens it


def need_package(name: str, wanted: str) -> None:
    """Refuse a format whose library is not installed.

    Args:
        name: What is imported.
        wanted: What pip is to be given.

    Raises:
        ConfigError: with the command that installs it.
    """
    if find_spec(name) is None:
        raise ConfigError(f"export to {name} needs the package {name}: python -m pip install '{wanted}'.")
