"""A sweep that is killed while it scores, delivers and analyses ends as one that nobody disturbed: the short form.

The long form is benchmarks/kill.py, whose parts are used here: random moments, servers and workers, a hundred rounds.
"""

from __future__ import annotations

import importlib
import json
import sqlite3
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from helpers import ROOT

BENCHMARKS = str(ROOT / "benchmarks")


@pytest.fixture(scope="module")
def kill() -> Iterator[Any]:
    sys.path.insert(0, BENCHMARKS)
    yield importlib.import_module("kill")
    sys.path.remove(BENCHMARKS)


@pytest.mark.release
@pytest.mark.timeout(1200)
def test_killed_three_times_and_nothing_differs(kill: Any, tmp_path: Path) -> None:
    settings = kill.prepare(tmp_path, "sqlite", "local", items=6)
    plan = [
        kill.Planned("scoring", 0.0),  # when the first result is filed
        kill.Planned("delivery", 0.1),  # when a checkpoint has all its results
        kill.Planned("analysis", 0.1),  # when the last run is closed; the rest of the time is the analysis
    ]
    with ThreadPoolExecutor() as pool:  # the undisturbed sweep beside the killed one, which needs it for its last kill
        reference = pool.submit(kill.undisturbed, settings, True, "undisturbed")
        play = kill.Play(settings, 0, plan, _Later(reference))
        found = play.run()
    first, second, third = (one.phase for one in found.kills)
    assert first in ("scoring", "delivery")  # where the machine is busy, the signal comes late
    assert second in ("delivery", "scoring", "loading")  # the next job may have begun
    assert third == "analysis"
    assert {one.victim for one in found.kills} == {"driver"}
    assert found.starts == 4
    assert (found.lost, found.differences, found.duplicates, found.torn) == ([], [], 0, 0)
    assert not Path(found.folder).exists()  # kept only where something differs

    # and what is compared is all there: a comparison that sees nothing would pass as well
    whole = reference.result().found
    runs = whole["store"]["kill"]["runs"]
    assert len(runs) == 6
    assert len(whole["journal"]) == 18
    assert set(whole["store"]["kill-curves"]["runs"]) == {"small", "medium"}
    assert {"report.html", "effects.csv"} <= set(whole["store"]["kill-report"]["runs"]["report"]["artifacts"])
    assert all(run["metrics"]["acc/first"] and run["artifacts"]["items/first.parquet"] for run in runs.values())
    _damage(kill, tmp_path / "undisturbed", whole)


class _Later(dict[bool, Any]):
    """References that are asked for when they are needed."""

    def __init__(self, reference: Any) -> None:
        self.reference = reference

    def __getitem__(self, key: bool) -> Any:
        return _Lazy(self.reference)


class _Lazy:
    def __init__(self, reference: Any) -> None:
        self.future = reference

    def __getattr__(self, name: str) -> Any:
        return getattr(self.future.result(), name)


def _damage(kill: Any, folder: Path, whole: dict[str, Any]) -> None:
    """Every kind of loss is seen."""

    def differences() -> list[str]:
        found: list[str] = kill.state.differences(whole, kill.state.snapshot(folder, database))
        return found

    database = folder / "mlruns" / "mlflow.db"
    assert differences() == []
    record = next(folder.glob("multirun/kill/small/step1/results/first-*.json"))
    text = record.read_text()
    record.write_text(json.dumps({**json.loads(text), "n": 5}))
    assert [line.split(" ")[0].rpartition("/")[2] for line in differences()] == ["n"]
    record.write_text(text[:100])
    assert len(differences()) == 2  # the result is missing, and a torn file is there
    record.write_text(text)
    for change, seen in (
        ("DELETE FROM tags WHERE key = 'evalrun.task.first'", 6),
        ("UPDATE runs SET status = 'RUNNING' WHERE name = 'small step 1'", 1),
        ("INSERT INTO metrics SELECT key, value + 1, timestamp, run_uuid, step, is_nan FROM metrics "
         "WHERE key = 'acc/first' AND run_uuid IN (SELECT run_uuid FROM runs WHERE name = 'small step 1')", 1),
        ("UPDATE runs SET lifecycle_stage = 'deleted' WHERE name = 'medium'", 1),
    ):  # fmt: skip
        before = database.read_bytes()
        with sqlite3.connect(database) as connection:
            connection.execute(change)
        connection.close()
        assert len(differences()) == seen, change
        database.write_bytes(before)
    artifact = next(folder.glob("mlruns/artifacts/kill/*/artifacts/items/first.parquet"))
    artifact.write_bytes(artifact.read_bytes()[:-1])
    assert len(differences()) == 1
