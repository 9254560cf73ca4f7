"""One line of the doctor's."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Check:
    """What was looked at, how it is, and what to do."""

    name: str
    state: str  # ok, warn: something will not work, fail: nothing will
    said: str
    todo: str = ""
