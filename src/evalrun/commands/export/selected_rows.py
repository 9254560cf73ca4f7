"""The rows that are exported: each cell once, by the training run that it belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from evalrun.core.plain_names import slug
from evalrun.core.text import counted

if TYPE_CHECKING:
    import pandas as pd

_LINE = ["suite", "model", "seed", "settings"]  # what one curve is of
_CELL = [*_LINE, "step", "task", "metric"]
_ABOUT = ("n_params", "n_params_nonembedding", "n_params_nominal")


@dataclass(frozen=True)
class TrainingRun:
    """All results of one model and seed, scored in one way."""

    suite: str
    model: str
    seed: int | None
    settings: str
    about: dict[str, int]  # its parameter counts
    rows: pd.DataFrame  # columns of the tidy table, by training step; each step, task and metric once

    @property
    def name(self) -> str:
        """In words: `tiny-s seed 0 (lm_eval float32)`."""
        seed = "" if self.seed is None else f" seed {self.seed}"
        return f"{self.model}{seed}" + (f" ({self.settings})" if self.settings else "")

    @property
    def place(self) -> PurePosixPath:
        """Where its files go below the target: the same for good, whatever else is exported beside it."""
        seed = "" if self.seed is None else f"-seed{self.seed}"
        scored = self.settings.replace(" ", "-") or "scored"
        return PurePosixPath(slug(self.suite), slug(self.model + seed), slug(scored))


def newest(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Each cell once, by its newest result; and a sentence where there were older ones.

    Args:
        table: Of results, columns as `columns.TABLE_COLUMNS`.
    """
    ordered = table.sort_values("finished_ms", kind="stable")
    again = ordered.duplicated(_CELL, keep="last")
    notes = [f"{counted(int(again.sum()), 'value')} of results that were computed again: the newest counts."]
    return ordered[~again].sort_index(), notes if again.any() else []


def training_runs(table: pd.DataFrame) -> Iterator[TrainingRun]:
    """The runs of a table, smallest model first.

    Args:
        table: Each cell once, as `newest` gives it.
    """
    for key, mine in table.groupby(_LINE, sort=False, dropna=False):
        suite, model, seed, settings = key
        first = mine.iloc[0]
        about = {name: int(first[name]) for name in _ABOUT}
        rows = mine.sort_values(["step", "finished_ms", "task", "metric"], kind="stable", ignore_index=True)
        yield TrainingRun(str(suite), str(model), _seed(seed), str(settings), about, rows)


def _seed(value: Any) -> int | None:
    import pandas as pd

    return None if pd.isna(value) else int(value)


def not_finite(table: pd.DataFrame, what: str) -> list[str]:
    """A sentence about values that are not finite, where there are any.

    Args:
        table: The exported rows.
        what: What becomes of them.
    """
    lost = table[table["value"].isna()]
    if lost.empty:
        return []
    first = lost.iloc[0]
    where = f"{first['task']} of {first['model']} at step {first['step']}"
    return [f"{counted(len(lost), 'value')} not finite (such as {first['metric']} of {where}): {what}."]
