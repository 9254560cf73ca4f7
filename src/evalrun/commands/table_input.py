"""What a call on a table works on: the settings it was given, and the rows that may stand in one analysis."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING

from evalrun.commands.run import inprocess
from evalrun.commands.run.inprocess import Value
from evalrun.config.compose import compose, to_config
from evalrun.config.schema import AnalysisConf, Config, ShapeConf
from evalrun.core.errors import AnalysisError, ConfigError, suggest
from evalrun.grid import override_checks, planning
from evalrun.grid import overrides as ov
from evalrun.tracking import Store

if TYPE_CHECKING:
    import pandas as pd


log = logging.getLogger(__name__)
_ANALYSIS = {field.name for field in fields(AnalysisConf)} - {"shapes"}
_SHAPES = {f"shapes.{field.name}" for field in fields(ShapeConf)}


def with_full_keys(settings: Mapping[str, Value]) -> dict[str, Value]:
    """Settings with the keys of conf/analysis by their full names."""
    own = _ANALYSIS | _SHAPES | {"shapes"}
    return {f"analysis.{key}" if key in own else key: value for key, value in settings.items()}


def config_of(settings: Mapping[str, Value]) -> Config:
    """The config that settings of an analysis make; no model and no step are in question.

    Raises:
        ConfigError: a setting that an analysis does not have, or a value that cannot be right.
    """
    with inprocess.session(None):
        given = ov.parse(inprocess.words(with_full_keys(settings)))
        own = _ANALYSIS | _SHAPES
        allowed = {*(f"analysis.{name}" for name in own), "analysis", "tracking", "tracking.uri", "tracking.root"}
        if wrong := sorted({override.key_or_group for override in given} - allowed):
            names = [key.removeprefix("analysis.") for key in wrong]
            raise ConfigError([f"an analysis has no setting '{name}': {suggest(name, own)}" for name in names])
        override_checks.check(given)
        return to_config(compose(["model=pythia-70m", "step=0", *ov.for_hydra(given)]))


def one_study(table: pd.DataFrame) -> pd.DataFrame:
    """The table, if it is of one suite scored in one way.

    Raises:
        AnalysisError: no table of results, or results that do not belong in one analysis.
    """
    from evalrun.statistics.table import check

    check(table)
    for column in ("suite", "settings"):
        several = sorted(map(str, table[column].unique()))
        if len(several) > 1:
            kind = "suites" if column == "suite" else column
            raise AnalysisError(
                f"the table has results of several {kind} ({', '.join(several)}): take "
                f'one at a time, table[table["{column}"] == "{several[0]}"].'
            )
    return table


def prepared_rows(table: pd.DataFrame, config: Config, fitted: bool = False) -> pd.DataFrame:
    """The rows that are analysed; what is left out is logged.

    Args:
        table: Of results, of one suite and scored in one way.
        config: Settings of the analysis; a metric of the items is read from its store.
        fitted: Those of the stages that regressions are of (`fit_stages`), and not of all that make a curve.

    Raises:
        AnalysisError: nothing is left, or no task has the metric.
        TrackingError: the store cannot be read.
    """
    from evalrun.reporting.item_sources import with_metric
    from evalrun.statistics.table import prepare
    from evalrun.statistics.tuning.stage_rows import split

    conf = config.analysis
    table = with_metric(config, Store(config.tracking), one_study(table))
    prepared = prepare(table, conf.metric, final_steps(table), conf.same_within)
    stages = split(prepared.table, conf.fit_stages)
    for note in [*prepared.notes, *(stages.notes if fitted else [])]:
        log.warning(note)
    return stages.fitted if fitted else stages.curve


def final_steps(table: pd.DataFrame) -> dict[str, int]:
    """Model -> its last released step, which tells shared weights apart; asked only where there are any."""
    steps = table.loc[table["weights"] != "", ["model", "seed", "step", "weights"]].drop_duplicates()
    if not steps.duplicated(["model", "seed", "weights"]).any():
        return {}
    with inprocess.session(None):
        return planning.final_steps()
