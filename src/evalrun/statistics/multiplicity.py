"""p-values corrected for their number, by the names that statsmodels gives the corrections."""

from __future__ import annotations

from typing import Any

import numpy as np
from statsmodels.stats.multitest import multipletests, multitest_alias, multitest_methods_names

Floats = np.ndarray[Any, np.dtype[np.float64]]

# statsmodels' names and aliases -> full name; without the local false discovery rate, which corrects no p-values.
CORRECTIONS: dict[str, str] = {
    alias: multitest_methods_names[name] for alias, name in multitest_alias.items() if name != "lfdr"
}
_HOLM = {alias for alias, name in multitest_alias.items() if multitest_methods_names[name] == "Holm"}


def adjusted(p: Floats, correction: str, alpha: float) -> Floats:
    """The p-values after a correction over all of them.

    Args:
        p: (tests,) each between 0 and 1.
        correction: A key of `CORRECTIONS`.
        alpha: Level, which the two-stage corrections depend on.

    Source: Holm 1979, Scandinavian Journal of Statistics 6:65-70; for the others `statsmodels`, multipletests.
    """
    if correction in _HOLM:
        # The same numbers: statsmodels' own way searches all of Python's memory for garbage, a quarter of a second in a
        # large study, for each call.
        order = np.argsort(p)
        raised = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
        found = np.empty(len(p))
        found[order] = raised
        return found
    return np.asarray(multipletests(p, alpha=alpha, method=correction)[1], dtype="float64")
