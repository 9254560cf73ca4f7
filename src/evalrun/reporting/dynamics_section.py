"""The report's section on items over training: which are learned and lost, in a table, in pictures, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from evalrun.reporting.dynamics_words import percent, q_said, same_seed, sentences, tokens_text
from evalrun.reporting.heat_map_figure import picture
from evalrun.reporting.item_page import page_name
from evalrun.reporting.regression_table import q_text
from evalrun.reporting.section_tables import Section, SectionPicture, TableCell, address_of
from evalrun.statistics.dynamics.item_classes import ALWAYS, LEARNED, LOST, NEVER, REGAINED, UNSTABLE
from evalrun.statistics.dynamics.item_dynamics import ItemDynamics
from evalrun.statistics.findings import Findings
from evalrun.statistics.naming import run_name

REFERENCES = {
    "Items over training": "The course of each item is the best of all courses between known and guessed, each change "
    "paid for (Viterbi 1967), by right answers alone; an item is lost where it was known and is not. Shares of items "
    "learned and lost between checkpoints are moment estimates that allow for guesses (one over the choices) and for "
    "slips; a loss is shown where the exact binomial test of right answers before an item’s last wrong one agrees with "
    "a z test that allows for slips.",
}
_HEADS = [
    *("Task", "Model", "always", "learned", "regained", "lost", "unstable", "never", "by chance"),
    *("lost, %", "q", "age"),
]
_MOST = 60  # curves in the page's table
_PICTURES = 12  # tasks whose answers are pictured
_MODELS = 8  # of each
_SAID = 12  # sentences about a task


def learned_and_lost(study: Findings) -> Section | None:
    """Classes, ages and losses of every curve; None where items were not followed."""
    found = study.dynamics.tasks
    if not found:
        return None
    rows = [row for one in found for row in _rows(one, study.choice.alpha)]
    turning = [one for one in found if len(one.distractors) or (one.losses["q"] < study.choice.alpha).any()]
    return Section(
        "Items over training",
        "How many items each model always has right, learns for good, loses and regains, loses, answers unstably, or "
        "is never shown to know (some of these are right at the end, as guesses are), by courses that allow for "
        "guesses and slips; by chance: how many of the regained, lost and unstable there would be if nothing were ever "
        "lost. Lost, %: items known at one checkpoint and not at a later one, on average over all pairs, with the "
        "interval (unbiased, so that it may be below 0); bold: shown to be more than chance. Age: tokens at which half "
        "of the learned items are known. In the pictures a row is an item (or a few), dark where it is right, in the "
        "order in which they are learned; training goes to the right.",
        _HEADS,
        rows[:_MOST],
        f"{_MOST} of {len(rows)} curves; all are in tables/items_classes.csv and tables/items_losses.csv."
        if len(rows) > _MOST
        else "",
        [one for task in turning[:_PICTURES] for one in _pictures(task, study.choice.alpha)],
        [(one.title, page_name(one.task)) for one in found if one.packed is not None],
    )


def _rows(found: ItemDynamics, alpha: float) -> Iterator[list[TableCell]]:
    """A row a curve of a task; its title stands in the first."""
    title, page = found.title, page_name(found.task) if found.packed is not None else ""
    for row in found.losses.to_dict("records"):
        own = found.classes[(found.classes["model"] == row["model"]) & same_seed(found.classes, row["seed"])]
        counts = dict(zip(own["class"], own["items"], strict=True))
        chance = float(own.loc[own["class"].isin((LOST, REGAINED, UNSTABLE)), "by_chance"].sum())
        mine = found.items[(found.items["model"] == row["model"]) & same_seed(found.items, row["seed"])]
        names = (ALWAYS, LEARNED, REGAINED, LOST, UNSTABLE, NEVER)
        yield [
            TableCell(title, beside=page if title else ""),
            TableCell(run_name(row)),
            *(TableCell(f"{counts[name]:,}" if counts else "–", "number") for name in names),
            TableCell(f"({chance:.0f})" if counts else "–", "number"),
            _loss(row, alpha),
            TableCell(q_text(row["q"]) if pd.notna(row["q"]) else "–", "number q"),
            TableCell(tokens_text(float(mine["age"].median())), "number"),
        ]
        title = ""


def _loss(row: Mapping[Any, Any], alpha: float) -> TableCell:
    """The share of lost items with its interval; a dash where it is below 0, which no share is."""
    hint = (
        f"{row['right_before_wrong']:.0f} right answers stand before an item’s last wrong one; guesses would put "
        f"{row['expected']:.0f} there, and as many from a guess of {row['tipping_guess']:.2f} on; slips: "
        f"{percent(row['slip'])}"
    )
    if pd.notna(row["q"]):
        hint += f"; {q_said(row['q'])}"
    if row["lost_high"] < 0:
        return TableCell("–", "number not", f"below 0: its guesses stay the same, so that losses are hidden; {hint}")
    text = f"{percent(row['lost'])} ({percent(row['lost_low'])} to {percent(row['lost_high'])})".replace(" %", "")
    return TableCell(text, "number yes" if row["q"] < alpha else "number not", hint)


def _pictures(found: ItemDynamics, alpha: float) -> Iterator[SectionPicture]:
    """The answers of a task's curves; what its items say stands below the first."""
    said = sentences(found, alpha)
    more = (
        [f"{len(said) - _SAID} more sentences: python -m evalrun items task={found.task}"] if len(said) > _SAID else []
    )
    for place, one in enumerate(found.maps[:_MODELS]):
        yield SectionPicture(
            found.title if not place else "",
            f"{one.label}, {tokens_text(float(one.tokens[0]))} to {tokens_text(float(one.tokens[-1]))} tokens",
            f"Right answers of {one.label} to {found.title}, {one.items:,} items by {len(one.tokens)} checkpoints",
            address_of(picture(one.shares), "png"),
            [*said[:_SAID], *more] if not place else (),
        )
