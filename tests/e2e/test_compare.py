"""`python -m evalrun compare A B`, on results that are in a store."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evalrun import cli
from evalrun.config.schema import TrackingConf
from evalrun.core.records import TaskResult
from evalrun.tracking import Store
from helpers import Run
from tracking.conftest import make_cell, make_result

Compare = Callable[..., tuple[int, str, str]]
TASKS = {"neqa": "Recall of quotes", "memo_trap": "Obedience", "sig_figs": "Share of true answers"}


def values_of(task: str, level: float, n: int) -> np.ndarray[Any, Any]:
    """Hard items are hard for all; two levels differ in the items between them."""
    hard = np.random.default_rng(5).random(n)
    return np.clip(level - hard + 0.5, 0, 1) if task == "sig_figs" else (hard < level).astype(float)


def scored(folder: Path, task: str, level: float, n: int = 400, **given: Any) -> tuple[TaskResult, Path]:
    """A result and its items, whose share of right answers is the level."""
    values = values_of(task, level, n)
    cell = given.pop("cell")
    changes = {
        "metrics": {"acc": float(values.mean()), "bits": 2.0},
        "stderrs": {"acc": float(values.std(ddof=1) / np.sqrt(n))},
        "title": TASKS.get(task, task),
        "run_key": f"{cell.suite}-{cell.model}-{cell.step}-{cell.seed}-{given.get('settings', '')}",
        "weights": f"{cell.model}-{cell.step}",
        "n": n,
        **given,
    }
    result, path = make_result(folder / cell.suite, task, cell, **changes)
    items = {"doc_id": range(n), "doc_hash": [f"h{i}" for i in range(n)], "filter": "none", "acc": values}
    pd.DataFrame(items).to_parquet(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    key = hashlib.sha256(f"{result.run_key}{task}".encode()).hexdigest()
    return TaskResult(**{**vars(result), "key": key, "items_sha256": digest}), path


@pytest.fixture(scope="module")
def filed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of a suite with two models, one with two seeds, and what cannot be compared."""
    folder = tmp_path_factory.mktemp("compare")
    store = Store(TrackingConf(uri=None, root=str(folder / "mlruns")))
    store.check()
    levels = {1: {"neqa": 0.5, "memo_trap": 0.5, "sig_figs": 0.5}, 8: {"neqa": 0.7, "memo_trap": 0.3, "sig_figs": 0.5}}
    levels[64] = {"neqa": 0.71, "memo_trap": 0.3, "sig_figs": 0.4}

    def results() -> Iterable[tuple[TaskResult, Path | None]]:
        for step, tasks in levels.items():
            for task, level in tasks.items():
                yield scored(folder, task, level, cell=make_cell("big", step, 2000))
        for seed in (0, 1):
            yield scored(folder, "neqa", 0.4 + 0.2 * seed, cell=make_cell("small", 8, 1000, seed=seed))
        yield scored(folder, "modus_tollens", 0.4, cell=make_cell("lone", 8, 3000))
        yield scored(folder, "neqa", 0.4, cell=make_cell("half", 8, 4000), settings={"scorer": "x", "dtype": "float16"})
        yield scored(folder, "neqa", 0.4, cell=make_cell("big", 8, 2000, suite="twin"))
        result, _ = scored(folder, "neqa", 0.2, cell=make_cell("bare", 8, 5000))
        yield result, None
        yield scored(folder, "neqa", 0.2, cell=make_cell("bare", 16, 5000), weights="bare-8")
        for step in (8, 16):  # one task in one way, the other in another
            yield scored(folder, "neqa", 0.4, cell=make_cell("ways", step, 6000))
            half = {"scorer": "x", "dtype": "float16"}
            yield scored(folder, "memo_trap", 0.6, cell=make_cell("ways", step, 6000), settings=half)

    store.deliver_many(list(results()))
    return folder


def test_what_it_prints(compare: Compare) -> None:
    code, out, err = compare("big@1", "big@8", "suite=pythia")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 100
    lines = out.splitlines()
    assert lines[:3] == ["A  big step 1", "B  big step 8", "scored by shared_prefix float32"]
    verdicts = {line[:22].strip(): line.split()[-1] for line in lines[5:8]}
    assert verdicts == {"Obedience": "worse", "Recall of quotes": "better", "Share of true answers": "neither"}
    said = " ".join(" ".join(lines[8:]).split())
    assert "B is worse on 1 and better on 1 of 3 tasks; on 1 no difference is shown (q < 0.05;" in said
    assert "By the exact McNemar test: Obedience and Recall of quotes." in said
    assert "By the sign-flip permutation test: Share of true answers." in said


def test_the_numbers_are_those_of_the_items(compare: Compare) -> None:
    code, out, _ = compare("big@1", "big@8", "suite=pythia", "--json", "task=neqa")
    found = json.loads(out)
    (recall,) = found["tasks"]
    before, after = values_of("neqa", 0.5, 400), values_of("neqa", 0.7, 400)
    assert code == 0
    assert (recall["n"], recall["fell"], recall["rose"]) == (400, 0, int((after > before).sum()))
    assert recall["difference"] == pytest.approx(float((after - before).mean()))
    assert recall["odds_ratio"] is None  # infinite
    assert (found["before"]["model"], found["after"]["step"], found["correction"]) == ("big", 8, "fdr_bh")


def test_the_settings_of_the_analysis_are_heeded(compare: Compare) -> None:
    _, out, _ = compare("big@1", "big@8", "suite=pythia", "--json", "analysis.alpha=0.2", "analysis.corrections=[holm]")
    _, other, _ = compare("big@1", "big@8", "suite=pythia", "--json")
    narrow, wide = json.loads(out), json.loads(other)
    assert (narrow["alpha"], narrow["correction"]) == (0.2, "holm")
    assert narrow["tasks"][0]["high"] < wide["tasks"][0]["high"]
    assert "80 % interval" in compare("big@1", "big@8", "suite=pythia", "analysis.alpha=0.2")[1]


def test_across_sizes_seeds_and_by_run_id(compare: Compare, filed: Path) -> None:
    code, out, _ = compare("small-seed1@8", "big@final", "suite=pythia")
    assert code == 0
    assert out.startswith("A  small step 8 seed 1\nB  big step 64\n")
    assert "Only big step 64 has memo_trap and sig_figs." in out
    past = Store(TrackingConf(uri=None, root=str(filed / "mlruns"))).past("pythia")
    ids = [next(run.run_id for run in past if (run.model, run.step) == place) for place in (("big", 1), ("big", 8))]
    assert compare(*ids)[1] == compare("big@1", "big@8", "suite=pythia")[1]
    assert compare(*ids)[1] == compare("runs/big@1", "exp/big@8", "suite=pythia")[1]  # as path= was written


def test_without_items_it_says_how_it_was_compared(compare: Compare) -> None:
    code, out, _ = compare("bare@8", "bare@16")
    assert code == 0
    assert "By the z test from standard errors." in out
    assert "Recall of quotes: no per-item results: conservative." in out
    assert "Both have the same weights (digest bare-8): one checkpoint under two names." in out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("big@1",), 2, "compare takes two checkpoints, not 1: write MODEL@STEP"),
        (("big@1", "big@8", "big@64"), 2, "two checkpoints, not 3"),
        (("big@1", "big@8"), 2, "'big' is in the suites pythia and twin: add suite=NAME."),
        (("big@1", "big@9", "suite=pythia"), 2, "no results of big at step 9: the nearest are 1, 8 and 64."),
        (("bog@1", "big@8", "suite=pythia"), 2, "no results of 'bog': did you mean 'big'?"),
        (("big1", "big@8", "suite=pythia"), 2, "'big1' is a run and 'big@8' a checkpoint: compare two runs"),
        (("big@x", "big@8", "suite=pythia"), 2, "'big@x' names no checkpoint"),
        (("f" * 32, "big@8", "suite=pythia"), 2, f"no checkpoint's run has the id '{'f' * 32}'"),
        (("small@8", "big@8", "suite=pythia"), 2, "several seeds: write one of small-seed0@8, small-seed1@8."),
        (("big@8", "big@8", "suite=pythia"), 2, "both names mean big step 8"),
        (
            ("big@8", "half@8", "suite=pythia"),
            2,
            "scored differently, big step 8 by shared_prefix float32, half step 8",
        ),
        (("big@8", "big@1", "suite=pythi"), 2, "did you mean 'pythia'?"),
        (("big@8", "big@1", "--jason"), 2, "compare does not know '--jason'"),
        (("big@8", "big@1", "model=pythia-70m"), 2, "compare takes no model=: write MODEL@STEP"),
        (("big@8", "big@1", "analysis.alpha=2"), 2, "analysis.alpha is 2"),
        (("big@8", "big@1", "analysis.alhpa=0.1"), 2, "did you mean 'analysis.alpha'?"),
        (("big@8", "big@1", "suite=pythia", "analysis.metric=bit"), 2, "has the metric 'bit': did you mean 'bits'?"),
        (
            ("big@8", "lone@8", "suite=pythia"),
            1,
            "have no task to compare. Only big step 8 has memo_trap, neqa and sig_",
        ),
        (("big@8", "big@1", "suite=pythia", "task=hindsight_neglect"), 1, "Neither has hindsight_neglect."),
        (("big@8", "big@1", "tracking.root=none"), 1, "no results in sqlite:///"),
    ],
)
def test_what_cannot_be_is_one_sentence(compare: Compare, words: tuple[str, ...], code: int, said: str) -> None:
    found, out, err = compare(*words)
    assert (found, out) == (code, "")
    assert err.startswith("evalrun: ")
    assert len(err.splitlines()) == 1
    assert said in err
    assert not Path("none").exists()


@pytest.mark.slow
def test_after_a_real_sweep(evalrun: Run, evaluated: Path) -> None:
    shutil.rmtree(evaluated / "multirun")  # the store is enough
    found = evalrun("compare", "toy-s@1", "toy-s@last")
    assert (found.returncode, found.stderr) == (0, "")
    assert "By the exact McNemar test." in found.stdout
    assert "tests)." in found.stdout


@pytest.mark.slow
def test_errors_clustered_by_a_column_of_the_data(evalrun: Run, evaluated: Path) -> None:
    """The items of a real sweep are told by their documents, which are read again from the task's file."""
    words = ("compare", "toy-s@1", "toy-s@last", "--json", "task=alpha")
    plain = json.loads(evalrun(*words).stdout)["tasks"][0]
    found = evalrun(*words, "analysis.cluster_by=choices")
    assert (found.returncode, found.stderr) == (0, "")
    (task,) = json.loads(found.stdout)["tasks"]
    rows = [json.loads(line) for line in (evaluated / "data" / "alpha.jsonl").read_text().splitlines()]
    count = len({json.dumps(row["choices"]) for row in rows})
    assert task["method"].startswith(f"t test with errors clustered by choices ({count} clusters, df ")
    assert (task["clusters"], plain["clusters"]) == (count, None)
    assert (task["difference"], task["fell"]) == (plain["difference"], plain["fell"])
    wrong = evalrun(*words, "analysis.cluster_by=choicse")
    assert wrong.returncode == 1
    assert "has no column 'choicse': did you mean 'choices'?" in wrong.stderr
    (evaluated / "data" / "alpha.jsonl").write_text("\n".join(map(json.dumps, rows[1:])) + "\n")
    moved = evalrun(*words, "analysis.cluster_by=choices")
    assert moved.returncode == 1
    assert "are not those of the task's file here" in moved.stderr


def test_how_other_tasks_were_scored_does_not_matter(compare: Compare) -> None:
    code, _, err = compare("ways@8", "ways@16")
    assert code == 2
    assert "both were scored in 2 ways: choose one, scored='shared_prefix float32' or scored='x float16', or" in err
    assert "or tasks of one way with task=" in err
    code, out, err = compare("ways@8", "ways@16", "scored=x float16")
    assert code == 0, err
    assert TASKS["memo_trap"] in out
    assert TASKS["neqa"] not in out
    for task in ("neqa", "memo_trap"):
        code, out, err = compare("ways@8", "ways@16", f"task={task}")
        assert code == 0, err
        assert TASKS[task] in out


def test_a_gate_asks_how_the_named_tasks_were_scored_too(
    filed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(filed)
    for against in ("ways@8", "previous"):
        words = ["gate", "ways@16", f"against={against}"]
        assert cli.main(words) == 2
        assert "or tasks of one way with task=" in " ".join(capsys.readouterr().err.split())
        assert cli.main([*words, "task=neqa"]) in (0, 3)
        assert TASKS["neqa"] in capsys.readouterr().out
