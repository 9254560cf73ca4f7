"""Delivering results to checkpoint runs: complete, once, replaceable, whatever things are called."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from evalrun.config.schema import TrackingConf
from evalrun.core.records import TaskResult
from evalrun.errors import StorageError, TrackingError
from evalrun.tracking import Store, runs

from .conftest import MakeResult, make_cell


def client_of(store: Store) -> MlflowClient:
    return MlflowClient(store.uri)


def runs_of(store: Store, experiment: str = "pythia") -> list[Any]:
    client = client_of(store)
    return list(client.search_runs([client.get_experiment_by_name(experiment).experiment_id]))


def history(store: Store, run_id: str) -> dict[str, list[tuple[float, int, int]]]:
    """Every metric row of a run."""
    client = client_of(store)
    keys = client.get_run(run_id).data.metrics
    return {key: [(m.value, m.timestamp, m.step) for m in client.get_metric_history(run_id, key)] for key in keys}


@pytest.mark.parametrize(
    ("settings", "version"),
    [
        ({"task_config": {"metadata": {"version": 0.0}}}, 0.0),
        ({"task_config": {"metadata": {"version": "2.1"}}}, "2.1"),
        ({"task_version": 3, "task_config": None}, 3),  # of lm-eval's own files
        ({"task_config": {"metadata": {"title": "Mine"}}}, ""),
        ({"task_config": {"metadata": {"version": None}}}, ""),
    ],
)
def test_a_run_knows_the_version_of_its_task(
    store: Store, make: MakeResult, settings: dict[str, Any], version: object
) -> None:
    run_id = store.deliver([make(settings=settings)], None, None)
    (run,) = store.past("pythia")
    assert run.entries["memo_trap"].version == version
    about = json.loads(client_of(store).get_run(run_id).data.tags["evalrun.about.memo_trap"])
    assert about.get("version", "") == version


def test_a_run_holds_everything_of_its_results(store: Store, make: MakeResult, tmp_path: Path) -> None:
    result, path = make()
    run_id = store.deliver([(result, path), make("hellaswag", chance=0.25)], "sweep-1", "step: 2000\n")
    client = client_of(store)
    run = client.get_run(run_id)
    assert (run.info.run_name, run.info.status) == ("pythia-70m step 2000", "FINISHED")
    assert run.info.end_time == result.finished_ms
    assert run.data.metrics == {
        "acc/memo_trap": 0.625,
        "acc_norm/memo_trap": 0.5,
        "acc_stderr/memo_trap": 0.0123456789,
        "n/memo_trap": 936.0,
        "chance/memo_trap": 0.5,
        "acc/hellaswag": 0.625,
        "acc_norm/hellaswag": 0.5,
        "acc_stderr/hellaswag": 0.0123456789,
        "n/hellaswag": 936.0,
        "chance/hellaswag": 0.25,
        "acc/mean": 0.625,
        "tokens": 2000.0 * 2_097_152,
        "step": 2000.0,
        "n_params": 70_426_624.0,
        "n_params_nonembedding": 35_213_312.0,
        "flops": float(result.cell.flops),
        "seconds": 25.0,
    }
    assert {step for rows in history(store, run_id).values() for _, _, step in rows} == {2000}
    assert run.data.params == {
        "model": "pythia-70m",
        "n_params": "70426624",
        "n_params_nonembedding": "35213312",
        "n_params_nominal": "70000000",
        "step": "2000",
        "tokens": str(2000 * 2_097_152),
        "revision": "step2000",
        "location": "EleutherAI/pythia-70m",
        "scorer": "shared_prefix",
        "dtype": "float32",
    }
    tags = run.data.tags
    assert tags["evalrun.kind"] == "checkpoint"
    assert tags["evalrun.state"] == "complete"
    assert tags["evalrun.run_key"] == result.run_key
    assert tags["evalrun.task.memo_trap"] == result.key
    assert tags["evalrun.sweep"] == "sweep-1"
    assert tags["evalrun.device"] == "cpu"
    assert tags["evalrun.fewshot"] == "0"
    assert tags["mlflow.runColor"].startswith("#")
    copied = Path(client.download_artifacts(run_id, "items/memo_trap.parquet", str(tmp_path)))
    assert copied.read_bytes() == path.read_bytes()
    record = Path(client.download_artifacts(run_id, "results/memo_trap.json", str(tmp_path)))
    assert TaskResult.from_json(json.loads(record.read_text())) == result
    assert Path(client.download_artifacts(run_id, "config.yaml", str(tmp_path))).read_text() == "step: 2000\n"
    assert (tmp_path / "mlruns" / "artifacts" / "pythia" / run_id).is_dir()
    assert mlflow.active_run() is None


def test_delivering_twice_adds_nothing(store: Store, make: MakeResult) -> None:
    results = [make(), make("hellaswag")]
    run_id = store.deliver(results, "s", "")
    before = history(store, run_id)
    assert store.deliver(results, "s", "") == run_id
    assert store.deliver(results[:1], "s", "") == run_id
    assert history(store, run_id) == before
    assert {len(rows) for rows in before.values()} == {1}
    assert len(runs_of(store)) == 1


def test_delivered_says_what_is_there_and_creates_nothing(store: Store, make: MakeResult, tmp_path: Path) -> None:
    nowhere = Store(TrackingConf(uri=None, root=str(tmp_path / "nowhere")))
    assert nowhere.delivered("pythia", "k") == {}
    nowhere.mark("pythia", "k", "s")
    assert not (tmp_path / "nowhere").exists()
    assert store.delivered("pythia", "k") == {}
    store.mark("pythia", "k", "s")
    assert [e.name for e in client_of(store).search_experiments()] == ["Default"]
    result, path = make()
    store.deliver([(result, path)], None, "")
    assert store.delivered("pythia", result.run_key) == {"memo_trap": result.key}
    assert store.delivered("pythia", "another") == {}


def test_tasks_join_the_run_and_the_mean_follows(store: Store, make: MakeResult) -> None:
    run_id = store.deliver([make(metrics={"acc": 0.2})], None, "")
    # An older result: its mean must still replace the first one.
    store.deliver([make("hellaswag", metrics={"acc": 0.1}, finished_ms=1_600_000_000_000)], None, "")
    store.deliver([make("perplexing", metrics={"perplexity": 9.0}, primary_metric="perplexity", chance=None)], None, "")
    run = client_of(store).get_run(run_id)
    assert run.data.metrics["acc/mean"] == pytest.approx(0.15)
    assert run.data.metrics["seconds"] == 37.5
    assert "chance/perplexing" not in run.data.metrics
    assert run.info.status == "FINISHED"
    assert len(runs_of(store)) == 1


@pytest.mark.parametrize("later_ms", [5000, -5000])
def test_a_changed_task_replaces_the_old_result(store: Store, make: MakeResult, later_ms: int) -> None:
    """Going back to older data is a change too: what was delivered last counts, whatever its clock says."""
    result, path = make(metrics={"acc": 0.9}, stderrs={"acc": 0.1})
    run_id = store.deliver([(result, path)], None, "")
    other = make(key="other", metrics={"acc": 0.3, "f1": 0.2}, stderrs={}, finished_ms=result.finished_ms + later_ms)
    store.deliver([other], None, "")
    run = client_of(store).get_run(run_id)
    assert run.data.metrics["acc/memo_trap"] == run.data.metrics["acc/mean"] == 0.3
    assert store.delivered("pythia", result.run_key) == {"memo_trap": "other"}
    table = store.table("pythia").set_index("metric")
    assert table["value"].to_dict() == {"acc": 0.3, "f1": 0.2}
    assert math.isnan(table["stderr"]["acc"]), "the old result's standard error must not stay"


def test_an_older_copy_of_the_same_result_changes_nothing(store: Store, make: MakeResult) -> None:
    result, path = make()
    run_id = store.deliver([(result, path)], None, "")
    before = history(store, run_id)
    store.deliver([make(finished_ms=result.finished_ms - 1000, metrics={"acc": 0.1})], None, "")
    assert history(store, run_id) == before


def test_the_newest_of_several_results_of_a_task_is_taken(store: Store, make: MakeResult) -> None:
    new, old = make(finished_ms=2000, key="new", metrics={"acc": 0.2}), make(finished_ms=1000, key="old")
    store.deliver([new, old], None, "")
    assert store.delivered("pythia", new[0].run_key) == {"memo_trap": "new"}


def test_values_that_are_not_finite_are_named_not_logged(store: Store, make: MakeResult) -> None:
    result = make(metrics={"acc": math.nan, "perplexity": math.inf, "f1": 0.5}, stderrs={"f1": math.nan})
    run = client_of(store).get_run(store.deliver([result], None, ""))
    assert set(run.data.metrics) & {"acc/memo_trap", "perplexity/memo_trap", "acc/mean", "f1_stderr/memo_trap"} == set()
    assert run.data.metrics["f1/memo_trap"] == 0.5
    assert run.data.tags["evalrun.skipped"] == "acc of memo_trap is nan; perplexity of memo_trap is inf"
    values = store.table("pythia").set_index("metric")["value"]
    assert values["f1"] == 0.5
    assert values[["acc", "perplexity"]].isna().all()


HOSTILE = ["mean", "..", ".", "a/b", "a//b", "x" * 300, "täsk: 50%, 'q' \"z\"", " ", "-", "日本", "acc|none", "a\nb"]


def test_any_name_survives_the_round_trip(store: Store, make: MakeResult) -> None:
    metrics = {"exact_match,strict-match": 0.1, "n": 0.2, "chance": 0.3, "acc_stderr": 0.4, "acc": 0.5, "../x": 0.6}
    results = [make(task, metrics=metrics, stderrs={"acc": 0.05, "n": 0.06}) for task in HOSTILE]
    run_id = store.deliver(results, "sweep 'x' \"y\"", "")
    assert store.delivered("pythia", results[0][0].run_key) == {result.task: result.key for result, _ in results}
    table = store.table("pythia", sweep="sweep 'x' \"y\"")
    assert set(table["task"]) == set(HOSTILE)
    for _, rows in table.groupby("task"):
        assert rows.set_index("metric")["value"].to_dict() == metrics
        assert rows.set_index("metric")["stderr"].dropna().to_dict() == {"acc": 0.05, "n": 0.06}
    assert client_of(store).get_run(run_id).data.metrics["acc/mean"] == 0.5
    items = [file.path for file in client_of(store).list_artifacts(run_id, "items")]
    assert len(items) == len(HOSTILE)


@pytest.mark.parametrize("suite", ['it\'s "a" suite', "a/b", "x" * 300, "スイート", "50% #1"])
def test_any_suite_name_works(store: Store, make: MakeResult, suite: str) -> None:
    result, path = make(cell=make_cell(suite=suite))
    store.deliver([(result, path)], None, "")
    store.rebuild_curves(suite)
    assert store.suites() == [suite]
    assert len(store.table(suite)) == 2
    assert store.delivered(suite, result.run_key)


def test_more_than_one_request_takes(store: Store, make: MakeResult) -> None:
    many = {f"m{i}": i / 1000 for i in range(550)}
    results = [make(f"t{i}") for i in range(85)] + [make("wide", metrics=many, stderrs=dict.fromkeys(many, 0.1))]
    run_id = store.deliver(results, None, "")
    assert len(store.delivered("pythia", results[0][0].run_key)) == 86
    table = store.table("pythia")
    assert table[table["task"] == "wide"].set_index("metric")["value"].to_dict() == many
    before = history(store, run_id)
    store.deliver(results, None, "")
    assert history(store, run_id) == before


def test_names_that_exceed_a_tag_are_refused(store: Store, make: MakeResult) -> None:
    with pytest.raises(TrackingError, match="shorten the task's metric_list"):
        store.deliver([make(metrics={f"a_long_metric_name_{i}": 0.5 for i in range(400)})], None, "")


def test_long_titles_are_cut_not_lost(store: Store, make: MakeResult) -> None:
    store.deliver([make(title="t" * 9000, cause="c" * 9000)], None, "")
    assert store.table("pythia")["title"][0] == "t" * 200


def test_results_that_do_not_belong_together_are_refused(store: Store, make: MakeResult) -> None:
    with pytest.raises(ValueError, match="one checkpoint"):
        store.deliver([], None, "")
    with pytest.raises(ValueError, match="one checkpoint"):
        store.deliver([make(), make("x", run_key="other")], None, "")


def test_one_key_cannot_be_two_checkpoints(store: Store, make: MakeResult) -> None:
    store.deliver([make(run_key="same")], None, "")
    with pytest.raises(TrackingError, match=r"pythia-70m step 2000.*already holds.*pythia-70m step 4000"):
        store.deliver([make(cell=make_cell(step=4000), run_key="same")], None, "")


def test_a_later_delivery_may_come_from_elsewhere(store: Store, make: MakeResult) -> None:
    """Params cannot change in MLflow: other folders or devices must not make a delivery fail."""
    run_id = store.deliver([make()], None, "")
    moved = make_cell(location="/data/copy", revision=None, n_params_nominal=71_000_000)
    store.deliver([make("hellaswag", cell=moved, environment={"device": "cuda:1"})], None, "")
    run = client_of(store).get_run(run_id)
    assert run.data.params["location"] == "EleutherAI/pythia-70m"
    assert run.data.tags["evalrun.device"] == "cuda:1"
    assert set(store.table("pythia")["n_params_nominal"]) == {71_000_000}


def test_items_must_be_those_that_were_scored(store: Store, make: MakeResult) -> None:
    result, path = make()
    path.write_bytes(b"something else")
    with pytest.raises(StorageError, match="force=true"):
        store.deliver([(result, path)], None, "")
    assert store.delivered("pythia", result.run_key) == {}


def test_sweeps_share_runs(store: Store, make: MakeResult) -> None:
    result, path = make()
    run_id = store.deliver([(result, path)], "first", "")
    store.deliver([make(cell=make_cell(step=4000))], "first", "")
    store.mark("pythia", result.run_key, "second")
    tags = client_of(store).get_run(run_id).data.tags
    assert tags["evalrun.sweep"] == "second"
    assert set(store.table("pythia", sweep="second")["step"]) == {2000}
    assert set(store.table("pythia", sweep="first")["step"]) == {2000, 4000}
    assert store.table("pythia", sweep="none").empty
    store.mark("pythia", result.run_key, None)
    assert client_of(store).get_run(run_id).data.tags == tags


def test_a_deleted_run_is_made_anew_and_a_deleted_experiment_is_respected(store: Store, make: MakeResult) -> None:
    result = make()
    run_id = store.deliver([result], None, "")
    client = client_of(store)
    client.delete_run(run_id)
    assert store.delivered("pythia", result[0].run_key) == {}
    assert store.deliver([result], None, "") != run_id
    client.delete_experiment(client.get_experiment_by_name("pythia").experiment_id)
    with pytest.raises(TrackingError, match="was deleted: `MLFLOW_TRACKING_URI=sqlite:"):
        store.delivered("pythia", result[0].run_key)


def test_twins_of_a_lost_reply_are_one(store: Store, make: MakeResult) -> None:
    """MLflow's client repeats a create request whose reply was lost, which leaves an empty run of the same key."""
    result = make()
    run_id = store.deliver([result], None, "")
    client = client_of(store)
    twin = client.create_run(
        client.get_experiment_by_name("pythia").experiment_id,
        start_time=1,
        tags={"evalrun.run_key": result[0].run_key, "evalrun.kind": "checkpoint"},
    )
    assert store.delivered("pythia", result[0].run_key) == {"memo_trap": result[0].key}
    assert store.deliver([result, make("hellaswag")], None, "") == run_id
    assert set(store.table("pythia")["run_id"]) == {run_id}
    assert twin.info.run_id != run_id


def test_a_leftover_value_never_outshines_the_delivered_one(store: Store, make: MakeResult) -> None:
    """A process killed between metrics and tags leaves values that no tag speaks for, perhaps with a later stamp."""
    result = make(metrics={"acc": 0.2})
    run_id = store.deliver([result], None, "")
    client_of(store).log_metric(run_id, "acc/hellaswag", 0.99, timestamp=1_900_000_000_000, step=2000)
    store.deliver([make("hellaswag", metrics={"acc": 0.4})], None, "")
    assert client_of(store).get_run(run_id).data.metrics["acc/hellaswag"] == 0.4


def test_stores_pickle(store: Store, make: MakeResult) -> None:
    import pickle

    store.deliver([make()], None, "")
    assert len(pickle.loads(pickle.dumps(store)).table("pythia")) == 2


def test_batches_keep_within_mlflows_limits(make: MakeResult) -> None:
    results = [make(f"t{i}", metrics={f"m{j}": 0.5 for j in range(100)}) for i in range(30)]
    batches = list(runs._batches(results))
    assert [r.task for batch in batches for r in batch] == [r.task for r, _ in results]
    assert max(len(batch) for batch in batches) * 102 <= 900
