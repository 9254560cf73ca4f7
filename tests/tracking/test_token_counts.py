"""A number of tokens that is corrected: the runs that are there take it, and it is said."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from evalrun.config.schema import TrackingConf
from evalrun.core.records import Checkpoint
from evalrun.tracking import Store

from .conftest import MakeResult, make_cell

Evalrun = Callable[..., subprocess.CompletedProcess[str]]


def settle(store: Store, *cells: Checkpoint) -> None:
    store.tokens.settle(cells, {"pythia": store.filed("pythia")})


def test_runs_take_the_tokens_that_are_meant_now(
    store: Store, make: MakeResult, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = [make_cell(step=step, tokens=step) for step in (0, 1000, 2000, 3000)]
    store.deliver_many([make(cell=cell) for cell in wrong])
    store.deliver_many([make(cell=wrong[2], run_key="the same, scored otherwise", key="other")])
    right = [replace(cell, tokens=cell.step * 1536) for cell in wrong]
    settle(store, *right[:3])
    assert caplog.messages == [
        "results of pythia-70m were filed with other tokens (step 2000: 2,000, now 3,072,000): put right on 3 runs; "
        "give its other steps too (1 step filed as before)."
    ]
    table = store.table("pythia")
    assert dict(zip(table["step"], table["tokens"], strict=True)) == {
        0: 0,
        1000: 1_536_000,
        2000: 3_072_000,
        3000: 3000,
    }
    assert table.loc[table["step"] == 2000, "flops"].unique().tolist() == [right[2].flops]
    client = MlflowClient(store.uri)
    for run in client.search_runs([client.get_experiment_by_name("pythia").experiment_id]):
        cell = right[int(run.data.metrics["step"]) // 1000]
        if cell.step < 3000:
            assert (run.data.metrics["tokens"], run.data.metrics["flops"]) == (cell.tokens, cell.flops)
            assert f"{cell.tokens:,} tokens" in run.data.tags["mlflow.note.content"]
    caplog.clear()
    settle(store, *right[:3])  # nothing is left to be said
    assert not caplog.messages
    settle(store, right[3])
    assert caplog.messages[0].endswith("put right on 1 run.")


def test_another_seed_or_suite_is_not_touched(store: Store, make: MakeResult) -> None:
    store.deliver_many([make(cell=make_cell(seed=seed)) for seed in (1, 2)])
    settle(store, make_cell(seed=1, tokens=7))
    table = store.table("pythia")
    assert table.loc[table["seed"] == 1, "tokens"].unique().tolist() == [7]
    assert table.loc[table["seed"] == 2, "tokens"].unique().tolist() == [make_cell().tokens]


def test_another_seeds_steps_are_not_asked_for(
    store: Store, make: MakeResult, caplog: pytest.LogCaptureFixture
) -> None:
    store.deliver_many([make(cell=make_cell(seed=seed, step=1000 * seed)) for seed in (1, 2)])
    settle(store, make_cell(seed=1, step=1000, tokens=7))
    assert caplog.messages[0].startswith("results of pythia-70m-seed1 were filed")
    assert caplog.messages[0].endswith("put right on 1 run.")


@pytest.mark.release
@pytest.mark.parametrize("words", [("-m",), (), ("watch", "--once")], ids=["sweep", "one", "watch"])
def test_a_corrected_number_is_heard_though_all_is_done(
    workspace: Path, evalrun: Evalrun, words: tuple[str, ...]
) -> None:
    common = ("path=models/toy-s", "task=alpha", "analysis.after_sweep=false")
    first = evalrun("-m", "model=local", "step=all", *common, "tokens_per_step=1")
    assert first.returncode == 0, first.stderr
    named = () if "watch" in words else ("model=local", "step=8")
    again = evalrun(*words, *named, *common, "tokens_per_step=10")
    assert again.returncode == 0, again.stderr
    assert "results of toy-s were filed with other tokens (step 8: 8, now 80): put right on" in again.stderr
    table = Store(TrackingConf(uri=None, root=str(workspace / "mlruns"))).table("local")
    assert table.loc[table["step"] == 8, "tokens"].tolist() == [80]
    assert len(table) == table["step"].nunique()
