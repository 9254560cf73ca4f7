"""A ratio of two sums over items, with what each item adds to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from evalrun.core.ratios import Ratio

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Sums:
    """What each item adds to the two sums whose ratio a metric is."""

    ratio: Ratio
    numerator: Floats  # (items,)
    denominator: Floats  # (items,) above 0

    @property
    def value(self) -> float:
        """The metric over all items."""
        return self.ratio.of(float(self.numerator.sum() / self.denominator.sum()))

    @property
    def each(self) -> Floats:
        """(items,) the metric of each item alone."""
        return np.array([self.ratio.of(one) for one in (self.numerator / self.denominator).tolist()])

    @property
    def linear(self) -> Floats:
        """(items,) values whose mean is the metric and whose spread is its error: the linearised ratio.

        Cochran 1977, Sampling Techniques, section 6.3: an item counts by its residual from the ratio,
        numerator - ratio x denominator, over the mean denominator; f's slope carries it over (delta method).
        """
        ratio = float(self.numerator.sum() / self.denominator.sum())
        residual = (self.numerator - ratio * self.denominator) / self.denominator.mean()
        return np.asarray(self.ratio.of(ratio) + self.ratio.slope(ratio) * residual)

    def of_items(self, places: Any) -> Sums:
        """What some of the items add: those at these places, in their order."""
        return Sums(self.ratio, self.numerator[places], self.denominator[places])
