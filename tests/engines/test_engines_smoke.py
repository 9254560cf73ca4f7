"""The engines do what the launchers' tests rest on: they run jobs, lose them, run them again, keep what they had."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from .engines import EngineError, MlflowServer, Postgres, RayCluster, Slurm, wait_until

pytestmark = pytest.mark.engines


def test_slurm_runs_a_job_and_accounts_for_it(slurm: Slurm) -> None:
    job = slurm.submit("srun --ntasks=2 echo step; echo gpus=$CUDA_VISIBLE_DEVICES", "--ntasks=2", "--gres=gpu:1")
    slurm.wait(job, "COMPLETED")
    assert sorted(slurm.output(job).split()) == ["gpus=0", "step", "step"]
    wait_until(lambda: slurm.accounted(job) == ["COMPLETED"], "the accounting")


def test_slurm_accounts_for_a_job_that_was_killed(slurm: Slurm) -> None:
    job = slurm.submit("kill -9 $$")
    slurm.wait(job, "FAILED")
    wait_until(lambda: slurm.accounted(job) == ["FAILED"], "the accounting")


def test_slurm_requeues_a_preempted_job(slurm: Slurm) -> None:
    low = slurm.submit(
        "echo start ${SLURM_RESTART_COUNT:-0}; [ -n \"$SLURM_RESTART_COUNT\" ] || sleep 300",
        "--partition=low", "--ntasks=4",
    )  # fmt: skip
    wait_until(lambda: "start 0" in slurm.output(low), "the job's first start")
    main = slurm.submit("true", "--ntasks=4")
    slurm.wait(main, "COMPLETED")
    slurm.wait(low, "COMPLETED", timeout=90)
    assert "DUE TO PREEMPTION" in slurm.output(low)
    assert "start 1" in slurm.output(low)
    wait_until(lambda: slurm.accounted(low) == ["PREEMPTED", "COMPLETED"], "the accounting")


SUBMITIT = """\
import operator, os, signal, sys, submitit
executor = submitit.SlurmExecutor(folder=sys.argv[1])
executor.update_parameters(partition="main", time=5, cpus_per_task=1)
works = executor.submit(operator.add, 2, 3)
killed = executor.submit(os.abort)
print(works.result(), type(killed.exception()).__name__)
"""


def test_slurm_runs_what_submitit_sends_and_a_killed_job_does_not_hang_it(slurm: Slurm, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SUBMITIT, str(tmp_path)], env={**os.environ, **slurm.env}, capture_output=True,
        text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["5", "UncompletedJobError"], done.stderr


RAY_TASK = """\
import pathlib, sys, time, ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On
ray.init(logging_level="ERROR", log_to_driver=False)
head = ray.get_runtime_context().get_node_id()
other, = (node["NodeID"] for node in ray.nodes() if node["NodeID"] != head)
@ray.remote(max_retries=1)
def where(folder):
    here = ray.get_runtime_context().get_node_id()
    folder.joinpath(here).touch()
    while here == other:
        time.sleep(1)
    return here
print(ray.get(where.options(scheduling_strategy=On(other, soft=True)).remote(pathlib.Path(sys.argv[1]))) == head)
"""


def test_ray_runs_a_task_again_when_its_node_is_lost(ray_cluster: RayCluster, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RAY_TASK, str(tmp_path)], env={**os.environ, **ray_cluster.env},
        stdout=subprocess.PIPE, text=True,
    ) as driver:  # fmt: skip
        wait_until(lambda: any(tmp_path.iterdir()), "the task's first start")
        ray_cluster.nodes[0].kill()
        told, _ = driver.communicate(timeout=120)
    assert "True" in told.splitlines()  # among what Ray says of the loss
    assert len(list(tmp_path.iterdir())) == 2
    assert ray_cluster.alive() == 1


def test_postgres_takes_its_password_and_no_other(postgres: Postgres) -> None:
    assert postgres.run("select 6 * 7") == "42"
    with pytest.raises(EngineError, match="password authentication failed"):
        Postgres(postgres.folder, postgres.port, "guess").run("select 1")


def test_mlflow_keeps_runs_when_its_server_is_killed(
    mlflow_server: MlflowServer, postgres: Postgres, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(mlflow_server.uri)
    run = client.create_run(client.create_experiment("kept"))
    client.log_metric(run.info.run_id, "acc", 0.5, step=1000)
    (tmp_path / "note.txt").write_text("kept too")
    client.log_artifact(run.info.run_id, str(tmp_path / "note.txt"))

    mlflow_server.kill()
    with pytest.raises((urllib.error.URLError, ConnectionError)):  # refused, or reset while the kernel still tidies up
        urllib.request.urlopen(mlflow_server.uri, timeout=5)
    mlflow_server.start()

    assert client.get_run(run.info.run_id).data.metrics == {"acc": 0.5}
    assert Path(client.download_artifacts(run.info.run_id, "note.txt", str(tmp_path))).read_text() == "kept too"
    name = mlflow_server.store.rpartition("/")[2]
    assert postgres.run(f"select value from metrics where run_uuid = '{run.info.run_id}'", name) == "0.5"
