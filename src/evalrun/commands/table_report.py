"""The report of a table: what a sweep ends with, of rows that a program has at hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from evalrun import study
from evalrun.commands.run.inprocess import Value
from evalrun.commands.table_input import config_of, final_steps, one_study
from evalrun.core.task_group import tasks_of
from evalrun.grid.logged_losses import losses_of_logs
from evalrun.tracking import Store

if TYPE_CHECKING:
    import pandas as pd


def write_report(table: pd.DataFrame, out: Path, settings: Mapping[str, Value]) -> Path:
    """Analyse a table and write the report, in the current folder's workspace; nothing is filed in MLflow.

    Args:
        table: Of results.
        out: Folder to write into.
        settings: Keys of conf/analysis and the store.

    Returns:
        The HTML file.

    Raises:
        ConfigError, AnalysisError, TrackingError, StorageError: as `evalrun.report`.
    """
    from evalrun.reporting.build import run_analysis
    from evalrun.reporting.item_words import words_of

    config = config_of(settings)
    store, finals = Store(config.tracking), final_steps(one_study(table))
    rows = study.with_metric(config, store, table)
    context = {"Tracking store": store.uri} if config.analysis.items else {}
    clusters, words = study.clusters_of(config), words_of(config, fetch=False)
    with study.items_of(config, store, rows) as items:
        suite = str(rows["suite"].iloc[0])
        known = store.groups.of(suite) if config.analysis.items else {}  # else the store is not asked at all
        there = set(rows["task"])
        groups = {name: group for name, group in known.items() if there.issuperset(tasks_of(known, name))}
        found = run_analysis(
            *(rows, config.analysis, suite, out, context, finals, items),
            clusters=clusters,
            words=words,
            groups=groups,
            logged=losses_of_logs(config.analysis.x, rows),
        )
    return found.files["report.html"]
