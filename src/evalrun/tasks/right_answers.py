"""Which choices of a multiple-choice item are right, where they stand, and what a uniform guess gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

# lm-eval's metrics of the choices that were taken, over all items at once.
OF_ONE_CHOICE = frozenset({"f1", "mcc"})


def right(task: Any, document: Mapping[str, Any], choices: Sequence[str]) -> frozenset[int]:
    """The places of an item's right choices; none where nothing that is there is marked right.

    A right answer that is given as a text is every choice of that text.

    Args:
        task: lm-eval's task object.
        document: One of its rows.
        choices: `task.doc_to_choice(document)`.
    """
    gold = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
    found: set[int] = set()
    for answer in gold if isinstance(gold, (list, tuple)) else [gold]:
        if isinstance(answer, str):
            found.update(place for place, choice in enumerate(choices) if choice == answer)
        elif 0 <= int(answer) < len(choices):
            found.add(int(answer))
    return frozenset(found)


def twice(choices: Sequence[str]) -> str | None:
    """A text that stands more than once among the choices of an item."""
    return next((text for place, text in enumerate(choices) if text in choices[:place]), None)


@lru_cache(maxsize=256)
def only_place(task: Any) -> int | None:
    """Where the right choice stands, from 0, if it stands at one place in every item; None for a single item."""
    if task.OUTPUT_TYPE != "multiple_choice":
        return None
    rights = [right(task, document, task.doc_to_choice(document)) for document in task.eval_docs]
    return min(rights[0]) if len(rights) > 1 and len(set(rights)) == 1 and len(rights[0]) == 1 else None


def ordinal(place: int) -> str:
    """`first`, `second`, ... of a place from 0."""
    names = ("first", "second", "third", "fourth", "fifth")
    return names[place] if place < len(names) else f"{place + 1}th"
