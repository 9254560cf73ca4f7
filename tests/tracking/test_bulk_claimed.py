"""Many results with claims, as PostgreSQL takes them: here in a file, which the statements are for, too."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from evalrun.tracking import Store, bulk_claimed, claims, layout
from evalrun.tracking.server_backend import ServerBackend

from .conftest import MakeResult, make_cell
from .test_bulk import Results, read_back
from .test_bulk import results as results  # a fixture
from .test_bulk import twin as twin  # a fixture


def owners(store: Store) -> dict[str, str]:
    """Place of a claim -> the run that owns it."""
    return dict(MlflowClient(store.uri).get_run(claims.anchor(store._link)).data.params)


def test_what_it_leaves_is_what_mlflows_client_leaves(store: Store, twin: Store, results: Results) -> None:
    origins = {result.run_key: layout.Origin("sweep", "suite: pythia\n") for result, _ in results}
    bulk_claimed.deliver(twin._link, results, origins)
    ServerBackend(store._link).deliver_many(results, origins)
    for each in (store, twin):
        each.rebuild_curves("pythia")
    found, wanted = read_back(twin), read_back(store)
    for told in (found, wanted):
        _, params, *_ = told.pop(f"{claims.EXPERIMENT}: claims")
        assert sorted(params) == sorted(f"{key}.1" for key in origins)
        told[claims.EXPERIMENT].pop("evalrun.anchor")
    assert found == wanted
    before = owners(twin)
    bulk_claimed.deliver(twin._link, results, origins)
    for key in origins:
        own = [pair for pair in results if pair[0].run_key == key]
        bulk_claimed.deliver_one(twin._link, own, "sweep", None)
    assert owners(twin) == before
    assert read_back(twin).keys() == read_back(store).keys()


def test_what_another_process_has_claimed_is_left_to_it(
    store: Store, make: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three runs one is claimed by a process that is alive, one was by a run that is deleted."""
    some = [make(cell=make_cell(step=step)) for step in (1, 2, 3)]
    keys = [result.run_key for result, _ in some]
    bulk_claimed.deliver(store._link, some[1:2], {})
    client = MlflowClient(store.uri)
    deleted = store.filed("pythia")[keys[1]].run_id
    client.delete_run(deleted)
    experiment = client.get_experiment_by_name("pythia").experiment_id
    alive = client.create_run(experiment, tags={claims.CLAIM: keys[0]}).info.run_id
    client.log_param(claims.anchor(store._link), f"{keys[0]}.1", alive)
    one_by_one: list[str] = []
    deliver = bulk_claimed.runs.deliver

    def noted(link: object, group: Results, *rest: object) -> str:
        one_by_one.append(group[0][0].run_key)
        return deliver(link, group, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(bulk_claimed.runs, "deliver", noted)
    bulk_claimed.deliver(store._link, some, {})
    assert one_by_one == keys[:1]
    filed = {key: entry.run_id for key, entry in store.filed("pythia").items()}
    assert filed[keys[0]] == alive
    assert owners(store) == {
        f"{keys[0]}.1": alive,
        f"{keys[1]}.1": deleted,
        f"{keys[1]}.2": filed[keys[1]],
        f"{keys[2]}.1": filed[keys[2]],
    }
    assert len(store.table("pythia")) == 6


def test_what_fails_amid_the_rows_leaves_no_claim(
    store: Store, make: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object) -> None:
        raise ConnectionError("cut")

    some = [make(cell=make_cell(step=step)) for step in (1, 2)]
    with monkeypatch.context() as failing:
        failing.setattr(bulk_claimed.bulk_rows, "insert_runs", cut)
        with pytest.raises(ConnectionError):
            bulk_claimed.deliver(store._link, some, {})
    assert owners(store) == {}
    bulk_claimed.deliver(store._link, some, {})
    assert len(owners(store)) == len(store.filed("pythia")) == 2
    assert len(list((Path(store.conf.root) / "artifacts" / "pythia").iterdir())) == 2  # the same folders
