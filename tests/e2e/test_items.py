"""`python -m evalrun items task=...` and `evalrun.items`, on results that are in a store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

import evalrun
from analysis.made_items import items_frame
from evalrun import cli
from evalrun.config.schema import TrackingConf
from evalrun.core.records import TaskResult
from evalrun.errors import AnalysisError, ConfigError
from evalrun.tracking import Store
from helpers import TASK, make_rows, write_rows
from tracking.conftest import make_cell, make_result

Items = Callable[..., tuple[int, str, str]]
STEPS = [2**i for i in range(13)]
MISLED = [0, 0, 0, 1, 2, 4, 5, 6, 5, 4, 2, 1, 0]  # of 7 items, at each of the steps
N = 120


def logprobs_at(place: int, model: str, gold: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Two thirds of the items are known but while the second choice is preferred to all, by more and more items."""
    random = np.random.default_rng(place + 100 * len(model))
    found = random.normal(-5, 1, (N, 4))
    found[np.flatnonzero(known), gold[known]] += 8
    found[np.arange(N) % 7 < MISLED[place], 1] += 20
    return found


def scored(folder: Path, task: str, place: int, model: str, **given: object) -> tuple[TaskResult, Path]:
    """A result with its items."""
    random = np.random.default_rng(1)
    gold, known = random.integers(0, 4, N), random.random(N) < 2 / 3
    frame = items_frame(logprobs_at(place, model, gold, known), gold)
    cell = make_cell(model, STEPS[place], 1000 * len(model))
    value = float(frame["acc"].mean())
    changes = {
        "metrics": {"acc": value},
        "stderrs": {"acc": float(np.sqrt(value * (1 - value) / N))},
        "title": "Of four",
        "run_key": f"{model}-{place}-{task}",
        "weights": f"{model}-{place}",
        "chance": 0.25,
        "n": N,
    }
    result, path = make_result(folder / cell.suite, task, cell, **(changes | given))
    frame.to_parquet(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    key = hashlib.sha256(f"{model}{place}{task}".encode()).hexdigest()
    return TaskResult(**{**vars(result), "key": key, "items_sha256": digest}), path


@pytest.fixture(scope="module")
def filed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two models on one task, one on another, and a result without items."""
    folder = tmp_path_factory.mktemp("items")
    store = Store(TrackingConf(uri=None, root=str(folder / "mlruns")))
    store.check()
    results: list[tuple[TaskResult, Path | None]] = []
    results += [scored(folder, "of_four", place, model) for model in ("big", "bigger") for place in range(len(STEPS))]
    results += [scored(folder, "another", 3, "big")]
    bare, _ = scored(folder, "bare", 3, "big")
    store.deliver_many([*results, (bare, None)])
    return folder


@pytest.fixture
def items(filed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Items:
    """The command, in this process: its exit code and what it prints."""
    monkeypatch.chdir(filed)

    def run(*words: str) -> tuple[int, str, str]:
        code = cli.main(["items", *words])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def test_what_it_prints_and_writes(items: Items, tmp_path: Path) -> None:
    code, out, err = items("task=of_four", f"out={tmp_path}")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 100
    said = " ".join(out.split())
    assert out.startswith("Of four (of_four), suite pythia: 120 items\n")
    assert "big loses items that it knew, more than guesses and slips explain (q < .001)" in said
    assert "The items that return are those that were lost (q < .001)" in said
    assert "the second choice where it is wrong" in said
    folder = tmp_path / "pythia" / "of_four"
    assert {path.name for path in folder.iterdir()} == {
        *("classes.csv", "losses.csv", "transitions.csv", "agreement.csv", "returned.csv", "distractors.csv"),
        *("items.csv", "items.parquet", "answers.parquet", "items.html"),
    }
    answers = pd.read_parquet(folder / "answers.parquet")
    assert len(answers) == 2 * len(STEPS) * N
    first = answers[(answers["model"] == "big") & (answers["step"] == 1)]
    random = np.random.default_rng(1)
    gold, known = random.integers(0, 4, N), random.random(N) < 2 / 3
    assert first["right"].tolist() == (logprobs_at(0, "big", gold, known).argmax(axis=1) == gold).tolist()
    classes = pd.read_csv(folder / "items.csv").query("model == 'big'")["class"].to_numpy()
    was_lost = known & (gold != 1) & np.isin(np.arange(N) % 7, (2, 3, 4))  # known three times before and after
    assert (classes[was_lost] == "lost and regained").mean() > 0.75
    assert (classes[known & (gold == 1)] == "always right").all()


def test_for_scripts_and_as_a_library(items: Items, filed: Path, tmp_path: Path) -> None:
    found = json.loads(items("task=of_four", "--json", f"out={tmp_path}", "analysis.item_guess=0.3")[1])
    assert (found["suite"], found["task"], found["items"]) == ("pythia", "of_four", N)
    assert {row["kind"] for row in found["transitions"]} == {"neighbours", "first to last", "fall", "return"}
    assert found["returned"][0]["q"] < 0.001
    table = evalrun.results(root=filed)
    mine = evalrun.items(table, "of_four", root=filed, item_guess=0.3)
    assert mine.losses["lost"].tolist() == [row["lost"] for row in found["losses"]]
    assert mine.grid is not None
    assert mine.grid.curves[0].right.shape == (len(STEPS), N)
    parts = evalrun.items(table, "of_four", by=["difficulty", "gold_position"], root=filed).parts
    assert parts.groupby("by")["part"].nunique().to_dict() == {"difficulty": 3, "gold_position": 4}
    with pytest.raises(ConfigError, match="by='' does not name each way to divide items once: write by=difficulty"):
        evalrun.items(table, "of_four", by="", root=filed)
    with pytest.raises(AnalysisError, match="the table has results of 3 tasks: name one"):
        evalrun.items(table, root=filed)
    with pytest.raises(ConfigError, match="did you mean 'of_four'"):
        evalrun.items(table, "of_fou", root=filed)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("task=of_fuor",), 2, "there are no results of task 'of_fuor': did you mean 'of_four'?"),
        (("of_four",), 2, "if it is a task, write task=of_four"),
        ((), 2, "no task is given: name one, for example `python -m evalrun items task=tiny_obey_quote`."),
        (("task=",), 2, "task= has no value: name one, for example task=tiny_obey_quote."),
        (("task=of_four,another",), 2, "items takes one task, not 'of_four,another': start it once for each."),
        (("tasks=of_four",), 2, "items takes one task: write task=of_four."),
        (("task=of_four", "task=another"), 2, "task= is given twice, 'of_four' and 'another': give it once."),
        (("task=of_four", "by="), 2, "by= has no value: write by=difficulty, by=gold_position, by=prompt_length or"),
        (("task=of_four", "by=difficulty,difficulty"), 2, "by='difficulty,difficulty' does not name each way"),
        (("task=of_four", "suite=pythai"), 1, "no results of suite 'pythai' in sqlite:"),
        (("task=another", "by=difficulty"), 1, "by=difficulty needs another model or seed, whose answers say what"),
        (("task=bare",), 1, "task 'bare' cannot be followed item by item: no items are in the store."),
        (("task=of_four", "analysis.item_slip=0.7"), 2, "analysis.item_slip is 0.7: it is a share above 0 and below"),
        (("task=of_four", "by=subject"), 1, "task 'of_four' cannot be divided by 'subject': "),
        (("task=of_four", "analysis.item_guess=1"), 2, "analysis.item_guess is 1.0: it is a probability below 1"),
    ],
)
def test_mistakes_are_said(items: Items, words: tuple[str, ...], code: int, said: str) -> None:
    found, _, err = items(*words)
    assert found == code
    assert said in err


def test_parts_are_printed_and_written(items: Items, tmp_path: Path) -> None:
    code, out, _ = items("task=of_four", "by=difficulty", f"out={tmp_path}")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 100
    found = pd.read_csv(tmp_path / "pythia" / "of_four" / "parts.csv")
    assert found.groupby("model")["part"].apply(list).to_dict() == {
        key: ["easy", "middle", "hard"] for key in ("big", "bigger")
    }
    assert "easy   big" in out


def test_one_checkpoint_has_no_classes_and_says_so(items: Items, tmp_path: Path) -> None:
    code, out, _ = items("task=another", f"out={tmp_path}")
    assert code == 0
    assert out == (
        "Of four (another), suite pythia: 120 items\n\n"
        "big: one checkpoint has items, and classes need at least 2 of a model, so none is told: nothing can\n"
        f"  be seen to be learned or lost.\n\ntables: {tmp_path}/pythia/another\n"
        "a page of every item, beside them: items.html\n"
    )
    folder = tmp_path / "pythia" / "another"
    assert not (folder / "classes.csv").exists()
    assert pd.read_csv(folder / "items.csv")["class"].isna().all()


def test_the_report_links_the_pages_and_mlflow_has_them(filed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a report is made again once a page would show texts that it could not find."""
    monkeypatch.chdir(filed)
    words = ["analyze", "suite=pythia", "analysis.items=true", "analysis.figures=none", "analysis.draws=99"]
    assert cli.main(words) == 0
    folder = filed / "multirun/analysis/all/pythia"
    assert 'href="items/of_four.html"' in (folder / "report.html").read_text()
    page = (folder / "items/of_four.html").read_bytes()
    assert b"No prompts and choices: unknown task" in page
    link = MlflowClient(f"sqlite:///{filed}/mlruns/mlflow.db")
    (experiment,) = (one for one in link.search_experiments() if one.name == "pythia-report")
    (run,) = link.search_runs([experiment.experiment_id])
    assert run.data.tags["evalrun.page"] == "report.html"
    (there,) = (one for one in link.list_artifacts(run.info.run_id, "items") if one.path == "items/of_four.html")
    assert there.file_size == len(page)
    assert cli.main(words) == 0
    assert len(link.search_runs([experiment.experiment_id])) == 1  # nothing has changed
    (filed / "conf/task").mkdir(parents=True)
    (filed / "conf/task/of_four.yaml").write_text(TASK.format(name="of_four", title="Of four"))
    write_rows(filed / "data/of_four.jsonl", make_rows(N))
    assert cli.main(words) == 0
    assert b"items are not those of the task" in (folder / "items/of_four.html").read_bytes()
    assert len(link.search_runs([experiment.experiment_id])) == 2
