"""What the tests against the smallest effect of interest say, in sentences and marks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from evalrun.core.text import counted, listed
from evalrun.reporting.effect_words import effect_name
from evalrun.statistics.findings import Findings
from evalrun.statistics.regression.equivalence import NONE, SMALL, UNDECIDED
from evalrun.statistics.regression.interactions import METHODS

MARK = "(small)"  # beside an effect that is shown to be below the smallest of interest
_MOST = 6  # tasks that a sentence names


def smallest_effect_text(smallest: float) -> str:
    """The margin that effects are tested against."""
    return (
        f"{smallest:g} of a share such as accuracy, {100 * smallest:g} % of the size of any other metric, per tenfold"
    )


def marked(row: Mapping[Any, Any]) -> str:
    """The mark of an effect that is shown to be small; empty for others."""
    return f" {MARK}" if row["verdict"] in (NONE, SMALL) else ""


def equivalence(study: Findings) -> Iterator[str]:
    """How many of the effects without a star are shown to be small, and how many stay undecided."""
    own = study.headline
    none, undecided, small = (own[own["verdict"] == verdict] for verdict in (NONE, UNDECIDED, SMALL))
    alpha, method = study.choice.alpha, METHODS[study.choice.methods[0]].name
    count = len(none) + len(undecided)
    if count:
        shown = f"{len(none) or 'none'} {'are' if len(none) > 1 else 'is'} shown to be smaller"
        which = f": {listed(_named(none, study), _MOST)}" if len(none) else ""
        rest = f"{len(undecided)} {'is' if len(undecided) == 1 else 'are'} undecided"
        rest = f"; {rest}: no star is no proof that there is no effect." if len(undecided) else "."
        yield (
            f"Of {counted(count, 'effect')} without a star {shown} than the smallest effect of interest "
            f"({smallest_effect_text(study.smallest_effect)}; two one-sided tests by {method}, q < {alpha:g})"
            f"{which}{rest}"
        )
    if len(small):
        are = "is" if len(small) == 1 else "are"
        yield (
            f"{counted(len(small), 'effect').capitalize()} with a star {are} shown to be smaller than that: "
            f"{listed(_named(small, study), _MOST)}."
        )


def _named(rows: pd.DataFrame, study: Findings) -> list[str]:
    """`NeQA (parameters, tokens)`, a task each."""
    axis = study.choice.axis
    return [
        f"{title} ({', '.join(effect_name(str(effect), axis) for effect in own['effect'])})"
        for title, own in rows.groupby("title", sort=False)
    ]
