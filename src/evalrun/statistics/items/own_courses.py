"""What the errors of a fit miss because items, or templates, are learnt each in their own way.

The model lets items differ in how hard they are. If some are learnt and others forgotten, another draw of items would
give other effects of size and training, by more than the answers' own chance. How much shows in the items' influence on
each coefficient: its spread over items (or clusters of them) against the spread that the model expects. What it is more
is added to the variance of the coefficient, as in errors clustered two ways (Cameron, Gelbach & Miller 2011, Journal of
Business & Economic Statistics 29:238-249).
"""

from __future__ import annotations

import numpy as np

from evalrun.statistics.items.clusters import Codes, clustered_means
from evalrun.statistics.items.modes import Mode
from evalrun.statistics.regression.model_frame import Array


def unmodelled_variance(values: Array, mode: Mode, coefficients: int, codes: Codes) -> tuple[Array, float]:
    """The variance of each coefficient by the sampling of items, less what the model expects of it; never below 0.

    Args:
        values: (items, checkpoints) the answers that were fitted.
        mode: Of the fit.
        coefficients: How many, last among the effects of the mode.
        codes: (items,) the cluster of each item: 0, 1, ..., two or more.

    Returns:
        (coefficients,) the variances, and the degrees of freedom that they are estimated with.
    """
    inverse = np.linalg.inv(mode.small)[-coefficients:]
    posterior = mode.posterior
    place = np.searchsorted(posterior.answers.score, values.sum(axis=1))
    # An item's own effect is at its maximum, so that only what is left of its answers pulls at the other effects.
    influence = (values - mode.p[place]) @ posterior.design @ inverse.T
    spread = clustered_means(influence, codes)
    information = mode.small - np.diag(posterior.penalty)
    expected = np.einsum("ij,jk,ik->i", inverse, information, inverse)
    return np.maximum(len(values) ** 2 * spread.variance - expected, 0.0), spread.df
