"""Curves as a report would judge them, while a sweep is still at work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from evalrun.config.schema import Config
from evalrun.reporting.item_sources import clusters_of, items_of, with_metric
from evalrun.tracking import Store

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.statistics.shapes.settling import CurveSoFar


def curves_of(
    config: Config, store: Store, table: pd.DataFrame, finals: Mapping[str, int] | None = None
) -> Iterator[CurveSoFar]:
    """The curves of a table as a report would judge them, with the gaps in which they are open.

    Args:
        config: Settings of the analysis.
        store: Where items are read.
        table: Results of one suite, scored in one way.
        finals: Model -> its last released step.

    Raises:
        AnalysisError: nothing is left to judge.
        TrackingError: the store cannot be read.
    """
    from evalrun.statistics.findings import judge_curves
    from evalrun.statistics.shapes.settling import curves_so_far
    from evalrun.statistics.table import prepare
    from evalrun.statistics.tuning.stage_rows import split

    conf = config.analysis
    prepared = prepare(with_metric(config, store, table), conf.metric, finals, conf.same_within)
    rows = split(prepared.table, conf.fit_stages).curve
    with items_of(config, store, rows) as items:
        decision, shapes, _ = judge_curves(rows, conf, items, clusters_of(config))
    yield from curves_so_far(decision, shapes)
