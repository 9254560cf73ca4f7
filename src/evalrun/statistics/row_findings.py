"""What is found of the rows alone, whatever their curves over training do: for a process beside theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from evalrun.statistics.coverage import Coverage
from evalrun.statistics.regression.diagnostics import diagnose
from evalrun.statistics.regression.equivalence import with_equivalence
from evalrun.statistics.regression.interactions import fit_interactions
from evalrun.statistics.regression.model_frame import RegressionSettings
from evalrun.statistics.regression.pooled import fit_pooled
from evalrun.statistics.regression.prediction import planes_ahead
from evalrun.statistics.regression.sensitivity import COLUMNS as SENSITIVITY
from evalrun.statistics.regression.sensitivity import sensitivity
from evalrun.statistics.reliability.seeds import seed_variance
from evalrun.statistics.reliability.snr import last_doubling, signal_to_noise
from evalrun.statistics.shapes.labels import shapes_over_size
from evalrun.statistics.shapes.thresholds import ShapeSettings

if TYPE_CHECKING:  # the settings' shape alone, so that the analysis runs without the configuration's libraries
    from evalrun.config.schema import AnalysisConf


@dataclass(frozen=True)
class RowFindings:
    """The fields of `findings.Findings` with these names."""

    effects: pd.DataFrame
    pooled: pd.DataFrame
    sensitivity: pd.DataFrame
    diagnostics: pd.DataFrame
    signal: pd.DataFrame
    seeds: pd.DataFrame
    size_shapes: pd.DataFrame
    coverage: Coverage
    planes: list[dict[str, Any]]  # prediction.planes_ahead, which are no field there

    @property
    def named(self) -> dict[str, Any]:
        """All but the planes."""
        return {name: value for name, value in vars(self).items() if name != "planes"}


def find_of_rows(
    rows: pd.DataFrame,
    fitted: pd.DataFrame,
    choice: RegressionSettings,
    conf: AnalysisConf,
    count: Callable[[], Coverage],
) -> RowFindings:
    """Fit the regressions, class the curves over size, count the cells.

    Args:
        rows: All that are analysed.
        fitted: The numbers of those that are fitted.
        choice: What the regression is to do.
        conf: All that is to be done.
        count: Counts the cells that are there.
    """
    return RowFindings(
        effects=with_equivalence(fit_interactions(fitted, choice), fitted, choice, conf.smallest_effect),
        diagnostics=diagnose(fitted, choice),
        pooled=fit_pooled(fitted, choice),
        sensitivity=sensitivity(fitted, choice) if conf.sensitivity else pd.DataFrame(columns=SENSITIVITY),
        signal=signal_to_noise(fitted, last_doubling(fitted)),
        seeds=seed_variance(fitted, conf.alpha),
        planes=planes_ahead(fitted, choice),
        size_shapes=shapes_over_size(rows, conf.params, ShapeSettings.of(conf)),
        coverage=count(),
    )
