"""What makes thousands of runs quick to look up says what reading them one by one says."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from evalrun.checkpoints import ResolvedCheckpoint, kept_commits
from evalrun.tracking import layout
from evalrun.tracking.layout import RunEntry
from evalrun.tracking.store import Store
from tracking.conftest import make_cell, make_result


def test_the_keys_of_a_run_are_those_of_its_tasks_whatever_others_wrote_on_it(store: Store, tmp_path: Path) -> None:
    made = [make_result(tmp_path / "made", task) for task in ("alpha", "beta", "gamma")]
    store.deliver_many(made)
    (run,) = store.filed("pythia").values()
    assert run.tasks == {result.task: result.key for result, _ in made}
    for edited in ("no json", "1, 2", '{"task": "beta"}', "[]", "null", '{"task": "beta"}, {"task": "beta"}'):
        tags = {**run.tags, f"{layout.ABOUT}beta": edited, f"{layout.TASK}half": "written"}
        other = RunEntry(run.run_id, True, tags)
        assert set(other.tasks) == {entry.task for entry in layout.held(tags).values()} == {"alpha", "gamma"}
        assert other.tasks["alpha"] == run.tasks["alpha"]
        assert other.finished_ms["gamma"] == run.finished_ms["gamma"]


def test_runs_come_newest_first_with_all_their_tags(store: Store, tmp_path: Path) -> None:
    made = [
        make_result(tmp_path / "made", task, make_cell(step=step), finished_ms=1_700_000_000_000 + step)
        for step in (3, 1, 2)
        for task in ("alpha", "beta")
    ]
    store.deliver_many(made)
    runs = store.filed("pythia")
    assert {run.place[2]: sorted(run.tasks) for run in runs.values() if run.place} == {
        step: ["alpha", "beta"] for step in (1, 2, 3)
    }
    assert all(run.ended and run.tags[layout.KIND] == "checkpoint" for run in runs.values())


def test_kept_commits_are_read_again_when_the_file_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same size and with its old date, as a copy that was put back."""
    monkeypatch.chdir(tmp_path)
    cell = make_cell()
    kept_commits.remember([ResolvedCheckpoint(cell, "x", None, "a" * 40)])
    file = kept_commits.FILE
    before, text = file.stat(), file.read_text()
    first = kept_commits.recall(cell)
    assert first is not None
    assert first.commit == "a" * 40
    file.write_text(text.replace("a" * 40, "b" * 40))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = kept_commits.recall(cell)
    assert second is not None
    assert second.commit == "b" * 40
    file.unlink()
    assert kept_commits.recall(cell) is None


def test_a_run_is_seen_whole_or_not_at_all_while_others_write(store: Store, tmp_path: Path) -> None:
    """Tags are asked for after runs: what is written between the two must not come in halves."""
    made = [make_result(tmp_path / "made", "alpha", make_cell(step=step)) for step in range(1, 9)]
    store.deliver_many(made[:1])
    ended = threading.Event()

    def write() -> None:
        for one in made[1:]:
            Store(store.conf).deliver_many([one])
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = 0
    while not ended.is_set() or seen == 0:
        for run in store.filed("pythia").values():
            assert run.tasks.keys() == {"alpha"}
            assert run.tags[layout.STATE] == "complete"
        seen += 1
    writer.join()
    assert len(store.filed("pythia")) == len(made)
