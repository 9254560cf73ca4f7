"""A job's state file: at work, failed, killed; and that it never stands in the way of the job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from evalrun.errors import CheckpointError
from evalrun.journal import job_state
from evalrun.journal.job_state import JobState, watched
from helpers import ROOT

ABOUT = JobState(
    state="running", suite="toy", model="toy-s", seed=None, step=2, label="toy-s step 2", tasks=["alpha"],
    sweep="abc", every_s=0.05,
)  # fmt: skip


def state(folder: Path) -> JobState | None:
    return job_state.read(job_state.path_of(folder, "name"))


def test_a_job_is_seen_at_work_and_leaves_nothing_when_done(tmp_path: Path) -> None:
    with watched(tmp_path, "name", ABOUT) as work:
        assert state(tmp_path) is None
        with work.at_work():
            first = state(tmp_path)
            assert first is not None
            assert (first.state, first.pid, first.alive) == ("running", os.getpid(), True)
            work.doing("scoring alpha", "key")
            deadline = time.monotonic() + 10
            while (later := state(tmp_path)) is None or later.doing != "scoring alpha" or later.run_key != "key":
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert later.seen_ms > first.seen_ms
    assert list(tmp_path.iterdir()) == []
    time.sleep(0.2)
    assert list(tmp_path.iterdir()) == [], "the heartbeat ended with the job"


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (CheckpointError("no checkpoint of toy-s step 2.\nand more"), "no checkpoint of toy-s step 2."),
        (KeyError("x"), "KeyError: 'x'."),
        (SystemExit(3), "SystemExit: 3."),
    ],
)
@pytest.mark.parametrize("when", ["before", "at work"])
def test_a_failure_leaves_its_cause(tmp_path: Path, error: BaseException, cause: str, when: str) -> None:
    with pytest.raises(type(error)), watched(tmp_path / "new", "name", ABOUT) as work:
        if when == "before":
            raise error
        with work.at_work():
            raise error
    left = state(tmp_path / "new")
    assert left is not None
    assert (left.state, left.cause, left.alive) == ("failed", cause, False)
    with watched(tmp_path / "new", "name", ABOUT) as work, work.at_work():
        pass
    assert state(tmp_path / "new") is None, "the next success clears it"


def test_an_interrupted_job_has_not_failed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), watched(tmp_path, "name", ABOUT) as work, work.at_work():
        raise KeyboardInterrupt
    assert state(tmp_path) is None


def test_who_fails_before_its_turn_leaves_the_other_jobs_state(tmp_path: Path) -> None:
    with watched(tmp_path, "name", ABOUT) as work, work.at_work():
        with pytest.raises(CheckpointError), watched(tmp_path, "name", ABOUT):
            raise CheckpointError("x")
        there = state(tmp_path)
        assert there is not None
        assert there.state == "running"


def test_a_folder_that_cannot_be_written_costs_the_state_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with watched(tmp_path / "file", "name", ABOUT) as work, work.at_work():
        work.doing("scoring")
    with pytest.raises(CheckpointError), watched(tmp_path / "file", "name", ABOUT):
        raise CheckpointError("the job's own")


KILLED = """
import sys, time
from pathlib import Path
from evalrun.journal.job_state import JobState, watched
about = JobState(state="running", suite="t", model="m", seed=None, step=1, label="m", tasks=[], sweep=None, every_s=60)
with watched(Path(sys.argv[1]), "name", about) as work, work.at_work():
    print("at work", flush=True)
    time.sleep(60)
"""


def test_a_killed_job_is_known_at_once_on_its_host_and_by_its_silence_elsewhere(tmp_path: Path) -> None:
    victim = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert victim.stdout is not None
    victim.stdout.readline()
    left = state(tmp_path)
    assert left is not None
    assert left.alive
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    victim.stdout.close()
    left = state(tmp_path)
    assert left is not None
    assert (left.state, left.alive) == ("running", False)
    elsewhere = replace(left, place="another host")
    assert elsewhere.alive
    assert not replace(elsewhere, seen_ms=left.seen_ms - 241_000).alive


def test_damaged_and_newer_files_are_read_as_far_as_possible(tmp_path: Path) -> None:
    with watched(tmp_path, "name", ABOUT) as work, work.at_work():
        path = job_state.path_of(tmp_path, "name")
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, "key_of_a_later_version": 1}))
        assert state(tmp_path) is not None
    path.write_text("{")
    assert state(tmp_path) is None
    assert job_state.read_all(tmp_path) == []


def test_it_costs_a_small_part_of_a_tiny_job(tmp_path: Path) -> None:
    """A tiny job takes 0.3 s."""
    began = time.perf_counter()
    for _ in range(100):
        with watched(tmp_path, "name", replace(ABOUT, every_s=15)) as work, work.at_work():
            work.doing("loading", "key")
            work.doing("scoring")
    assert (time.perf_counter() - began) / 100 < 0.03
