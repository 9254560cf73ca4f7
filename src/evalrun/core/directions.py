"""Which way a metric is better, by its name: for results that do not say so themselves."""

from __future__ import annotations

from functools import lru_cache

# lm-eval's metrics of which less is better, and those of its older versions.
LOWER = frozenset({"ppl", "perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "ter", "wer"})
LOWER |= {"nats_per_token", "brier_score", "likelihood_difference", "likelihood_diff"}
# What others call a loss in their tables.
LOWER |= {"loss", "ce_loss", "cross_entropy", "nll", "bpb"}


@lru_cache(maxsize=10_000)  # asked of every result of a table
def is_lower_better(metric: str) -> bool:
    """Whether less is better of a metric by its name, which may end in the name of a filter: `ter_strip`."""
    parts = metric.split("_")
    return any("_".join(parts[:count]) in LOWER for count in range(1, len(parts) + 1))
