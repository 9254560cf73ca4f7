"""Which curves a report shows: over training, or over size where no model has checkpoints enough for a curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from evalrun.reporting.figures import Series, model_series, step_series
from evalrun.statistics.findings import Findings
from evalrun.statistics.regression.interactions import PARAMS
from evalrun.statistics.shapes.labels import headlines, label_of, of_largest


@dataclass(frozen=True)
class CurveView:
    """The curves of a report."""

    over: Literal["training", "size"]
    x: str  # column across
    by: Literal["model", "step"]  # column whose values are lines
    labels: dict[str, str]  # task -> shape: of the largest model, or at the last step
    sentences: dict[str, str]  # task -> one sentence about that curve
    where: str  # that curve, in words

    def series(self, table: pd.DataFrame, dark: bool = False) -> list[Series]:
        """The lines: models from small to large, or at most eight steps, the last included."""
        return model_series(table, dark) if self.by == "model" else step_series(table, dark)


def curve_view(study: Findings) -> CurveView:
    """Over training, unless every curve there has too few points and some curve over size has enough."""
    few = study.shapes["label"] == "too few points"
    final = final_over_size(study)
    if few.all() and len(final):
        return CurveView(
            over="size",
            x=PARAMS[study.choice.params],
            by="step",
            labels=dict(zip(final["task"], final["label"], strict=True)),
            sentences=dict(zip(final["task"], final["sentence"], strict=True)),
            where=f"the curve over size at step {final['step'].iloc[0]:.0f}",
        )
    return CurveView(
        over="training",
        x=study.choice.axis,
        by="model",
        labels={task: label_of(curves) for task, curves in of_largest(study.shapes).items()},
        sentences=headlines(study.shapes),
        where=study.largest,
    )


def final_over_size(study: Findings) -> pd.DataFrame:
    """The curves over size at the last step, of tasks with models enough for one."""
    shapes = study.size_shapes
    final: pd.DataFrame = shapes[shapes["step"] == shapes["step"].max()]
    return final[final["label"] != "too few points"]
