"""The regression table as a terminal shows it."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from evalrun.reporting.effect_words import DOWN, effect_names
from evalrun.reporting.regression_table import by_effect, q_text, unfitted
from evalrun.statistics.row_groups import row_groups

TWO_STORIES = "~"  # beside the effect of training where curve and slope disagree


def effects_text(
    effects: pd.DataFrame,
    shapes: Mapping[str, str],
    legend: Sequence[str],
    alpha: float,
    width: int = 100,
    *,
    axis: str = "tokens",
    beside: pd.DataFrame | None = None,
    two_stories: Collection[str] = (),
) -> str:
    """A row a task: t, corrected p and star of each effect, what OLS says, the shape of the curve.

    Args:
        effects: Rows of the headline method, as `orientation.turned` returns them.
        shapes: Task name -> shape.
        legend: Lines below the table.
        alpha: Level below which q is marked.
        width: Columns, 80 or more. Where they do not suffice for OLS beside the effects, it has a row below each task,
            and names of tasks are cut in the middle.
        axis: What the second effect is of.
        beside: The same rows by OLS; None where that is the headline itself, or was not fitted.
        two_stories: Tasks whose effect of training is marked.
    """
    tasks = [(str(task), by_effect(rows)) for task, rows in row_groups(effects, "task").items()]
    others = {} if beside is None else row_groups(beside, "task")
    plain = {str(task): by_effect(rows) for task, rows in others.items()}
    heads = ["task", *(f"{name} t (q)" for name in effect_names(axis)), "shape"]
    cells = _cells([rows for _, rows in tasks], alpha, "*")
    body = []
    for (task, rows), own in zip(tasks, cells, strict=True):
        own[1] += TWO_STORIES if task in two_stories else ""
        body.append([task + ("" if rows[0]["higher_is_better"] else f" {DOWN}"), *own, shapes.get(task, "")])
    below: list[list[str]] = []
    if plain:
        places = [max(len(_t(rows[k]["t"], 1)) for rows in plain.values()) for k in range(3)]
        column = [" ".join(_ols(row, place, alpha) for row, place in zip(plain[task], places, strict=True)).rstrip()
                  for task, _ in tasks]  # fmt: skip
        wide = [[*row[:-1], said, row[-1]] for row, said in zip(body, column, strict=True)]
        if _span([[*heads[:-1], "OLS t", heads[-1]], *wide]) + _shortest([task for task, _ in tasks]) <= width:
            heads, body = [*heads[:-1], "OLS t", heads[-1]], wide
        else:
            below = [["  by OLS", *own, ""] for own in _cells([plain[task] for task, _ in tasks], alpha, "+")]
    lines = _aligned(heads, body, below, width)
    return (
        "\n".join(line for part in (*lines, "", *legend, *unfitted(effects)) for line in _wrapped(part, width)) + "\n"
    )


_SHORTEST, _LONGEST = 12, 24  # letters of a task's name


def _shortest(tasks: list[str]) -> int:
    """Letters that names of tasks need to stay apart when they are cut, with room for a mark."""
    apart = (width for width in range(_SHORTEST, _LONGEST) if len({_cut(task, width) for task in tasks}) == len(tasks))
    return min(max(map(len, tasks)), next(apart, _LONGEST)) + len(DOWN) + 1


def _aligned(heads: list[str], body: list[list[str]], below: list[list[str]], width: int) -> list[str]:
    """Lines with columns under their heads, the row of `below` under each of `body` where there are any."""
    most = min(_LONGEST, max(_SHORTEST, width - _span([heads, *body, *below])))
    rows = [row for pair in zip(body, below, strict=True) for row in pair] if below else body
    rows = [[_cut(task, most), *cells] for task, *cells in [heads, *rows]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def _span(rows: list[list[str]]) -> int:
    """Columns that all cells but the first of each row take."""
    return sum(max(len(row[column]) + 2 for row in rows) for column in range(1, len(rows[0])))


def _cells(tasks: list[list[Mapping[Any, Any]]], alpha: float, mark: str) -> list[list[str]]:
    """t, q and mark of the three effects of each task, with t under t."""
    places = [max(len(_t(rows[k]["t"])) for rows in tasks) for k in range(3)]
    return [[_cell(row, alpha, mark, place) for row, place in zip(rows, places, strict=True)] for rows in tasks]


def _cell(row: Mapping[Any, Any], alpha: float, mark: str, place: int) -> str:
    if pd.isna(row["p"]):
        return "-"
    t = "" if pd.isna(row["t"]) else f"{_t(row['t']):>{place}} "
    return f"{t}({q_text(row['q'])})" + (mark if row["q"] < alpha else "")


def _ols(row: Mapping[Any, Any], place: int, alpha: float) -> str:
    return f"{_t(row['t'], 1):>{place}}{'+' if row['q'] < alpha else ' '}"


def _t(t: float, digits: int = 2) -> str:
    return "-" if pd.isna(t) else f"{t:.{digits}f}"


def _cut(text: str, width: int) -> str:
    """Cut in the middle: names of one family differ at their ends."""
    if len(text) <= width:
        return text
    tail = (width - 3) // 3
    return text[: width - 3 - tail] + "..." + text[-tail:]


def _wrapped(line: str, width: int) -> list[str]:
    return [line] if len(line) <= width else textwrap.wrap(line, width, subsequent_indent="  ")
