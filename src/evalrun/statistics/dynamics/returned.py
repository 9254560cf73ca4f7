"""Of a task that falls and returns: are the items that return the ones that were lost?

Looked at are the items that are wrong at the bottom. Of these, were those that had been right at the peak right again
afterwards more often than those that had not been? If the model that returns learned the task anew, it would not
matter. The test is Fisher's exact one (hypergeometric, one-sided): guesses at the peak and afterwards are made apart,
so they create no such association, and weaken one that there is. The shares are also told corrected for guessing, by
the products of `guessing.known`.

That items differ in how hard they are makes for the same association: an easy item is right at both ends. The test
speaks of which items come back, not of why.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import hypergeom

from evalrun.statistics.dynamics.guessing import known
from evalrun.statistics.dynamics.item_grid import ItemCurve, ItemGrid
from evalrun.statistics.items.clusters import Codes
from evalrun.statistics.items.item_errors import above_zero, reach_of
from evalrun.statistics.items.paired import corrected
from evalrun.statistics.items.values import Floats

RETURNED = [
    *("model", "seed", "peak_step", "trough_step", "return_step", "wrong", "lost", "lost_returned", "other"),
    *("other_returned", "expected", "lost_share", "other_share", "difference", "low", "high", "p", "q", "note"),
]


def returned(
    grid: ItemGrid, turns: list[tuple[int, float, float, float]], alpha: float, correction: str
) -> pd.DataFrame:
    """Test each curve that falls and returns.

    Args:
        grid: Of `read_grid`.
        turns: Place of a curve, with its steps of peak, trough and return.
        alpha: One minus the level of the intervals.
        correction: Of p over the curves, by statsmodels' name.

    Returns:
        One row a curve with the columns of `RETURNED`: of the `wrong` items at the trough `lost` were right at the
        peak, and lost_returned of these are right again, where chance would make it `expected`; `other` were wrong at
        the peak too, other_returned of these are right afterwards. lost_share and other_share are the shares of items
        known afterwards among those lost and those never known, corrected for guessing, difference the one less the
        other with its interval. Ties are left out.
    """
    rows = [_of_curve(grid.curves[place], grid, steps, alpha) for place, *steps in turns]
    frame = pd.DataFrame(rows, columns=RETURNED)
    frame["q"] = corrected(frame["p"].to_numpy(np.float64), correction)
    return frame


def _of_curve(curve: ItemCurve, grid: ItemGrid, steps: list[float], alpha: float) -> dict[str, object]:
    """A row of `RETURNED`, without q."""
    peak, trough, back = (curve.right[curve.at(step)].astype(np.float64) for step in steps)
    used = (trough == 0) & np.isin(peak, (0, 1)) & np.isin(back, (0, 1))
    before, after, g = peak[used], back[used], grid.guess[used]
    clusters = None if grid.clusters is None else grid.clusters[used]
    wrong, lost, again = len(before), int(before.sum()), int(after.sum())
    both = int((before * after).sum())
    found: dict[str, object] = {"model": curve.model, "seed": curve.seed, "note": ""}
    found |= dict(zip(("peak_step", "trough_step", "return_step"), steps, strict=True))
    found |= {
        "wrong": wrong,
        "lost": lost,
        "lost_returned": both,
        "other": wrong - lost,
        "other_returned": again - both,
    }
    if not lost or lost == wrong:
        return found | {"note": "no item was lost" if not lost else "all items that are wrong were right before"}
    p = float(hypergeom.sf(both - 1, wrong, lost, again))
    if clusters is not None:
        difference = both / lost - (again - both) / (wrong - lost)
        p = max(p, above_zero(_influence(before, after) + difference, clusters))
    found |= {"expected": lost * again / wrong, "p": p}
    return found | _shares(known(before, g), known(after, g), alpha, clusters)


def _influence(x: Floats, y: Floats) -> Floats:
    """(items,) what each adds to the difference between the shares of y where x is and where it is not."""
    p = float(x.mean())
    lost, other = float((x * y).mean()) / p, float(((1 - x) * y).mean()) / (1 - p)
    each: Floats = x * (y - lost) / p - (1 - x) * (y - other) / (1 - p)
    return each


def _shares(x: Floats, y: Floats, alpha: float, clusters: Codes | None) -> dict[str, object]:
    """Shares known afterwards among those known before and those not, corrected for guessing; none where few were."""
    p = float(x.mean())
    if not 0.01 < p < 0.99 or len(x) < 2:
        return {"note": "too few items were known at the peak to correct for guessing"}
    lost, other = float((x * y).mean()) / p, float(((1 - x) * y).mean()) / (1 - p)
    reach = reach_of(_influence(x, y), alpha, clusters)
    difference = lost - other
    return {
        "lost_share": lost,
        "other_share": other,
        "difference": difference,
        "low": difference - reach,
        "high": difference + reach,
    }
