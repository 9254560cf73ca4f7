"""`<suite>-curves`: one derived run per model, so that MLflow's own charts draw accuracy against training.

A checkpoint is a run, so its metrics are single points, and MLflow draws lines within a run only. Here the same
numbers are filed once more, a run per model, with MLflow's step = training step. Nothing is here that the checkpoint
runs do not hold; the runs are made anew when a point changes and can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlflow.entities import Metric, Param, RunTag

from evalrun.core.palette import model_colors
from evalrun.core.text import markdown_escape
from evalrun.tracking import layout, views
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.results_table import Row, read, search
from evalrun.tracking.slugs import metric_key, slug

_DIGEST = "evalrun.points"
_CHUNK = 1000  # MLflow's limit of metrics in one request

Point = tuple[str, float, int, int]  # metric key, value, MLflow timestamp, training step


@dataclass
class ModelCurve:
    """One model's line: its points, and what its run is called."""

    name: str
    model: str
    seed: int | None
    settings: str
    n_params: int
    n_params_nominal: int
    points: list[Point] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """Changes when any point does."""
        return hashlib.sha256(json.dumps([self.name, self.n_params, sorted(self.points)]).encode()).hexdigest()


def rebuild(link: MlflowConnection, suite: str, made: tuple[str, str] | None = None) -> None:
    """Bring `<suite>-curves`, its saved charts and the experiments' notes up to date; writes only what changed."""
    # Two sweeps that end together would otherwise both write every line.
    with link.lock(f"curves-{slug(suite)}"):
        rows = read(link, suite)
        if not rows:
            return
        curves = curves_of(rows)
        sizes = sorted({curve.n_params for curve in curves})
        colors = dict(zip(sizes, model_colors(sizes), strict=True))
        experiment = link.experiment(f"{suite}-curves", create=True, kind="curves")
        _replace(link, experiment, curves, colors)
        _recolor(link, suite, colors)
        if made is not None:
            _note_command(link, suite, *made)
        views.write(link, suite, rows)


def curves_of(rows: Sequence[Row]) -> list[ModelCurve]:
    """Group the table's rows into lines: by model, seed and settings, smallest model first."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["settings"], row["model"], row["seed"]].append(row)
    common = {settings: common_tasks(row for row in rows if row["settings"] == settings) for settings, _, _ in groups}
    curves = []
    for (settings, model, seed), mine in groups.items():
        name = model + ("" if seed is None else f" seed {seed}") + (f" ({settings})" if len(common) > 1 else "")
        curve = ModelCurve(name, model, seed, settings, mine[0]["n_params"], mine[0]["n_params_nominal"])
        curve.points = _in_order(_points(mine, common[settings]))
        curves.append(curve)
    return sorted(curves, key=lambda curve: (curve.n_params, curve.name))


def _in_order(points: Iterable[Point]) -> list[Point]:
    """Points by key and training step. A step that was computed again later than the next ones would be filed after
    them, since MLflow keeps a metric's history by time: it takes the time of those before it where that is later.
    """
    ordered: list[Point] = []
    for key, value, when, step in sorted(points, key=lambda point: (point[0], point[3])):
        before = ordered[-1][2] if ordered and ordered[-1][0] == key else when
        ordered.append((key, value, max(when, before), step))
    return ordered


def common_tasks(rows: Iterable[Row]) -> set[str]:
    """The tasks with an accuracy at every checkpoint: only over these is a mean comparable along and between lines."""
    tasks: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for row in rows:
        if row["metric"] == "acc" and not math.isnan(row["value"]):
            tasks[row["model"], row["seed"], row["step"]].add(row["task"])
    return set.intersection(*tasks.values()) if tasks else set()


def _points(rows: Sequence[Row], common: set[str]) -> list[Point]:
    """Metrics of a curve: metric, value, Unix time in milliseconds, step; the newest result of a step counts.

    Args:
        rows: Of the tidy table, one model (and seed) in one way of scoring.
        common: Tasks that all steps have, over which the mean accuracy is taken.
    """
    latest: dict[tuple[int, str, str], Row] = {}
    for row in sorted(rows, key=lambda row: (row["finished_ms"], row["task_key"])):  # newer results replace older ones
        latest[row["step"], row["task"], row["metric"]] = row
    points: list[Point] = []
    accuracies: dict[int, list[Row]] = defaultdict(list)
    for (step, task, metric), row in latest.items():
        if math.isnan(row["value"]):
            continue
        points.append((metric_key(metric, task), row["value"], row["finished_ms"], step))
        if metric == "acc" and task in common:
            accuracies[step].append(row)
    for step, some in accuracies.items():
        mean = math.fsum(row["value"] for row in some) / len(some)
        points.append(("acc/mean", mean, max(row["finished_ms"] for row in some), step))
    for step, row in {row["step"]: row for row in latest.values()}.items():
        for name in ("tokens", "flops", "n_params"):
            points.append((name, float(row[name]), row["finished_ms"], step))
    return points


def _replace(link: MlflowConnection, experiment: Any, curves: Sequence[ModelCurve], colors: dict[int, str]) -> None:
    """Write the lines that are new or changed; the old ones go last, so that a chart being looked at never is empty."""
    there = list(search(link, experiment.experiment_id, "curve"))
    kept = set()
    for curve in curves:
        same = [run for run in there if run.data.tags.get(_DIGEST) == curve.digest and run.info.run_id not in kept]
        if same:
            kept.add(same[0].info.run_id)
            if same[0].data.tags.get(layout.COLOR) != colors[curve.n_params]:
                link.client.set_tag(same[0].info.run_id, layout.COLOR, colors[curve.n_params])
        else:
            _write(link, experiment, curve, colors[curve.n_params])
    for run in there:
        if run.info.run_id not in kept:
            link.client.delete_run(run.info.run_id)


def _write(link: MlflowConnection, experiment: Any, curve: ModelCurve, color: str) -> None:
    """Write a curve as a run; its digest comes last, so that an unfinished one is known and replaced."""
    times = [when for _, _, when, _ in curve.points]
    tags = {layout.KIND: "curve", layout.COLOR: color, layout.STATE: "writing"}
    run = link.client.create_run(experiment.experiment_id, start_time=min(times), tags=tags, run_name=curve.name[:250])
    metrics = [Metric(key, value, when, step) for key, value, when, step in curve.points]
    for start in range(0, len(metrics), _CHUNK):
        link.client.log_batch(run.info.run_id, metrics=metrics[start : start + _CHUNK])
    params = {
        "model": curve.model,
        "n_params": curve.n_params,
        "n_params_nominal": curve.n_params_nominal,
        "seed": curve.seed,
        "settings": curve.settings,
    }
    name = markdown_escape(curve.name)
    # The digest last: a line without it is an unfinished one, and is replaced.
    link.client.log_batch(
        run.info.run_id,
        params=[Param(name, str(value)) for name, value in params.items() if value not in (None, "")],
        tags=[
            RunTag(layout.NOTE, f"Derived from the checkpoint runs of {name}; made anew when they change."),
            RunTag(layout.STATE, "complete"),
            RunTag(_DIGEST, curve.digest),
        ],
    )
    link.client.set_terminated(run.info.run_id, "FINISHED", max(times))


def _recolor(link: MlflowConnection, suite: str, colors: dict[int, str]) -> None:
    """Give the checkpoint runs their size's colour: while they were delivered, not all sizes were known."""
    experiment = link.experiment(suite)
    sizes = json.dumps(sorted(colors))
    if experiment.tags.get("evalrun.sizes") == sizes:
        return
    for run in search(link, experiment.experiment_id, "checkpoint"):
        color = colors.get(int(run.data.params.get("n_params", 0)))
        if color and run.data.tags.get(layout.COLOR) != color:
            link.client.set_tag(run.info.run_id, layout.COLOR, color)
    link.tag_experiment(experiment.experiment_id, "evalrun.sizes", sizes)


def _note_command(link: MlflowConnection, suite: str, sweep: str, command: str) -> None:
    """Say on the experiment, and on the runs that a sweep wanted, which command made them."""
    command = " ".join(command.split())[: layout.TAG_LIMIT // 2]
    new = {layout.COMMAND: command}
    experiment = link.experiment(suite)
    if experiment.tags.get(layout.COMMAND) != command:
        link.tag_experiment(experiment.experiment_id, layout.COMMAND, command)
    for run in search(link, experiment.experiment_id, "checkpoint"):
        tags = run.data.tags
        if tags.get(layout.SWEEP) != sweep or tags.get(layout.COMMAND) == command:
            continue
        about, alarm, fell = tags.get(layout.NOTE, "").partition(layout.ALARM_NOTE)
        about = about.removesuffix(layout.made_by(tags)) + layout.made_by(new)
        note = RunTag(layout.NOTE, f"{about}{alarm}{fell}"[: layout.TAG_LIMIT])
        link.client.log_batch(run.info.run_id, tags=[RunTag(layout.COMMAND, command), note])
