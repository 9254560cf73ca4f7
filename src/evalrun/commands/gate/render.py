"""A gate for people in a terminal, and for scripts."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from typing import Any

from evalrun.commands.compare.render import number
from evalrun.commands.compare.selection import ComparedCheckpoint
from evalrun.commands.gate.results import GateResult
from evalrun.commands.gate.verdicts import PASSES, GateCheck
from evalrun.commands.gate.wording import asked, headline, how, interval, item_line, power_lines, sentence

_WIDTH = 110
_TITLE = 28


def text(result: GateResult) -> str:
    """A table with a line for each thing that is asked, a sentence for what does not pass, and the last word."""
    return "\n".join([*_head(result), "", *_table(result.checks), "", *_told(result)])


def _head(result: GateResult) -> Iterator[str]:
    checkpoint = result.sides.checkpoint
    yield f"gate {result.gate.name}"
    yield f"checkpoint  {checkpoint.label}"
    yield f"against     {result.sides.against}"
    yield f"scored by   {checkpoint.runs[0].settings}"


def _table(checks: list[GateCheck]) -> list[str]:
    """The checks as lines of equal columns, under a heading; long titles are cut."""
    rows = [("task", "reference", "now", "change", "interval", "asked", "verdict")]
    for check in checks:
        found = check.bounds
        change = number(found.estimate, "+") if check.is_of_change else "-"
        title = check.title if len(check.title) <= _TITLE else f"{check.title[: _TITLE - 3]}..."
        numbers = (number(found.before), number(found.after), change, interval(check) or "-")
        rows.append((title, *numbers, asked(check), check.verdict.upper() if check.verdict != PASSES else PASSES))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    right = (1, 2, 3)
    return [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _told(result: GateResult) -> Iterator[str]:
    """Sentences on what does not pass with its items, what could not be seen, notes, the last word."""
    for check in result.checks:
        if check.verdict != PASSES:
            yield from _wrapped(f"{check.verdict.upper()}: {sentence(check)}")
            for item in check.broken:
                yield from _wrapped(item_line(item), "  ")
    for check in result.checks:
        if check.bounds.note and check.verdict == PASSES:
            yield from _wrapped(f"{check.task}: {check.bounds.note}.")
    for said in (*result.notes, *power_lines(result), how(result), headline(result)):
        yield from _wrapped(said)


def _wrapped(line: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        line, _WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ", break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def to_json(result: GateResult) -> dict[str, Any]:
    """One object; keys stay, what is not known is null."""
    gate = result.gate
    return {
        "gate": gate.name,
        "passed": not result.failing,
        "checkpoint": _side(result.sides.checkpoint),
        "against": result.sides.against,
        "references": [_side(one) for one in result.sides.references],
        "alpha": gate.alpha,
        "undecided": gate.undecided,
        "checks": [_check(check) for check in result.checks],
        "notes": result.notes,
    }


def _side(side: ComparedCheckpoint) -> dict[str, Any]:
    about = {key: getattr(side, key) for key in ("suite", "model", "seed", "step")}
    return {**about, "run_ids": [run.run_id for run in side.runs]}


def _check(check: GateCheck) -> dict[str, Any]:
    """One check, flat."""
    about = {name: getattr(check, name) for name in ("task", "title", "metric", "higher_is_better", "verdict", "why")}
    found: dict[str, Any] = {
        **about,
        "asked": check.threshold.kind,
        "threshold": check.threshold.value,
        "reference": None if check.reference is None else check.reference.label,
        "searched": check.searched,
        **{key: value for key, value in vars(check.bounds).items() if key != "is_share"},
        "smallest_shown": check.smallest_shown,
        "smallest_margin": check.smallest_margin,
        "sentence": sentence(check),
        "broken": [vars(item) for item in check.broken],
    }
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in found.items()
    }
