"""Reading back: what was delivered, exactly, from MLflow alone."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from evalrun.config.schema import TrackingConf
from evalrun.core.columns import TABLE_COLUMNS
from evalrun.core.records import TaskResult
from evalrun.core.text_columns import TEXT
from evalrun.tracking import Store
from evalrun.tracking.run_values import settings_label

from .conftest import MakeResult, make_cell


def expected(results: list[TaskResult]) -> pd.DataFrame:
    """The table by its definition."""
    rows = [
        {
            **{k: v for k, v in vars(r.cell).items() if k in TABLE_COLUMNS},
            "flops": r.cell.flops,
            "task": r.task,
            "title": r.title,
            "cause": r.cause,
            "role": r.role,
            "metric": metric,
            "value": value,
            "stderr": r.stderrs.get(metric, math.nan),
            "n": r.n,
            "chance": math.nan if r.chance is None else r.chance,
            "primary": metric == r.primary_metric,
            "higher_is_better": r.higher_is_better,
            "weights": r.weights,
            "task_key": r.key,
            "settings": settings_label(r),
            "disputed": r.settings.get("disputed", ""),
            "finished_ms": r.finished_ms,
        }
        for r in results
        for metric, value in r.metrics.items()
    ]
    return pd.DataFrame(rows)


def test_the_round_trip_is_exact(store: Store, make: MakeResult) -> None:
    pairs = [
        make("memo_trap", make_cell("m", step, size, seed=seed), metrics={"acc": 1 / 3 + step / 7e5, "f1": 0.1 + 0.2})
        for size in (70_426_624, 11_846_072_320)
        for step in (0, 1, 143_000)
        for seed in (None, 3)
    ]
    # The helper's keys do not know sizes.
    pairs = [
        (replace(r, key=f"{r.key}-{r.cell.n_params}", run_key=f"{r.run_key}-{r.cell.n_params}"), p) for r, p in pairs
    ]
    lower = make("ppl", primary_metric="perplexity", metrics={"perplexity": 1e300}, chance=None, higher_is_better=False)
    for pair in [*pairs, lower]:
        store.deliver([pair], None, "")
    table = store.table("pythia")
    assert list(table.columns) == list(TABLE_COLUMNS)
    key = ["n_params", "model", "seed", "step", "task", "metric"]
    want = expected([r for r, _ in [*pairs, lower]]).astype({"seed": "Int64", "flops": float})
    want = want.sort_values(key, ignore_index=True)
    want = want[[c for c in TABLE_COLUMNS if c != "run_id"]]
    want = want.astype({name: TEXT for name in want if TABLE_COLUMNS[name].dtype == "str"})
    pd.testing.assert_frame_equal(table.drop(columns="run_id"), want, check_exact=True)
    assert table["run_id"].nunique() == 13


def test_every_column_is_where_the_journals_record_has_it(store: Store, make: MakeResult) -> None:
    cell = make_cell(seed=3)
    made = make(
        cell=cell, title="T", cause="c", role="control", lower=["acc_norm"], stderrs={"acc": 0.1, "acc_norm": 0.2}
    )
    store.deliver([made], None, "")
    for _, row in store.table("pythia").iterrows():
        record, metric = {**vars(made[0]), "cell": cell}, row["metric"]
        for name, column in TABLE_COLUMNS.items():
            owner, _, key = column.record.rpartition(".")
            said = getattr(cell, key) if owner else record[column.record.partition("[")[0]] if key else None
            match name:
                case "metric":
                    assert metric in said
                case "value" | "stderr":
                    assert row[name] == said[metric]
                case "primary":
                    assert row[name] == (said == metric)
                case "higher_is_better":
                    assert row[name] == made[0].is_higher_better(metric)
                case _ if key:
                    assert row[name] == said, name
                case _:
                    assert name in ("settings", "disputed", "run_id")
    types = store.table("pythia").dtypes.astype(str)
    assert {name: types[name] for name in TABLE_COLUMNS if types[name] != "object"} == {
        name: column.dtype for name, column in TABLE_COLUMNS.items() if types[name] != "object"
    }


def test_nothing_is_an_empty_table_of_the_same_shape(store: Store, make: MakeResult, tmp_path: Path) -> None:
    nowhere = Store(TrackingConf(uri=None, root=str(tmp_path / "nowhere")))
    assert nowhere.suites() == []
    assert not (tmp_path / "nowhere").exists()
    store.deliver([make()], None, "")
    for empty in (nowhere.table("pythia"), store.table("unknown"), store.table("pythia", sweep="unknown")):
        assert empty.empty
        assert list(empty.columns) == list(TABLE_COLUMNS)
        assert (empty.dtypes == store.table("pythia").dtypes).all()


def test_suites_are_those_with_checkpoints(store: Store, make: MakeResult, tmp_path: Path) -> None:
    assert store.suites() == []
    for suite in ("zeta", "alpha"):
        store.deliver([make(cell=make_cell(suite=suite))], None, "")
    store.rebuild_curves("zeta")
    (tmp_path / "r.html").write_text("")
    store.log_report("beta", {"r.html": tmp_path / "r.html"}, {}, {}, {})
    assert store.suites() == ["alpha", "zeta"]


def test_one_key_on_two_runs_is_one_result(store: Store, make: MakeResult) -> None:
    store.deliver([make(key="same", run_key="a", finished_ms=1000)], None, "")
    later = store.deliver([make(key="same", run_key="b", finished_ms=2000)], None, "")
    assert set(store.table("pythia")["run_id"]) == {later}


def test_weights_found_twice_are_two_rows(store: Store, make: MakeResult) -> None:
    """Whether two steps with equal weights are a fault is for the audit to say, not for the table to hide."""
    store.deliver([make(cell=make_cell(step=1), key="same", run_key="a")], None, "")
    store.deliver([make(cell=make_cell(step=2), key="same", run_key="b")], None, "")
    assert set(store.table("pythia")["step"]) == {1, 2}


def test_many_runs_are_read_page_by_page(store: Store, make: MakeResult, monkeypatch: pytest.MonkeyPatch) -> None:
    from evalrun.tracking import results_table as table

    monkeypatch.setattr(table, "_PAGE", 3)
    for step in range(7):
        store.deliver([make(cell=make_cell(step=step))], None, "")
    assert list(store.table("pythia")["step"].unique()) == list(range(7))


def test_a_store_that_may_only_be_read(store: Store, make: MakeResult, monkeypatch: pytest.MonkeyPatch) -> None:
    """A colleague's results on a share: the lock of first use cannot be made, and is not needed."""
    from filelock import FileLock

    store.deliver([make()], None, "")
    expected_table = store.table("pythia")

    def refuse(self: FileLock, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    other = Store(TrackingConf(uri=None, root=store.conf.root))
    pd.testing.assert_frame_equal(other.table("pythia"), expected_table)


@pytest.mark.slow
def test_a_thousand_runs_take_seconds(store: Store, make: MakeResult) -> None:
    """Copies of one run, written straight to the database: a thousand deliveries would take minutes."""
    import sqlite3

    tasks = [make(f"t{i}") for i in range(20)]
    run_id = store.deliver(tasks, None, "")
    database = sqlite3.connect(Path(store.conf.root) / "mlflow.db")
    for table in ("runs", "latest_metrics", "params", "tags"):
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        chosen = ", ".join("run_uuid || '-' || i" if c == "run_uuid" else c for c in columns)
        database.execute(
            f"WITH RECURSIVE numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < 999) "
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {chosen} FROM {table}, numbers WHERE run_uuid = ?",
            (run_id,),
        )
    database.execute(
        "UPDATE tags SET value = json_set(value, '$.step', rowid) WHERE key = 'evalrun.cell' AND run_uuid <> ?",
        (run_id,),
    )
    database.commit()
    database.close()
    start = time.monotonic()
    rows = store.table("pythia")
    took = time.monotonic() - start
    assert len(rows) == 1000 * 20 * 2
    assert took < 30, "about 3 s on one shared core"
