"""The contract of launchers, for those that need nothing but this machine."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from . import contract
from .contract import Command

Expected = dict[str, tuple[float, pd.DataFrame]]
LAUNCHERS = {
    "local": (),
    "processes": ("hydra/launcher=processes", "hydra.launcher.workers=2"),
    "ray": ("hydra/launcher=ray", "+hydra.launcher.init.num_cpus=2"),
}
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install '.[ray]'")
every = pytest.mark.parametrize(
    "name",
    [
        "local",
        pytest.param("processes", marks=pytest.mark.release),
        pytest.param("ray", marks=[needs_ray, pytest.mark.release]),
    ],
)


@pytest.fixture
def command(name: str, workspace: Path) -> Command:
    made = Command(workspace, LAUNCHERS[name])
    made.prepare()
    return made


@every
def test_files_every_result(command: Command, reference: Expected) -> None:
    contract.files_every_result(command, reference)


@every
def test_a_fault_costs_its_job_alone(command: Command, reference: Expected, name: str) -> None:
    contract.a_fault_costs_its_job_alone(command, reference, workers_can_die=name != "local")


@every
def test_ctrl_c_stops_and_the_same_command_goes_on(command: Command, reference: Expected, name: str) -> None:
    contract.stops_and_goes_on(command, reference, states_may_stay=name == "ray")


@every
def test_fail_fast(command: Command) -> None:
    contract.fails_fast(command)
