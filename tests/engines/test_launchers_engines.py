"""The contract of launchers on real engines: a Ray cluster of two nodes, a SLURM with accounting."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pandas as pd
import psutil
import pytest

from launchers import contract
from launchers.contract import Command
from launchers.workspaces import reference, reference_folder  # noqa: F401  (fixtures)

from .engines import RayCluster, Slurm, wait_until

Expected = dict[str, tuple[float, pd.DataFrame]]
pytestmark = pytest.mark.engines
RAY = ("hydra/launcher=ray", "hydra.launcher.address=auto")
SLURM = ("hydra/launcher=slurm", "hydra.launcher.cpus=2", "hydra.launcher.steps_per_job=4")


@pytest.fixture
def on_ray(workspace: Path, ray_cluster: RayCluster) -> Command:
    command = Command(workspace, RAY, ray_cluster.env, timeout=500)
    command.prepare()
    return command


@pytest.fixture
def on_slurm(workspace: Path, slurm: Slurm) -> Command:
    command = Command(workspace, SLURM, slurm.env, timeout=500)
    command.prepare()
    return command


def test_ray_files_every_result(on_ray: Command, reference: Expected) -> None:  # noqa: F811
    contract.files_every_result(on_ray, reference)


def test_ray_faults(on_ray: Command, reference: Expected) -> None:  # noqa: F811
    contract.a_fault_costs_its_job_alone(on_ray, reference, workers_can_die=True)


def test_ray_stops_and_goes_on(on_ray: Command, reference: Expected) -> None:  # noqa: F811
    contract.stops_and_goes_on(on_ray, reference)


def test_ray_fails_fast(on_ray: Command) -> None:
    contract.fails_fast(on_ray)


def test_ray_runs_the_jobs_of_a_lost_node_elsewhere(
    on_ray: Command,
    ray_cluster: RayCluster,
    reference: Expected,  # noqa: F811
) -> None:
    every = {f"{model}/step{step}" for model in ("toy-s", "toy-m") for step in (1, 2, 4, 8)}
    on_ray.faults(dict.fromkeys(every, "wait once"))  # more than the other nodes take at once
    node = ray_cluster.add_node()
    with on_ray.start() as process:
        family: set[int] = set()

        def at_work() -> bool:
            family.update(child.pid for child in psutil.Process(node.process.pid).children(recursive=True))
            assert process.poll() is None, process.communicate()
            return any(pid in family for _, pid in on_ray.met())

        wait_until(at_work, "a job on the node", timeout=200)
        there = {place for place, pid in on_ray.met() if pid in family}
        node.kill()
        (on_ray.folder / "go").touch()
        _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert all([place for place, _ in on_ray.met()].count(place) > 1 for place in there)  # they ran again
    contract.assert_whole(on_ray, reference)


def test_ray_says_that_there_is_no_cluster(workspace: Path) -> None:
    command = Command(workspace, ("hydra/launcher=ray", "hydra.launcher.address=127.0.0.1:9"))
    command.prepare()
    found = command.run()
    assert found.returncode == 1
    assert "a Ray cluster is not at '127.0.0.1:9'" in found.stderr
    assert "Traceback" not in found.stderr


def test_slurm_files_every_result(on_slurm: Command, reference: Expected) -> None:  # noqa: F811
    contract.files_every_result(on_slurm, reference)


def test_slurm_faults(on_slurm: Command, reference: Expected) -> None:  # noqa: F811
    contract.a_fault_costs_its_job_alone(on_slurm, reference, workers_can_die=True)


def test_slurm_stops_and_goes_on(on_slurm: Command, slurm: Slurm, reference: Expected) -> None:  # noqa: F811
    contract.stops_and_goes_on(on_slurm, reference)
    assert slurm.run("squeue", "--noheader").strip() == ""


def test_slurm_fails_fast(on_slurm: Command) -> None:
    contract.fails_fast(on_slurm)


def test_slurm_a_preempted_job_goes_on(on_slurm: Command, slurm: Slurm, reference: Expected) -> None:  # noqa: F811
    low = Command(on_slurm.folder, (*SLURM, "hydra.launcher.partition=low"), slurm.env, timeout=500)
    low.faults({"toy-m/step4": "wait once"})
    with low.start() as process:
        wait_until(lambda: bool(low.met()), "the job that waits", timeout=200)
        kept = low.journal()
        assert any("toy-m/step1" in name for name in kept)
        slurm.wait(slurm.submit("true", "--partition=main", "--ntasks=4"), "COMPLETED", timeout=120)
        _, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert len(low.met()) > 1  # the one that waited ran again
    assert {name: stamp for name, stamp in low.journal().items() if name in kept} == kept  # and those before it not
    contract.assert_whole(low, reference)


def test_slurm_the_command_may_leave_and_come_back(
    on_slurm: Command,
    slurm: Slurm,
    reference: Expected,  # noqa: F811
) -> None:
    on_slurm.faults({"toy-m/step8": "wait once"})
    left = on_slurm.run("hydra.launcher.wait=false")
    assert left.returncode == 0, left.stderr
    assert "8 of 8 jobs are left to SLURM (" in left.stderr
    wait_until(lambda: bool(on_slurm.met()), "the job that waits", timeout=200)
    again = on_slurm.run("hydra.launcher.wait=false")
    assert again.returncode == 0, again.stderr
    assert "submitted" not in again.stderr  # what is in the queue is not queued twice
    assert re.search(r"([1-7]) of \1 jobs are left to SLURM", again.stderr)
    (on_slurm.folder / "go").touch()
    back = on_slurm.run(analysis="analysis.after_sweep=true")
    assert back.returncode == 0, back.stderr
    assert "submitted" not in back.stderr
    contract.assert_whole(on_slurm, reference)
    assert [*(on_slurm.folder / "multirun" / "analysis").glob("*/toy/report.html")]


def test_slurm_says_what_it_refuses(on_slurm: Command) -> None:
    found = on_slurm.run("hydra.launcher.partition=nowhere")
    assert found.returncode == 1
    assert "SLURM refuses the jobs:" in found.stderr
    assert "partition" in found.stderr
    assert "Traceback" not in found.stderr


def test_what_the_command_saves_holds_no_secret(on_slurm: Command) -> None:
    secret = Command(on_slurm.folder, SLURM, {**on_slurm.env, "MLFLOW_TRACKING_PASSWORD": "hunter2hunter2"})
    assert secret.run().returncode == 0
    found = subprocess.run(
        ["grep", "-rl", "hunter2", str(on_slurm.folder)], capture_output=True, text=True, check=False
    )
    assert found.stdout == ""
