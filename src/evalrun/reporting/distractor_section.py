"""The report's section on falls: which answers took the probability that the right one lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from evalrun.reporting.drawing_files import figure_bytes
from evalrun.reporting.dynamics_words import percent
from evalrun.reporting.heat_map_figure import answers_figure
from evalrun.reporting.section_tables import Section, SectionPicture, TableCell, address_of, signed
from evalrun.statistics.dynamics.distractors import COLUMN, PART, POSITION, RIGHT, TEXT
from evalrun.statistics.dynamics.item_dynamics import ItemDynamics
from evalrun.statistics.findings import Findings
from evalrun.statistics.naming import run_name

_MOST = 120  # rows in the page's table
_PICTURES = 12  # tasks
_OF_A_KIND = {POSITION: 1, TEXT: 2, COLUMN: 2}  # wrong answers of a fall that are shown, those that gained most
_LONGEST = 60  # characters of an answer


def took_over(study: Findings) -> Section | None:
    """Where the probability went in each fall; None where no curve falls, or nothing was followed."""
    falling = [one for one in study.dynamics.tasks if len(one.distractors)]
    if not falling:
        return None
    rows = [row for one in falling for row in _rows(one)]
    return Section(
        "Which answer took over",
        "For each task that falls, from the best checkpoint to the worst after it: the probability of the right choice "
        "among an item’s choices, and of the wrong ones that gained most, told apart by their place, their text and "
        "the column of the data that holds it; at last the part of the items where the right choice lost most. The "
        "interval of the change is over items. Taken: how often it was the model’s answer, before and after.",
        ["Task", "Model", "Answer", "in items", "before", "after", "change", "taken"],
        rows[:_MOST],
        f"{_MOST} of {len(rows)} rows; all are in tables/items_distractors.csv." if len(rows) > _MOST else "",
        [_picture(one) for one in falling[:_PICTURES]],
    )


def _rows(found: ItemDynamics) -> Iterator[list[TableCell]]:
    """The right choice of each fall, and the wrong ones that gained most."""
    title = found.title
    for _, own in found.distractors.groupby(["model", "seed"], dropna=False, sort=False):
        first = own.iloc[0].to_dict()
        name = f"{run_name(first)}, step {first['peak_step']:.0f} to {first['trough_step']:.0f}"
        for row in _shown(own):
            yield [TableCell(title), TableCell(name), TableCell(_answer(row)), *_numbers(row)]
            title = name = ""


def _shown(own: pd.DataFrame) -> Iterator[Mapping[Any, Any]]:
    """Of one fall: the right choice, wrong ones of each kind that gained, the part that lost most."""
    yield own[own["by"] == RIGHT].iloc[0].to_dict()
    for by, most in _OF_A_KIND.items():
        gained = own[(own["by"] == by) & (own["low"] > 0)].sort_values("change", ascending=False, kind="stable")
        yield from gained.head(most).to_dict("records")
    lost = own[(own["by"] == PART) & (own["high"] < 0)].sort_values("change", kind="stable")
    yield from lost.head(1).to_dict("records")


def _answer(row: Mapping[Any, Any]) -> str:
    """What a row is about, in words."""
    value = str(row["value"])
    value = value if len(value) <= _LONGEST else f"{value[: _LONGEST - 1]}…"
    return {
        RIGHT: "right",
        POSITION: f"wrong, in place {value}",
        TEXT: f"wrong, “{value}”",
        COLUMN: f"wrong, as in column {value}",
        PART: f"right, where {value}",
    }[str(row["by"])]


def _numbers(row: Mapping[Any, Any]) -> list[TableCell]:
    change = f"{signed(row['change'], 2)} ({signed(row['low'], 2)} to {signed(row['high'], 2)})"
    return [
        TableCell(f"{row['choices']:,}", "number"),
        TableCell(f"{row['before']:.2f}", "number"),
        TableCell(f"{row['after']:.2f}", "number"),
        TableCell(change, "number"),
        TableCell(f"{percent(row['taken_before'])} to {percent(row['taken_after'])}", "number"),
    ]


def _picture(found: ItemDynamics) -> SectionPicture:
    """The change of each answer's probability, a panel a model."""
    image = figure_bytes(answers_figure(found.distractors), ("svg",))["svg"]
    return SectionPicture(
        found.title,
        "Change of probability in each fall, with its interval",
        f"Change of the probability of each answer to {found.title} in the falls of its models",
        address_of(image),
        kind="drawn",
    )
