"""The loss of each checkpoint beside its values: of a text task in the table, or of training logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from evalrun.config.loss_axis import HOW, LossSource, loss_source
from evalrun.core.errors import AnalysisError, suggest
from evalrun.core.text import counted
from evalrun.statistics.naming import CHECKPOINT
from evalrun.statistics.table import prepare

if TYPE_CHECKING:  # the settings' shape alone, so that the analysis runs without the configuration's libraries
    from evalrun.config.schema import AnalysisConf

_RISES = 0.1  # of a run's range of losses, from which on a rise is told
LOSS_COLUMNS = [*CHECKPOINT, "loss", "loss_stderr"]


@dataclass(frozen=True)
class LossRows:
    """The rows that have a loss, and what there is to say of the others."""

    name: str  # what the axis is called: `Wikitext, bits_per_byte`
    table: pd.DataFrame  # rows of `Prepared.table` with loss and loss_stderr; without the task that the loss is of
    notes: list[str]


def with_loss(
    rows: pd.DataFrame, raw: pd.DataFrame, conf: AnalysisConf, logged: pd.DataFrame | None = None
) -> LossRows | None:
    """Give each row the loss of its checkpoint; rows whose checkpoint has none are left out, and a note counts them.

    Args:
        rows: Of `Prepared.table`.
        raw: The tidy table that they were prepared from, with all metrics.
        conf: Where the loss is: `conf.x`; None for no loss at all.
        logged: Of training logs, with the columns of `LOSS_COLUMNS`, where `conf.x` names these.

    Returns:
        The rows; None where no loss is asked for.

    Raises:
        AnalysisError: no such task or metric, a metric that is no loss, or no checkpoint with a loss above 0.
    """
    if conf.x is None:
        return None
    source = loss_source(conf.x)
    if source is None:
        raise AnalysisError(f"analysis.x is '{conf.x}': {HOW}.")
    if source.kind == "log":
        if logged is None:
            raise AnalysisError(f"analysis.x is '{conf.x}', but no training logs were read for this table.")
        name, losses, others = f"{source.of or 'loss'} of the training log", logged, rows
    else:
        name, losses = _of_task(raw, source, conf)
        others = rows[rows["task"] != source.name]
    losses = losses[losses["loss"] > 0]
    found = others.merge(losses[LOSS_COLUMNS], on=CHECKPOINT, how="inner")
    if found.empty:
        raise AnalysisError(
            f"no checkpoint has both a value and a loss of analysis.x={conf.x}: score the text on the checkpoints that "
            "have the tasks, or name another loss."
        )
    lost = len(others.drop_duplicates(CHECKPOINT)) - len(found.drop_duplicates(CHECKPOINT))
    notes = [f"Over loss: {counted(lost, 'checkpoint')} without a loss ({name}) left out."] if lost else []
    notes += _turning(losses, name)
    order = {task: place for place, task in enumerate(rows["task"].unique())}
    found = found.iloc[np.argsort(found["task"].map(order).to_numpy(), kind="stable")]
    return LossRows(name, found.reset_index(drop=True), notes)


def _turning(losses: pd.DataFrame, name: str) -> list[str]:
    """A sentence about runs whose loss rises again, of which one loss is that of two checkpoints; none if none does.

    Args:
        losses: A row a checkpoint, with `LOSS_COLUMNS`.
        name: Of the loss.
    """
    run = [column for column in CHECKPOINT if column != "step"]
    runs = [own.to_numpy() for _, own in losses.sort_values("step").groupby(run, dropna=False)["loss"]]
    rises = [float(own[own.argmin() :].max() - own.min()) for own in runs]
    turned = [rise for rise, own in zip(rises, runs, strict=True) if rise > _RISES * np.ptp(own)]
    if not turned:
        return []
    return [
        f"Over loss: in {len(turned)} of {counted(len(runs), 'run')} the loss ({name}) rises again after its least "
        f"value, by up to {max(turned):.3g}: checkpoints before and after lie at one loss, and what is said over it "
        "takes them for alike."
    ]


def _of_task(raw: pd.DataFrame, source: LossSource, conf: AnalysisConf) -> tuple[str, pd.DataFrame]:
    """The losses that a task of the table gives, and what the axis is called.

    Args:
        raw: The tidy table.
        source: Which task, and which of its metrics.
        conf: When two results are one.

    Raises:
        AnalysisError: there is no such task or metric, or it is better the higher it is.
    """
    own = raw[raw["task"] == source.name]
    if own.empty:
        known = {str(task) for task in raw["task"].unique()}
        losses = {str(task) for task in raw.loc[~raw["higher_is_better"].astype(bool), "task"].unique()}
        raise AnalysisError(
            f"analysis.x is '{source}', but the results have no task '{source.name}': "
            f"{suggest(source.name, losses or known)}"
        )
    metrics = {str(metric) for metric in own["metric"].unique()}
    if source.of is not None and source.of not in metrics:
        raise AnalysisError(
            f"analysis.x is '{source}', but {source.name} has no metric '{source.of}': {suggest(source.of, metrics)}"
        )
    found = prepare(own, source.of, same_within=conf.same_within).table
    metric, title = str(found["metric"].iloc[0]), str(found["title"].iloc[0])
    if found["higher_is_better"].astype(bool).any():
        lower = {str(name) for name in own.loc[~own["higher_is_better"].astype(bool), "metric"].unique()}
        raise AnalysisError(
            f"analysis.x is '{source}', whose {metric} is better the higher it is: name a loss"
            + (f", such as loss:{source.name}:{min(lower)}." if lower else ", of a task whose metric is one.")
        )
    return f"{title}, {metric}", found.rename(columns={"value": "loss", "stderr": "loss_stderr"})[LOSS_COLUMNS]
