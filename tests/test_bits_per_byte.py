"""Bits per byte of the right answers: of results as they are in the store, wherever a metric can be named."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import evalrun
from evalrun.errors import AnalysisError, ConfigError

GOLD = "gold_bits_per_byte"


def by_hand(folder: Path, run_id: str, task: str) -> float:
    """From the items' log-probabilities and the texts of the task's data."""
    rows = [json.loads(line) for line in (folder / "data" / f"{task}.jsonl").read_text().splitlines()]
    (path,) = (folder / "mlruns").rglob(f"{run_id}/artifacts/items/{task}.parquet")
    items = pd.read_parquet(path)
    nats = sum(-one[row["answer"]] for one, row in zip(items["logprobs"], rows, strict=True))
    sizes = sum(len(f" {row['choices'][row['answer']]}".encode()) for row in rows)
    return float(nats / sizes / math.log(2))


def forget(folder: Path, *columns: str) -> None:
    """Make the results those of an earlier version."""
    for path in (folder / "mlruns").rglob("items/*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(list(columns)), path)


def test_every_function_takes_it_of_results_old_and_new(evaluated: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = evalrun.results()
    new = evalrun.falls(table, metric=GOLD)
    assert (~new["higher_is_better"]).all()
    one = new.iloc[0]
    at = (table["model"] == one["model"]) & (table["task"] == one["task"]) & (table["step"] == one["peak_step"])
    assert one["peak_value"] == pytest.approx(by_hand(evaluated, table.loc[at, "run_id"].iloc[0], one["task"]))
    assert one["method"] == "paired t test of a ratio"
    (found,) = evalrun.compare("toy-s@1", "toy-s@8", task="alpha", metric=GOLD).to_dict("records")
    assert found["method"] == "paired t test of a ratio"
    better = found["after"] < found["before"]
    assert found["verdict"] in ("no difference shown", "better" if better else "worse")
    assert evalrun.shapes(table, metric=GOLD)["sentence"].str.contains("lower is better").all()
    assert set(evalrun.fit(table, metric=GOLD, methods=["ols"])["task"]) == {"alpha", "beta"}
    assert evalrun.plot(table, metric=GOLD).axes
    forget(evaluated, "choice_bytes")
    pd.testing.assert_frame_equal(evalrun.falls(table, metric=GOLD), new)  # the texts tell the bytes
    with (evaluated / "data" / "alpha.jsonl").open("a") as file:
        file.write(json.dumps({"question": "a", "choices": ["b", "c"], "answer": 0}) + "\n")
    for path in (evaluated / "data").glob("alpha.jsonl"):
        path.write_text(path.read_text().replace("cat", "dog"))
    caplog.clear()
    fewer = evalrun.falls(table, metric=GOLD)
    assert set(fewer["task"]) == set(new["task"]) - {"alpha"}
    (said,) = [one.message for one in caplog.records if "has no" in one.message]
    assert f"has no {GOLD}: the bytes of the choices are not known: no bits per byte (" in said
    assert "are not those of the task's data as it is now" in said


def test_wrong_names_and_missing_items_are_one_sentence(evaluated: Path) -> None:
    table = evalrun.results()
    with pytest.raises(AnalysisError, match=f"^no task has the metric 'gold_bits_per_bite': .*'{GOLD}'"):
        evalrun.falls(table, metric="gold_bits_per_bite")
    with pytest.raises(ConfigError, match=f"no task has the metric 'gold_bits': .*{GOLD}"):
        evalrun.compare("toy-s@1", "toy-s@8", metric="gold_bits")
    with pytest.raises(AnalysisError, match="^no task has the metric 'bits_per_byte': did you mean"):
        evalrun.fit(table, metric="bits_per_byte", methods=["ols"])
    for path in (evaluated / "mlruns").rglob("items/*.parquet"):
        path.unlink()
    with pytest.raises(AnalysisError, match=f"^no task has the metric '{GOLD}'. .*no items are in the store"):
        evalrun.fit(table, metric=GOLD, methods=["ols"])


def test_the_other_metrics_of_items_can_be_named_too(evaluated: Path) -> None:
    found = evalrun.falls(evalrun.results(), metric="gold_logprob")
    assert (found["method"] == "paired t test").all()
    assert np.isfinite(found["p"]).all()
    with pytest.raises(
        AnalysisError, match="by 'margin' no answer is right or wrong: follow them with analysis.metric=acc"
    ):
        evalrun.items(evalrun.results(task="alpha"), metric="margin")
