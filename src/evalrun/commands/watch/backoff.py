"""What went wrong and when it is tried again: growing waits, kept in a file, so that they outlive the watch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from evalrun.core.atomic import keep_file

FILE = Path(".watch") / "faults.json"  # below the folder of all jobs' folders


@dataclass(frozen=True)
class FailedTry:
    """Something that failed, and has not changed since."""

    tries: int
    until: float  # Unix time of the next try
    why: str
    state: str  # digest of what was tried, such as a checkpoint's files

    @property
    def is_over(self) -> bool:
        """Whether its time has come."""
        return time.time() >= self.until


class Faults:
    """The faults of the runs of one folder of jobs; other watches keep theirs in the same file.

    Args:
        root: The folder of all jobs' folders.
        first_s: Seconds after a first fault until the next try.
        most_s: Bound of the wait, which doubles with each fault.
    """

    def __init__(self, root: Path, first_s: float, most_s: float) -> None:
        self._file = root / FILE
        self._first_s = first_s
        self._most_s = most_s
        self._known = _read(self._file)
        self._passing: dict[str, FailedTry] = {}  # those that end with this process
        self.are_tried_again = True  # by this process

    def of(self, key: str, state: object) -> FailedTry | None:
        """The fault of something; None where there is none, or it is no longer what it was.

        Args:
            key: Names it.
            state: What it is now; anything with a repr.
        """
        fault = self._passing.get(key, self._known.get(key))
        return fault if fault is not None and fault.state == _digest(state) else None

    def note(self, key: str, state: object, why: str, outlives: bool = True) -> FailedTry:
        """Note that it failed, again or for the first time.

        Args:
            key: Names it.
            state: What was tried; anything with a repr.
            why: A sentence.
            outlives: Whether another watch is told. A mistake of the request is held against this one alone.
        """
        before = self.of(key, state)
        tries = 1 if before is None else before.tries + 1
        wait = min(self._first_s * 2.0 ** min(tries - 1, 60), self._most_s)
        fault = FailedTry(tries, time.time() + wait, why, _digest(state))
        if outlives:
            self._keep(key, fault)
        else:
            self._passing[key] = fault
        return fault

    def clear(self, key: str) -> None:
        """It is well."""
        self._passing.pop(key, None)
        if key in self._known:
            self._keep(key, None)

    def _keep(self, key: str, fault: FailedTry | None) -> None:
        known = _read(self._file) | self._known  # what this watch knows of its own runs is newer
        self._known = {name: one for name, one in known.items() if name != key} | (
            {} if fault is None else {key: fault}
        )
        keep_file(self._file, json.dumps({name: asdict(one) for name, one in self._known.items()}))


def _read(file: Path) -> dict[str, FailedTry]:
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        return {str(key): FailedTry(**one) for key, one in json.loads(file.read_text()).items()}
    return {}


def _digest(state: object) -> str:
    said = sorted(map(repr, state)) if isinstance(state, frozenset) else state
    return hashlib.sha256(repr(said).encode("utf-8", "surrogatepass")).hexdigest()[:16]
