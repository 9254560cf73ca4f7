"""The exact McNemar test of paired proportions (see `paired`)."""

from __future__ import annotations

import numpy as np
from scipy.special import bdtr

from evalrun.statistics.items.values import Floats


def mcnemar(fell: Floats, rose: Floats) -> Floats:
    """Two-sided exact McNemar p-values from counts of items that changed either way; 1 where none did."""
    changed = fell + rose
    p: Floats = np.minimum(2 * bdtr(np.minimum(fell, rose), changed.astype(np.int64), 0.5), 1.0)
    return p
