"""`until=settled`: rounds that any launcher runs, the same after a kill, and what was not computed is said."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import forked

from .contract import UNSEEN, Command, Started
from .test_contract import LAUNCHERS

GRID = ("model=toy/toy-s", "step=1,2,...,8", "task=alpha,faulty", "trust_task_code=true")
UNTIL = ("order=bisect", "until=settled")
ENOUGH = ("analysis.smallest_change=0.9", "analysis.alpha=1e-17")  # no move counts, and none is large: three steps do
ALL = "analysis.smallest_change=1e-9"  # every gap has to be looked into


@pytest.fixture
def command(workspace: Path) -> Command:
    made = Command(workspace)
    made.prepare()
    return made


def run(command: Command, *words: str) -> subprocess.CompletedProcess[str]:
    done = forked.run([*words], command.folder, dict(os.environ), 300)
    assert done.returncode == 0, done.stderr
    return done


def steps_of(command: Command) -> list[str]:
    return sorted(name.split("/")[2] for name in command.journal())


@pytest.mark.release
@pytest.mark.parametrize("name", ["local", "processes"])
def test_what_a_settled_curve_does_not_need_is_not_computed_and_said(name: str, command: Command) -> None:
    analysis = "analysis=interaction" if name == "local" else UNSEEN
    first = run(command, "-m", *GRID, *LAUNCHERS[name], *UNTIL, *ENOUGH, analysis)
    assert steps_of(command) == [*["step1"] * 2, *["step4"] * 2, *["step8"] * 2]
    assert "(2 results):\n" in first.stdout
    for task in ("alpha", "faulty"):
        assert re.search(rf"^{task}\s+\S+ to \S+\s+\S·\S\S \d", first.stdout, re.M)  # the step has its place
        assert re.search(rf"{task} in toy-s: undecided by 3 of 4 steps, without 2\n", first.stdout)
    if name != "local":
        return
    (tables,) = (command.folder / "multirun" / "analysis").glob("*/toy/tables")
    counted = pd.read_csv(tables / "coverage.csv")
    assert counted[["cells", "there", "missing", "settled"]].to_numpy().tolist() == [[4, 3, 0, 1]] * 2
    assert "2 were not computed, because until=settled" in (tables.parent / "report.html").read_text()
    said = run(command, "status", *GRID, *UNTIL, *ENOUGH).stdout
    assert "3 of 3 jobs done" in said
    assert "2 results of the grid not needed after 1 round" in said
    rest = run(command, "-m", *GRID, UNSEEN)  # without until=
    assert "3 of 4 jobs found done, 1 to do" in rest.stdout
    assert len(command.table()) == 8


@pytest.mark.release
def test_a_kill_in_a_round_goes_on_with_the_same_decisions(command: Command) -> None:
    command.faults({"toy-s/step2": "wait once"})
    words = ["-m", *GRID, *UNTIL, ALL, UNSEEN]
    with Started([sys.executable, "-m", "evalrun", *words], cwd=command.folder, text=True, start_new_session=True,
                 stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:  # fmt: skip
        deadline = time.monotonic() + 120
        while not command.met():
            assert running.poll() is None, running.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
    before = command.journal()
    assert {name.split("/")[2] for name in before} >= {"step1", "step4", "step8"}
    (command.folder / "go").touch()
    again = run(command, *words)
    assert "round 1: 3 of 3 jobs found done" in again.stdout
    assert "round 2: 0 of 1 jobs found done, 1 to do" in again.stdout
    assert before.items() <= command.journal().items()  # nothing was computed again
    assert steps_of(command) == sorted([f"step{2**n}" for n in range(4)] * 2)
