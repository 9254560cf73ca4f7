"""Results that were scored in two ways: each command says the words that choose one, and takes them."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import evalrun
from analysis.made_items import items_frame
from evalrun import cli
from evalrun.commands.compare.selection import ComparedCheckpoint, scored_alike
from evalrun.config.schema import TrackingConf
from evalrun.core.records import TaskResult
from evalrun.errors import ConfigError
from evalrun.tracking import Store
from evalrun.tracking.layout import RunEntry
from tracking.conftest import make_cell, make_result

Typed = Callable[..., tuple[int, str, str]]
FULL, LIMITED = "shared_prefix float32", "shared_prefix float32 limit 100"
SIZES = {"pythia-70m": 70_426_624, "pythia-160m": 162_322_944}
STEPS = (1000, 2000, 4000)


def result(folder: Path, model: str, step: int, task: str, n: int, **settings: object) -> tuple[TaskResult, Path]:
    """A result whose items get better with training, and of which a limited run has the first alone."""
    cell = make_cell(model, step, SIZES[model])
    random = np.random.default_rng(len(model))
    gold, known = random.integers(0, 4, 200)[:n], random.random(200)[:n] < 0.4 + step / 10_000
    found = np.random.default_rng(step).normal(-5, 1, (n, 4))
    found[np.flatnonzero(known), gold[known]] += 8
    frame = items_frame(found, gold)
    value = float(frame["acc"].mean())
    key = f"{model}-{step}-{sorted(settings.items())}"
    made, path = make_result(
        *(folder, task, cell),
        metrics={"acc": value},
        stderrs={"acc": float(np.sqrt(value * (1 - value) / n))},
        run_key=key,
        weights=f"{model}-{step}",
        chance=0.25,
        n=n,
        settings={"scorer": "shared_prefix", "dtype": "float32", **settings},
    )
    path = path.with_name(f"{hashlib.sha256(f'{key}{task}'.encode()).hexdigest()}.parquet")
    frame.to_parquet(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return replace(made, key=path.stem, items_sha256=digest), path


@pytest.fixture(scope="module")
def filed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two runs with all items of two tasks, and with the first 100 of one of these."""
    folder = tmp_path_factory.mktemp("ways")
    store = Store(TrackingConf(uri=None, root=str(folder / "mlruns")))
    store.check()
    places = [(model, step) for model in SIZES for step in STEPS]
    results = [result(folder / "items", *place, task, 200) for place in places for task in ("neqa", "memo_trap")]
    results += [result(folder / "items", *place, "neqa", 100, limit=100) for place in places]
    store.deliver_many(results)
    experiment = folder / "conf" / "experiment" / "mine.yaml"
    experiment.parent.mkdir(parents=True)
    experiment.write_text(
        "# @package _global_\ntasks: [neqa]\nlimit: 100\nhydra:\n  sweeper:\n    params:\n"
        "      model: pythia-70m\n      step: 1000,2000\n"
    )
    return folder


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """A command, in this process: its exit code and what it prints, on one line."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        code = cli.main(list(words))
        shown = capsys.readouterr()
        return code, " ".join(shown.out.split()), " ".join(shown.err.split())

    return run


@pytest.fixture
def stored(filed: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """The same beside the store."""
    monkeypatch.chdir(filed)
    return typed


@pytest.mark.parametrize(
    ("words", "done"),
    [
        (("compare", "pythia-70m@1000", "pythia-70m@final"), (0,)),
        (("gate", "pythia-70m@final", "gate.items=0"), (0, 3)),
        (("gate", "pythia-70m@final", "against=pythia-70m@1000", "gate.items=0"), (0, 3)),
        (("items", "task=neqa", "out={tmp}"), (0,)),
        (("export", "model-card", "{tmp}/card.md", "model=pythia-70m", "step=4000"), (0,)),
    ],
)
@pytest.mark.release
def test_the_message_has_the_words_that_choose(
    stored: Typed, tmp_path: Path, words: tuple[str, ...], done: tuple[int, ...]
) -> None:
    words = tuple(word.format(tmp=tmp_path) for word in words)
    code, out, err = stored(*words)
    assert (code, out) == (2, "")
    assert "scored in 2 ways: choose one, " in err
    choices = [word for found in re.findall(r"scored='[^']*'", err) for word in shlex.split(found)]
    assert choices == [f"scored={FULL}", f"scored={LIMITED}"]
    for choice in choices:
        code, out, err = stored(*words, choice)
        assert code in done, err
        assert out
    code, _, err = stored(*words, f"scored={FULL} limit 10")
    assert code == 2
    assert f"did you mean '{LIMITED}'?" in err


@pytest.mark.release
def test_the_chosen_way_is_what_is_compared(stored: Typed) -> None:
    pair = ("compare", "pythia-70m@1000", "pythia-70m@final")
    assert f"scored by {LIMITED}" in (shown := stored(*pair, f"scored={LIMITED}")[1])
    assert "memo_trap" not in shown.lower().replace(" ", "_")
    assert evalrun.compare("pythia-70m@1000", "pythia-70m@final", scored=LIMITED)["n"].tolist() == [100]


@pytest.mark.release
def test_of_two_runs_the_ways_of_the_named_tasks_count(stored: Typed) -> None:
    pair = ("compare", "pythia-70m", "pythia-160m", "analysis.draws=99")
    code, _, err = stored(*pair, "task=neqa")
    assert code == 2
    assert f"scored in 2 ways: choose one, scored='{FULL}' or scored='{LIMITED}'." in err
    code, out, err = stored(*pair, "task=memo_trap", "--json")
    assert (code, err) == (0, "")
    assert f'"settings": "{FULL}"' in out


def test_chat_and_plain_text_are_chosen_together() -> None:
    def scored(*labels: str) -> ComparedCheckpoint:
        runs = (RunEntry(label, True, {"evalrun.settings": label}) for label in labels)
        return ComparedCheckpoint("pythia", "m", None, 1, tuple(runs))

    plain, chat = ("x", "x limit 9"), ("x chat:1a", "x limit 9 chat:1a")
    with pytest.raises(ConfigError, match=r"in 2 ways: choose one, scored='x' or scored='x limit 9'\."):
        scored_alike(scored(*plain), scored(*chat))
    with pytest.raises(ConfigError, match=r"in 2 ways: choose one, scored='x chat:1a' or scored='x chat:2b'\."):
        scored_alike(scored("x"), scored("x chat:1a", "x chat:2b"))


@pytest.mark.parametrize(
    "words",
    [
        ("csv", "limit=100"),
        ("csv", "scorer.dtype=float16"),
        ("csv", "num_fewshot=3"),
        ("csv", "samples=8"),
        ("csv", "profile=as_published"),
        ("lm-eval", "limit=100"),
        ("lm-eval", "scorer=lm_eval"),
    ],
)
def test_what_would_select_nothing_is_refused(typed: Typed, tmp_path: Path, words: tuple[str, str]) -> None:
    code, out, err = typed("export", words[0], str(tmp_path / "x"), words[1])
    assert (code, out) == (2, "")
    assert f"export computes nothing, and {words[1]} selects nothing: results are selected by model=, step=" in err
    assert "scored=" in err
    assert not (tmp_path / "x").exists()


def test_items_refuses_what_would_select_nothing(typed: Typed) -> None:
    code, _, err = typed("items", "task=neqa", "limit=100", "scorer.dtype=float16")
    assert code == 2
    assert "items computes nothing, and limit=100 and scorer.dtype=float16 select nothing" in err


@pytest.mark.release
def test_a_way_is_exported_alone(stored: Typed, filed: Path, tmp_path: Path) -> None:
    assert stored("export", "csv", str(tmp_path / "all.csv"))[0] == 0
    assert len(pd.read_csv(tmp_path / "all.csv")) == 18
    assert stored("export", "csv", str(tmp_path / "few.csv"), f"scored={LIMITED}")[0] == 0
    few = pd.read_csv(tmp_path / "few.csv")
    assert (len(few), set(few["settings"])) == (6, {LIMITED})
    evalrun.export("csv", tmp_path / "again.csv", scored=LIMITED, root=filed)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "few.csv").read_bytes()


@pytest.mark.release
def test_an_experiment_says_what_of_it_selects_nothing(stored: Typed, tmp_path: Path) -> None:
    code, out, err = stored("export", "csv", str(tmp_path / "x.csv"), "experiment=mine")
    assert (code, err) == (0, "")
    assert "experiment=mine selects by its models, steps and tasks, not by limit=100" in out
    assert f"scored by '{FULL}' and '{LIMITED}'; scored= chooses one." in out
    rows = pd.read_csv(tmp_path / "x.csv")
    assert (len(rows), set(rows["task"]), set(rows["model"])) == (4, {"neqa"}, {"pythia-70m"})
    code, out, _ = stored("export", "csv", str(tmp_path / "x.csv"), "experiment=mine", f"scored={LIMITED}")
    assert code == 0
    assert "selects by" not in out
    assert len(pd.read_csv(tmp_path / "x.csv")) == 2


@pytest.mark.release
def test_an_analysis_says_what_selects_nothing(stored: Typed) -> None:
    code, out, _ = stored("analyze", "limit=100", "scorer.dtype=float16", "analysis.methods=[ols]")
    assert code == 0
    assert out.startswith("limit=100 and scorer.dtype=float16 select nothing: each way of scoring has a report")
    assert out.count("report: multirun/analysis/all/pythia/") == 2
    code, out, _ = stored("analyze", f"scored={LIMITED}", "analysis.methods=[ols]", "profile=corrected")
    assert (code, "nothing: each way" in out) == (0, False)
    assert out.count("report: multirun/analysis/all-shared_prefix-float32-limit-100/pythia/report.html") == 1
    assert "did you mean" in stored("analyze", f"scored={LIMITED}0")[2]


@pytest.mark.release
def test_a_bundle_and_a_table_hold_the_chosen_way(stored: Typed, tmp_path: Path) -> None:
    assert "bundle computes nothing, and limit=100 selects nothing" in stored("bundle", f"{tmp_path}/b", "limit=100")[2]
    code, out, err = stored("bundle", f"{tmp_path}/b", f"scored={LIMITED}", "analysis.methods=[ols]")
    assert code == 0, err
    assert "6 results" in out
    table = evalrun.results(scored=LIMITED)
    assert set(table["settings"]) == {LIMITED}
    with pytest.raises(ConfigError, match="results computes nothing, and limit=100 selects nothing"):
        evalrun.results(limit=100)
