"""`evalrun.predict`, `over_loss` and `decision_accuracy`: what was evaluated, and what it says of what was not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalrun.commands.run.inprocess import Value
from evalrun.commands.table_input import config_of, prepared_rows
from evalrun.core.errors import AnalysisError, ConfigError, suggest
from evalrun.grid.logged_losses import losses_of_logs

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.config.schema import Config
    from evalrun.statistics.over_loss.loss_findings import OverLoss
    from evalrun.statistics.regression.prediction import Place

_LOSS = "loss"


def predict(
    table: pd.DataFrame, size: float, training: float, method: str | None = None, **settings: Value
) -> pd.DataFrame:
    """Predict each task's value of a new model's checkpoint, with an interval for that one value.

    Args:
        table: Rows of one suite, scored in one way: of `evaluate` or `results`.
        size: Its parameters, by the count of `params`.
        training: Its tokens; its FLOPs with `axis="flops"`.
        method: loss, in two steps (size and tokens, loss, value), with `x="loss:TASK"`; or the regression's plane:
            mixed, whose intervals allow that models differ in level and slope, or ols, which takes checkpoints as
            independent. None for loss where `x` is given, else for mixed. The column `method` says which it was.
        **settings: Keys of conf/analysis: `params="nonembedding"`, `alpha=0.1`, `x="loss:wikitext"`.

    Returns:
        One row for each task, in the metric's units: value with low and high, which hold one new value in 1 - alpha of
        cases if the model of prediction is right; note says why there is none, or that it lies beyond what was seen.

    Raises:
        ConfigError: a setting that cannot be right.
        AnalysisError: a table that cannot be analysed, another method, a size or training that is not above 0.
    """
    from evalrun.statistics.findings import choice_of
    from evalrun.statistics.regression.prediction import Place, check_place, predict_values

    config = config_of(settings)
    place = Place(size, training)
    if method == _LOSS or (method is None and config.analysis.x is not None):
        check_place(place)
        return _by_loss(table, place, config)
    return predict_values(
        prepared_rows(table, config, fitted=True), place, choice_of(config.analysis), method or "mixed"
    )


def over_loss(table: pd.DataFrame, x: str, **settings: Value) -> OverLoss:
    """Look at every task over the loss: one curve for all sizes or not, where it leaves chance, forecasts by it.

    Args:
        table: Rows of one suite, scored in one way, with the task that the loss is of.
        x: `"loss:TASK"` or `"loss:TASK:METRIC"`; `"log:FILE"` or `"log:FILE:COLUMN"` of training logs.
        **settings: Other keys of conf/analysis: `smallest_effect=0.02`, `alpha=0.01`.

    Returns:
        Frames: `rows` with the losses, `curves` (a row a task: verdict, threshold, sentence, ...), `shapes` with loss
        across, `forecasts` and `hold_out`; and notes.

    Raises:
        ConfigError: a setting that cannot be right.
        AnalysisError: a table that cannot be analysed, or no such loss.
    """
    return _looked_at(table, config_of({**settings, "x": x}))


def decision_accuracy(table: pd.DataFrame, recipe: str = "suite", **settings: Value) -> pd.DataFrame:
    """Say how well small models tell which recipe is better: pairs that each size orders as the largest size does.

    Args:
        table: Rows of several recipes (data mixtures, say) on the same tasks, scored in one way.
        recipe: The column that names them; models of one recipe differ in size and seed.
        **settings: Keys of conf/analysis: `params="nonembedding"`, `metric="acc_norm"`, `alpha=0.1`.

    Returns:
        One row for each task and size below the target (the largest size that three recipes have): agree, the share of
        pairs in the same order, with low and high; worth, how many independent pairs it stands for; note where there
        are too few recipes.

    Raises:
        ConfigError: a setting that cannot be right.
        AnalysisError: a table that cannot be analysed, or no such column.
    """
    import pandas as pd

    from evalrun.statistics.regression.model_frame import PARAMS
    from evalrun.statistics.reliability.decisions import decision_accuracy as found_of
    from evalrun.statistics.table import check

    check(table)
    config = config_of(settings)
    conf = config.analysis
    if recipe not in table.columns:
        raise AnalysisError(f"the table has no column '{recipe}': {suggest(recipe, map(str, table.columns))}")
    groups = table.assign(suite=table[recipe].astype(str)).groupby("suite", sort=False)
    rows = pd.concat([prepared_rows(own, config, fitted=True) for _, own in groups], ignore_index=True)
    return found_of(rows, PARAMS[conf.params], conf.alpha)


def _looked_at(table: pd.DataFrame, config: Config) -> OverLoss:
    """What is found of a table over loss, and nothing else.

    Args:
        table: Of results.
        config: Settings of the analysis, with `x`.
    """
    from evalrun.statistics.findings import choice_of, decide_curves
    from evalrun.statistics.over_loss.loss_findings import over_loss as found_of
    from evalrun.statistics.shapes.labels import describe_shapes

    conf = config.analysis
    if conf.x is None:
        raise ConfigError('a prediction by loss needs to know which: give x="loss:TASK", such as x="loss:wikitext".')
    rows = prepared_rows(table, config, fitted=True)
    shapes = describe_shapes(decide_curves(rows, conf))
    return found_of(rows, table, conf, choice_of(conf), shapes, losses_of_logs(conf.x, table))


def _by_loss(table: pd.DataFrame, place: Place, config: Config) -> pd.DataFrame:
    """`predict` in two steps, with the columns of the plane's.

    Args:
        table: Of results.
        place: Parameters and tokens.
        config: Settings of the analysis, with `x`.

    Raises:
        AnalysisError: training is given in FLOPs.
    """
    from evalrun.statistics.findings import choice_of
    from evalrun.statistics.over_loss.loss_forecasts import forecast_at

    conf = config.analysis
    if conf.axis != "tokens":
        raise AnalysisError(f"a prediction by loss is of tokens, not of {conf.axis}: give tokens, with axis='tokens'.")
    found = _looked_at(table, config)
    return forecast_at(found.rows, found.curves, found.hold_out, place, choice_of(conf), conf.smallest_change)
