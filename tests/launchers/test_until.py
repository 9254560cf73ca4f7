"""`until=settled`: rounds that any launcher runs, the same after a kill, and what was not computed is said."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pandas as pd
import pytest

import forked

from . import contract
from .contract import Command
from .test_contract import LAUNCHERS, Expected

UNTIL = ("order=bisect", "until=settled")
ENOUGH = ("analysis.smallest_change=0.9", "analysis.alpha=1e-17")  # no move counts, and none is large: three steps do
ALL = "analysis.smallest_change=1e-9"  # every gap has to be looked into


def made(workspace: Path, name: str, *more: str) -> Command:
    command = Command(workspace, (*LAUNCHERS[name], *UNTIL, *more))
    command.prepare()
    return command


def steps_of(command: Command) -> list[str]:
    return sorted({name.split("/")[2] for name in command.journal()})


@pytest.mark.release
@pytest.mark.parametrize("name", ["local", "processes"])
def test_what_a_settled_curve_does_not_need_is_not_computed_and_said(
    name: str, workspace: Path, reference: Expected
) -> None:
    command = made(workspace, name, *ENOUGH)
    first = command.run(analysis="analysis=interaction")
    assert first.returncode == 0, first.stderr
    assert len(command.results()) == 12
    assert steps_of(command) == ["step1", "step4", "step8"]
    assert "(4 results):\n" in first.stdout
    for task, model in ((task, model) for task in ("alpha", "faulty") for model in ("toy-s", "toy-m")):
        assert re.search(rf"{task} in {model}: [\w ]+ by 3 of 4 steps, without 2\n", first.stdout)
    (tables,) = (workspace / "multirun" / "analysis").glob("*/toy/tables")
    counted = pd.read_csv(tables / "coverage.csv")
    assert counted[["cells", "there", "missing", "settled"]].to_numpy().tolist() == [[8, 6, 0, 2]] * 2
    assert "4 were not computed, because until=settled" in (tables.parent / "report.html").read_text()
    if name == "local":
        asked = [word for word in contract.SWEEP if word != "-m"]
        done = forked.run(["status", *asked, *UNTIL, *ENOUGH], workspace, dict(os.environ), 100)
        assert done.returncode == 0, done.stdout
        assert "6 of 6 jobs done" in done.stdout
        assert "4 results of the grid not needed after 1 round" in done.stdout
    rest = Command(workspace, LAUNCHERS[name]).run()  # without until=
    assert "6 of 8 jobs found done, 2 to do" in rest.stdout
    contract.assert_whole(command, reference)


@pytest.mark.release
def test_a_kill_in_a_round_goes_on_with_the_same_decisions(workspace: Path, reference: Expected) -> None:
    command = made(workspace, "local", ALL)
    command.faults({"toy-m/step2": "wait once"})
    with command.start() as running:
        deadline = time.monotonic() + 120
        while not command.met():
            assert running.poll() is None, running.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
    before = command.journal()
    assert {name.split("/")[2] for name in before if "toy-m" in name} >= {"step1", "step4", "step8"}
    (workspace / "go").touch()
    again = command.run()
    assert again.returncode == 0, again.stderr
    assert "6 of 6 jobs found done" in again.stdout  # the first round
    assert "round 2: " in again.stdout
    assert before.items() <= command.journal().items()  # nothing was computed again
    contract.assert_whole(command, reference)
