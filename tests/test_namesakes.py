"""Training runs of one name in one store, moved and copied ones, steps that are written again, and clocks."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

import evalrun
from evalrun.commands import status
from evalrun.commands.watch import command as watch
from evalrun.config.schema import TrackingConf
from evalrun.errors import ConfigError
from evalrun.statistics.table import prepare
from evalrun.tracking import Store
from helpers import Run, make_checkpoint

STEPS = (1, 2, 4)


@pytest.fixture
def sft(workspace: Path, toy_models: Path) -> Path:
    """The run `sft` of one person, evaluated."""
    folder = workspace / "ann" / "sft"
    for step in STEPS:
        shutil.copytree(toy_models / "toy-s" / f"step{step}", folder / f"step{step}")
    evaluate("ann/sft")
    return folder


def evaluate(path: str, **how: object) -> dict[int, float]:
    table = evalrun.evaluate("local", "all", "alpha", path=path, tokens_per_step=10, **how)  # type: ignore[arg-type]
    return dict(table.loc[table["metric"] == "acc", ["step", "value"]].itertuples(index=False, name=None))


def store() -> Store:
    return Store(TrackingConf(uri=None, root="mlruns"))


def curve() -> list[tuple[int, float]]:
    client = MlflowClient(store().uri)
    (run,) = client.search_runs([client.get_experiment_by_name("local-curves").experiment_id])
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "acc/alpha")]


def test_another_run_of_the_name_is_refused_with_what_to_do(sft: Path, toy_models: Path) -> None:
    other = sft.parents[1] / "ben" / "sft"
    for step in STEPS:
        shutil.copytree(toy_models / "toy-m" / f"step{step}", other / f"step{step}")
    for steps in ("all", "2"):  # a sweep, and one checkpoint
        with pytest.raises(ConfigError) as caught:
            evalrun.evaluate("local", steps, "alpha", path="ben/sft", tokens_per_step=10)
        assert caught.value.problems == [
            f"'sft' in suite local is the name of the run in '{sft}' already, and this is '{other}': give it another "
            "name with model.name=, or, if it is the same run, say allow_other_folder=true."
        ]
    assert set(store().table("local")["model"]) == {"sft"}
    before = evaluate("ann/sft")
    assert list(evaluate("ben/sft", **{"model.name": "sft-ben"})) == list(STEPS)
    assert evaluate("ann/sft") == before
    assert list(evaluate("ben/sft", allow_other_folder=True)) == list(STEPS)


def test_plan_says_that_the_name_is_taken(sft: Path, toy_models: Path, evalrun: Run) -> None:
    shutil.copytree(toy_models / "toy-m" / "step1", sft.parents[1] / "ben" / "sft" / "step1")
    words = ("plan", "model=local", "step=all", "task=alpha", "tokens_per_step=10")
    assert f"is the name of the run in '{sft}' already" in " ".join(evalrun(*words, "path=ben/sft").stdout.split())
    for more in ("path=ann/sft", "path=ben/sft model.name=sft-ben", "path=ben/sft allow_other_folder=true"):
        shown = evalrun(*words, *more.split())
        assert shown.returncode == 0, shown.stderr
        assert "is the name of" not in shown.stdout


def test_status_says_that_the_name_is_taken(sft: Path, toy_models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = sft.parents[1] / "ben" / "sft"
    for step in STEPS:  # older than the results, as a run of last week is
        shutil.copytree(toy_models / "toy-m" / f"step{step}", other / f"step{step}")
        for file in [*(other / f"step{step}").iterdir(), other / f"step{step}"]:
            os.utime(file, (1, 1))
    words = ["model=local", "step=all", "task=alpha", "tokens_per_step=10"]
    assert status.command([*words, "path=ben/sft"]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith("0 of 3 jobs done")
    assert f"'sft' in suite local is the name of the run in '{sft}' already, and this is '{other}'" in shown
    assert status.command([*words, "path=ben/sft", "allow_other_folder=true"]) == 1
    assert "is the name of" not in capsys.readouterr().out
    shutil.copytree(sft, sft.parents[1] / "copy" / "sft")
    for path in ("ann/sft", "copy/sft"):
        assert status.command([*words, f"path={path}"]) == 0
        assert "is the name of" not in capsys.readouterr().out


def test_watch_refuses_another_run_of_the_name_and_a_device_that_is_not_here(sft: Path, toy_models: Path) -> None:
    shutil.copytree(toy_models / "toy-m" / "step8", sft.parents[1] / "ben" / "sft" / "step8")
    words = ["task=alpha", "tokens_per_step=10", "watch.poll_s=0.1", "--once"]
    with pytest.raises(ConfigError, match=f"is the name of the run in '{sft}' already"):
        watch.command(["path=ben/sft", *words])
    assert set(store().table("local")["step"]) == set(STEPS)
    with pytest.raises(ConfigError, match=r"scorer.device is 'cuda:99', which is not here"):
        watch.command(["path=ann/sft", *words, "scorer.device=cuda:99"])


def test_other_steps_of_another_folder_are_refused_while_the_first_is_there(sft: Path, toy_models: Path) -> None:
    other = sft.parents[1] / "ben" / "sft"
    shutil.copytree(toy_models / "toy-s" / "step8", other / "step8")
    with pytest.raises(ConfigError, match="is the name of the run in"):
        evaluate("ben/sft")
    sft.rename(sft.with_name("away"))
    assert list(evaluate("ben/sft")) == [8]


def test_a_run_that_was_moved_or_copied_goes_on(sft: Path, toy_models: Path) -> None:
    before = evaluate("ann/sft")
    copied = Path(shutil.copytree(sft, sft.parents[1] / "scratch" / "sft"))
    assert evaluate("scratch/sft") == before
    shutil.copytree(toy_models / "toy-s" / "step8", copied / "step8")
    assert list(evaluate("scratch/sft")) == [*STEPS, 8]
    (sft.parents[1] / "ann" / "link").symlink_to(sft)
    assert evaluate("ann/link", **{"model.name": "sft"}) == before


def test_a_step_that_is_written_again_counts_as_it_is_now(sft: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = evaluate("ann/sft")
    shutil.rmtree(sft / "step2")
    make_checkpoint(sft / "step2", seed=77)
    real = time.time
    with monkeypatch.context() as patched:
        patched.setattr("evalrun.pipeline.time.time", lambda: real() - 10**6)  # the clock was set back
        after = evaluate("ann/sft")
    assert {step: after[step] for step in (1, 4)} == {step: before[step] for step in (1, 4)}
    table = store().table("local")
    prepared = prepare(table, "acc")
    assert prepared.table.set_index("step")["value"].to_dict() == after
    if after[2] != before[2]:
        assert prepared.notes == [
            "sft step 2 was written again with other weights: what was computed last counts (alpha)."
        ]
    store().rebuild_curves("local")
    assert curve() == sorted(after.items())


def test_what_was_computed_stays_when_the_checkpoint_is_deleted(sft: Path, toy_models: Path) -> None:
    before = evaluate("ann/sft")
    shutil.rmtree(sft / "step1")
    shutil.copytree(toy_models / "toy-s" / "step8", sft / "step8")
    after = evaluate("ann/sft")
    assert list(after) == [*STEPS, 8]
    assert {step: after[step] for step in STEPS} == before
    one = evalrun.evaluate("local", 1, "alpha", path="ann/sft", tokens_per_step=10)
    assert set(one["step"]) == {1}
    assert status.command(["model=local", "path=ann/sft", "step=all", "task=alpha", "tokens_per_step=10"]) == 0
    beta = evalrun.evaluate("local", "all", "beta", path="ann/sft", tokens_per_step=10)
    assert sorted(set(beta["step"])) == [2, 4, 8]
    with pytest.raises(ConfigError, match="step 1 of sft is gone: beta cannot be computed"):
        evalrun.evaluate("local", 1, "alpha,beta", path="ann/sft", tokens_per_step=10)
    assert set(evalrun.evaluate("local", "final", "alpha", path="ann/sft", tokens_per_step=10)["step"]) == {8}


def test_later_steps_of_a_training_that_was_started_again_are_not_taken_along(sft: Path) -> None:
    shutil.rmtree(sft / "step4")
    assert list(evaluate("ann/sft")) == [1, 2]
