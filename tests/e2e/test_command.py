"""The command as a user types it: a sweep from nothing to a report, resumed, killed, and given bad input."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from evalrun.config.schema import TrackingConf
from evalrun.tracking import Store
from helpers import ROOT, Run, make_rows, write_rows

WHOLE = ("-m", "model=glob(toy/*)", "step=1,2,...,8", "task=alpha,beta")
SWEEP = (*WHOLE, "analysis.after_sweep=false")


def table(workspace: Path) -> pd.DataFrame:
    return Store(TrackingConf(uri=None, root=str(workspace / "mlruns"))).table("toy")


def journal_files(workspace: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (workspace / "multirun").rglob("results/*.json")}


@pytest.mark.slow
def test_a_sweep_from_nothing_to_a_report_and_again(evalrun: Run, workspace: Path) -> None:
    first = evalrun(*WHOLE)
    assert first.returncode == 0, first.stderr
    assert "8 jobs: 2 models, task alpha, beta" in first.stdout
    assert "toy-s step 1: computing alpha, beta" in first.stderr
    assert "%|" not in first.stderr  # no progress bar where no terminal is
    rows = table(workspace)
    accuracy = rows[rows["metric"] == "acc"]
    assert len(accuracy) == 2 * 4 * 2
    assert set(accuracy["tokens"]) == {1000, 2000, 4000, 8000}
    assert set(accuracy["n_params"]) == {1000, 3000}

    # every number in MLflow is the one in the journal, which is the one the items give
    for path in journal_files(workspace):
        record = json.loads(path.read_text())
        items = pd.read_parquet(path.with_suffix(".parquet"))
        here = accuracy[(accuracy["model"] == record["cell"]["model"]) & (accuracy["step"] == record["cell"]["step"])]
        value = here[here["task"] == record["task"]]["value"].item()
        assert value == record["metrics"]["acc"] == pytest.approx(items["acc"].mean())
        assert record["environment"]["torch"]
        assert record["weights"]

    (report,) = (workspace / "multirun" / "analysis").glob("*/toy/report.html")
    effects = pd.read_csv(report.parent / "effects.csv")
    assert {"task", "effect", "estimate", "low", "high", "t", "df", "p", "q"} <= set(effects.columns)
    assert len(effects) == 2 * 3
    made = {path.relative_to(report.parent).as_posix() for path in report.parent.rglob("*.*")}
    assert {"figures/accuracy.png", "figures/accuracy.pdf", "effects.tex", "effects.md", "tables/falls.csv"} <= made
    falls = pd.read_csv(report.parent / "tables" / "falls.csv")
    assert set(falls["method"].dropna()) <= {"McNemar test", "exact McNemar test"}, "the items were not read"
    measured = pd.read_csv(report.parent / "tables" / "continuous.csv")
    assert len(measured) == 2 * 2 * 4 * 7  # tasks, models, steps, metrics

    before = journal_files(workspace)
    second = evalrun(*WHOLE)
    assert second.returncode == 0, second.stderr
    assert "8 of 8 jobs found done\n" in second.stdout
    assert "computing" not in second.stderr
    assert journal_files(workspace) == before
    pd.testing.assert_frame_equal(table(workspace), rows)

    forced = evalrun("model=toy/toy-s", "step=8", "task=alpha", "force=true")
    assert forced.returncode == 0, forced.stderr
    assert "computing alpha" in forced.stderr
    assert len(table(workspace)) == len(rows)


@pytest.mark.slow
def test_a_new_task_and_new_data_compute_only_themselves(evalrun: Run, workspace: Path) -> None:
    assert evalrun("model=toy/toy-s", "step=8", "task=alpha").returncode == 0
    more = evalrun("model=toy/toy-s", "step=8", "task=alpha,beta")
    assert "toy-s step 8: computing beta\n" in more.stderr
    write_rows(workspace / "data" / "alpha.jsonl", make_rows(10, shift=3))
    changed = evalrun("model=toy/toy-s", "step=8", "task=alpha,beta")
    assert "toy-s step 8: computing alpha\n" in changed.stderr
    rows = table(workspace)
    assert rows[(rows["task"] == "alpha") & (rows["metric"] == "acc")]["n"].tolist() == [10]


@pytest.mark.slow
@pytest.mark.parametrize("results", [1, pytest.param(4, marks=pytest.mark.release)])
def test_a_killed_sweep_goes_on(evalrun: Run, workspace: Path, results: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    victim = subprocess.Popen(
        [sys.executable, "-m", "evalrun", *SWEEP],
        cwd=workspace, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while len(journal_files(workspace)) < results and victim.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    kept = journal_files(workspace)
    assert len(kept) >= results
    rest = evalrun(*SWEEP)
    assert rest.returncode == 0, rest.stderr
    after = journal_files(workspace)
    assert len(after) == 16
    assert all(after[path] == stamp for path, stamp in kept.items())  # what was computed was not computed again
    rows = table(workspace)
    assert len(rows[rows["metric"] == "acc"]) == 16
    assert rows["run_id"].nunique() == 8  # and no checkpoint has two runs


@pytest.mark.slow
def test_one_damaged_checkpoint_costs_one_job(evalrun: Run, workspace: Path) -> None:
    weights = workspace / "models" / "toy-s" / "step2" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    first = evalrun(*SWEEP)
    assert first.returncode == 1
    assert "1 of 8 jobs failed" in first.stderr
    assert "checkpoint of toy-s step 2 in" in first.stderr
    assert "Traceback" not in first.stderr
    rows = table(workspace)
    assert rows["run_id"].nunique() == 7
    weights.write_bytes(whole)
    second = evalrun(*SWEEP)
    assert second.returncode == 0, second.stderr
    assert second.stderr.count("computing") == 1


@pytest.mark.slow
def test_a_deleted_store_is_filled_again_from_the_journal(evalrun: Run, workspace: Path) -> None:
    import shutil

    assert evalrun("model=toy/toy-s", "step=8", "task=alpha").returncode == 0
    before = table(workspace).drop(columns="run_id")
    shutil.rmtree(workspace / "mlruns")
    again = evalrun("model=toy/toy-s", "step=8", "task=alpha")
    assert again.returncode == 0, again.stderr
    assert "computing" not in again.stderr
    pd.testing.assert_frame_equal(table(workspace).drop(columns="run_id"), before)


def test_a_locked_store_is_said_before_anything_is_computed(evalrun: Run, workspace: Path) -> None:
    Store(TrackingConf(uri=None, root=str(workspace / "mlruns"))).check()
    holder = sqlite3.connect(workspace / "mlruns" / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    found = evalrun("model=toy/toy-s", "step=8", "task=alpha")
    holder.close()
    assert found.returncode == 1
    assert "locked" in found.stderr
    assert "Traceback" not in found.stderr
    assert not journal_files(workspace)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("-m", "model=glob(tyo/*)", "step=1"), 2, "matches nothing"),
        (("model=toy/toy-x", "step=1"), 2, "did you mean 'toy/toy-s'"),
        (("model=toy/toy-s", "step=3", "task=alpha"), 2, "its neighbours are 2 and 4"),
        (("model=toy/toy-s", "step=1,2", "task=alpha"), 2, "add -m"),
        (("model=toy/toy-s", "step=1", "task=alpa"), 2, "did you mean 'alpha'"),
        (("model=toy/toy-s", "step=1", "task=alpha", "tracking.uri=http://127.0.0.1:9"), 1, "127.0.0.1:9"),
        (("model=pythia-70m", "step=2", "task=alpha"), 1, "not in the local cache"),
        (("modle",), 2, "unknown command 'modle'"),
        (("plam", "model=toy/toy-s"), 2, "did you mean 'plan'"),
        (("analyze",), 1, "no results in"),
        (("analyze", "model=x"), 2, "unknown model 'x'"),
        (("ui", "--port", "x"), 2, "--port needs a number"),
        (("tiny", "sedes=3"), 2, "did you mean 'seeds'"),
        (("tiny", "seeds=x"), 2, "seeds: Value 'x'"),
        (("model=toy/toy-s", "step=1", "--no-such-flag"), 2, "--no-such-flag"),
    ],
)
def test_bad_input_is_one_sentence(inside: Run, words: tuple[str, ...], code: int, said: str) -> None:
    found = inside(*words)
    assert said in found.stderr, found.stderr
    assert "Traceback" not in found.stderr
    assert "HYDRA_FULL_ERROR" not in found.stderr
    assert found.returncode == code


@pytest.mark.parametrize("many", [["-m"], []], ids=["sweep", "single"])
def test_a_device_that_is_not_here_is_said_before_anything_is_computed(evalrun: Run, many: list[str]) -> None:
    import torch

    name = "cuda:99" if torch.cuda.is_available() else "cuda"
    found = evalrun(*many, "model=toy/toy-s", "step=1", "task=alpha", f"scorer.device={name}")
    assert found.returncode == 2, found.stderr
    assert found.stderr == f"evalrun: scorer.device is '{name}', which is not here: use auto, all or cpu.\n"


def test_a_task_fault_is_found_before_the_first_job(evalrun: Run, workspace: Path) -> None:
    (workspace / "data" / "beta.jsonl").unlink()
    for words in (SWEEP, ("plan", *SWEEP)):
        found = evalrun(*words)
        assert found.returncode == 2
        assert "beta.jsonl' is not there" in found.stderr
    assert not (workspace / "multirun" / "toy").exists()


def test_plan_runs_nothing(evalrun: Run, workspace: Path) -> None:
    shown = evalrun("plan", *SWEEP)
    assert shown.returncode == 0
    assert "toy-s             4 x step 1 2 4 8" in shown.stdout
    found = evalrun("plan", *SWEEP, "--json")
    jobs = json.loads(found.stdout)["jobs"]
    assert len(jobs) == 8
    assert {"model", "step", "revision", "tokens"} <= set(jobs[0])
    assert not (workspace / "multirun").exists()
    assert not (workspace / "mlruns").exists()


def test_help_is_one_screen_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from evalrun.cli import main; main(['--help']); "
        "print([m for m in ('torch','hydra','mlflow','pandas','lm_eval') if m in sys.modules], file=sys.stderr)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stderr.strip() == "[]"
    lines = found.stdout.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 120


def test_hydras_own_questions_still_work(evalrun: Run) -> None:
    found = evalrun("model=toy/toy-s", "step=final", "task=alpha", "--cfg", "job")
    assert found.returncode == 0, found.stderr
    assert "step: 8" in found.stdout
    assert "- alpha" in found.stdout


def test_one_faulty_task_does_not_stop_the_others(evalrun: Run, workspace: Path) -> None:
    data = workspace / "data" / "alpha.jsonl"
    data.write_text(data.read_text() + '{"question": "a", "choices": ["a", "b"], "answer": 7}\n')
    asked = ("model=toy/toy-s", "step=1", "task=alpha,beta")
    for _ in range(2):
        done = evalrun(*asked)
        assert done.returncode == 1
        assert "answer index 7" in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
    (record,) = (workspace / "multirun").rglob("results/*.json")
    assert json.loads(record.read_text())["task"] == "beta"
