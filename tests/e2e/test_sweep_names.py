"""A sweep's name is a digest, and some digests read as numbers: `63e8210975` is infinite to Hydra."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from evalrun.config.compose import hydra_session
from evalrun.config.schema import TrackingConf
from evalrun.grid import planning
from evalrun.grid.sweep_plan import Plan
from evalrun.tracking import Store
from helpers import Run


@pytest.mark.slow
def test_a_name_that_reads_as_a_number(evalrun: Run, workspace: Path) -> None:
    with hydra_session():
        (job,) = planning.plan(("model=toy/toy-s", "step=1", "tasks=[alpha]", "limit=100")).jobs

    def name(limit: int) -> str:
        words = tuple(f"limit={limit}" if word == "limit=100" else word for word in job.overrides)
        return Plan((replace(job, overrides=words),), job.folder).sweep

    limit = next(limit for limit in range(100, 10_000) if re.fullmatch(r"[1-9]\d*e\d{3,}", name(limit)))
    found = evalrun("-m", "model=toy/toy-s", "step=1", "task=alpha", f"limit={limit}")
    assert found.returncode == 0, found.stderr
    client = MlflowClient(Store(TrackingConf(uri=None, root=str(workspace / "mlruns"))).uri)
    (run,) = client.search_runs([client.get_experiment_by_name("toy").experiment_id])
    assert json.loads(run.data.tags["evalrun.sweeps"]) == [name(limit)]
    assert (workspace / "multirun" / "analysis" / name(limit) / "toy" / "report.html").is_file()
