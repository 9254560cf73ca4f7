"""What a person sees first: saved chart layouts, and notes that lead from one experiment to the next.

The layout is MLflow's own, undocumented view state (as of 3.17: the experiment page stores it when a view is shared),
which is why the MLflow version is pinned. If another version does not know it, only the ready-made view is lost.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from typing import Any

import pandas as pd

from evalrun.core.causes import by_cause
from evalrun.core.errors import TrackingError
from evalrun.core.task_group import Groups, tasks_of
from evalrun.tracking import layout, run_notes
from evalrun.tracking.connection import PORT, MlflowConnection
from evalrun.tracking.slugs import metric_key

_CURVES_VIEW = "accuracy-against-training"
_TABLE_VIEW = "checkpoints"
_MEAN, _GROUPS = "Mean over tasks", "Groups of tasks"  # sections
_WORKFLOW = "workflowType=machine_learning"  # without it the page opens as one for chat applications
_STATE_TAG = "mlflow.sharedViewState."
_TAG_LIMIT = 20_000  # characters of an experiment tag (mlflow.utils.validation.MAX_EXPERIMENT_TAG_VAL_LENGTH)


@dataclass(frozen=True)
class Chart:
    """One chart of the curves."""

    key: str  # of the metric
    title: str
    section: str


def write(link: MlflowConnection, suite: str, table: pd.DataFrame, groups: Groups) -> None:
    """File the saved views of both experiments and the notes of all three."""
    charts = _charts(table, groups)
    curves = link.experiment(f"{suite}-curves")
    _file(link, curves, _CURVES_VIEW, "Accuracy against training", charts, _curves_state)
    checkpoints = link.experiment(suite)
    _file(link, checkpoints, _TABLE_VIEW, "Checkpoints", charts, _table_state)
    write_notes(link, suite)


def _charts(table: pd.DataFrame, groups: Groups) -> list[Chart]:
    """The mean over tasks, those of groups, then each task's own metric, under its cause and by its title."""
    newest = table[table["primary"]].sort_values("finished_ms", kind="stable").drop_duplicates("task", keep="last")
    shown = newest[["task", "title", "cause", "role", "metric"]]
    primary = [dict(zip(map(str, shown), row, strict=True)) for row in shown.itertuples(index=False, name=None)]
    tasks = sorted(primary, key=lambda row: str(row["title"]).casefold())
    charts = [Chart("acc/mean", "Mean accuracy", _MEAN)] if (table["metric"] == "acc").any() else []
    metrics = {row["task"]: row["metric"] for row in primary}
    for name, group in groups.items():
        common = {metrics.get(task) for task in tasks_of(groups, name)}
        if len(tasks_of(groups, name)) > 1 and len(common) == 1 and None not in common and name not in metrics:
            charts.append(Chart(metric_key(str(*common), name), group.title, _GROUPS))
    for cause, alike in by_cause(tasks):
        section = cause[:1].upper() + cause[1:] or "Tasks"
        charts += [Chart(metric_key(row["metric"], row["task"]), row["title"], section) for row in alike]
    return charts


def write_notes(link: MlflowConnection, suite: str) -> None:
    """Describe each experiment that is there and link the others; MLflow shows the first line above the runs.

    The links come first because MLflow opens an experiment on its empty page for chat applications, whatever it holds;
    from there they lead to the results in one click.
    """
    checkpoints, curves, reports = (link.experiment(suite + end) for end in ("", "-curves", "-report"))
    links = [
        f"[{name}]({path_of(found)})"
        for name, found, path_of in (
            ("Accuracy against training", curves, _curves_path),
            ("Checkpoints", checkpoints, _table_path),
            ("Reports", reports, _plain_path),
        )
        if found is not None
    ]
    if reports is not None and (latest := _latest_report(link, reports)):
        links.append(f"[Latest report]({latest})")
    says = (
        (checkpoints, "One run per checkpoint, one metric per task."),
        (
            curves,
            "One line per model, from the checkpoint runs, over the training step (log scale, so without step 0).",
        ),
        (reports, "One run per analysis, with its report among the artifacts."),
    )
    made = "" if checkpoints is None else run_notes.made_by(checkpoints.tags)
    for found, text in says:
        note = " · ".join(links) + f"\n\n{text}{made}"
        if found is not None and found.tags.get(layout.NOTE) != note:
            link.tag_experiment(found.experiment_id, layout.NOTE, note)


def _latest_report(link: MlflowConnection, experiment: Any) -> str | None:
    newest = link.client.search_runs(
        [experiment.experiment_id],
        filter_string=f"tags.`{layout.KIND}` = 'report' and attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    if not newest or not (page := newest[0].data.tags.get(layout.PAGE)):
        return None
    return artifact_path(experiment, newest[0].info.run_id, page)


def artifact_path(experiment: Any, run_id: str, artifact: str) -> str:
    """The part of the UI's address that opens a run's artifact."""
    return f"#/experiments/{experiment.experiment_id}/runs/{run_id}/artifacts/{artifact}?{_WORKFLOW}"


def curves_path(link: MlflowConnection, suite: str) -> str:
    """The part of the UI's address, from `#` on, that opens the suite's accuracy curves (`Store.view_path`).

    Raises:
        TrackingError: the suite has no curves yet.
    """
    found = link.experiment(f"{suite}-curves") if link.exists() else None
    if found is None:
        raise TrackingError(f"there are no curves of suite '{suite}' at {link.shown} yet; evaluate it first.")
    return _curves_path(found)


def run_address(link: MlflowConnection, experiment_id: str) -> str:
    """The address of an experiment's run in a browser, `{run}` for its id."""
    base = link.shown.rstrip("/") if link.remote else f"http://127.0.0.1:{PORT}"
    return f"{base}/#/experiments/{experiment_id}/runs/{{run}}?{_WORKFLOW}"


def _curves_path(experiment: Any) -> str:
    return f"{_plain_path(experiment)}&viewStateShareKey={_CURVES_VIEW}&compareRunsMode=CHART"


def _table_path(experiment: Any) -> str:
    return f"{_plain_path(experiment)}&viewStateShareKey={_TABLE_VIEW}"


def _plain_path(experiment: Any) -> str:
    return f"#/experiments/{experiment.experiment_id}/runs?{_WORKFLOW}"


def _file(link: MlflowConnection, experiment: Any, key: str, name: str, charts: list[Chart], state_of: Any) -> None:
    """Put a view on an experiment, unless it is there; leave out the last charts if they do not fit a tag."""
    while True:
        packed = base64.b64encode(zlib.compress(json.dumps(state_of(charts)).encode(), 9)).decode()
        view = json.dumps({"name": name, "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"})
        if len(view) <= _TAG_LIMIT:
            break
        charts = charts[: len(charts) * 3 // 4]
    if experiment.tags.get(_STATE_TAG + key) != view:
        link.tag_experiment(experiment.experiment_id, _STATE_TAG + key, view)


def _curves_state(charts: list[Chart]) -> dict[str, Any]:
    """Line charts over the training step on a log scale, the mean first, then the tasks by cause; every run shown."""
    names = list(dict.fromkeys(chart.section for chart in charts))
    ids = {name: f"section-{i}" for i, name in enumerate(names)}
    columns = {name: min(2, sum(chart.section == name for chart in charts)) for name in names}
    return _state(
        columns=["params.`n_params`"],
        sections=[(ids[name], name, columns[name]) for name in names],
        charts=[_line(i, chart, ids[chart.section]) for i, chart in enumerate(charts)],
    )


def _table_state(charts: list[Chart]) -> dict[str, Any]:
    """The checkpoint table with columns that say which checkpoint and how good."""
    metrics = [f"metrics.`{chart.key}`" for chart in charts[:8]]
    columns = ["attributes.`Datasets`", "params.`model`", "params.`step`", "metrics.`tokens`", *metrics]
    return _state(columns=columns, sections=[("all", "All checkpoints", 2)], charts=[])


def _state(columns: list[str], sections: list[tuple[str, str, int]], charts: list[dict[str, Any]]) -> dict[str, Any]:
    """The state of MLflow's runs page, as its interface keeps it in a shared view.

    Args:
        columns: Shown, in order.
        sections: Id, title and charts beside each other.
        charts: As `_line` makes them.
    """
    return {
        "searchFilter": "",
        "orderByKey": "metrics.`n_params`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": [],
        "columnWidths": {},
        "runsHiddenMode": "SHOWALL",  # otherwise MLflow shows ten
        "compareRunCharts": charts,
        "compareRunSections": [
            {
                "uuid": uuid,
                "name": name,
                "columns": columns_of_charts,
                "cardHeight": 320,
                "display": True,
                "isReordered": True,
                "deleted": False,
                "isGenerated": False,
            }
            for uuid, name, columns_of_charts in sections
        ],
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def _line(index: int, chart: Chart, section: str) -> dict[str, Any]:
    """One line chart over steps, in the form of MLflow's interface.

    Args:
        index: Its number, which makes its id.
        chart: Title and metric.
        section: Id of the section that it is in.
    """
    return {
        "uuid": f"chart-{index}",
        "type": "LINE",
        "metricSectionId": section,
        "displayName": chart.title,
        "metricKey": chart.key,
        "selectedMetricKeys": [chart.key],
        "runsCountToCompare": 100,
        "deleted": False,
        "isGenerated": False,
        "lineSmoothness": 0,
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "xAxisScaleType": "log",
        "scaleType": "linear",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "range": {},
        "ignoreOutliers": False,
        "useGlobalXaxisKey": False,
        "useGlobalLineSmoothing": True,
        "displayPoints": True,
    }
