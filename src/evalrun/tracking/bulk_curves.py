"""The runs of curves in a database: all points of some curves in one transaction, as MLflow's client would file them.

That takes a request for a thousand points and another for each run's colour: minutes for whole suites.
"""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from mlflow.entities import LifecycleStage
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME
from mlflow.utils.uri import append_to_uri_path

from evalrun.tracking import layout
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.curve_runs import CheckpointTags, ModelCurve, final_tags, params_of
from evalrun.tracking.mlflow_tables import (
    Rows,
    SqlLatestMetric,
    SqlMetric,
    SqlParam,
    SqlRun,
    SqlTag,
    finished_run,
    insert,
    session,
    set_tags,
)

_POINTS_A_TRANSACTION = 30_000  # bounds memory, and how long others wait
_ROWS_A_STATEMENT = 300  # of three values each; old SQLites take 999
_READ = (layout.COLOR, layout.SWEEP, layout.COMMAND, layout.NOTE)


class TableWriter:
    """Writes MLflow's own tables; the calls are those of `curve_runs.CurveWriter`."""

    def __init__(self, link: MlflowConnection) -> None:
        self._link = link

    def write(self, experiment: Any, curves: Sequence[tuple[ModelCurve, str]]) -> None:
        """New runs: curves with their colours; what is killed in a transaction leaves nothing of it."""
        some: list[tuple[ModelCurve, str]] = []
        for number, one in enumerate(curves, start=1):
            some.append(one)
            if number == len(curves) or sum(len(curve.points) for curve, _ in some) > _POINTS_A_TRANSACTION:
                self._write(experiment, some)
                some = []

    def _write(self, experiment: Any, curves: Sequence[tuple[ModelCurve, str]]) -> None:
        """All rows of some curves in one transaction; of each metric the last step is its latest."""
        rows: Rows = defaultdict(list)
        for curve, color in curves:
            run_id, name = uuid.uuid4().hex, curve.name[:250]
            times = [when for _, _, when, _ in curve.points]
            folder = append_to_uri_path(experiment.artifact_location, run_id, "artifacts")
            rows[SqlRun].append(finished_run(run_id, name, folder, experiment.experiment_id, min(times), max(times)))
            tags = {layout.KIND: "curve", layout.COLOR: color, MLFLOW_RUN_NAME: name} | final_tags(curve)
            rows[SqlTag] += [(run_id, key, text) for key, text in tags.items()]
            rows[SqlParam] += [(run_id, key, text) for key, text in params_of(curve).items()]
            points = [(run_id, key, value, when, step, False) for key, value, when, step in curve.points]
            rows[SqlMetric] += points
            rows[SqlLatestMetric] += {point[1]: point for point in points}.values()  # they are in order of steps
        with session(self._link.client, read_only=False) as opened:
            insert(opened.connection(), rows)

    def delete(self, run_ids: Sequence[str]) -> None:
        """Runs that a new one stands for: MLflow keeps them as deleted."""
        gone = {"lifecycle_stage": LifecycleStage.DELETED, "deleted_time": int(time.time() * 1000)}
        for start in range(0, len(run_ids), _ROWS_A_STATEMENT):
            some = run_ids[start : start + _ROWS_A_STATEMENT]
            with session(self._link.client, read_only=False) as opened:
                opened.execute(sa.update(SqlRun).where(SqlRun.run_uuid.in_(some)).values(**gone))

    def checkpoints(self, experiment: Any) -> Iterator[CheckpointTags]:
        """All checkpoint runs of an experiment."""
        of_runs = sa.and_(
            SqlRun.experiment_id == int(experiment.experiment_id), SqlRun.lifecycle_stage == LifecycleStage.ACTIVE
        )
        kind = sa.select(SqlTag.run_uuid).where(SqlTag.key == layout.KIND, SqlTag.value == "checkpoint")
        sizes = sa.select(SqlRun.run_uuid, SqlParam.value).outerjoin(
            SqlParam, sa.and_(SqlParam.run_uuid == SqlRun.run_uuid, SqlParam.key == "n_params")
        )
        said = sa.select(SqlTag.run_uuid, SqlTag.key, SqlTag.value).join(SqlRun, SqlRun.run_uuid == SqlTag.run_uuid)
        tags: dict[str, dict[str, str]] = defaultdict(dict)
        with session(self._link.client, read_only=True) as opened:
            found = opened.execute(sizes.where(of_runs, SqlRun.run_uuid.in_(kind)))
            n_params = {run_id: int(size or 0) for run_id, size in found}
            for run_id, key, text in opened.execute(said.where(of_runs, SqlTag.key.in_(_READ))):
                tags[run_id][key] = text
        for run_id, size in n_params.items():
            yield CheckpointTags(run_id, size, tags[run_id])

    def tag(self, tags: Mapping[str, Mapping[str, str]]) -> None:
        """Run id -> tags that change."""
        set_tags(self._link.client, tags)
