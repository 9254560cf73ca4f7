"""Groups of tasks in the store: known from it alone, with means on the models' curves beside those of tasks."""

from __future__ import annotations

import base64
import json
import logging
import zlib
from typing import Any

import pytest
from mlflow import MlflowClient

from evalrun.core.task_group import TaskGroup
from evalrun.tracking import Store
from evalrun.tracking.file_state import FileState

from .conftest import MakeResult, make_cell

GROUPS = {
    "all": TaskGroup("all", "All three", ("inner", "c"), {"acc": True}),
    "inner": TaskGroup("inner", "Inner", ("a", "b")),
}
SCORES = {"a": (0.2, 10), "b": (0.6, 30), "c": (0.9, 60)}


@pytest.fixture
def filled(store: Store, make: MakeResult) -> Store:
    """Three tasks at step 1, two at step 8."""
    for step, tasks in ((1, "abc"), (8, "ab")):
        results = [
            make(task, make_cell("small", step), metrics={"acc": value}, n=n)
            for task, (value, n) in SCORES.items()
            if task in tasks
        ]
        store.deliver(results, None, "")
    return store


def points(store: Store) -> dict[str, dict[int, float]]:
    client = MlflowClient(store.uri)
    (run,) = client.search_runs([client.get_experiment_by_name("pythia-curves").experiment_id])
    return {
        key: {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, key)}
        for key in run.data.metrics
    }


def test_groups_are_known_from_the_store_alone(filled: Store) -> None:
    assert filled.groups.of("pythia") == {}
    filled.groups.record("pythia", GROUPS)
    again = Store(filled.conf)
    assert again.groups.of("pythia") == GROUPS
    assert list(again.groups.of("pythia")) == ["all", "inner"]  # the outer first
    newer = {"all": TaskGroup("all", "Both", ("a", "b"), {"acc": False})}
    filled.groups.record("pythia", newer)
    assert again.groups.of("pythia")["all"] == newer["all"]
    filled.groups.record("of nothing", GROUPS)
    assert again.groups.of("of nothing") == {}


def test_a_group_has_a_curve_at_the_steps_that_have_all_of_its_tasks(filled: Store) -> None:
    filled.rebuild_curves("pythia")
    assert "acc/inner" not in points(filled)
    filled.groups.record("pythia", GROUPS)
    filled.rebuild_curves("pythia")
    found = points(filled)
    assert found["acc/inner"] == pytest.approx({1: 0.4, 8: 0.4})
    assert found["acc_by_size/inner"] == pytest.approx({1: 0.5, 8: 0.5})
    assert found["acc/all"] == pytest.approx({1: 0.74})  # of items: (2 + 18 + 54) / 100
    assert found["acc_by_task/all"] == pytest.approx({1: 1.7 / 3})
    assert found["acc/a"] == {1: 0.2, 8: 0.2}
    experiment = MlflowClient(filled.uri).get_experiment_by_name("pythia-curves")
    before = dict(experiment.tags)
    filled.groups.record("pythia", {"inner": TaskGroup("inner", "Inner", ("a", "c"))})
    filled.rebuild_curves("pythia")
    assert points(filled)["acc/inner"] == pytest.approx({1: 0.55})
    assert set(before) == set(MlflowClient(filled.uri).get_experiment_by_name("pythia-curves").tags)


def test_groups_have_charts_before_those_of_tasks(filled: Store) -> None:
    filled.groups.record("pythia", GROUPS)
    filled.rebuild_curves("pythia")
    tags = MlflowClient(filled.uri).get_experiment_by_name("pythia-curves").tags
    (view,) = [json.loads(text) for key, text in tags.items() if key.startswith("mlflow.sharedViewState.")]
    state = json.loads(zlib.decompress(base64.b64decode(view["state"].removeprefix("deflate;"))))
    keys = [chart["metricKey"] for chart in state["compareRunCharts"]]
    assert keys[:3] == ["acc/mean", "acc/all", "acc/inner"]
    assert [section["name"] for section in state["compareRunSections"]][1] == "Groups of tasks"


def test_a_task_of_the_same_name_keeps_its_curve(filled: Store, make: MakeResult) -> None:
    filled.deliver([make("inner", make_cell("small", 1), metrics={"acc": 0.123})], None, "")
    filled.groups.record("pythia", {"inner": GROUPS["inner"]})
    filled.rebuild_curves("pythia")
    assert points(filled)["acc/inner"] == {1: 0.123}


def test_groups_are_part_of_what_a_report_is_made_from(filled: Store) -> None:
    state = filled.state()
    assert isinstance(state, FileState)
    before = state.content("pythia")
    assert filled.read("pythia").digest == before
    filled.groups.record("pythia", GROUPS)
    assert state.content("pythia") != before
    assert filled.read("pythia").digest == state.content("pythia")


def test_nothing_is_written_where_nothing_changed(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    filled.groups.record("pythia", GROUPS)
    again = Store(filled.conf)

    def refuse(*words: Any) -> None:
        raise AssertionError(words)

    monkeypatch.setattr(MlflowClient, "__init__", refuse)  # so that a finished sweep starts without MLflow
    again.groups.record("pythia", GROUPS)
    assert again.groups.of("pythia") == GROUPS


def test_what_does_not_fit_or_cannot_be_read_is_said(filled: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    many = tuple(f"a_task_with_a_long_name_{i}" for i in range(1000))
    filled.groups.record("pythia", {"many": TaskGroup("many", "Many", many), "inner": GROUPS["inner"]})
    assert "evalrun.group.many: 2" in caplog.text
    assert list(filled.groups.of("pythia")) == ["inner"]
    client = MlflowClient(filled.uri)
    client.set_experiment_tag(client.get_experiment_by_name("pythia").experiment_id, "evalrun.group.inner", "{}")
    assert filled.groups.of("pythia") == {}
    assert "'evalrun.group.inner' is not as evalrun writes it" in caplog.text
