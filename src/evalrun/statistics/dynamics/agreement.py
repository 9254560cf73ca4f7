"""Do models know the same items: agreement between sizes and seeds against what independence would give.

Kappa is (agreement - expected) / (1 - expected), where two models whose right answers have nothing to do with each
other would agree by their accuracies alone (Cohen 1960, Educational and Psychological Measurement 20:37-46; of models,
Geirhos et al. 2020, arXiv:2006.16736). Guesses agree by chance and pull it towards 0; `known_kappa` is corrected for
them as `guessing` corrects the counts. Intervals are normal ones by the delta method, over items.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

from evalrun.statistics.dynamics.ages import Ages, rank_correlation
from evalrun.statistics.dynamics.guessing import Chances, known
from evalrun.statistics.dynamics.item_grid import ItemCurve, ItemGrid
from evalrun.statistics.items.clusters import Codes
from evalrun.statistics.items.item_errors import reach_of
from evalrun.statistics.items.values import Floats

AGREEMENT = [
    *("model", "seed", "other_model", "other_seed", "between", "step", "items", "accuracy", "other_accuracy"),
    *("agreement", "expected", "kappa", "kappa_low", "kappa_high", "known_kappa", "known_low", "known_high"),
    *("ages", "age_rho", "age_low", "age_high"),
]


def agreement(grid: ItemGrid, chances: list[Chances], ages: list[Ages], alpha: float) -> pd.DataFrame:
    """Compare each two curves of a task, at the last step that both have.

    Args:
        grid: Of `read_grid`.
        chances: Of guesses, in each of its curves.
        ages: Of each of its curves.
        alpha: One minus the level of the intervals.

    Returns:
        One row a pair with the columns of `AGREEMENT`. between is seeds or models; ages the number of items that both
        acquired, age_rho Spearman's correlation of their ages. Two curves without a step in common have no kappa.
    """
    rows = []
    for a, b in combinations(range(len(grid.curves)), 2):
        one, other = grid.curves[a], grid.curves[b]
        order = rank_correlation(ages[a].age, ages[b].age, alpha, grid.clusters)
        rows.append(
            {
                "model": one.model,
                "seed": one.seed,
                "other_model": other.model,
                "other_seed": other.seed,
                "between": "seeds" if one.model == other.model else "models",
                **_at_last_step((one, other), (chances[a], chances[b]), alpha, grid.clusters),
                "ages": order.n,
                "age_rho": order.rho,
                "age_low": order.low,
                "age_high": order.high,
            }
        )
    return pd.DataFrame(rows, columns=AGREEMENT)


def _at_last_step(
    curves: tuple[ItemCurve, ItemCurve], chances: tuple[Chances, Chances], alpha: float, clusters: Codes | None
) -> dict[str, object]:
    """Agreement at the last step of both; nothing where they share none."""
    common = np.intersect1d(curves[0].steps, curves[1].steps)
    if not len(common):
        return {}
    step = float(common[-1])
    x, y = (curve.right[curve.at(step)].astype(np.float64) for curve in curves)
    both = np.isfinite(x) & np.isfinite(y)
    x, y, codes = x[both], y[both], None if clusters is None else clusters[both]
    g, h = (chance.at(curve.at(step))[both] for curve, chance in zip(curves, chances, strict=True))
    if not len(x):
        return {"step": step, "items": 0}
    observed, expected, (kappa, low, high) = cohens_kappa(x, y, alpha, codes)
    _, _, (sure, sure_low, sure_high) = cohens_kappa(known(x, g), known(y, h), alpha, codes)
    return {
        "step": step,
        "items": len(x),
        "accuracy": float(x.mean()),
        "other_accuracy": float(y.mean()),
        "agreement": observed,
        "expected": expected,
        "kappa": kappa,
        "kappa_low": low,
        "kappa_high": high,
        "known_kappa": sure,
        "known_low": sure_low,
        "known_high": sure_high,
    }


def cohens_kappa(
    x: Floats, y: Floats, alpha: float, clusters: Codes | None = None
) -> tuple[float, float, tuple[float, float, float]]:
    """Agreement, what independence would give, and kappa with its interval; kappa is NaN where all answers are alike.

    Args:
        x: (items,) 1 for right, 0 for wrong, or unbiased estimates of it.
        y: The same of the other.
        alpha: One minus the level of the interval.
        clusters: (items,) which belong together; None for items that were drawn one by one.
    """
    same = x * y + (1 - x) * (1 - y)
    observed, p, q = float(same.mean()), float(x.mean()), float(y.mean())
    expected = p * q + (1 - p) * (1 - q)
    if 1 - expected < 1e-9:
        return observed, expected, (np.nan, np.nan, np.nan)
    kappa = (observed - expected) / (1 - expected)
    pull = (2 * q - 1) * (x - p) + (2 * p - 1) * (y - q)  # of an item on what is expected
    influence = (same - observed) / (1 - expected) - (1 - observed) / (1 - expected) ** 2 * pull
    reach = reach_of(influence, alpha, clusters)
    return observed, expected, (kappa, kappa - reach, kappa + reach)
