"""The losses of training logs for the rows of a table, where `analysis.x` names a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalrun.config.loss_axis import LossSource, loss_source

if TYPE_CHECKING:
    import pandas as pd


def losses_of_logs(x: str | None, table: pd.DataFrame) -> pd.DataFrame | None:
    """The losses of a table's checkpoints, with the columns of `loss_rows.LOSS_COLUMNS`.

    Args:
        x: analysis.x.
        table: Rows of the tidy table.

    Returns:
        A row a checkpoint that has one; None where `x` names no log.

    Raises:
        AnalysisError: a log that is not there, cannot be read, or lacks the column.
    """
    if (source := _log(x)) is None:
        return None
    import pandas as pd

    from evalrun.checkpoints.suites.training_logs import logged_losses
    from evalrun.statistics.naming import CHECKPOINT
    from evalrun.statistics.over_loss.loss_rows import LOSS_COLUMNS

    places = table[CHECKPOINT].drop_duplicates().astype({"seed": "float64", "step": "float64"})
    return pd.DataFrame(logged_losses(source, places.to_dict("records")), columns=LOSS_COLUMNS)


def state_of_logs(x: str | None) -> list[tuple[str, str]]:
    """Every log that may be read, with its digest: whether a report is still of these; nothing where there is none."""
    if (source := _log(x)) is None:
        return []
    from evalrun.checkpoints.suites.training_logs import digests

    return digests(source)


def _log(x: str | None) -> LossSource | None:
    source = None if x is None else loss_source(x)
    return source if source is not None and source.kind == "log" else None
