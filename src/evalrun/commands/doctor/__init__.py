"""`doctor`: what evalrun needs here, whether it is there, and what to do about what is not.

Packages are looked at before any of them is imported: an installation that lacks some is what this is for.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from evalrun.commands.doctor import software
from evalrun.commands.doctor.check import FAIL, OK, WARN, Check
from evalrun.core.secrets import masked
from evalrun.core.text import counted

_COLOURS = {OK: "\x1b[32m", WARN: "\x1b[33m", FAIL: "\x1b[1;31m"}


def command(words: Sequence[str]) -> int:
    """Print one line a check; 0 when nothing fails, 1 otherwise.

    Raises:
        ConfigError: words that cannot be right.
    """
    found: list[Check] = []
    as_json = "--json" in words
    for check in _checks([word for word in words if not word.startswith("-")]):
        found.append(check)
        if not as_json:
            print(_line(check), flush=True)
    if as_json:
        shown = [{key: masked(value) for key, value in asdict(check).items()} for check in found]
        print(json.dumps(shown, indent=1, ensure_ascii=False))
    else:
        print(_verdict(found))
    return 1 if any(check.state == FAIL for check in found) else 0


def _checks(words: Sequence[str]) -> Iterator[Check]:
    installed = [software.python(), *software.packages()]
    yield from installed
    if all(check.state != FAIL for check in installed):
        from evalrun.commands.doctor.surroundings import checks

        yield from checks(words)


def _line(check: Check) -> str:
    state = f"{check.state:<5}"
    if sys.stdout.isatty():
        state = f"{_COLOURS[check.state]}{state}\x1b[0m"
    todo = f"\n{'':<17}{check.todo}" if check.todo else ""
    return masked(f"{state} {check.name:<10} {check.said}{todo}")


def _verdict(found: Sequence[Check]) -> str:
    counts = Counter(check.state for check in found)
    fails, warns = counts[FAIL], counts[WARN]
    warned = counted(warns, "warning")
    if fails:
        return f"\n{counted(fails, 'check')} failed, {warned}"
    return f"\nnothing fails, {warned}" if warns else "\nall is well"
