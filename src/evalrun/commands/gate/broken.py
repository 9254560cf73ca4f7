"""The items that broke: which they are, what they ask, and to which answer the checkpoint moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from evalrun.commands.gate.verdicts import PASSES, UNKNOWN, BrokenItem, GateCheck
from evalrun.statistics.items.two_results import common_items

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.statistics.dynamics.distractors import Words
    from evalrun.statistics.items.values import Items

_PROMPT, _ANSWER = 160, 60  # characters
_COLUMNS = ["doc_id", "doc_hash", "filter", "prediction"]


def with_broken(check: GateCheck, row: Any, items: Items | None, words: Words, most: int) -> GateCheck:
    """A check that does not pass with the items that got worse, those first that did so most.

    Args:
        check: Of a change.
        row: The checkpoint's result, of the tidy table.
        items: Gives per-item results; None where there are none.
        words: Gives the texts of a task's items.
        most: So many items.
    """
    if check.verdict in (PASSES, UNKNOWN) or check.reference is None or items is None or not most:
        return check
    aligned = common_items([check.reference.row, row], items)
    if isinstance(aligned, str) or aligned.keys is None or not len(aligned.values):
        return check
    worse = (aligned.each[:, 0] - aligned.each[:, 1]) * (1 if check.higher_is_better else -1)
    places = [int(at) for at in np.argsort(-worse, kind="stable")[:most] if worse[at] > 0]
    keys = aligned.keys.iloc[places].reset_index(drop=True)
    texts = words(check.task, keys)
    answers = [_answers(items(str(one["run_id"]), check.task, _COLUMNS), keys) for one in (check.reference.row, row)]
    broken = []
    for at, place in enumerate(places):
        choices = texts.choices[at] if at < len(texts.choices) else ()
        said = [_answer(side[at], choices) for side in answers]
        prompt = _cut(texts.prompts[at], _PROMPT) if at < len(texts.prompts) else ""
        before, after = (float(value) for value in aligned.each[place])
        broken.append(BrokenItem(str(keys["doc_id"].iloc[at]), before, after, prompt, said[0], said[1]))
    return replace(check, broken=tuple(broken))


def _answers(found: pd.DataFrame | None, keys: pd.DataFrame) -> list[Any]:
    """The answer to each of some items; None where none is kept."""
    if found is None or "prediction" not in found:
        return [None] * len(keys)
    first = found.drop_duplicates("doc_id").set_index("doc_id")["prediction"]
    return [first.get(doc_id) for doc_id in keys["doc_id"]]


def _answer(kept: Any, choices: Sequence[str]) -> str:
    """An answer as text: a choice by its place, in words where they are known."""
    if kept is None or (isinstance(kept, float) and np.isnan(kept)):
        return ""
    if isinstance(kept, str):
        return _cut(kept, _ANSWER)
    place = int(kept)
    return _cut(choices[place], _ANSWER) if 0 <= place < len(choices) else f"choice {place + 1}"


def _cut(text: str, most: int) -> str:
    """Text in one line; the end of a prompt is what is asked, so the middle goes."""
    line = " ".join(text.split())
    half = (most - 1) // 2
    return line if len(line) <= most else f"{line[:half]}…{line[-half:]}"
