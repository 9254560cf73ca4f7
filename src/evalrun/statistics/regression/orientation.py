"""Which way is up: effects turned so that plus is better, for tables and sentences that people read."""

from __future__ import annotations

import pandas as pd

_SIGNED = ("estimate", "t", "raw_estimate")
_ENDS = (("low", "high"), ("raw_low", "raw_high"))


def turned(effects: pd.DataFrame) -> pd.DataFrame:
    """The effects with the signs of a task turned round where less is better of its metric; p and q stay.

    Args:
        effects: Rows of `interactions.fit_interactions` or `sensitivity.sensitivity`, in the metric's own direction.
    """
    down = ~effects["higher_is_better"].astype(bool)
    if not down.any():
        return effects
    found = effects.copy()
    for name in [name for name in _SIGNED if name in effects]:
        found.loc[down, name] = -effects.loc[down, name]
    for low, high in [ends for ends in _ENDS if ends[0] in effects]:
        found.loc[down, low], found.loc[down, high] = -effects.loc[down, high], -effects.loc[down, low]
    return found
