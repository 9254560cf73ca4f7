"""A suite of pretraining and later stages: swept, resumed, looked at and analysed as one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from helpers import CHECKPOINT, made_once, make_checkpoint

Command = Callable[..., "subprocess.CompletedProcess[str]"]

STAGES = """\
stages:
  - {name: mid, path: "{path}-mid", steps: [1, 2], tokens_per_step: 500}
  - {name: sft, path: "{path}-sft", folder: "from{start}-step{step}", after: pretraining, start: [2, 8], steps: [1, 2],
     tokens_per_step: 100}
"""
SWEEP = ("-m", "model=glob(toy/*)", "step=all", "task=alpha")


@pytest.fixture(scope="session")
def later_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of mid-training, and tuning from two steps of pretraining, of both toy models."""

    def make(folder: Path) -> None:
        for number, (name, hidden) in enumerate((("toy-s", 16), ("toy-m", 24))):
            for step in (1, 2):
                make_checkpoint(folder / f"{name}-mid" / f"step{step}", seed=1000 + 100 * number + step, hidden=hidden)
                for start in (2, 8):
                    place = folder / f"{name}-sft" / f"from{start}-step{step}"
                    make_checkpoint(place, seed=2000 + 100 * number + 10 * start + step, hidden=hidden)

    return made_once(tmp_path_factory, "later_models", make)


@pytest.fixture
def staged(workspace: Path, later_models: Path) -> Path:
    """The workspace with a suite of three stages."""
    for folder in later_models.iterdir():
        (workspace / "models" / folder.name).symlink_to(folder)
    (workspace / "conf" / "checkpoint" / "toy.yaml").write_text(CHECKPOINT + STAGES)
    return workspace


def test_a_sweep_of_stages_is_one_curve_and_resumes(staged: Path, evalrun: Command) -> None:
    pretraining = evalrun(*SWEEP, "analysis.after_sweep=false")
    assert pretraining.returncode == 0, pretraining.stderr
    before = {path: path.read_bytes() for path in (staged / "multirun" / "toy").rglob("results/*.json")}
    assert len(before) == 8

    whole = evalrun(*SWEEP, "stage=all")
    assert whole.returncode == 0, whole.stderr
    assert "toy-s step 8" not in whole.stderr  # it is done
    assert "toy-s mid step 1: computing alpha" in whole.stderr
    assert all(path.read_bytes() == text for path, text in before.items())
    assert {path.name for path in (staged / "multirun" / "toy" / "toy-s").iterdir()} == {
        *("step1", "step2", "step4", "step8", "mid-step1", "mid-step2"),
        *("sft@2-step1", "sft@2-step2", "sft@8-step1", "sft@8-step2"),
    }
    assert "20 of 20 jobs found done" in evalrun(*SWEEP, "stage=all", "analysis.after_sweep=false").stdout

    client = MlflowClient(f"sqlite:///{staged}/mlruns/mlflow.db")
    (runs,) = [client.search_runs([client.get_experiment_by_name("toy").experiment_id])]
    by_name = {run.info.run_name: run.data for run in runs}
    assert len(by_name) == 20
    mid = by_name["toy-s mid step 2"]
    assert (mid.params["stage"], mid.params["stage_step"], mid.params["step"]) == ("mid", "2", "10")
    assert mid.metrics["tokens"] == 8 * 1000 + 2 * 500
    assert "stage" not in by_name["toy-s step 8"].params
    lines = client.search_runs([client.get_experiment_by_name("toy-curves").experiment_id])
    (line,) = [run for run in lines if run.info.run_name == "toy-s"]
    history = {point.step: point.value for point in client.get_metric_history(line.info.run_id, "tokens")}
    assert history == {1: 1000, 2: 2000, 4: 4000, 8: 8000, 9: 8500, 10: 9000}
    assert [p.value for p in client.get_metric_history(line.info.run_id, "stage")] == [0, 0, 0, 0, 1, 1]

    done = evalrun("status", *SWEEP[1:], "stage=mid,sft@2")
    assert done.returncode == 0, done.stdout
    told = evalrun("compare", "toy-s@final", "toy-s@mid:final", "--json")
    assert json.loads(told.stdout)["after"]["stage_step"] == 2
    wrong = evalrun("compare", "toy-s@final", "toy-s@mld:2")
    assert "no results of stage 'mld' of toy-s: did you mean 'mid'?" in wrong.stderr


def test_commands_know_stages(staged: Path, inside: Command) -> None:
    plan = inside("plan", "model=toy/toy-s", "stage=glob(sft*)", "step=final", "task=alpha")
    assert "2 jobs: 1 model" in plan.stdout
    assert "sft@2 step 2" in plan.stdout
    steps = json.loads(inside("steps", "model=toy/toy-s", "stage=all", "--json").stdout)
    assert [one.get("stage") for one in steps] == [None, "mid", "sft@2", "sft@8"]
    assert [one["tokens"] for one in steps[1]["checkpoints"]] == [8500, 9000]
    assert "stages after these: mid, sft@2, sft@8" in inside("steps", "model=toy/toy-s").stdout
    wrong = inside("-m", "model=toy/toy-s", "stage=mdi", "step=all", "task=alpha")
    assert wrong.returncode == 2
    assert "toy-s has no stage 'mdi': did you mean 'mid'?" in wrong.stderr
    wrong = inside("-m", "model=toy/toy-s", "stage=mid", "step=3", "task=alpha")
    assert "step 3 was never released for toy-s mid: the nearest is 2." in wrong.stderr
    audited = inside("audit", "model=toy/toy-s", "stage=all", "step=all")
    assert "toy-s sft@8" in audited.stdout


def test_a_file_with_a_mistake_in_a_stage_is_named(staged: Path, inside: Command) -> None:
    (staged / "conf" / "checkpoint" / "toy.yaml").write_text(CHECKPOINT + "stages: [{name: mid, setps: [1]}]\n")
    wrong = inside("plan", "model=toy/toy-s", "step=all", "task=alpha")
    assert "unknown key 'stages[0].setps': did you mean 'steps'?" in wrong.stderr
