"""The wild cluster bootstrap: the distribution of t under the null, from sign changes of whole models' residuals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product

import numpy as np

from evalrun.statistics.regression.clustered import few_models, fit_cluster
from evalrun.statistics.regression.estimators import Fit, asked, no_fit
from evalrun.statistics.regression.model_frame import Array, Design

_WEBB = np.sqrt(np.array([0.5, 1.0, 1.5]))
_TIE = 1e-9  # draws that repeat the sample (all signs equal) must count as equal to it


@dataclass(frozen=True)
class _Draws:
    """t of every draw as a function of the null value b of one coefficient: t*^2 = top^2 / (v0 - 2 b v1 + b^2 v2)."""

    top: tuple[Array, Array]  # (draws,) twice: numerator = top[0] - b top[1]
    square: tuple[Array, Array, Array]  # (draws,) three times: v0, v1, v2
    estimate: float
    stderr: float
    whole: bool  # all sign patterns, the sample's own among them

    def p(self, null: float) -> float:
        """Share of draws at least as far out as the sample, with the null imposed."""
        # In place: this is asked some two hundred times for each end of an interval.
        reached = self.top[1] * -null
        reached += self.top[0]
        reached *= reached
        needed = self.square[2] * null
        needed -= self.doubled
        needed *= null
        needed += self.square[0]
        needed *= ((self.estimate - null) / self.stderr) ** 2 * (1 - _TIE)
        far, draws = int(np.count_nonzero(reached >= needed)), len(reached)
        return far / draws if self.whole else (1 + far) / (1 + draws)

    @cached_property
    def doubled(self) -> Array:
        """2 v1."""
        return 2 * self.square[1]


@lru_cache(maxsize=4)  # the tasks of a study have the same clusters
def sign_patterns(clusters: int, draws: int, seed: int) -> tuple[Array, bool]:
    """Weights of the clusters, (draws, clusters), and whether they are all there are.

    The two-point (Rademacher) weights +1 and -1, all 2^clusters of them where these number at most 4096 and at least
    1024; at random above. Fewer than 1024 patterns make p too coarse to survive a correction for many tests (8
    clusters: no p below 1/128), so that below 10 clusters the six-point weights +-sqrt(1/2), +-1, +-sqrt(3/2) are
    drawn (Webb 2014).
    """
    generator = np.random.default_rng(seed)
    if clusters < 10:
        return generator.choice(np.concatenate([-_WEBB, _WEBB]), size=(draws, clusters)), False
    if clusters <= 12:
        return np.array(list(product((1.0, -1.0), repeat=clusters))), True
    return generator.choice(np.array([-1.0, 1.0]), size=(draws, clusters)), False


def smallest_p(clusters: int, draws: int, seed: int) -> float:
    """What no p of these draws can be below, however strong an effect: the share of draws that repeat the sample.

    These are the draws in which all clusters have one weight; of few clusters there are many: one in 6^(clusters - 1)
    of the six-point weights, one in 2^(clusters - 1) of the two-point weights.
    """
    weights, whole = sign_patterns(clusters, draws, seed)
    equal = int((weights == weights[:, :1]).all(axis=1).sum())
    return equal / len(weights) if whole else (1 + equal) / (1 + len(weights))


def fit_wild(design: Design, alpha: float, draws: int, seed: int) -> Fit:
    """OLS tested by the wild cluster bootstrap with the null imposed (WCR); intervals by inverting that test.

    For each coefficient the model is fitted without it (at the null), the residuals of each model's rows are
    multiplied by one random weight, and t with clustered errors is computed anew; p is the share of |t*| that reach
    the sample's |t|. An end of the interval is where p crosses alpha. stderr and t are those of `fit_cluster`;
    there is no df. Only cross products for each cluster are needed, never the rows themselves.

    Source: Cameron, Gelbach & Miller 2008; MacKinnon, Nielsen & Webb 2023 (sections 5 and 6).
    """
    plain = fit_cluster(design, alpha)
    if why := few_models(design):
        return no_fit(design, why, plain.estimate)
    weights, whole = sign_patterns(design.clusters, draws, seed)
    p, low, high = (np.full(len(design.effects), np.nan) for _ in range(3))
    for k in np.flatnonzero(np.isfinite(plain.stderr)).tolist():
        drawn = _drawn(design, asked(design).start + k, weights, whole, plain, k)
        p[k] = drawn.p(0.0)
        low[k], high[k] = _end(drawn, -1, alpha), _end(drawn, 1, alpha)
    open_end = np.isfinite(p) & (np.isnan(low) | np.isnan(high))
    note = f"{design.clusters} models are too few for an interval at this level" if open_end.any() else ""
    low[open_end] = high[open_end] = np.nan
    nothing = np.full(len(p), np.nan)
    return Fit(plain.estimate, plain.stderr, plain.t, nothing, p, low, high, note, own_notes=plain.own_notes)


def _drawn(design: Design, column: int, weights: Array, whole: bool, plain: Fit, k: int) -> _Draws:
    """All draws for the coefficient of one column.

    With restricted residuals u(b) = y~ - b x~ (both residuals of a regression on the other columns), a draw's
    estimate less b is sum_g w_g m'X_g'u_g(b), m the column's row of (X'X)^-1, and its cluster scores are
    w_g m'X_g'u_g - m'X_g'X_g (X'X)^-1 sum_h w_h X_h'u_h: linear in b, so that the variance is a quadratic in b.
    """
    x, count = design.x, design.clusters
    others = np.delete(x, column, axis=1)
    kept = np.column_stack([design.y, x[:, column]])
    kept = kept - others @ np.linalg.lstsq(others, kept, rcond=None)[0]
    bread, cross = design.geometry.inverse, design.geometry.cross
    moments = design.geometry.sums(kept, x)  # (clusters, 2, columns): X_g'y~ and X_g'x~
    single = moments @ bread[column]  # (clusters, 2)
    back = cross @ bread[column] @ bread  # (clusters, columns)
    scores = [weights * single[:, i] - (weights @ moments[:, i]) @ back.T for i in range(2)]
    square = tuple((scores[i] * scores[j]).sum(axis=1) for i, j in ((0, 0), (0, 1), (1, 1)))
    # The factor of CR1 is in the sample's error and must be in the draws' as well.
    rows, columns = x.shape
    factor = count / (count - 1) * (rows - 1) / (rows - columns)
    return _Draws(
        (weights @ single[:, 0], weights @ single[:, 1]),
        (factor * square[0], factor * square[1], factor * square[2]),
        float(plain.estimate[k]),
        float(plain.stderr[k]),
        whole,
    )


def _end(drawn: _Draws, side: int, alpha: float) -> float:
    """Where p crosses alpha on one side of the estimate; NaN when it stays above."""
    inside, step = drawn.estimate, drawn.stderr
    for _ in range(30):
        outside = inside + side * step
        if drawn.p(outside) <= alpha:
            break
        inside, step = outside, 2 * step
    else:
        return float("nan")
    for _ in range(40):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if drawn.p(middle) <= alpha else (middle, outside)
    return (inside + outside) / 2
