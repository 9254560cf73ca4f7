"""The derived lines: the checkpoint runs' numbers over the training step, up to date, and a view that shows them."""

from __future__ import annotations

import base64
import json
import re
import sqlite3
import zlib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from evalrun.core import receipt
from evalrun.core.palette import model_colors
from evalrun.errors import TrackingError
from evalrun.tracking import Store, curve_points, curve_runs

from .conftest import MakeResult, make_cell

SIZES = {"big": 1_400_000_000, "small": 70_000_000, "middle": 410_000_000}
STEPS = [0, 1, 1000, 143_000]


@pytest.fixture
def filled(store: Store, make: MakeResult) -> Store:
    for model, size in SIZES.items():
        for step in STEPS:
            cell = make_cell(model, step, size)
            accuracy = {"acc": size / 2e9 + step / 1e6}
            store.deliver([make("memo_trap", cell, metrics=accuracy), make("hellaswag", cell)], None, "")
    store.rebuild_curves("pythia")
    return store


def curves_of(store: Store, suite: str = "pythia") -> dict[str, Any]:
    client = MlflowClient(store.uri)
    experiment = client.get_experiment_by_name(f"{suite}-curves")
    found = client.search_runs([experiment.experiment_id])
    assert len({run.info.run_name for run in found}) == len(found)
    return {run.info.run_name: run for run in found}


def points(store: Store, run: Any, key: str) -> dict[int, float]:
    found = MlflowClient(store.uri).get_metric_history(run.info.run_id, key)
    assert len({m.step for m in found}) == len(found)
    return {m.step: m.value for m in found}


def test_one_line_per_model_over_the_training_step(filled: Store) -> None:
    curves = curves_of(filled)
    assert set(curves) == set(SIZES)
    for model, run in curves.items():
        assert run.info.status == "FINISHED"
        accuracy = {step: SIZES[model] / 2e9 + step / 1e6 for step in STEPS}
        assert points(filled, run, "acc/memo_trap") == accuracy
        assert points(filled, run, "acc_norm/hellaswag") == dict.fromkeys(STEPS, 0.5)
        assert points(filled, run, "acc/mean") == pytest.approx({s: (a + 0.625) / 2 for s, a in accuracy.items()})
        assert points(filled, run, "tokens") == {step: step * 2_097_152.0 for step in STEPS}
        assert run.data.params["n_params"] == str(SIZES[model])


def test_colours_say_the_size_on_lines_and_checkpoints(filled: Store) -> None:
    colors = dict(zip(SIZES, model_colors(list(SIZES.values())), strict=True))
    assert {name: run.data.tags["mlflow.runColor"] for name, run in curves_of(filled).items()} == colors
    client = MlflowClient(filled.uri)
    for run in client.search_runs([client.get_experiment_by_name("pythia").experiment_id]):
        assert run.data.tags["mlflow.runColor"] == colors[run.data.params["model"]]


def test_rebuilding_writes_only_what_changed(filled: Store, make: MakeResult) -> None:
    before = curves_of(filled)
    tags = {e.name: e.tags for e in MlflowClient(filled.uri).search_experiments()}
    filled.rebuild_curves("pythia")
    assert {n: r.info.run_id for n, r in curves_of(filled).items()} == {n: r.info.run_id for n, r in before.items()}
    assert {e.name: e.tags for e in MlflowClient(filled.uri).search_experiments()} == tags

    changed = make("memo_trap", make_cell("small", 1000, SIZES["small"]), key="new", metrics={"acc": 0.99})
    filled.deliver([changed], None, "")
    filled.rebuild_curves("pythia")
    after = curves_of(filled)
    assert points(filled, after["small"], "acc/memo_trap")[1000] == 0.99
    assert {n for n in SIZES if after[n].info.run_id != before[n].info.run_id} == {"small"}


def test_points_are_made_of_lines_whose_rows_changed_alone(
    filled: Store, make: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def counted(*given: Any) -> Any:
        made.append(given)
        return curve_points.points_of(*given)

    monkeypatch.setattr(curve_runs, "points_of", counted)

    def rebuilt() -> dict[str, Any]:
        made.clear()
        filled.rebuild_curves("pythia")
        return curves_of(filled)

    before = {name: run.info.run_id for name, run in rebuilt().items()}
    assert not made
    with sqlite3.connect(filled._link.database) as database:
        for table in ("metrics", "latest_metrics"):
            value = SIZES["small"] / 2e9 + 1000 / 1e6
            database.execute(f"UPDATE {table} SET value = 0.123 WHERE key = 'acc/memo_trap' AND value = ?", (value,))
    database.close()
    edited = rebuilt()
    assert len(made) == 1
    assert points(filled, edited["small"], "acc/memo_trap")[1000] == 0.123
    more = make_cell("big", 2000, SIZES["big"])
    filled.deliver([make("memo_trap", more), make("hellaswag", more)], None, "")
    assert 2000 in points(filled, rebuilt()["big"], "acc/mean")
    assert len(made) == 1
    filled.deliver([make("memo_trap", make_cell("middle", 2000, SIZES["middle"]))], None, "")
    assert 2000 not in points(filled, rebuilt()["middle"], "acc_norm/hellaswag")
    assert len(made) == 3  # not all have every task any more: every mean is another
    assert points(filled, curves_of(filled)["small"], "acc/mean")[1000] == 0.123
    (gone,) = filled.table("pythia").query("model == 'middle' and step == 2000")["run_id"].unique()
    MlflowClient(filled.uri).delete_run(gone)
    assert 2000 not in points(filled, rebuilt()["middle"], "acc/memo_trap")
    lines = {name: run.info.run_id for name, run in curves_of(filled).items()}
    monkeypatch.setattr(receipt, "_code", lambda: "another version")
    assert {name: run.info.run_id for name, run in rebuilt().items()} == lines != before
    assert len(made) == 3  # but they are what they were, and the lines stay
    rebuilt()
    assert not made


def test_a_half_written_line_is_replaced(filled: Store) -> None:
    client = MlflowClient(filled.uri)
    experiment = client.get_experiment_by_name("pythia-curves").experiment_id
    half = client.create_run(experiment, tags={"evalrun.kind": "curve"}, run_name="small")
    client.delete_run(curves_of_list(client, experiment, "big")[0].info.run_id)
    filled.rebuild_curves("pythia")
    curves = curves_of(filled)
    assert set(curves) == set(SIZES)
    assert half.info.run_id not in {run.info.run_id for run in curves.values()}
    assert points(filled, curves["big"], "acc/memo_trap")


def curves_of_list(client: MlflowClient, experiment: str, name: str) -> list[Any]:
    return [r for r in client.search_runs([experiment], run_view_type=ViewType.ACTIVE_ONLY) if r.info.run_name == name]


def test_models_that_are_gone_lose_their_line(filled: Store) -> None:
    client = MlflowClient(filled.uri)
    for run in client.search_runs([client.get_experiment_by_name("pythia").experiment_id]):
        if run.data.params["model"] == "big":
            client.delete_run(run.info.run_id)
    filled.rebuild_curves("pythia")
    assert set(curves_of(filled)) == {"middle", "small"}


def test_the_mean_compares_like_with_like(store: Store, make: MakeResult) -> None:
    """A task that one checkpoint lacks is left out of every mean; else the line would jump where it is missing."""
    for step in (1, 2, 3):
        cell = make_cell(step=step)
        store.deliver([make("easy", cell, metrics={"acc": 0.9})], None, "")
        if step != 2:
            store.deliver([make("hard", cell, metrics={"acc": 0.1})], None, "")
    store.rebuild_curves("pythia")
    assert points(store, curves_of(store)["pythia-70m"], "acc/mean") == {1: 0.9, 2: 0.9, 3: 0.9}


def test_settings_and_seeds_are_lines_of_their_own(store: Store, make: MakeResult) -> None:
    for seed in (1, 2):
        store.deliver([make(cell=make_cell(seed=seed))], None, "")
    store.rebuild_curves("pythia")
    assert set(curves_of(store)) == {"pythia-70m seed 1", "pythia-70m seed 2"}
    half = {"scorer": {"name": "lm_eval", "dtype": "float16"}, "limit": 50}
    store.deliver([make(cell=make_cell(seed=1), settings=half, run_key="half", key="half")], None, "")
    store.rebuild_curves("pythia")
    assert set(curves_of(store)) == {
        "pythia-70m seed 1 (shared_prefix float32)",
        "pythia-70m seed 2 (shared_prefix float32)",
        "pythia-70m seed 1 (lm_eval float16 limit 50)",
    }


def test_a_newer_key_of_the_same_settings_replaces_the_point(store: Store, make: MakeResult) -> None:
    """Another library version is another key, not another line."""
    store.deliver([make(metrics={"acc": 0.1}, finished_ms=1000)], None, "")
    store.deliver([make(metrics={"acc": 0.2}, finished_ms=2000, run_key="v2", key="v2")], None, "")
    store.rebuild_curves("pythia")
    assert points(store, curves_of(store)["pythia-70m"], "acc/memo_trap") == {2000: 0.2}


def test_without_results_there_is_nothing(store: Store) -> None:
    store.rebuild_curves("pythia")
    assert [e.name for e in MlflowClient(store.uri).search_experiments()] == ["Default"]
    with pytest.raises(TrackingError, match="no curves of suite 'pythia'"):
        store.view_path("pythia")


def view_of(store: Store, experiment: str, key: str) -> dict[str, Any]:
    tag = MlflowClient(store.uri).get_experiment_by_name(experiment).tags[f"mlflow.sharedViewState.{key}"]
    assert len(tag) <= 20_000
    packed = json.loads(tag)["state"].removeprefix("deflate;")
    return dict(json.loads(zlib.decompress(base64.b64decode(packed))))


def test_the_view_shows_a_chart_per_task_over_log_steps(filled: Store) -> None:
    path = filled.view_path("pythia")
    experiment = MlflowClient(filled.uri).get_experiment_by_name("pythia-curves")
    assert path.startswith(f"#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning&")
    key = re.search(r"viewStateShareKey=([\w-]+)", path)[1]  # type: ignore[index]
    view = view_of(filled, "pythia-curves", key)
    charts = view["compareRunCharts"]
    assert [chart["metricKey"] for chart in charts] == ["acc/mean", "acc/hellaswag", "acc/memo_trap"]
    assert {(c["type"], c["xAxisKey"], c["xAxisScaleType"]) for c in charts} == {("LINE", "step", "log")}
    assert {c["metricSectionId"] for c in charts} == {s["uuid"] for s in view["compareRunSections"]}
    assert view["runsHiddenMode"] == "SHOWALL"


def test_tasks_without_accuracy_show_their_own_metric(store: Store, make: MakeResult) -> None:
    store.deliver([make("lm", metrics={"perplexity": 9.0}, stderrs={}, primary_metric="perplexity")], None, "")
    store.rebuild_curves("pythia")
    view = view_of(store, "pythia-curves", "accuracy-against-training")
    assert [chart["metricKey"] for chart in view["compareRunCharts"]] == ["perplexity/lm"]


def test_hundreds_of_tasks_still_have_a_view(store: Store, make: MakeResult) -> None:
    from evalrun.tracking import views

    store.deliver([make()], None, "")
    store.rebuild_curves("pythia")
    rows = [
        {"task": f"{i:04}-{i**7 % 9973:x}", "title": f"Task {i**5 % 9973:x}", "metric": "acc", "primary": True}
        | {"cause": "", "role": "", "finished_ms": i}
        for i in range(2000)
    ]
    views.write(store._link, "pythia", pd.DataFrame(rows), {})
    charts = view_of(store, "pythia-curves", "accuracy-against-training")["compareRunCharts"]
    assert 100 < len(charts) < 2000


def test_notes_link_the_experiments(filled: Store, tmp_path: Path) -> None:
    (tmp_path / "r.html").write_text("<p>")
    run_id = filled.log_report("pythia", {"r.html": tmp_path / "r.html"}, {}, {}, {})
    client = MlflowClient(filled.uri)
    ids = {
        name: client.get_experiment_by_name(name).experiment_id for name in ("pythia", "pythia-curves", "pythia-report")
    }
    for name in ids:
        first_line = client.get_experiment_by_name(name).tags["mlflow.note.content"].splitlines()[0]
        for other in ids.values():
            assert f"(#/experiments/{other}/runs?workflowType=machine_learning" in first_line
        assert filled.view_path("pythia") in first_line
        assert f"#/experiments/{ids['pythia-report']}/runs/{run_id}/artifacts/r.html" in first_line
