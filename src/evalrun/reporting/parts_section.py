"""The report's section on parts of tasks: the items by difficulty, place of the right choice, or a column."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from evalrun.core.text import counted, listed
from evalrun.reporting.drawing import Drawing
from evalrun.reporting.dynamics_words import q_said
from evalrun.reporting.section_tables import Section, SectionPicture, TableCell, address_of
from evalrun.reporting.small_multiples import drawn_over_training
from evalrun.statistics.dynamics.item_parts import hidden_sentences
from evalrun.statistics.findings import Findings
from evalrun.statistics.naming import run_name
from evalrun.statistics.row_groups import Row

_MOST = 120  # rows in the page's table
_PICTURES = 12  # tasks, by what they are divided by


def parts_of_tasks(study: Findings) -> Section | None:
    """Shapes and falls of all parts, those that the mean hides first; None where nothing is divided."""
    found = study.parts.found
    if found.empty:
        return None
    ways = divided_ways(study)
    rows = [row for task, by in ways for row in _rows(_of(found, task, by), study.choice.alpha)]
    return Section(
        "Parts of tasks",
        "Each task’s items divided, and each part a curve of its own: its shape and its largest fall, with one "
        "correction over all parts of this table. Difficulty: thirds by how often the other models and seeds are "
        "right, never by the model’s own answers. In bold: parts that fall where their task as a whole does not.",
        ["Task", "Divided by", "Part", "Model", "items", "Shape", "Largest fall", "q"],
        rows[:_MOST],
        f"{_MOST} of {len(rows)} rows; all are in tables/items_parts.csv." if len(rows) > _MOST else "",
        [_picture(study, task, by) for task, by in ways[:_PICTURES]],
    )


def divided_ways(study: Findings) -> list[tuple[str, str]]:
    """Tasks with what they are divided by: first where a part is hidden by the mean, then by how many parts fall."""
    counts = study.parts.found.groupby(["task", "by"], sort=False)[["hidden", "falls"]].sum()
    order = counts.astype(int).sort_values(["hidden", "falls"], ascending=False, kind="stable")
    return [(str(task), str(by)) for task, by in order.index]


def part_sentences(study: Findings) -> Iterator[str]:
    """Which parts the means hide; or that none is hidden, where items were divided."""
    found = study.parts.found
    if found.empty:
        return
    hidden = hidden_sentences(found)
    yield from hidden
    if not hidden:
        tasks = counted(found["task"].nunique(), "task")
        ways = listed([str(by) for by in found["by"].unique()], 6)
        yield f"Of {tasks}, divided by {ways}, no part is shown to fall where its task as a whole does not."


def _of(frame: pd.DataFrame, task: str, by: str) -> pd.DataFrame:
    return frame[(frame["task"] == task) & (frame["by"] == by)]


def _rows(own: pd.DataFrame, alpha: float) -> Iterator[list[TableCell]]:
    """A row a part and model of one task; what stands above is not said again."""
    title, by, part = str(own["title"].iloc[0]), str(own["by"].iloc[0]), ""
    for row in own.to_dict("records"):
        yield [
            TableCell(title),
            TableCell(by),
            TableCell("" if row["part"] == part else str(row["part"])),
            TableCell(run_name(row)),
            TableCell(f"{row['n']:,.0f}", "number"),
            TableCell(str(row["label"])),
            _fall(row),
            TableCell("–" if pd.isna(row["q"]) else q_said(row["q"]).removeprefix("q ").removeprefix("= "), "number q"),
        ]
        title, by, part = "", "", str(row["part"])


def _fall(row: Row) -> TableCell:
    """The largest fall, with its interval for who asks; bold where the whole task does not fall."""
    if pd.isna(row["peak_step"]):
        return TableCell("–", "number not")
    text = f"{row['fall']:.2f} (step {row['peak_step']:.0f} to {row['trough_step']:.0f})"
    hint = "" if pd.isna(row["low"]) else f"{row['low']:.3f} to {row['high']:.3f}, simultaneous over all pairs"
    return TableCell(text, "number yes" if row["hidden"] else "number" if row["falls"] else "number not", hint)


def parts_drawing(curves: pd.DataFrame, axis: str) -> Drawing:
    """A panel a part, a line a model.

    Args:
        curves: `PartFindings.curves` of one task and one way of dividing it.
        axis: Column across: tokens or flops.
    """
    names = curves["by"] + "=" + curves["part"]
    return drawn_over_training(curves.assign(task=names, title=names), axis)


def given_of_parts(study: Findings, task: str, by: str) -> tuple[Any, ...]:
    """What `parts_drawing` draws of a task."""
    return _of(study.parts.curves, task, by).reset_index(drop=True), study.choice.axis


def _picture(study: Findings, task: str, by: str) -> SectionPicture:
    curves, axis = given_of_parts(study, task, by)
    title = str(curves["title"].iloc[0])
    image = parts_drawing(curves, axis).svg().encode()
    return SectionPicture(
        f"{title}, by {by}",
        "A panel a part, a line a model",
        f"The parts of {title} by {by} over training, a line a model",
        address_of(image),
        kind="drawn",
    )
