"""Several results of one task on one checkpoint: one where they agree, the latest with a mark where they do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from evalrun.core.text import counted, listed
from evalrun.statistics.naming import CHECKPOINT, MOST_NOTES, capped, checkpoint_name

_EXACT = 1e-9  # what a number loses on its way through a database or a CSV file
_VALUES = 4  # of one cell that a note lists


@dataclass(frozen=True)
class Merged:
    """A table without repeats."""

    rows: pd.DataFrame
    notes: list[str]
    disagreeing: pd.DataFrame  # CHECKPOINT, task, and `why`: the values of cells whose results contradict one another


def merge_repeated(rows: pd.DataFrame, same_within: float) -> Merged:
    """Keep the latest of several values of one task, metric and checkpoint; the notes say which disagreed.

    Values that differ by at most `same_within` of the largest of them are one result: the same weights scored on other
    hardware, or with another batch size, differ in the last places.

    Args:
        rows: Of the tidy table, oldest first.
        same_within: A share of the value, 0.001 for a thousandth.
    """
    key = [*CHECKPOINT, "task", "metric"]
    again = rows[rows.duplicated(key, keep=False)]
    kept = rows if again.empty else rows.drop_duplicates(key, keep="last")  # a copy may be gigabytes
    cell = again.assign(size=again["value"].abs()).groupby(key, dropna=False, sort=False)
    about = cell.agg(low=("value", "min"), high=("value", "max"), size=("size", "max"), weights=("weights", "nunique"))
    spread, at_most = (about["high"] - about["low"]).to_numpy(), about["size"].to_numpy()
    exact = spread <= _EXACT
    near = ~exact & (spread <= same_within * at_most)
    rewritten = ~exact & ~near & (about["weights"] > 1).to_numpy()
    disagree = ~exact & ~near & ~rewritten
    number = cell.ngroup().to_numpy()  # of each row: which cell it is of, in the order of `about`
    disputed = _disputed(again[disagree[number]], key)
    told = [
        *_rewritten(again[rewritten[number]]),
        *disputed.notes,
        *_equal(int(exact.sum()), [float(share) for share in spread[near] / at_most[near]], same_within),
    ]
    stated = kept[(kept["disputed"] != "") & kept["value"].notna()]
    told += _stated(stated)
    return Merged(kept, told, pd.concat([disputed.disagreeing, _marks(stated)], ignore_index=True))


def _equal(exact: int, near: list[float], same_within: float) -> list[str]:
    """Of repeats that agree: how many there are, and by which share of their value they differ."""
    notes = []
    if near:
        results = "1 result is" if len(near) == 1 else f"{len(near)} results are"
        notes.append(
            f"{results} there more than once with values that differ by {100 * max(near):.2g} % at most, within "
            f"analysis.same_within={same_within:g}: each counts once, with its latest value."
        )
    if exact:
        results = "1 result is" if exact == 1 else f"{exact} results are"
        notes.append(f"{results} there more than once with one value; each counts once.")
    return notes


def _rewritten(rows: pd.DataFrame) -> list[str]:
    """Checkpoints whose files were written again between two results."""
    told = []
    for _, own in rows.groupby(CHECKPOINT, dropna=False, sort=False):
        tasks = listed([str(task) for task in own["task"].unique()], MOST_NOTES)
        name = checkpoint_name(own.iloc[0].to_dict())
        told.append(f"{name} was written again with other weights: what was computed last counts ({tasks}).")
    return capped(told)


def _disputed(rows: pd.DataFrame, key: list[str]) -> Merged:
    """Cells whose results contradict one another, a note for each checkpoint."""
    marks: list[dict[Any, Any]] = []
    notes = []
    for _, checkpoint in rows.groupby(CHECKPOINT, dropna=False, sort=False):
        told = []
        for _, own in checkpoint.groupby(key, dropna=False, sort=False):
            row, values = own.iloc[-1].to_dict(), [f"{value:.6g}" for value in own["value"]]
            which = "latest" if own["finished_ms"].nunique() > 1 else "last"  # files may not say when they were made
            shown = ", ".join(values[:_VALUES]) + (" and others" if len(values) > _VALUES else "")
            marks.append({name: row[name] for name in [*CHECKPOINT, "task"]} | {"why": f"{shown}: the {which} is kept"})
            told.append((row["task"], len(values), shown, which, values[-1]))
        notes.append(_note(checkpoint_name(checkpoint.iloc[0].to_dict()), told))
    return Merged(rows, capped(notes), pd.DataFrame(marks, columns=[*CHECKPOINT, "task", "why"]))


def _note(name: str, told: list[tuple[str, int, str, str, str]]) -> str:
    if len(told) == 1:
        ((task, number, shown, which, value),) = told
        return f"{name}, {task}: {number} results disagree ({shown}); the {which}, {value}, is kept."
    values = listed([f"{task}: {shown}" for task, _, shown, _, _ in told], 3)
    which = "latest" if all(one[3] == "latest" for one in told) else "last"
    return f"{name}: the results of {counted(len(told), 'task')} disagree ({values}); the {which} of each is kept."


def _stated(rows: pd.DataFrame) -> list[str]:
    """Results whose source says that others contradict them."""
    return capped(
        [f"{checkpoint_name(row)}, {row['task']}: kept, though {row['disputed']}." for row in rows.to_dict("records")]
    )


def _marks(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[[*CHECKPOINT, "task"]].assign(why=rows["disputed"].astype(object))
