"""Labels and falls of a table by the thresholds of conf/, or by others; the benchmarks that simulate them."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import pandas as pd

from evalrun.commands.table_input import config_of
from evalrun.statistics.items.clusters import Clusters
from evalrun.statistics.items.values import Items
from evalrun.statistics.shapes import falls, labels
from evalrun.statistics.shapes.curves import on_the_same_items, over_training
from evalrun.statistics.shapes.decision import Decision, decide
from evalrun.statistics.shapes.evidence import with_agreement
from evalrun.statistics.shapes.thresholds import ShapeSettings
from helpers import ROOT

CONF = config_of({}).analysis
SETTINGS = ShapeSettings.of(CONF)


def benchmark(name: str) -> ModuleType:
    """A file of benchmarks/, imported."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def conf_of(**given: Any) -> Any:
    """conf/analysis with some of its keys changed, whatever their values."""
    return SimpleNamespace(**{**vars(CONF), **given})


def decided(
    table: pd.DataFrame, items: Items | None = None, clusters: Clusters | None = None, **changes: object
) -> Decision:
    settings = replace(SETTINGS, **changes)
    curves = over_training(table, settings.axis)
    return decide(curves if items is None else on_the_same_items(curves, items, clusters), settings)


def describe_shapes(table: pd.DataFrame, items: Items | None = None, **changes: object) -> pd.DataFrame:
    return labels.describe_shapes(decided(table, items, **changes))


def find_falls(table: pd.DataFrame, items: Items | None = None, **changes: object) -> pd.DataFrame:
    decision = decided(table, items, **changes)
    return falls.find_falls(decision, labels.describe_shapes(decision))


def shapes_over_size(table: pd.DataFrame, params: str, **changes: object) -> pd.DataFrame:
    return labels.shapes_over_size(table, params, replace(SETTINGS, **changes))


def run_shape_tests(table: pd.DataFrame, **changes: object) -> pd.DataFrame:
    decision = decided(table, **changes)
    return with_agreement(decision.tests, labels.describe_shapes(decision))
