"""The errors a user can cause, each one sentence: what is wrong, the value, what is allowed, what to do next.

EvalrunError
├── ConfigError        a name, key or value that cannot be right (all of them at once)
├── CheckpointError    a checkpoint that is missing, unreachable or damaged
│   └── NoMemoryError  one that is whole and does not fit on its device
├── TaskError          a task file or its data that cannot be scored
├── StorageError       results that cannot be written or read back: disk, journal
├── TrackingError      an MLflow store that is locked, unreachable or of another version
└── AnalysisError      nothing to analyse, or a table that cannot be fitted at all
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from evalrun.core.secrets import masked


class EvalrunError(Exception):
    """A mistake or a lack that the user can do something about; shown without a traceback, and without secrets.

    Args:
        problems: One sentence each; all are shown together.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [masked(problem) for problem in ([problems] if isinstance(problems, str) else problems)]
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[EvalrunError], tuple[list[str]]]:
        """Pickle by its problems, so that a worker's error arrives whole."""
        return type(self), (self.problems,)


class ConfigError(EvalrunError):
    """Wrong names, keys or values in the configuration."""


class CheckpointError(EvalrunError):
    """A checkpoint that is missing, unreachable or damaged."""


class NoMemoryError(CheckpointError):
    """A checkpoint that does not fit on the device that it is to be scored on."""


class TaskError(EvalrunError):
    """A task file or its data that cannot be scored."""


class StorageError(EvalrunError):
    """Results that cannot be written or read back."""


class TrackingError(EvalrunError):
    """An MLflow store that is locked, unreachable or of another version."""


class AnalysisError(EvalrunError):
    """Nothing to analyse, or a table that cannot be fitted at all."""


def first_line(error: BaseException) -> str:
    """The first line of a library's message, without its full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(". ")


def suggest(name: str, allowed: Iterable[str], show: int = 12) -> str:
    """Say which allowed name is meant, or list what is allowed: the tail of an error sentence."""
    names = sorted(allowed)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    if not names:
        return "there is none to choose from."
    listed = ", ".join(names[:show]) + (f", ... ({len(names)} in all)" if len(names) > show else "")
    return f"choose from: {listed}."
