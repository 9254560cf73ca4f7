"""A command that a sentence names to be pasted looks into the store that the sentence is about."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evalrun.commands.doctor import machine
from evalrun.config.schema import TrackingConf
from evalrun.core.errors import TrackingError
from evalrun.launch.outcome import SweepOutcome
from evalrun.tracking import Store, handing_over
from tracking.conftest import make_result

SERVER = "http://127.0.0.1:1"  # nobody listens


@pytest.fixture
def conf(tmp_path: Path) -> TrackingConf:
    return TrackingConf(uri=SERVER, root=str(tmp_path))


@pytest.mark.parametrize(
    ("count", "said"),
    [(1, "The result is safe in 'f': `{}` delivers it."), (2, "The 2 results are safe in 'f': `{}` delivers them.")],
)
def test_what_delivers_results_that_could_not_be_delivered(
    tmp_path: Path, conf: TrackingConf, count: int, said: str
) -> None:
    results = [make_result(tmp_path, f"task {number}") for number in range(count)]
    told = said.format(f"python -m evalrun sync tracking.uri={SERVER}")
    with pytest.raises(TrackingError, match=f"cannot be reached.* {re.escape(told)}$"):
        handing_over.deliver(Store(conf), results, "sweep", "", Path("f"), unreachable=True)


def test_what_says_how_far_a_queue_is(conf: TrackingConf) -> None:
    first, _ = SweepOutcome({}, [], {0: "Slurm"}).not_ended(["a", "b"], conf)
    assert first == f"1 of 2 jobs are left to Slurm: `python -m evalrun status tracking.uri={SERVER}` says"


def test_what_draws_curves(
    conf: TrackingConf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_curves(*_: object) -> str:
        raise TrackingError("none")

    monkeypatch.setattr(Store, "recent_suites", lambda _: ["pythia"])
    monkeypatch.setattr(Store, "view_path", no_curves)
    Store(conf).serve()
    assert f"no curves yet; `python -m evalrun analyze tracking.uri={SERVER}` draws them" in capsys.readouterr().out


def test_what_the_doctor_prescribes(conf: TrackingConf) -> None:
    assert machine.store(conf).todo.endswith(f"then run `python -m evalrun sync tracking.uri={SERVER}`.")
