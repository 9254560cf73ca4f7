"""Where an analysis has per-item results, metrics made of them, and clusters of items from."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from evalrun.config.schema import Config
from evalrun.core.errors import EvalrunError
from evalrun.core.ratios import ratio_of
from evalrun.tasks import task_file
from evalrun.tracking import Store

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.statistics.dynamics.distractors import Words
    from evalrun.statistics.items.clusters import Clusters, TaskClusters
    from evalrun.statistics.items.values import Items

log = logging.getLogger(__name__)


def with_items(config: Config) -> Config:
    """The config of what always reads per-item results, whatever `analysis.items` says."""
    return replace(config, analysis=replace(config.analysis, items=True))


@contextmanager
def items_of(config: Config, store: Store, table: pd.DataFrame, words: Words | None = None) -> Iterator[Items | None]:
    """Reads the per-item results behind a table, while the block lasts; None where the analysis is to do without.

    A metric of the items needs them; one by bytes, the texts of the items too where they were not kept.

    Args:
        config: Settings of the analysis.
        store: Where the items are.
        table: Of results.
        words: Gives the texts of a task's items; None for the task's file as it is here, without downloads.
    """
    metric = config.analysis.metric
    of_items = _is_of_items(metric)
    if not config.analysis.items and not of_items:
        yield None
        return
    wanted = table[["run_id", "task"]].drop_duplicates()
    with store.items(wanted.itertuples(index=False, name=None)) as items:
        if not of_items or ratio_of(str(metric)) is None:
            yield items
            return
        from evalrun.reporting.item_words import words_of
        from evalrun.statistics.items.choice_bytes import ItemsWithBytes

        yield ItemsWithBytes(items, words or words_of(config, fetch=False))


def with_metric(config: Config, store: Store, table: pd.DataFrame, words: Words | None = None) -> pd.DataFrame:
    """The table with `analysis.metric`, if that is one of the items; what has none is logged.

    Args:
        config: As for `items_of`.
        store: As there.
        table: As there.
        words: As there.

    Raises:
        AnalysisError: no result has it.
        TrackingError: the store cannot be read.
    """
    metric = config.analysis.metric
    if metric is None or not _is_of_items(metric):
        return table
    from evalrun.statistics.items.measured import with_measured

    with items_of(config, store, table, words) as items:
        assert items is not None
        found, notes = with_measured(table, items, metric)
    for note in notes:
        log.warning(note)
    return found


def _is_of_items(metric: str | None) -> bool:
    if metric is None:
        return False
    from evalrun.statistics.items.continuous import METRICS

    return metric in METRICS


def clusters_of(config: Config) -> Clusters | None:
    """Finds the clusters of a task's items by `analysis.cluster_by`, in the task's data; None where there are none."""
    column = config.analysis.cluster_by
    if column is None:
        return None
    import pandas as pd

    from evalrun.statistics.items.clusters import TaskClusters
    from evalrun.tasks.item_clusters import item_clusters

    @cache
    def find(task: str) -> TaskClusters:
        try:
            (file,) = task_file.resolve([task], config.data_dir, config.trust_task_code, config.profile)
            rows = list(item_clusters(file, column))
        except EvalrunError as error:
            return TaskClusters(column, None, " ".join(error.problems).rstrip("."))
        return TaskClusters(column, pd.DataFrame(rows, columns=["doc_id", "doc_hash", "cluster"]))

    return find
