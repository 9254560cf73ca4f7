"""Other people's results: every format, what is recognised, what is not, what is there twice, what is damaged."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import sqlite3
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

import evalrun
import forked
from evalrun.cli import main
from evalrun.config.schema import TrackingConf
from evalrun.core import progress_line
from evalrun.tracking import Store
from helpers import made_once, make_checkpoint, make_rows, make_workspace, shared_dir, write_rows

Ingest = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, databases: None) -> Path:
    """An initialised, empty database."""
    root = tmp_path_factory.mktemp("template")
    Store(TrackingConf(uri=None, root=str(root))).check()
    return root / "mlflow.db"


@pytest.fixture
def ingest(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Ingest:
    """Run the command in a fresh folder; returns exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlruns").mkdir()
    shutil.copyfile(template, tmp_path / "mlruns" / "mlflow.db")

    monkeypatch.setattr(progress_line, "SHOWN_FROM", math.inf)  # on a busy machine it would say what it is at

    def run(*paths: object) -> tuple[int, str, str]:
        code = main(["ingest", *map(str, paths)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def table(tmp_path: Path, suite: str = "pythia") -> pd.DataFrame:
    return Store(TrackingConf(uri=None, root=str(tmp_path / "mlruns"))).table(suite)


def dump(tmp_path: Path) -> dict[str, Any]:
    """The whole store: every row of every table, every artifact."""
    with sqlite3.connect(tmp_path / "mlruns" / "mlflow.db") as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: sorted(database.execute(f"SELECT * FROM {name}"), key=repr) for name in names}
    return rows | {str(p): p.read_bytes() for p in (tmp_path / "mlruns" / "artifacts").rglob("*") if p.is_file()}


def v03(model_args: Any = "pretrained=EleutherAI/pythia-70m,revision=step1000", **results: Any) -> dict[str, Any]:
    """A result file of lm-eval 0.3."""
    results = results or {"isp_memo_trap": {"acc": 0.625, "acc_stderr": 0.0158, "acc_norm": 0.5}}
    config = {"model": "hf-causal", "model_args": model_args, "num_fewshot": 0, "limit": None, "device": "cuda:0"}
    return {"results": results, "versions": dict.fromkeys(results, 0), "config": config}


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


# --- version 0.3 and tables, as published ---------------------------------------------------------------------------


@pytest.mark.slow
def test_a_published_study(ingest: Ingest, tmp_path: Path) -> None:
    published = shared_dir() / "data" / "published"
    code, out, err = ingest(published)
    assert (code, err) == (0, "")
    assert "pythia: 768 results filed, 0 there already (64 checkpoints, 12 tasks)" in out
    assert "768 results in more than one file or row" in out  # the JSON files and the table
    assert "passed over, being tables of something else" in out
    rows = table(tmp_path)
    given = pd.read_csv(published / "all_results.tsv", sep="\t")
    assert sorted(rows[rows["primary"]]["value"].round(12)) == sorted(given["Accuracy"].round(12))
    assert rows["weights"].eq("").all()
    assert set(rows["settings"]) == {"lm_eval 0.3"}
    one = rows[(rows["model"] == "pythia-1.4b") & (rows["step"] == 128000)].set_index(["task", "metric"])
    source = json.loads((published / "lm_eval_json" / "pythia-1.4b_step128000.json").read_text())["results"]
    assert one.loc[("memo_trap", "acc_norm"), "value"] == source["isp_memo_trap"]["acc_norm"]
    assert one.loc[("truthfulqa_mc2", "acc"), "value"] == source["truthfulqa_mc"]["mc2"]
    assert one.loc[("truthfulqa_mc1", "acc"), "stderr"] == source["truthfulqa_mc"]["mc1_stderr"]
    assert one.loc[("memo_trap", "acc"), ["n", "chance", "tokens", "n_params_nominal"]].tolist() == [
        *(936, 0.5, 128000 * 2_097_152, 1_400_000_000),
    ]
    rows_by_task = {"sig_figs": 20897, "neqa": 300, "resisting_correction": 7344, "truthfulqa_mc2": 817}
    for task, n in rows_by_task.items():
        assert set(rows[rows["task"] == task]["n"]) == {n}


@pytest.mark.slow
def test_the_same_content_from_another_clone_changes_nothing(ingest: Ingest, tmp_path: Path) -> None:
    published = shared_dir() / "data" / "published"
    for clone, when in (("one", 1_000_000_000), ("two", 1_600_000_000)):
        shutil.copytree(published, tmp_path / clone)
        for file in (tmp_path / clone).rglob("*"):
            os.utime(file, (when, when))
    assert ingest("one")[0] == 0
    before = dump(tmp_path)
    code, out, _ = ingest("two")
    assert code == 0
    assert "0 results filed, 768 there already" in out
    assert dump(tmp_path) == before
    assert ingest("one", "two")[0] == 0
    assert dump(tmp_path) == before


def test_our_own_table_of_results(ingest: Ingest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a.json", v03(isp_neqa={"acc": 0.4, "acc_stderr": 0.0283, "acc_norm": 0.3}))
    write(tmp_path / "b.json", v03("pretrained=/x/tiny/seed1/s/step64,dtype=float32", tiny_recall={"acc": 0.5}))
    shutil.move(tmp_path / "b.json", tmp_path / "c.json")
    write(tmp_path / "c.json", v03("pretrained=models/tiny/seed1/s/step64,dtype=float32", tiny_recall={"acc": 0.5}))
    assert ingest("a.json", "c.json")[0] == 0
    both = pd.concat([table(tmp_path), table(tmp_path, "tiny")])
    both.to_csv(tmp_path / "results.csv", index=False)
    for file in (tmp_path / "mlruns").glob("artifacts"):
        shutil.rmtree(file)
    second = tmp_path / "second"
    capsys.readouterr()
    code = main(["ingest", str(tmp_path / "results.csv"), f"tracking.root={second}"])
    assert code == 0
    assert f"python -m evalrun analyze tracking.root={second}\n" in capsys.readouterr().out
    store = Store(TrackingConf(uri=None, root=str(second)))
    again = pd.concat([store.table("pythia"), store.table("tiny")])
    kept = [name for name in both.columns if name not in ("task_key", "run_id")]
    pd.testing.assert_frame_equal(again[kept], both[kept])
    assert again["seed"].dropna().tolist() == [1]


def test_tables_with_other_columns(ingest: Ingest, tmp_path: Path) -> None:
    rows = [
        ("model", "step", "task", "metric", "value", "stderr", "n"),
        ("EleutherAI/pythia-70m", "1000", "neqa", "acc", "0.5", "NA", "300"),
        ("EleutherAI/pythia-70m", "1000", "neqa", "acc_norm", "0.25", "0.01", "300"),
        ("pythia-160m", "512", "my own task", "acc", "0.75", "0.02", ""),
    ]
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows(rows)
    code, out, _ = ingest("t.csv")
    assert code == 0
    assert "1 result without a standard error" in out
    found = table(tmp_path).set_index(["task", "metric"])
    assert found.loc[("neqa", "acc_norm"), ["value", "stderr", "n"]].tolist() == [0.25, 0.01, 300]
    assert found.loc[("my own task", "acc"), ["title", "model"]].tolist() == ["my own task", "pythia-160m"]
    assert set(found["settings"]) == {"unrecorded"}


# --- version 0.4, made by lm-eval itself ----------------------------------------------------------------------------

TASK_04 = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.0}}
"""
ROLLING = """\
task: rolling
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{question}}}}"
metric_list:
  - {{metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}}
metadata: {{version: 2.0}}
"""
GROUP = "group: both\ntask: [alpha, beta]\naggregate_metric_list:\n  - {metric: acc, weight_by_size: true}\n"


LM_EVAL = "import sys; from lm_eval.__main__ import cli_evaluate; sys.argv[0] = 'lm_eval'; cli_evaluate()"


@pytest.fixture(scope="session")
def lm_eval_output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `lm_eval run` writes: step 1 with samples, step 8 without."""

    def make(root: Path) -> None:
        for name, shift in (("alpha", 0), ("beta", 5)):
            data = write_rows(root / "data" / f"{name}.jsonl", make_rows(12, shift))
            write(root / "tasks" / f"{name}.yaml", TASK_04.format(name=name, data=data))
        write(root / "tasks" / "rolling.yaml", ROLLING.format(data=data))
        write(root / "tasks" / "both.yaml", GROUP)
        for step, more in ((1, ["--log_samples"]), (8, [])):
            make_checkpoint(root / "models" / "toy-s" / f"step{step}", seed=step)
            words = [
                *("run", "--model", "hf", "--device", "cpu", "--batch_size", "4"),
                *("--model_args", f"pretrained=models/toy-s/step{step},dtype=float32", "--tasks", "both,rolling"),
                *("--include_path", "tasks", "--output_path", "out", *more),
            ]
            ran = forked.run(words, root, os.environ, 300, LM_EVAL)
            assert ran.returncode == 0, ran.stderr

    return made_once(tmp_path_factory, "lm_eval_output", make) / "out"


@pytest.fixture
def toy(ingest: Ingest, workspace: Path, template: Path) -> Ingest:
    """The command in the folder of a user whose configs know the toy suite."""
    (workspace / "mlruns").mkdir()
    shutil.copyfile(template, workspace / "mlruns" / "mlflow.db")
    return ingest


@pytest.mark.release
def test_items_of_lm_evals_samples_are_followed_as_ones_own(
    evaluated: Path, toy_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The same checkpoints and task, scored by evalrun and by lm-eval: the same answers, classes, ages and losses."""
    data = evaluated / "data" / "alpha.jsonl"
    write(tmp_path / "tasks" / "alpha.yaml", TASK_04.format(name="alpha", data=data))
    for step in (1, 2, 8):
        words = [
            *("run", "--model", "hf", "--device", "cpu", "--batch_size", "4", "--log_samples", "--tasks", "alpha"),
            *("--model_args", f"pretrained={evaluated}/models/toy-s/step{step},dtype=float32"),
            *("--include_path", "tasks", "--output_path", "out"),
        ]
        ran = forked.run(words, tmp_path, os.environ, 300, LM_EVAL)
        assert ran.returncode == 0, ran.stderr
    other = make_workspace(tmp_path / "other", toy_models)
    monkeypatch.chdir(other)
    assert main(["ingest", str(tmp_path / "out")]) == 0, capsys.readouterr().err
    own = evalrun.results(root=evaluated, model="toy/toy-s", step=[1, 2, 8], task="alpha")
    sure = {"metric": "acc", "item_guess": 0.02}  # so that one right answer tells: the models know nothing
    mine = evalrun.items(own, root=evaluated, **sure)
    theirs = evalrun.items(evalrun.results(root=other), "alpha", root=other, **sure)
    assert mine.n == theirs.n == 12
    assert mine.grid is not None
    assert theirs.grid is not None
    ours, others = mine.grid.curves[0], theirs.grid.curves[0]
    assert ours.steps.tolist() == others.steps.tolist() == [1, 2, 8]
    assert (mine.grid.keys["doc_hash"] == theirs.grid.keys["doc_hash"]).all()  # so that texts are found for both
    assert (mine.grid.gold == theirs.grid.gold).all()
    assert (mine.grid.guess == theirs.grid.guess).all()
    np.testing.assert_allclose(ours.margin, others.margin, atol=1e-4)
    assert (ours.right == others.right).all()
    assert (ours.chosen == others.chosen).all()
    bits = [
        evalrun.falls(rows, metric="gold_bits_per_byte", root=root).loc[0, ["peak_value", "trough_value", "p"]].tolist()
        for rows, root in ((own, evaluated), (evalrun.results(root=other), other))
    ]
    assert bits[0] == pytest.approx(bits[1], rel=1e-4)
    assert mine.items["class"].tolist() == theirs.items["class"].tolist()
    assert mine.items["class"].nunique() > 1
    numbers = ["wrong_to_right", "right_to_wrong", "known", "learned", "lost", "p"]
    np.testing.assert_allclose(mine.transitions[numbers], theirs.transitions[numbers], atol=1e-9)
    np.testing.assert_allclose(mine.items["age"], theirs.items["age"], rtol=1e-3)
    capsys.readouterr()
    assert main(["items", "task=alpha", "analysis.metric=acc", "analysis.item_guess=0.02", "--json"]) == 0
    counts = {row["class"]: row["items"] for row in json.loads(capsys.readouterr().out)["classes"]}
    assert counts == mine.classes.set_index("class")["items"].to_dict()


@pytest.mark.slow
def test_results_and_samples_of_lm_eval(toy: Ingest, workspace: Path, lm_eval_output: Path, tmp_path: Path) -> None:
    code, out, err = toy(lm_eval_output)
    assert (code, err) == (0, "")
    assert "toy: 6 results filed, 0 there already (2 checkpoints, 3 tasks)" in out  # without the group's mean
    assert "2 results without a standard error" in out
    rows = table(workspace, "toy")
    (path,) = lm_eval_output.glob("*step1/results_*.json")
    source = json.loads(path.read_text())
    for task in ("alpha", "beta"):
        mine = rows[(rows["step"] == 1) & (rows["task"] == task)].set_index("metric")
        for metric in ("acc", "acc_norm"):
            assert mine.loc[metric, "value"] == source["results"][task][f"{metric},none"]
            assert mine.loc[metric, "stderr"] == source["results"][task][f"{metric}_stderr,none"]
        assert set(mine["n"]) == {12}
        assert set(mine["finished_ms"]) == {int(float(source["date"]) * 1000)}
        assert mine["chance"].iloc[0] == pytest.approx(sum(1 / len(r["choices"]) for r in make_rows(12)) / 12)
    assert rows[rows["task"] == "rolling"]["higher_is_better"].eq(False).all()
    assert set(rows["settings"]) == {"lm_eval 0.4 float32"}
    assert set(rows["title"]) == {"Alpha", "Beta", "rolling"}

    client = MlflowClient(f"sqlite:///{workspace / 'mlruns' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("toy").experiment_id])
    for run in runs:
        names = sorted(file.path for file in client.list_artifacts(run.info.run_id, "items"))
        with_samples = run.data.params["step"] == "1"
        assert names == ([f"items/{t}.parquet" for t in ("alpha", "beta", "rolling")] if with_samples else [])
        if with_samples:
            items = pd.read_parquet(client.download_artifacts(run.info.run_id, "items/alpha.parquet", str(tmp_path)))
            assert items["acc"].mean() == source["results"]["alpha"]["acc,none"]
            assert items["doc_id"].tolist() == list(range(12))
            assert [len(choices) for choices in items["logprobs"]] == [len(r["choices"]) for r in make_rows(12)]
            sizes = [[len(f" {choice}".encode()) for choice in row["choices"]] for row in make_rows(12)]
            assert [list(one) for one in items["choice_bytes"]] == sizes

    before = dump(workspace)
    assert toy(lm_eval_output)[0] == 0
    assert dump(workspace) == before


@pytest.mark.slow
def test_samples_that_come_later_are_added_and_damaged_ones_left_out(
    toy: Ingest, workspace: Path, lm_eval_output: Path
) -> None:
    copy = workspace / "copy"
    shutil.copytree(lm_eval_output, copy)
    (samples,) = copy.rglob("samples_alpha_*")
    whole = samples.read_text()
    samples.write_text(whole[: len(whole) // 2])
    code, out, err = toy(copy)
    assert code == 1
    assert "6 results filed" in out
    assert f"{samples.name}: breaks off or holds no samples of lm-eval" in err
    assert "is filed without items" in err
    samples.unlink()
    assert toy(copy)[0] == 0
    samples.write_text(whole)
    assert "1 result filed, 5 there already" in toy(copy)[1]
    assert "0 results filed, 6 there already" in toy(copy)[1]
    assert len(table(workspace, "toy")) == 10


def test_correlations_of_words_as_others_publish_them_have_their_shapes(ingest: Ingest, tmp_path: Path) -> None:
    """No standard error, no items; below 0 at first; of seeds, whose column must not be forgotten."""
    steps = [*(2**power for power in range(10)), *(1000 * 2**power for power in range(7))]
    rng, lines, bare = np.random.default_rng(0), [], []
    for size, seed, step in product(("70m", "160m"), (1, 2, 3), steps):
        at = np.log2(step) / 16
        unigram = 0.95 / (1 + np.exp(-25 * (at - 0.3))) - 0.7 * max(at - 0.5, 0) - 0.05
        for name, value in (("unigram", unigram), ("fivegram", 0.8 / (1 + np.exp(-12 * (at - 0.5))))):
            told = f"{name}\tpearson\t{value + rng.normal(0, 0.01):.6f}\n"
            lines.append(f"EleutherAI/pythia-{size}-seed{seed}\t{step}\t{seed}\t{told}")
            bare.append(f"EleutherAI/pythia-{size}\t{step}\t{told}")
    write(tmp_path / "seeds.tsv", "model\tstep\tseed\ttask\tmetric\tvalue\n" + "".join(lines))
    code, out, _ = ingest("seeds.tsv")
    assert code == 0
    assert "polypythia: 204 results filed" in out
    rows = table(tmp_path, "polypythia")
    assert rows["higher_is_better"].all()
    assert rows["value"].min() < 0
    labels = evalrun.shapes(rows).groupby("task")["label"].value_counts()
    assert labels.to_dict() == {("unigram", "inverted-U"): 6, ("fivegram", "positive"): 6}
    assert main(["analyze", "analysis.figures=none"]) == 0

    write(tmp_path / "bare.tsv", "model\tstep\ttask\tmetric\tvalue\n" + "".join(bare))
    code, _, err = ingest("bare.tsv")
    assert code == 1
    assert "remove the wrong one, or give rows of several seeds a column 'seed', and ingest again" in err


# --- what is not recognised, contradicts, or is damaged -------------------------------------------------------------


@pytest.mark.parametrize(
    ("model_args", "reason"),
    [
        ("pretrained=EleutherAI/pythia-70m-v0,revision=step1000", "say rename.EleutherAI/pythia-70m-v0=PATH"),
        ("pretrained=somebody/pythia-70m,revision=step1000", "is the path of no conf/model"),
        ("pretrained=runs/mine/checkpoint-200,revision=main", "model=local in another store, comes as a bundle"),
        ("pretrained=EleutherAI/pythia-70m", "without a revision that says its step"),
        ("pretrained=EleutherAI/pythia-70m,revision=main", "without a revision that says its step"),
        ("pretrained=EleutherAI/pythia-70m,revision=step1001", "'step1001' is no released step of pythia-70m"),
        ("pretrained=EleutherAI/pythia-70m,revision=step1000,peft=me/lora", "peft=me/lora"),
        ("pretrained=models/tiny/seed0/s", "without a revision"),
        ({"iteration": 1000, "load": "/fsx/pythia"}, "names no model"),
        (None, "names no model"),
    ],
)
def test_an_unknown_checkpoint_is_named_and_the_rest_filed(
    model_args: Any, reason: str, ingest: Ingest, tmp_path: Path
) -> None:
    write(tmp_path / "in" / "good.json", v03())
    write(tmp_path / "in" / "other.json", v03(model_args))
    code, out, err = ingest("in")
    assert code == 1
    assert "pythia: 1 result filed" in out
    (line,) = [line for line in err.splitlines() if "other.json" in line]
    assert reason in line
    assert "good.json" not in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "model_args",
    [
        "pretrained=EleutherAI/pythia-70m,revision=step1000",
        "revision=step1000,pretrained=pythia-70m,use_accelerate=True",
        {"pretrained": "EleutherAI/pythia-70m", "revision": "step1000", "trust_remote_code": True},
        "pretrained=/data/models/pythia-70m/step1000",
        "pretrained=./models/pythia-70m,revision=step1000",
        "pretrained=/data/EleutherAI/pythia-70m/,revision=step1000,device_map=auto",
        "pretrained=EleutherAI/pythia-v1.1-70m,revision=step1000",
        "pretrained=/data/pythia-v1.1-70m/step1000",
    ],
)
def test_ways_to_name_one_checkpoint(model_args: Any, ingest: Ingest, tmp_path: Path) -> None:
    write(tmp_path / "a.json", v03())
    write(tmp_path / "b.json", v03(model_args))
    code, out, err = ingest("a.json", "b.json")
    assert (code, err) == (0, "")
    assert "1 result filed" in out
    assert set(table(tmp_path)["model"]) == {"pythia-70m"}
    assert set(table(tmp_path)["step"]) == {1000}


def test_damage_is_named_one_sentence_each(ingest: Ingest, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write(folder / "good.json", v03())
    write(folder / "truncated.json", json.dumps(v03())[:100])
    write(folder / "foreign.json", {"name": "package"})
    write(folder / "list.json", [1, 2])
    write(folder / "empty.json", "")
    write(folder / "numberless.json", v03(isp_neqa={"acc": "N/A"}))
    (folder / "binary.json").write_bytes(b"\xff\xfe\x00")
    (folder / "gone.json").symlink_to(folder / "nowhere")
    write(folder / "rows.tsv", "model\tstep\ttask\tacc\npythia-70m\t1000\tsciq\t0.5\npythia-70m\t1000\tpiqa\tbad\n")
    write(folder / "nan.json", v03(isp_memo_trap={"acc": float("nan"), "acc_norm": 0.5}))
    write(folder / ".git" / "config.json", "{")
    write(folder / "statistics.tsv", "task_name\tt\nneqa\t1\n")
    (folder / "none").mkdir()
    code, out, err = ingest(folder, folder / "none", folder / "statistics.tsv")
    assert code == 1
    assert "2 results filed" in out
    named = [(line, line.split(": ")[0].split(",")) for line in err.splitlines()[1:]]
    lines = {file.strip().rpartition("/")[2]: line for line, files in named for file in files}
    assert sorted(lines) == [
        *("binary.json", "empty.json", "foreign.json", "gone.json", "list.json"),
        *("nan.json", "none", "numberless.json", "rows.tsv", "truncated.json"),
    ]
    assert err.startswith("evalrun: 10 left out:")
    assert "not whole JSON" in lines["truncated.json"]
    assert "line 3: the value 'bad' is no number" in lines["rows.tsv"]
    assert "cannot be read" in lines["gone.json"]
    assert "acc of 'memo_trap' is nan" in lines["nan.json"]
    assert all(line.endswith(".") for line in lines.values())
    assert "Traceback" not in err
    assert "statistics.tsv" in out


def test_nothing_recognisable_is_a_mistake(ingest: Ingest, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "x.json", "{}")
    write(tmp_path / "t.csv", "a,b\n1,2\n")
    for paths in (["empty"], ["x.json"], ["t.csv"], ["absent"], ["-x"], [], ["empty", "trackng.root=x"]):
        code, out, err = ingest(*paths)
        assert (code, out) == (2, "")
        assert err.startswith("evalrun: ")
        assert "Traceback" not in err
    assert ingest("x.json", "tracking.rot=x")[0] == 2


def test_contradictions_are_named_and_marked_with_their_values(ingest: Ingest, tmp_path: Path) -> None:
    write(tmp_path / "a.json", v03(isp_neqa={"acc": 0.5, "acc_norm": 0.25}, sciq={"acc": 0.75}))
    write(tmp_path / "b.json", v03(isp_neqa={"acc": 0.625, "acc_norm": 0.25}, sciq={"acc": 0.75, "acc_norm": 0.5}))
    code, out, err = ingest("a.json", "b.json")
    assert code == 1
    assert "pythia: 2 results filed" in out
    assert "1 result in more than one file" in out
    told = "acc is 0.5 in a.json, 0.625 in b.json"
    assert f"pythia-70m step 1000, neqa: {told}; it is filed without a value: remove the wrong one" in err
    rows = table(tmp_path).set_index(["task", "metric"])
    assert rows.loc["sciq"]["value"].to_dict() == {"acc": 0.75, "acc_norm": 0.5}
    assert pd.isna(rows.loc[("neqa", "acc"), "value"])
    assert rows.loc[("neqa", "acc_norm"), "value"] == 0.25
    assert rows.loc[("neqa", "acc"), "disputed"] == f"its results disagree: {told}"
    before = dump(tmp_path)
    assert ingest("b.json", "a.json")[0] == 1  # whatever the order
    assert dump(tmp_path) == before

    assert main(["analyze", "analysis=interaction"]) == 0  # and the report says so
    folder = next((tmp_path / "multirun" / "analysis").rglob("report.html")).parent
    cells = pd.read_csv(folder / "tables" / "coverage_cells.csv")
    assert cells[["task", "model", "step", "state", "why"]].to_numpy().tolist() == [
        ["neqa", "pythia-70m", 1000, "left out", f"its results disagree: {told}"]
    ]
    assert told in (folder / "report.html").read_text()

    code, out, _ = ingest("b.json")  # the wrong one is gone
    assert (code, table(tmp_path).set_index(["task", "metric"]).loc[("neqa", "acc"), "value"]) == (0, 0.625)
    write(tmp_path / "c.json", v03(sciq={"acc": 0.7}))  # against what the store holds already
    before = dump(tmp_path)
    code, _, err = ingest("c.json")
    assert code == 1
    assert "the store holds another result (acc 0.75 there and 0.7 here)" in err
    assert dump(tmp_path) == before


def test_values_that_differ_in_the_last_places_are_one_result(ingest: Ingest, tmp_path: Path) -> None:
    """As lambada_openai of pythia-1.4b-deduped, evaluated twice at its last step."""
    write(tmp_path / "a.json", v03(lambada_openai={"ppl": 6.00667, "acc": 0.6186687366582573}))
    write(tmp_path / "b.json", v03(lambada_openai={"ppl": 6.00612, "acc": 0.618474674946633}))
    code, out, err = ingest("a.json", "b.json", "analysis.same_within=0.00001")
    assert code == 1
    assert "ppl is 6.00667 in a.json, 6.00612 in b.json" in err
    code, out, err = ingest("a.json", "b.json", "tracking.root=other")
    assert (code, err) == (0, "")
    assert "1 result in more than one file or row: each counts once (1 with values that differ in the last" in out
    rows = Store(TrackingConf(uri=None, root=str(tmp_path / "other"))).table("pythia").set_index("metric")
    assert rows.loc["ppl", "value"] in (6.00667, 6.00612)
    assert rows.loc["ppl", "disputed"] == ""


def v04(seconds: float, value: float) -> dict[str, Any]:
    """A dated result file of lm-eval 0.4."""
    config = {"model": "hf", "model_args": "pretrained=EleutherAI/pythia-70m,revision=step1000"}
    results = {"sciq": {"alias": "sciq", "acc,none": value, "acc_stderr,none": "N/A"}}
    return {"results": results, "configs": {}, "config": config, "lm_eval_version": "0.4.9", "date": seconds}


def test_of_dated_results_that_contradict_one_another_the_newest_is_kept(ingest: Ingest, tmp_path: Path) -> None:
    write(tmp_path / "new.json", v04(1.8e9, 0.5))
    write(tmp_path / "old.json", v04(1.7e9, 0.75))
    code, _, err = ingest("new.json", "old.json")
    assert code == 1
    assert "acc is 0.5 in new.json, 0.75 in old.json; the newest, of new.json, is filed, and marked" in err
    (row,) = table(tmp_path).to_dict("records")
    assert (row["value"], row["disputed"]) == (0.5, "others gave acc is 0.75 in old.json")
    write(tmp_path / "newer.json", v04(1.9e9, 0.25))
    code, out, err = ingest("newer.json")
    assert (code, "1 result filed, 0 there already" in out) == (1, True)
    assert "(acc 0.5 there and 0.25 here); this one is newer: it is filed, and marked" in err
    assert table(tmp_path)["value"].tolist() == [0.25]


def test_a_table_that_contradicts_the_files_it_was_made_from(ingest: Ingest, tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.json", v03(isp_neqa={"acc": 0.5}, sciq={"acc": 0.75}))
    head = "ModelName\tModelRevision\tTask\tAccuracy\tAccuracy_SE\nEleutherAI/pythia-70m\tstep1000\t"
    write(
        tmp_path / "in" / "all.tsv", head + "isp_neqa\t0.51\t0.01\nEleutherAI/pythia-70m\tstep1000\tsciq\t0.75\t0.1\n"
    )
    code, out, err = ingest("in")
    assert code == 1
    assert "2 results filed" in out
    assert "acc is 0.51 in in/all.tsv, 0.5 in in/a.json; what says how it was computed is filed, and marked" in err
    rows = table(tmp_path).set_index("task")
    assert rows["value"].to_dict() == {"neqa": 0.5, "sciq": 0.75}
    assert rows["disputed"].to_dict() == {"neqa": "acc is 0.51 in in/all.tsv", "sciq": ""}


# --- names, final checkpoints, numbers that cannot be read, few sentences ---------------------------------------------


def test_names_that_the_hub_gave_up_are_known(ingest: Ingest, tmp_path: Path) -> None:
    """Pythia's own evaluations name EleutherAI/pythia-v1.1-70m, and pythia-v1.1-1b-bf16 for pythia-1b."""
    sizes = ("70m", "160m", "410m", "1b-bf16", "1.4b", "2.8b", "6.9b", "12b", "1b-deduped", "12b-deduped")
    for size in sizes:
        args = f"use_accelerate=True,pretrained=EleutherAI/pythia-v1.1-{size},revision=step113000"
        write(tmp_path / "in" / f"{size}_step113000.json", v03(args, sciq={"acc": 0.5}))
    code, _, err = ingest("in")
    assert (code, err) == (0, "")
    ours = {f"pythia-{size.removesuffix('-bf16')}" for size in sizes}
    assert set(table(tmp_path)["model"]) | set(table(tmp_path, "pythia-deduped")["model"]) == ours


def test_a_model_is_renamed_by_the_word_of_the_user(ingest: Ingest, tmp_path: Path) -> None:
    for name, model in (("a", "me/copy-70m"), ("b", "me/copy-160m"), ("c", "/data/mine/step1000")):
        write(tmp_path / f"{name}.json", v03(f"pretrained={model},revision=step1000", sciq={"acc": 0.5}))
    names = ["rename.me/copy-*=EleutherAI/pythia-*", "rename./data/mine=EleutherAI/pythia-410m"]
    code, _, err = ingest("a.json", "b.json", "c.json", *names)
    assert (code, err) == (0, "")
    assert set(table(tmp_path)["model"]) == {"pythia-70m", "pythia-160m", "pythia-410m"}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["rename.me/cpoy=EleutherAI/pythia-70m"], "no result names 'me/cpoy': did you mean 'me/copy'?"),
        (["rename.me/copy=EleutherAI/pythia-70n"], "'EleutherAI/pythia-70n' is the path of no conf/model: did you"),
        (["rename.me/copy="], "it names no two models"),
        (["rename.me/*=EleutherAI/pythia-70m"], "a * stands at the end of both names or of none"),
        (["rename.me/copy=pythia-70m", "rename.me/copy=pythia-160m"], "'me/copy' is 'pythia-70m' already"),
    ],
)
def test_a_rename_that_cannot_be_right_is_refused(
    words: list[str], reason: str, ingest: Ingest, tmp_path: Path
) -> None:
    write(tmp_path / "a.json", v03("pretrained=me/copy,revision=step1000"))
    before = dump(tmp_path)
    code, out, err = ingest("a.json", *words)
    assert (code, out) == (2, "")
    assert reason in err
    assert dump(tmp_path) == before


@pytest.mark.parametrize("model_args", ["pretrained=facebook/opt-1.3b", "pretrained=facebook/opt-1.3b,revision=main"])
def test_a_family_of_final_checkpoints_is_taken(model_args: str, ingest: Ingest, tmp_path: Path) -> None:
    suite = "suite: opt\nrevision: step{step}\nfolder: null\ntokens_per_step: 180000000000\nsteps: {1: main}\n"
    model = "name: opt-1.3b\npath: facebook/opt-1.3b\nn_params: 1315758080\nn_params_nonembedding: 1212801024\n"
    write(tmp_path / "conf" / "checkpoint" / "opt.yaml", suite)
    head = "defaults:\n  - /checkpoint@_global_.checkpoint: opt\n  - _self_\n\n"
    write(tmp_path / "conf" / "model" / "opt" / "1.3b.yaml", head + model)
    write(tmp_path / "a.json", v03(f"{model_args},use_accelerate=True", sciq={"acc": 0.845}))
    code, _, err = ingest("a.json")
    assert (code, err) == (0, "")
    (row,) = table(tmp_path, "opt").to_dict("records")
    assert (row["model"], row["step"], row["tokens"], row["value"]) == ("opt-1.3b", 1, 180_000_000_000, 0.845)


@pytest.mark.slow
def test_suites_that_share_a_task_are_laid_beside_one_another(
    ingest: Ingest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for suite in ("pythia", "pythia-deduped"):
        name = "pythia-{}" + suite.removeprefix("pythia")
        for size in ("70m", "160m"):
            args = f"pretrained=EleutherAI/{name.format(size)},revision=step143000"
            write(tmp_path / "in" / f"{suite}-{size}.json", v03(args, sciq={"acc": 0.5, "acc_stderr": 0.01}))
    assert ingest("in")[0] == 0
    assert main(["analyze", "analysis=interaction", "--timings"]) == 0
    folder = tmp_path / "multirun" / "analysis" / "all" / "_families"
    said = capsys.readouterr().out
    assert "across 2 families, over training compute: " in said
    assert all(
        f"\n  {name} " in said for name in ("reading results", "regression", "figures", "across families", "in all")
    )
    assert "pythia, pythia-deduped: over training compute" in (folder / "report.html").read_text()
    assert len(pd.read_csv(folder / "families.csv")) == 4


def test_a_standard_error_that_cannot_be_read_is_said(ingest: Ingest, tmp_path: Path) -> None:
    rows = "".join(
        f"EleutherAI/pythia-70m\t{step}\ta_rise\tacc\t0.0775\tnp.float64(0.0133859)\t400\n" for step in (1, 8, 64, 512)
    )
    write(tmp_path / "t.tsv", "model\tstep\ttask\tmetric\tvalue\tstderr\tn\n" + rows)
    write(tmp_path / "a.json", v03(sciq={"acc": 0.75, "acc_stderr": "0.01 (bootstrap)"}))
    code, out, err = ingest("t.tsv", "a.json")
    assert code == 1
    assert "5 results filed" in out
    assert err.splitlines()[1:] == [
        "  t.tsv: the stderr of 4 lines is no number, such as 'np.float64(0.0133859)' in line 2, and they are filed "
        "without it.",
        "  a.json: the acc_stderr '0.01 (bootstrap)' is no number, and its result is filed without it.",
    ]


def test_1840_results_left_out_for_few_reasons_are_few_lines(ingest: Ingest, tmp_path: Path) -> None:
    tasks = {f"task{i}": {"acc": 0.5} for i in range(20)}
    for number in range(92):
        args = f"pretrained=me/pythia-{number % 2}-70m,revision=step{number}"
        write(tmp_path / "in" / f"{number:02}.json", v03(args, **tasks))
    write(tmp_path / "in" / "z.json", v03())
    code, _, err = ingest("in")
    assert code == 1
    assert err.startswith("evalrun: 1,840 left out:")
    first, second = err.splitlines()[1:]
    assert first.startswith(
        "  in/00.json, in/02.json, in/04.json (and 43 more files): model 'me/pythia-0-70m' is the path of no conf/model"
    )
    assert "(920 results)" in second
    for number in range(30):
        write(tmp_path / "many" / f"{number}.json", v03(f"pretrained=me/model{number},revision=step1", **tasks))
    assert "... and 20 more reasons of this kind, for 400 results." in ingest("in", "many")[2]


def test_other_settings_are_other_results(ingest: Ingest, tmp_path: Path) -> None:
    base = "pretrained=EleutherAI/pythia-70m,revision=step1000"
    files = {
        "a.json": v03(base, isp_neqa={"acc": 0.5}),
        "b.json": v03(f"{base},dtype=float16", isp_neqa={"acc": 0.51}),
        "c.json": v03(f"{base},load_in_8bit=True", isp_neqa={"acc": 0.52}),
    }
    files["d.json"] = v03(base, isp_neqa={"acc": 0.53})
    files["d.json"]["config"]["num_fewshot"] = 5
    files["e.json"] = v03(base, isp_neqa={"acc": 0.54})
    files["e.json"]["config"]["limit"] = 10
    for name, content in files.items():
        write(tmp_path / name, content)
    assert ingest(*files)[0] == 0
    labels = table(tmp_path).set_index("value")["settings"].to_dict()
    assert labels == {
        0.5: "lm_eval 0.3",
        0.51: "lm_eval 0.3 float16",
        0.52: "lm_eval 0.3 8bit",
        0.53: "lm_eval 0.3 5-shot",
        0.54: "lm_eval 0.3 limit 10",
    }


def test_tasks_added_later_join_their_checkpoint(ingest: Ingest, tmp_path: Path) -> None:
    write(tmp_path / "a.json", v03(isp_neqa={"acc": 0.5}))
    write(tmp_path / "b.json", v03(sciq={"acc": 0.75}))
    assert ingest("a.json")[0] == ingest("b.json")[0] == 0
    rows = table(tmp_path)
    assert rows["run_id"].nunique() == 1
    assert set(rows["task"]) == {"neqa", "sciq"}
