"""`<suite>-curves`: one derived run per model, so that MLflow's own charts draw accuracy against training.

A checkpoint is a run, so its metrics are single points, and MLflow draws lines within a run only. Here the same
numbers are filed once more, a run per model, with MLflow's step = training step. Nothing is here that the checkpoint
runs do not hold; the runs are made anew when a point changes and can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol

import pandas as pd
from mlflow.entities import Metric, Param, RunTag

from evalrun.core.palette import model_colors
from evalrun.core.plain_names import slug
from evalrun.core.task_group import Groups
from evalrun.core.text import markdown_escape
from evalrun.tracking import layout, run_notes, views
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.curve_points import LineRows, common_tasks, points_of, rows_of_models
from evalrun.tracking.group_points import Point
from evalrun.tracking.group_tags import groups_of
from evalrun.tracking.results_table import search

DIGEST = "evalrun.points"
ROWS = "evalrun.points_of"  # digest of what the points were made from: while it stays, they need not be made
_CHUNK = 1000  # MLflow's limit of metrics in one request

Made = tuple[str, str]  # a sweep and the command that made it


@dataclass(frozen=True)
class CheckpointTags:
    """A checkpoint's run, as far as its colour and its note depend on it."""

    run_id: str
    n_params: int
    tags: Mapping[str, str]


@dataclass
class ModelCurve:
    """One model's line: its points, and what its run is called."""

    name: str
    model: str
    seed: int | None
    settings: str
    n_params: int
    n_params_nominal: int
    made_from: str  # digest of all that goes into the points
    make: Callable[[], list[Point]]

    @cached_property
    def points(self) -> list[Point]:
        """Of each metric in order of steps."""
        return self.make()

    @cached_property
    def digest(self) -> str:
        """Changes when any point does."""
        return hashlib.sha256(json.dumps([self.name, self.n_params, sorted(self.points)]).encode()).hexdigest()


class CurveWriter(Protocol):
    """How the runs of curves are written, and the tags of checkpoint runs that follow from all of them."""

    def write(self, experiment: Any, curves: Sequence[tuple[ModelCurve, str]]) -> None:
        """New runs: curves with their colours."""

    def delete(self, run_ids: Sequence[str]) -> None:
        """Runs that a new one stands for."""

    def checkpoints(self, experiment: Any) -> Iterable[CheckpointTags]:
        """All checkpoint runs of an experiment."""

    def tag(self, tags: Mapping[str, Mapping[str, str]]) -> None:
        """Run id -> tags that change."""


def rebuild(
    link: MlflowConnection, suite: str, read: Callable[[], pd.DataFrame], writer: CurveWriter, made: Made | None = None
) -> None:
    """Bring `<suite>-curves`, its saved charts and the experiments' notes up to date; writes only what changed.

    Args:
        link: The store.
        suite: Which suite.
        read: Gives its table; asked once no other process writes these curves.
        writer: How they are written.
        made: A sweep and the command that made it, for the notes.
    """
    # Two sweeps that end together would otherwise both write every line.
    with link.lock(f"curves-{slug(suite)}"):
        table = read()
        if table.empty:
            return
        groups = groups_of(link.experiment(suite).tags)
        curves = curves_of(table, groups)
        sizes = sorted({curve.n_params for curve in curves})
        colors = dict(zip(sizes, model_colors(sizes), strict=True))
        experiment = link.experiment(f"{suite}-curves", create=True, kind="curves")
        _replace(link, experiment, curves, colors, writer)
        _recolor(link, suite, colors, writer)
        if made is not None:
            _note_command(link, suite, *made, writer)
        views.write(link, suite, table, groups)


def curves_of(table: pd.DataFrame, groups: Groups) -> list[ModelCurve]:
    """Sort the table's rows into lines: by model, seed and settings, smallest model first."""
    curves = []
    for settings in table["settings"].unique():
        scored = table[table["settings"] == settings]
        common = common_tasks(scored)
        is_one_of_several = len(scored) < len(table)
        for line in rows_of_models(scored):
            about = line.about
            model, seed = str(about["model"]), None if pd.isna(about["seed"]) else int(about["seed"])
            name = model + ("" if seed is None else f" seed {seed}") + (f" ({settings})" if is_one_of_several else "")
            sizes = int(about["n_params"]), int(about["n_params_nominal"])
            told = json.dumps([name, sizes, line.digest.hex(), sorted(common), repr(groups)])
            made_from = hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()
            make = partial(_points, line, common, groups)
            curves.append(ModelCurve(name, model, seed, settings, *sizes, made_from, make))
    return sorted(curves, key=lambda curve: (curve.n_params, curve.name))


def _points(line: LineRows, common: set[str], groups: Groups) -> list[Point]:
    return points_of(line.each(), common, groups)


def _replace(
    link: MlflowConnection, experiment: Any, curves: Sequence[ModelCurve], colors: dict[int, str], writer: CurveWriter
) -> None:
    """Write the lines that are new or changed; the old ones go last, so that a chart being looked at never is empty."""
    there = list(search(link, experiment.experiment_id, "curve"))
    kept, new, changed = set(), [], {}
    for curve in curves:
        color = colors[curve.n_params]
        left = [run for run in there if DIGEST in run.data.tags and run.info.run_id not in kept]
        same = [run for run in left if run.data.tags.get(ROWS) == curve.made_from]
        same = same or [run for run in left if run.data.tags[DIGEST] == curve.digest]
        if same:
            kept.add(same[0].info.run_id)
            tags = {layout.COLOR: color, ROWS: curve.made_from}
            if tags.items() - same[0].data.tags.items():
                changed[same[0].info.run_id] = tags
        else:
            new.append((curve, color))
    writer.tag(changed)
    writer.write(experiment, new)
    writer.delete([run.info.run_id for run in there if run.info.run_id not in kept])


def params_of(curve: ModelCurve) -> dict[str, str]:
    """What MLflow shows as a line's parameters."""
    params = {
        "model": curve.model,
        "n_params": curve.n_params,
        "n_params_nominal": curve.n_params_nominal,
        "seed": curve.seed,
        "settings": curve.settings,
    }
    return {name: str(value) for name, value in params.items() if value not in (None, "")}


def final_tags(curve: ModelCurve) -> dict[str, str]:
    """The tags of a whole line; the digest comes last: a line without it is an unfinished one, and is replaced."""
    note = f"Derived from the checkpoint runs of {markdown_escape(curve.name)}; made anew when they change."
    return {layout.NOTE: note, ROWS: curve.made_from, layout.STATE: "complete", DIGEST: curve.digest}


class ClientWriter:
    """Writes run by run through MLflow's client, where a server of its own keeps the store."""

    def __init__(self, link: MlflowConnection) -> None:
        self._link = link

    def write(self, experiment: Any, curves: Sequence[tuple[ModelCurve, str]]) -> None:
        """New runs: curves with their colours."""
        client = self._link.client
        for curve, color in curves:
            times = [when for _, _, when, _ in curve.points]
            tags = {layout.KIND: "curve", layout.COLOR: color, layout.STATE: "writing"}
            name = curve.name[:250]
            run = client.create_run(experiment.experiment_id, start_time=min(times), tags=tags, run_name=name)
            metrics = [Metric(key, value, when, step) for key, value, when, step in curve.points]
            for start in range(0, len(metrics), _CHUNK):
                client.log_batch(run.info.run_id, metrics=metrics[start : start + _CHUNK])
            params = [Param(name, value) for name, value in params_of(curve).items()]
            final = [RunTag(key, value) for key, value in final_tags(curve).items()]
            client.log_batch(run.info.run_id, params=params, tags=final)
            client.set_terminated(run.info.run_id, "FINISHED", max(times))

    def delete(self, run_ids: Sequence[str]) -> None:
        """Runs that a new one stands for."""
        for run_id in run_ids:
            self._link.client.delete_run(run_id)

    def checkpoints(self, experiment: Any) -> Iterator[CheckpointTags]:
        """All checkpoint runs of an experiment."""
        for run in search(self._link, experiment.experiment_id, "checkpoint"):
            yield CheckpointTags(run.info.run_id, int(run.data.params.get("n_params", 0)), run.data.tags)

    def tag(self, tags: Mapping[str, Mapping[str, str]]) -> None:
        """Run id -> tags that change."""
        for run_id, new in tags.items():
            self._link.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in new.items()])


def _recolor(link: MlflowConnection, suite: str, colors: dict[int, str], writer: CurveWriter) -> None:
    """Give the checkpoint runs their size's colour: while they were delivered, not all sizes were known."""
    experiment = link.experiment(suite)
    sizes = json.dumps(sorted(colors))
    if experiment.tags.get("evalrun.sizes") == sizes:
        return
    new = {}
    for run in writer.checkpoints(experiment):
        color = colors.get(run.n_params)
        if color and run.tags.get(layout.COLOR) != color:
            new[run.run_id] = {layout.COLOR: color}
    writer.tag(new)
    link.tag_experiment(experiment.experiment_id, "evalrun.sizes", sizes)


def _note_command(link: MlflowConnection, suite: str, sweep: str, command: str, writer: CurveWriter) -> None:
    """Say on the experiment, and on the runs that a sweep wanted, which command made them."""
    command = " ".join(command.split())[: layout.TAG_LIMIT // 2]
    new = {layout.COMMAND: command}
    experiment = link.experiment(suite)
    if experiment.tags.get(layout.COMMAND) != command:
        link.tag_experiment(experiment.experiment_id, layout.COMMAND, command)
    noted = {}
    for run in writer.checkpoints(experiment):
        tags = run.tags
        if tags.get(layout.SWEEP) != sweep or tags.get(layout.COMMAND) == command:
            continue
        about, alarm, fell = tags.get(layout.NOTE, "").partition(layout.ALARM_NOTE)
        about = about.removesuffix(run_notes.made_by(tags)) + run_notes.made_by(new)
        noted[run.run_id] = new | {layout.NOTE: f"{about}{alarm}{fell}"[: layout.TAG_LIMIT]}
    writer.tag(noted)
