"""`evalrun.predict`: what a checkpoint that was not evaluated is expected to score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalrun.commands.run.inprocess import Value
from evalrun.commands.table_input import config_of, prepared_rows

if TYPE_CHECKING:
    import pandas as pd


def predict(
    table: pd.DataFrame, size: float, training: float, method: str = "mixed", **settings: Value
) -> pd.DataFrame:
    """Predict each task's value of a new model's checkpoint by the regression, with an interval for that one value.

    Args:
        table: Rows of one suite, scored in one way: of `evaluate` or `results`.
        size: Its parameters, by the count of `params`.
        training: Its tokens; its FLOPs with `axis="flops"`.
        method: mixed, whose intervals allow that models differ in level and slope; or ols, which takes checkpoints as
            independent.
        **settings: Keys of conf/analysis: `params="nonembedding"`, `alpha=0.1`.

    Returns:
        One row for each task, in the metric's units: value with low and high, which hold one new value in 1 - alpha of
        cases if the regression's plane is right; note says why there is none, or that it lies beyond what was seen.

    Raises:
        ConfigError: a setting that cannot be right.
        AnalysisError: a table that cannot be analysed, another method, a size or training that is not above 0.
    """
    from evalrun.statistics.findings import choice_of
    from evalrun.statistics.regression.prediction import Place, predict_values

    config = config_of(settings)
    return predict_values(prepared_rows(table, config), Place(size, training), choice_of(config.analysis), method)
