"""The figure of a table, which a notebook shows by itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from evalrun.commands.run.inprocess import Value
from evalrun.commands.table_input import config_of, prepared_rows
from evalrun.config.schema import Config
from evalrun.core.errors import AnalysisError, ConfigError, suggest

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.reporting.figures import NotebookFigure

log = logging.getLogger(__name__)


def draw_curves(table: pd.DataFrame, x: str, settings: Mapping[str, Value]) -> NotebookFigure:
    """Every task's curves.

    Args:
        table: Of results.
        x: tokens, flops or parameters: what stands across.
        settings: Keys of conf/analysis.

    Raises:
        ConfigError, AnalysisError: as `evalrun.plot`.
    """
    from evalrun.reporting.figures import accuracy_figure, scaling_figure
    from evalrun.statistics.regression.model_frame import AXES, PARAMS

    if x not in (*AXES, "parameters"):
        raise ConfigError(f"x is '{x}': {suggest(str(x), [*AXES, 'parameters'])}")
    config = config_of(settings)
    if x == "flops" and "suite" in table and table["suite"].nunique() > 1:
        return _families(table, config)
    rows = prepared_rows(table, config)
    return accuracy_figure(rows, AXES[x]) if x in AXES else scaling_figure(rows, PARAMS[config.analysis.params])


def _families(table: pd.DataFrame, config: Config) -> NotebookFigure:
    """The last checkpoints of several suites over training compute.

    Raises:
        AnalysisError: no task is in two of them.
    """
    from evalrun.reporting.families_figure import families_figure
    from evalrun.statistics.families import last_checkpoints

    points, notes = last_checkpoints(
        {str(suite): prepared_rows(own, config, fitted=True) for suite, own in table.groupby("suite")}
    )
    if points.empty:
        raise AnalysisError(f"the suites have no task in common: draw one at a time. {' '.join(notes)}".rstrip())
    for note in notes:
        log.warning(note)
    return families_figure(points)
