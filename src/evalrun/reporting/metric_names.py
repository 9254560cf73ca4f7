"""What metrics are called on a page: the field's words where there are any, with which way is better."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from evalrun.statistics.items.continuous import METRICS

ACCURACIES = frozenset({"acc", "acc_norm", "mc1", "mc2"})
_NAMES = {
    "bits_per_byte": "bits per byte",
    "nats_per_token": "nats per token",
    "word_perplexity": "perplexity by word",
    "byte_perplexity": "perplexity by byte",
}


def metric_name(metric: str) -> str:
    """`bits per byte` of `bits_per_byte`; a metric's own name where there are no better words."""
    return _NAMES.get(metric) or (METRICS[metric].title if metric in METRICS else metric)


def value_name(table: pd.DataFrame) -> str:
    """What the table's values are called together, and whether less is better of all of them."""
    metrics = _metrics(table)
    if metrics <= ACCURACIES:
        return "Accuracy"
    if len(metrics) > 1:
        return "Metric value"
    name = metric_name(metrics.pop())
    less = " (lower is better)" if not table["higher_is_better"].astype(bool).any() else ""
    return name[:1].upper() + name[1:] + less


def panel_titles(table: pd.DataFrame, groups: Iterable[tuple[str, pd.DataFrame]]) -> list[str]:
    """A title for the panel of each task, with its metric where others of the figure have another.

    Args:
        table: Of all panels.
        groups: Task and its rows, a panel each.
    """
    mixed = len(_metrics(table) - ACCURACIES) + bool(_metrics(table) & ACCURACIES) > 1
    titles = []
    for task, rows in groups:
        title = str(rows["title"].iloc[0]) if len(rows) else task
        own = _metrics(rows) - ACCURACIES
        titles.append(f"{title}: {metric_name(own.pop())}" if mixed and own else title)
    return titles


def _metrics(table: pd.DataFrame) -> set[str]:
    return {str(metric) for metric in table["metric"].unique()}
