"""Did general performance stay high while a task fell? Each fall set against the control tasks over the same training.

A fall is what `shapes` found: of an inverse curve from its start to its end, of a U-shaped one from the start to the
turn, of an inverted U from the turn to the end, of a non-monotonic one the largest that counts. Over those two
checkpoints the mean of the control tasks (of the role `control`, proportions where higher is better) *rose* or *fell*
when it moved by more than 1.96 of its standard errors, and else *stayed*. The standard error is that of a mean of
independent tasks; checkpoints answer the same items, so it is too large rather than too small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.causes import CONTROL
from evalrun.statistics.naming import run_name
from evalrun.statistics.row_groups import Row, row_groups

_Z = 1.96  # two-sided 5 %
_MOST = 5  # tasks that are told of
_NAMED = 8  # curves that are named; of more, the first _SHOWN
_SHOWN = 3
_SPANS = {
    "inverse": ("from", "to"),
    "late drop": ("turn", "to"),
    "U-shaped": ("from", "turn"),
    "inverted-U": ("turn", "to"),
    "non-monotonic": ("from", "to"),
}


@dataclass(frozen=True)
class _Move:
    """How the controls moved in one model while a task fell."""

    model: str
    verb: str | None  # rose, fell, stayed; None where no control was scored at both checkpoints
    before: float
    after: float
    tasks: tuple[str, ...]  # titles of the controls that were scored at both


def control_sentences(table: pd.DataFrame, shapes: pd.DataFrame) -> list[str]:
    """One sentence for each task that falls in some model, saying what the controls did meanwhile.

    Args:
        table: Rows of `Prepared.table`, with the column `role`.
        shapes: What `describe_shapes` returns for it.

    Returns:
        The sentences, in the order of the table, of the tasks that fall in most curves; where tasks fall and there is
        no control at all, one that says so; none where nothing falls.
    """
    controls = table[(table["role"] == CONTROL) & table["higher_is_better"] & table["value"].between(0, 1)]
    known = set(table.loc[table["role"] == CONTROL, "task"])
    falls = shapes[shapes["label"].isin(list(_SPANS)) & ~shapes["task"].isin(list(known))]
    if falls.empty:
        return []
    if controls.empty:
        count = falls["task"].nunique()
        return [
            f"{count} {'task falls' if count == 1 else 'tasks fall'} in some model, and no control task was scored: "
            "whether general performance stayed high meanwhile is not known (task=...,controls adds some)."
        ]
    by_task, scored = list(row_groups(falls, "task").values()), _scored(controls)
    # Those that fall in most curves, in the order of the table.
    first = sorted(sorted(range(len(by_task)), key=lambda place: -len(by_task[place]))[:_MOST])
    sentences = []
    for rows in (by_task[place] for place in first):
        moves = [_move(row, scored) for row in rows]
        sentences.append(f"{rows[0]['title']} falls in {len(moves)} {_curves(moves)}: {_told(moves)}.")
    more = len(by_task) - len(first)
    if more:
        what = "1 more task falls" if more == 1 else f"{more} more tasks fall"
        sentences.append(f"{what} in as many curves or fewer: see “Did it get worse?”.")
    return sentences


_Scored = Mapping[tuple[Any, ...], Mapping[str, Row]]


def _scored(controls: pd.DataFrame) -> _Scored:
    """Model, seed (None without) and step -> task -> its row."""
    found: dict[tuple[Any, ...], dict[str, Row]] = {}
    shown = controls[["model", "seed", "step", "task", "title", "value", "stderr"]]
    for (model, seed, step), rows in row_groups(shown, "model", "seed", "step").items():
        place = (model, None if pd.isna(seed) else seed, step)
        found.setdefault(place, {}).update({row["task"]: row for row in rows})
    return found


def _move(row: Row, scored: _Scored) -> _Move:
    """How a model's controls moved while a task's curve did; within 1.96 standard errors of their mean they stayed.

    Args:
        row: The curve's shape, with the steps between which it moved.
        scored: What the controls scored at each checkpoint.
    """
    ends = _SPANS[row["label"]]
    if row["label"] == "non-monotonic" and (row["to_value"] > row["from_value"]) == row["higher_is_better"]:
        ends = ("against_from", "against_to")  # the larger of its two moves is a rise
    first, last = (row[f"{end}_step"] for end in ends)
    seed = row["seed"]
    name = run_name(row)
    before, after = (scored.get((row["model"], None if pd.isna(seed) else seed, step), {}) for step in (first, last))
    both = [task for task in before if task in after]
    if not both:
        return _Move(name, None, np.nan, np.nan, ())
    values, errors = (
        np.array([[end[task][column] for task in both] for end in (before, after)], dtype="float64")
        for column in ("value", "stderr")
    )
    change = float((values[1] - values[0]).mean())
    error = float(np.sqrt((np.nan_to_num(errors) ** 2).sum()) / len(both))
    verb = "stayed" if abs(change) <= _Z * error else "rose" if change > 0 else "fell"
    titles = tuple(str(before[task]["title"]) for task in both)
    return _Move(name, verb, float(values[0].mean()), float(values[1].mean()), titles)


def _curves(moves: list[_Move]) -> str:
    seeds = any(" seed " in move.model for move in moves)
    return ("curve" if seeds else "model") + ("s" if len(moves) > 1 else "")


def _told(moves: list[_Move]) -> str:
    """`meanwhile the mean of 4 controls (...) rose in pythia-1b (0.41 to 0.52), and stayed in ...`."""
    titles = list(dict.fromkeys(title for move in moves for title in move.tasks))
    parts = list(_parts(moves))
    if not titles:
        return parts[0]
    of = f"the mean of {len(titles)} controls" if len(titles) > 1 else "the control"
    return f"over the same steps {of} ({', '.join(titles)}) {'; '.join(parts)}"


def _parts(moves: list[_Move]) -> Iterator[str]:
    for verb in ("fell", "stayed", "rose"):
        own = [move for move in moves if move.verb == verb]
        if own:
            yield f"{verb} in {_named(own, [f'{m.model} ({m.before:.2f} to {m.after:.2f})' for m in own])}"
    unknown = [move for move in moves if move.verb is None]
    if unknown:
        yield f"no control was scored at both ends in {_named(unknown, [move.model for move in unknown])}"


def _named(moves: list[_Move], names: list[str]) -> str:
    """The curves by name; of many how many they are, and the first."""
    if len(names) <= _NAMED:
        return ", ".join(names)
    return f"{len(names)} {_curves(moves)}, such as {', '.join(names[:_SHOWN])}"
