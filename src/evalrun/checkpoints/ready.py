"""A checkpoint that can be scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evalrun.checkpoints.load import Loaded
from evalrun.checkpoints.locate import ResolvedCheckpoint


@dataclass(frozen=True)
class ReadyCheckpoint:
    """A checkpoint, fetched and loaded, or described where an engine has its weights."""

    located: ResolvedCheckpoint
    folder: Path  # of its files
    weights: str  # their digest
    device: str  # that it is scored on; `server` where that is another's
    loaded: Loaded
    dtype: str  # that it is scored in, as far as it is known
