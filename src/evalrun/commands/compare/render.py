"""A comparison for people, and for scripts."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evalrun.commands.compare.selection import ComparedCheckpoint
from evalrun.core.text import counted, listed

if TYPE_CHECKING:
    import pandas as pd

_WIDTH = 100
_TITLE = 25
_SHOWN = {"no difference shown": "neither", "not comparable": "unknown"}


@dataclass(frozen=True)
class Comparison:
    """Two checkpoints compared."""

    before: ComparedCheckpoint
    after: ComparedCheckpoint
    settings: str  # how both were scored
    tasks: pd.DataFrame  # see paired.compare_checkpoints
    notes: list[str]  # what was left out or is doubtful
    alpha: float
    correction: str  # statsmodels' name
    correction_title: str


def to_json(found: Comparison) -> dict[str, Any]:
    """One object; keys stay, what is not known is null."""
    sides = {
        name: {
            **{key: getattr(side, key) for key in ("suite", "model", "seed", "step")},
            **({} if side.cell.stage is None else {"stage": side.cell.stage, "stage_step": side.cell.stage_step}),
            "run_ids": [run.run_id for run in side.runs],
        }
        for name, side in (("before", found.before), ("after", found.after))
    }
    tasks = [{str(key): _plain(value) for key, value in row.items()} for row in found.tasks.to_dict("records")]
    about = {"settings": found.settings, "alpha": found.alpha, "correction": found.correction}
    return {**sides, **about, "tasks": tasks, "notes": found.notes}


def text(found: Comparison) -> str:
    """A table with a line a task, then what it says in a sentence, then what must be known."""
    rows = found.tasks.to_dict("records")
    width = max(4, min(_TITLE, max(len(str(row["title"])) for row in rows)))
    named = [side.label for side in (found.before, found.after)]
    if found.before.suite != found.after.suite:
        named = [f"{side.suite} {side.label}" for side in (found.before, found.after)]
    level = f"B - A [{100 * (1 - found.alpha):g} % interval]"
    columns = f"{'A':>6}  {'B':>6}  {level:<23} {'fell':>5} {'rose':>5} {'p':>6} {'q':>6}  B is"
    lines = [f"A  {named[0]}", f"B  {named[1]}", f"scored by {found.settings}", "", f"{'task':<{width}} {columns}"]
    lines += [_line(row, width) for row in rows]
    return "\n".join(
        [*lines, "", *_wrapped(_sentence(found)), *(part for said in _told(found) for part in _wrapped(said))]
    )


def _line(row: Mapping[Any, Any], width: int) -> str:
    title = str(row["title"])
    title = title if len(title) <= width else f"{title[: width - 3]}..."
    change = number(row["difference"], "+")
    if not math.isnan(row["low"]):
        change += f" [{number(row['low'], '+')}, {number(row['high'], '+')}]"
    fell, rose = ("." if math.isnan(row[name]) else f"{row[name]:.0f}" for name in ("fell", "rose"))
    numbers = f"{number(row['before']):>6}  {number(row['after']):>6}  {change:<23} {fell:>5} {rose:>5}"
    verdict = _SHOWN.get(row["verdict"], row["verdict"])
    return f"{title:<{width}} {numbers} {_p(row['p']):>6} {_p(row['q']):>6}  {verdict}"


def _sentence(found: Comparison) -> str:
    """How many tasks got worse and better, of how many tests, at which level: the last line."""
    counts = found.tasks["verdict"].value_counts()
    worse, better = int(counts.get("worse", 0)), int(counts.get("better", 0))
    tests = int(found.tasks["p"].notna().sum())
    if not tests:
        return "Nothing could be compared."
    parts = [f"{word} on {count}" for word, count in (("worse", worse), ("better", better)) if count]
    said = f"B is {' and '.join(parts)} of {counted(tests, 'task')}"
    if not parts:
        said = f"No difference is shown on {counted(tests, 'task')}"
    elif tests > worse + better:
        said += f"; on {tests - worse - better} no difference is shown"
    return f"{said} (q < {found.alpha:g}; {found.correction_title} over {counted(tests, 'test')})."


def _told(found: Comparison) -> Iterator[str]:
    """How it was compared, and what is doubtful."""
    for method, rows in found.tasks[found.tasks["method"] != ""].groupby("method", sort=False):
        whose = f": {listed(rows['title'])}" if len(rows) < len(found.tasks) else ""
        yield f"By the {method}{whose}."
    for note, rows in found.tasks[found.tasks["note"] != ""].groupby("note", sort=False):
        yield f"{listed(rows['title'])}: {note}."
    if not found.tasks["higher_is_better"].all():
        yield f"Lower is better: {listed(found.tasks.loc[~found.tasks['higher_is_better'], 'title'])}."
    yield from found.notes


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def number(value: float, sign: str = "") -> str:
    """A value as short as it can be read; - where it is not known."""
    if math.isnan(value):
        return "-"
    digits = 3 if abs(value) < 10 else 2 if abs(value) < 100 else 1
    return f"{value:{sign}.{digits}f}" if abs(value) < 1e5 else f"{value:{sign}.2g}"


def _p(p: float) -> str:
    return "-" if math.isnan(p) else "<.001" if p < 0.0005 else f"{p:.3f}"


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
