"""The benchmarks run, their counts are right, and they find the same answers; nothing here looks at seconds."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import forked
from helpers import ROOT

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(scope="module")
def counting() -> Any:
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("counting")
    sys.path.remove(str(BENCHMARKS))


REQUESTS = [
    ([1, 2, 3], [4]),
    ([1, 2, 3], [5, 6]),  # shares the context
    ([1, 2, 3], [5, 6]),  # the same again
    ([1, 2], [3, 5]),  # the same tokens, split elsewhere
    ([1, 9], [3, 5, 7]),  # leaves after one token
    ([1, 2, 3, 5], [6, 8]),  # goes on where another ends
    ([7] * 12, [1, 2]),  # longer than the window
]
WINDOW = 10


def naive(counting: Any, shape: Any) -> dict[str, int]:
    """Every prefix of every input written out as a tuple; FLOPs as m x k x n products, one after the other."""

    def product(m: int, k: int, n: int) -> int:
        return 2 * m * k * n

    def token(keys: int) -> int:
        d, part = shape.width, shape.width // shape.heads
        projections = product(1, d, 3 * d) + product(1, d, d)
        attention = shape.heads * (product(1, part, keys) + product(1, keys, part))
        return shape.layers * (projections + attention + product(1, d, shape.inner) + product(1, shape.inner, d))

    head = product(1, shape.width, shape.vocabulary)
    inputs = [(context + choice)[-WINDOW - 1 :][:-1] for context, choice in REQUESTS]
    prefixes = {tuple(tokens[:n]) for tokens in inputs for n in range(1, len(tokens) + 1)}
    scored = {
        tuple(tokens[: len(tokens) - back])
        for tokens, (_, choice) in zip(inputs, REQUESTS, strict=True)
        for back in range(len(choice))
    }
    return {
        "requests": len(REQUESTS),
        "tokens": sum(map(len, inputs)),
        "nodes": len(prefixes),
        "head_rows": len(scored),
        "flops_each": sum(token(n) + head for tokens in inputs for n in range(1, len(tokens) + 1)),
        "flops_shared": sum(token(len(prefix)) for prefix in prefixes) + head * len(scored),
    }


def test_work_is_what_a_naive_count_finds(counting: Any) -> None:
    shape = counting.Shape(layers=3, width=8, heads=2, inner=32, vocabulary=50)
    work = counting.count(REQUESTS, shape, WINDOW)
    expected = naive(counting, shape)
    assert {name: getattr(work, name) for name in expected} == expected
    assert work.limit == expected["flops_each"] / expected["flops_shared"] > 1


def test_one_request_leaves_only_the_head_to_save(counting: Any) -> None:
    shape = counting.Shape(layers=1, width=4, heads=1, inner=4, vocabulary=10)
    work = counting.count([([1, 2], [3])], shape, WINDOW)
    assert work.flops_each - work.flops_shared == 2 * 4 * 10  # of two positions one is scored


def test_padding_and_sharing_are_lm_evals(counting: Any, toy_models: Path) -> None:
    """Against what lm-eval sends through the model."""
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    sent: list[tuple[int, int]] = []

    class Watched(HFLM):  # type: ignore[misc]
        def _model_call(self, inps: Any, *args: Any, **kwargs: Any) -> Any:
            sent.append(tuple(inps.shape))
            return super()._model_call(inps, *args, **kwargs)

    folder = toy_models / "toy-s" / "step1"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    named = [(("", ""), *request) for request in REQUESTS]
    for cached in (False, True):
        sent.clear()
        lm = Watched(pretrained=model, tokenizer=tokenizer, batch_size=3, max_length=WINDOW, logits_cache=cached)
        lm._loglikelihood_tokens(named, disable_tqdm=True)
        rows = sum(shape[0] for shape in sent)
        assert rows == len(REQUESTS) - (counting.shareable_requests(REQUESTS) if cached else 0)
        if not cached:
            assert sum(shape[0] * shape[1] for shape in sent) == counting.padded_tokens(REQUESTS, 3, WINDOW)


def test_made_text_has_the_shape_of_the_published(counting: Any) -> None:
    made_text = importlib.import_module("made_text")
    tables = made_text.make_tables()
    assert made_text.make_tables() == tables  # the same at every call
    assert len(tables.truthfulqa) == 817
    for number, choices in ((5, "mc1"), (7.2, "mc2")):
        counts = [len(getattr(question, choices)) for question in tables.truthfulqa]
        assert sum(counts) / len(counts) == pytest.approx(number, rel=0.1)
    for question in islice(tables.truthfulqa, 50):
        assert set(question.mc1) <= set(question.mc2)
        assert len(set(question.mc2)) == len(question.mc2)


NUMBERS = {
    "items", "requests", "batch_size", "batch_size_seconds", "ratio_median", "ratio_min", "ratio_max",
    "ratio_to_default", "seconds", "runs", "first_seconds", "memory", "differing_answers", "differing_greedy",
    "largest_difference", "default_largest_difference", "counted_limit", "peak_gflops", "peak_share", "flops", "tokens",
}  # fmt: skip


@pytest.mark.release
@pytest.mark.slow
def test_the_scoring_benchmark_runs_and_finds_the_same_answers(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    names = ("few_shot", "three_choices")
    words = [
        "--models",
        "tiny",
        "--workloads",
        *names,
        "--items",
        "2",
        "--repeats",
        "1",
        "--threads",
        "1",
        "--device",
        "cpu",
    ]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "scoring.py"), *words, "--json", str(file)],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]
    found = json.loads(file.read_text())
    assert found["environment"]["versions"].keys() >= {"torch", "transformers", "lm_eval", "evalrun"}
    assert set(found["workloads"]) == {f"{name}/tiny" for name in names}
    for name, numbers in found["workloads"].items():
        assert numbers.keys() == NUMBERS
        assert (numbers["differing_answers"], numbers["differing_greedy"]) == (0, 0), name
        assert 0 <= numbers["largest_difference"] < 1e-3
        tokens = numbers["tokens"]
        assert tokens["evalrun_nodes"] == tokens["distinct"]
        assert tokens["evalrun_head_rows"] == tokens["distinct_scored"]
        assert tokens["distinct"] <= tokens["evalrun_body"] <= 1.05 * tokens["distinct"]
        assert tokens["lm_eval"] <= tokens["lm_eval_padded"]


def test_the_benchmark_says_which_files_it_lacks(tmp_path: Path) -> None:
    script = str(BENCHMARKS / "scoring.py")
    code = (
        f"import runpy, sys; sys.path.insert(0, {str(BENCHMARKS)!r}); runpy.run_path({script!r}, run_name='__main__')"
    )
    done = forked.python(code, "--data", str(tmp_path))
    assert done.returncode == 2
    assert "neqa_classification.jsonl" in done.stderr


@pytest.mark.release
def test_the_sweep_benchmark_takes_the_sweep_apart(tmp_path: Path) -> None:
    words = ["--checkpoints", "2", "--items", "4", "--only-evalrun", "--json", str(tmp_path / "found.json")]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "sweep.py"), *words, "analysis.after_sweep=false"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (numbers,) = json.loads((tmp_path / "found.json").read_text())["runs"]
    parts = numbers["evalrun"]
    assert parts["passes"] >= 2
    assert 0 < parts["forward_s"] < parts["jobs_s"] < numbers["timed_s"]
    assert 0 < parts["median_overhead_s"] < parts["jobs_s"]


@pytest.mark.release
def test_the_analysis_benchmark_makes_stores_and_compares_builds(tmp_path: Path) -> None:
    file, stores = tmp_path / "found.json", tmp_path / "stores"
    works = ["--only", "ingest", "--only", "paper", "--only", "status", "--only", "rerun"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "analysis.py"), *works, "--scale", "0.01", "--repeats", "1",
         "--against", str(ROOT), "--keep", str(stores), "--json", str(file)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())["work"]
    assert list(found) == ["ingest", "paper", "status", "rerun"]
    for row in found.values():
        assert row["min"] <= row["ratio_median"] <= row["max"]
        assert row["ratio_median"] == pytest.approx(row["before_wall_s"] / row["wall_s"])
        assert 50 < row["memory"] < 2000  # MB
    assert len((stores / "this" / "paper" / "all.tsv").read_text().splitlines()) == 1 + 8 * 8 * 12
    assert "paper" in done.stdout


@pytest.mark.release
def test_the_benchmark_of_items_counts_what_pandas_counts(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    words = ["--items", "40", "--checkpoints", "8", "--models", "2", "--json", str(file)]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "items.py"), *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    assert found["same"]
    assert found["dynamics"]["result"]["wrong to right"] > 0
    assert found["ratio"] == pytest.approx(found["dynamics"]["seconds"] / found["pandas"]["seconds"])


@pytest.mark.release
def test_whole_texts_have_the_same_numbers(tmp_path: Path) -> None:
    words = ["--models", "tiny", "--texts", "6", "--tasks", "2", "--repeats", "1", "--batch-sizes", "1", "2"]
    told = tmp_path / "texts.json"
    subprocess.run(
        [sys.executable, BENCHMARKS / "texts.py", *words, "--json", told], check=True, cwd=tmp_path, capture_output=True
    )
    found = json.loads(told.read_text())["tiny"]
    assert found["largest_difference_a_token"] < 1e-4
    assert found["batch_size"] in (1, 2)
    assert found["tokens"] > 6 * 10


@pytest.mark.release
def test_minimal_pairs_have_the_same_numbers_by_both_commands(tmp_path: Path) -> None:
    words = ["--model", "tiny", "--sets", "2", "--pairs", "6", "--batch-sizes", "8"]
    told = tmp_path / "pairs.json"
    subprocess.run(
        [sys.executable, BENCHMARKS / "minimal_pairs.py", *words, "--json", told],
        check=True,
        cwd=tmp_path,
        capture_output=True,
    )
    found = json.loads(told.read_text())
    assert found["largest_difference"]["accuracy"] == 0
    assert found["largest_difference"]["nats"] < 1e-3
    assert found["ratio of seconds"] > 0


@pytest.mark.release
def test_adapters_have_the_numbers_of_the_merged_models(tmp_path: Path) -> None:
    words = ["--model", "tiny", "--adapters", "2", "--items", "6", "--threads", "1"]
    told = tmp_path / "adapters.json"
    subprocess.run(
        [sys.executable, BENCHMARKS / "adapters.py", *words, "--json", told],
        check=True,
        cwd=tmp_path,
        capture_output=True,
    )
    found = json.loads(told.read_text())
    assert found["same_accuracies"]
    assert found["ratio of seconds"] > 0
