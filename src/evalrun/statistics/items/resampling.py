"""Tests and intervals of a mean by drawing: sign flips and the bootstrap."""

from __future__ import annotations

import warnings

import numpy as np
from scipy import stats

from evalrun.statistics.items.values import Floats

_CELLS_AT_ONCE = 4_000_000  # of draws x items: bounds memory


def sign_flip(change: Floats, draws: int, seed: int) -> float:
    """Two-sided p of the sign-flip test of mean 0: over all flips where they are no more than the draws, else drawn.

    `scipy.stats.permutation_test` gives the same a hundred times slower.
    """
    n, size = len(change), 2.0 * np.abs(change.sum())
    size *= 1 - 1e-12  # flips that leave the sum as it is must not fall short by a rounding error
    if n < 63 and 2**n <= draws:
        signs = 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1) - 1
        return float(np.mean(np.abs(signs @ (2 * change)) >= size))
    # Both sides are doubled: with signs 2 f - 1 of flips f, twice the sum of the signed changes is 4 f x - 2 sum(x).
    rng, hits, batch = np.random.default_rng(seed), 0, max(1, _CELLS_AT_ONCE // n)
    for start in range(0, draws, batch):
        shape = (min(batch, draws - start), -(-n // 8))
        flips = np.unpackbits(rng.integers(0, 256, shape, dtype=np.uint8), axis=1, count=n)
        hits += int(np.sum(np.abs(flips @ (4 * change) - 2 * change.sum()) >= size))
    return (1 + hits) / (1 + draws)  # the observed signs are one of the flips (Phipson & Smyth 2010)


def bootstrap_mean(change: Floats, alpha: float, draws: int, seed: int) -> tuple[float, float]:
    """The BCa interval of the mean; NaN where the bootstrap means do not vary."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = stats.bootstrap(
            (change,), np.mean, vectorized=True, n_resamples=draws, batch=max(1, _CELLS_AT_ONCE // len(change)),
            confidence_level=1 - alpha, method="BCa", rng=np.random.default_rng(seed),
        )  # fmt: skip
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
