"""What is found about the stages after pretraining: what each of them did, and what the start of a tuning does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from evalrun.core.stages import stage
from evalrun.statistics.items.clusters import Clusters
from evalrun.statistics.items.values import Items
from evalrun.statistics.tuning.start_grid import StartGrid, start_grid
from evalrun.statistics.tuning.what_tuning_did import PairTesting, what_tuning_did

if TYPE_CHECKING:  # the settings' shape alone, so that the analysis runs without the configuration's libraries
    from evalrun.config.schema import AnalysisConf


@dataclass(frozen=True)
class TuningFindings:
    """What later stages did."""

    did: pd.DataFrame  # what_tuning_did.what_tuning_did
    starts: StartGrid  # start_grid.start_grid


@stage("stages of training")
def tuning_findings(
    rows: pd.DataFrame, conf: AnalysisConf, items: Items | None, clusters: Clusters | None, judge: Callable[..., Any]
) -> TuningFindings:
    """Both, of all rows of a study.

    Args:
        rows: Of `table.Prepared.table`, side branches too.
        conf: What to do: conf/analysis.
        items: Gives per-item results; None to do without.
        clusters: Gives the clusters of a task's items; None for items that were drawn one by one.
        judge: `findings.judge_curves`.
    """
    how = PairTesting(items, clusters, conf.corrections[0], conf.alpha, conf.draws, conf.seed)
    starts = start_grid(rows, lambda tuned: judge(tuned, conf, items, clusters)[2])
    return TuningFindings(what_tuning_did(rows, how), starts)
