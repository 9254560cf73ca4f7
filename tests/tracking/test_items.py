"""Per-item results as the store gives them back."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evalrun.config.schema import TrackingConf
from evalrun.core.records import TaskResult
from evalrun.errors import TrackingError
from evalrun.tracking import Store

from .conftest import MakeResult, make_cell
from .test_server import address  # noqa: F401 - a fixture


def frame(n: int = 4, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "doc_id": range(n),
            "acc": generator.integers(0, 2, n).astype(float),
            "logprobs": list(generator.normal(-3, 1, (n, 4))),
            "doc_hash": [hashlib.sha256(bytes([i % 256])).hexdigest() for i in range(n)],
        }
    )


def with_items(pair: tuple[TaskResult, Path], items: pd.DataFrame) -> tuple[TaskResult, Path]:
    result, path = pair
    items.to_parquet(path)
    return replace(result, items_sha256=hashlib.sha256(path.read_bytes()).hexdigest()), path


def test_items_come_back_as_they_were_delivered(store: Store, make: MakeResult) -> None:
    run_id = store.deliver([with_items(make(), frame()), with_items(make("neqa"), frame(seed=1))], None, None)
    with store.items([(run_id, "memo_trap"), (run_id, "neqa")]) as items:
        pd.testing.assert_frame_equal(items(run_id, "memo_trap"), frame())
        pd.testing.assert_frame_equal(items(run_id, "neqa"), frame(seed=1))
        some = items(run_id, "neqa", ["acc", "doc_id", "absent", "acc"])
        pd.testing.assert_frame_equal(some, frame(seed=1)[["acc", "doc_id"]])


def test_bulk_delivery_and_names_that_mlflow_refuses(store: Store, make: MakeResult) -> None:
    name = "odd name: (a+b)/c"
    store.deliver_many([with_items(make(name), frame())])
    (run,) = store.past("pythia")
    with store.items([(run.run_id, name)]) as items:
        pd.testing.assert_frame_equal(items(run.run_id, name), frame())


def test_what_is_not_there_is_none(store: Store, make: MakeResult) -> None:
    run_id = store.deliver([(make()[0], None)], None, None)
    with store.items([(run_id, "memo_trap")]) as items:
        assert items(run_id, "memo_trap") is None
        assert items(run_id, "other") is None
        assert items("0" * 32, "memo_trap") is None  # was not among those wanted
    with store.items([("0" * 32, "memo_trap")]) as items, pytest.raises(TrackingError, match="not found"):
        items("0" * 32, "memo_trap")


def test_a_store_without_a_database_has_none(tmp_path: Path) -> None:
    with Store(TrackingConf(uri=None, root=str(tmp_path / "none"))).items([("0" * 32, "memo_trap")]) as items:
        assert items("0" * 32, "memo_trap") is None
    assert not (tmp_path / "none").exists()


def test_a_damaged_file_is_said_and_left_out(
    store: Store, make: MakeResult, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = store.deliver([with_items(make(), frame())], None, None)
    (path,) = (tmp_path / "mlruns" / "artifacts").rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with caplog.at_level(logging.WARNING), store.items([(run_id, "memo_trap")]) as items:
        assert items(run_id, "memo_trap") is None
    assert "per-item results of task 'memo_trap' on run" in caplog.text


def test_a_damaged_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 1000)
    with pytest.raises(TrackingError):
        Store(TrackingConf(uri=None, root=str(tmp_path))).items([("0" * 32, "memo_trap")])


def test_hundreds_are_read_in_no_time(store: Store, make: MakeResult) -> None:
    pairs = [with_items(make(cell=make_cell(step=step)), frame(1000, step)) for step in range(1, 201)]
    store.deliver_many(pairs)
    runs = {run.step: run.run_id for run in store.past("pythia")}
    started = time.perf_counter()
    with store.items([(run_id, "memo_trap") for run_id in runs.values()]) as items:
        found = {step: items(run_id, "memo_trap", ["doc_id", "acc"]) for step, run_id in runs.items()}
    assert (time.perf_counter() - started) / len(found) < 0.05  # 1 ms on an idle machine
    assert all(one["acc"].equals(frame(1000, step)["acc"]) for step, one in found.items())


def test_the_table_of_some_runs_is_a_part_of_the_table(store: Store, make: MakeResult) -> None:
    ids = [store.deliver([make(cell=make_cell(step=step))], None, None) for step in (1, 2, 3)]
    table = store.table("pythia")
    expected = table[table["run_id"].isin(ids[1:])].reset_index(drop=True)
    pd.testing.assert_frame_equal(store.table_of(ids[1:]), expected)
    with pytest.raises(TrackingError):
        store.table_of(["0" * 32])


@pytest.mark.slow
def test_a_server_serves_items(address: str, make: MakeResult, tmp_path: Path) -> None:  # noqa: F811
    store = Store(TrackingConf(uri=address, root=str(tmp_path / "unused")))
    store.check()
    ids = {}
    for step in (1, 2):
        pair = with_items(make(cell=make_cell(step=step)), frame(seed=step))
        ids[step] = store.deliver([pair, (make("neqa", make_cell(step=step))[0], None)], None, None)
    wanted = [(run_id, task) for run_id in ids.values() for task in ("memo_trap", "neqa")]
    with store.items(wanted) as items:
        for step, run_id in ids.items():
            pd.testing.assert_frame_equal(items(run_id, "memo_trap"), frame(seed=step))
            assert items(run_id, "neqa") is None
        folder = Path(items._scratch.name)  # type: ignore[union-attr]
        assert folder.is_dir()
    assert not folder.exists()
    with store.items([("0" * 32, "memo_trap")]) as items, pytest.raises(TrackingError):
        items("0" * 32, "memo_trap")


def test_a_run_is_looked_at_once_for_all_of_its_tasks(
    store: Store, make: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = store.deliver([with_items(make(), frame()), (make("neqa")[0], None)], None, None)
    looked, listdir = [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: looked.append(path) or listdir(path))
    with store.items([(run_id, "memo_trap"), (run_id, "neqa")]) as items:
        assert [items(run_id, task) is None for task in ("memo_trap", "neqa", "neqa", "other")] == [
            False,
            True,
            True,
            True,
        ]
    assert len(looked) == 1


@pytest.mark.slow
def test_a_server_is_asked_for_the_items_of_those_that_have_some(
    address: str,  # noqa: F811
    make: MakeResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remote = Store(TrackingConf(uri=address, root=str(tmp_path / "client")))
    bare = replace(make(cell=make_cell(step=1))[0], items_sha256="")
    remote.deliver_many([(bare, None), with_items(make(cell=make_cell(step=2)), frame())])

    def asked() -> list[int]:
        """Steps whose run was asked."""
        table, seen = remote.table("pythia"), []
        wanted = table[["run_id", "task"]].drop_duplicates()
        steps = dict(zip(table["run_id"], table["step"], strict=True))
        client = remote._link.client
        ask = client.list_artifacts
        with monkeypatch.context() as noting:
            noting.setattr(
                client, "list_artifacts", lambda run_id, path: seen.append(steps[run_id]) or ask(run_id, path)
            )
            with remote.items(wanted.itertuples(index=False, name=None)) as items:
                found = {(run_id, task): items(run_id, task) for run_id, task in wanted.itertuples(index=False)}
        assert {(steps[run_id], task) for (run_id, task), one in found.items() if one is not None} == expected
        return sorted(seen)

    expected = {(2, "memo_trap")}
    assert asked() == [2]
    remote.deliver_many([with_items(make("neqa", cell=make_cell(step=1)), frame())])
    expected = {(2, "memo_trap"), (1, "neqa")}
    assert asked() == [1, 2]  # the tag says so from then on
    remote.deliver_many([(replace(make("arc", cell=make_cell(step=1))[0], items_sha256=""), None)])
    assert asked() == [1, 2]
