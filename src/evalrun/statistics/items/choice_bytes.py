"""The bytes of choices for results of earlier versions, which did not keep them: from the texts of the items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from evalrun.statistics.dynamics.distractors import Words
from evalrun.statistics.items.values import Items

BYTES = "choice_bytes"
_KEYS = ["doc_id", "doc_hash"]


class ItemsWithBytes:
    """Reads items as what it is given does, with the bytes of their choices wherever the task's data tells them.

    Args:
        items: Gives per-item results.
        words: Gives the texts of a task's items.
    """

    def __init__(self, items: Items, words: Words) -> None:
        self._items, self._words = items, words
        self._known: dict[str, tuple[pd.DataFrame, Sequence[Any]]] = {}  # task -> items, and their choices' bytes
        self.table = getattr(items, "table", None)  # of columns that are there, as an Arrow table
        self.why: dict[str, str] = {}  # task -> why its texts tell nothing

    def __call__(self, run_id: str, task: str, columns: Sequence[str]) -> pd.DataFrame | None:
        """The items of one result."""
        found = self._items(run_id, task, columns)
        if found is None or BYTES not in columns or BYTES in found or "logprobs" not in found:
            return found
        keys = self._items(run_id, task, _KEYS)
        if keys is None or "doc_id" not in keys:
            return found
        known = self._known.get(task)
        if known is None or not known[0].equals(keys):
            words = self._words(task, keys)
            if words.why or not words.choice_bytes:
                self.why[task] = words.why.rstrip(".") or "it has no choices"
                return found
            known = self._known[task] = keys, words.choice_bytes
        return found.assign(**{BYTES: pd.Series([list(sizes) for sizes in known[1]], index=found.index)})
