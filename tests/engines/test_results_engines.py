"""Results in PostgreSQL, through MLflow's client: the table is the one that a SQLite file gives by its own rows."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from evalrun.config.schema import TrackingConf
from evalrun.tracking import Store
from tracking.conftest import make_cell, make_result

from .engines import Postgres

pytestmark = pytest.mark.engines


def test_postgres_holds_the_table_of_a_file(postgres: Postgres, tmp_path: Path) -> None:
    """Missing cells, seeds, values that are none, items, half a run."""
    pairs = []
    for step in (0, 1, 1000):
        for seed in (None, 1, 2):
            for task in ("memo_trap", "neqa") if step or seed else ("neqa",):
                metrics = {"acc": math.nan if (step, seed) == (1, 2) else step / 3e3 + 0.1, "f1": math.inf}
                pairs.append(make_result(tmp_path / "items", task, make_cell(step=step, seed=seed), metrics=metrics))
    half = [make_result(tmp_path / "items", task, make_cell("half", 7)) for task in ("neqa", "memo_trap")]
    file = Store(TrackingConf(uri=None, root=str(tmp_path / "file")))
    server = Store(TrackingConf(uri=postgres.database("results"), root=str(tmp_path / "server")))
    tables, points, answers = [], [], []
    for store in (file, server):
        store.check()
        store.deliver_many(pairs)
        run_id = store.deliver(half, None, None)
        uri = store._link.uri
        MlflowClient(uri).delete_tag(run_id, "evalrun.task.neqa")  # as a killed process leaves it
        table = store.table("pythia")
        store.rebuild_curves("pythia")
        assert set(table.loc[table["model"] == "half", "task"]) == {"memo_trap"}
        tables.append(table.drop(columns="run_id"))
        lines = MlflowClient(uri).search_runs([MlflowClient(uri).get_experiment_by_name("pythia-curves").experiment_id])
        points.append({run.info.run_name: (run.data.metrics, run.data.params) for run in lines})
        wanted = table[["run_id", "task"]].drop_duplicates()
        with store.items(wanted.itertuples(index=False, name=None)) as reader:
            frames = [reader(run_id, task) for run_id, task in wanted.itertuples(index=False, name=None)]
        assert None not in [frame if frame is None else len(frame) for frame in frames]
        answers.append(frames)
    pd.testing.assert_frame_equal(*tables, check_exact=False, rtol=0, atol=1e-9)
    assert points[0] == points[1]
    assert set(points[0]) == {"half", "pythia-70m", "pythia-70m seed 1", "pythia-70m seed 2"}
    for one, other in zip(*answers, strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert points[0]["pythia-70m seed 1"][0]["acc/neqa"] == pytest.approx(1 / 3 + 0.1, abs=1e-9)
