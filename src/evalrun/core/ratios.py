"""Metrics that are a ratio of two sums over items, such as bits per byte: what is summed, and what is made of it.

The one home of this: whoever computes a corpus' value, its error or a test asks here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

_LARGEST = 709.0  # whose exponential is a finite number


@dataclass(frozen=True)
class Ratio:
    """A metric of a corpus: f(sum of one column of its items / sum of another)."""

    numerator: str  # column of the items
    denominator: str
    scale: float = 1.0  # f is scale * ratio, or its exponential
    exponential: bool = False

    def of(self, ratio: float) -> float:
        """The metric of a ratio of sums."""
        return math.exp(min(self.scale * ratio, _LARGEST)) if self.exponential else self.scale * ratio

    def slope(self, ratio: float) -> float:
        """The derivative of the metric, which carries an error of the ratio over to it (the delta method)."""
        return self.scale * self.of(ratio) if self.exponential else self.scale


# Of rolling log-likelihoods: nats is minus the log-likelihood of a document.
RATIOS = {
    "bits_per_byte": Ratio("nats", "bytes", 1 / math.log(2)),
    "nats_per_token": Ratio("nats", "tokens"),
    "word_perplexity": Ratio("nats", "words", exponential=True),
    "byte_perplexity": Ratio("nats", "bytes", exponential=True),
    # Of choices, from their log-probabilities: bytes are those of the text that was scored, delimiter included.
    "gold_bits_per_byte": Ratio("gold_nats", "gold_bytes", 1 / math.log(2)),
    "wrong_bits_per_byte": Ratio("wrong_nats", "wrong_bytes", 1 / math.log(2)),
}


@lru_cache(maxsize=10_000)
def ratio_of(metric: str) -> Ratio | None:
    """The ratio that a metric is, by its name, which may end in the name of a filter; None: it is none."""
    words = metric.split("_")
    return next((RATIOS[name] for cut in range(len(words), 0, -1) if (name := "_".join(words[:cut])) in RATIOS), None)
