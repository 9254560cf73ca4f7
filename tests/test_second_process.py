"""Work in a second process: its results, its errors, and what is said where it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from evalrun.core import second_process
from evalrun.core.errors import ConfigError, EvalrunError
from evalrun.core.second_process import Helper, beside, done_while, on_two_cores

FOUND: list[int] = []


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    with on_two_cores():
        yield


def note(number: int) -> tuple[int, list[int]]:
    FOUND.append(number)
    return os.getpid(), list(FOUND)


def refuse() -> None:
    raise EvalrunError("no.")


def end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_without_leave_all_is_done_here() -> None:
    with beside(os.getpid) as found:
        assert found() == os.getpid()
    helper = Helper()
    assert helper.ask(os.getpid)() == os.getpid()
    helper.close()


@pytest.mark.usefixtures("two_cores")
def test_work_that_shares_all_cores_stays_here() -> None:
    with beside(os.getpid, stays_here=True) as found:
        assert found() == os.getpid()


@pytest.mark.usefixtures("two_cores")
def test_what_is_there_is_seen_and_nothing_is_changed() -> None:
    here = [1, 2, 3]
    with beside(lambda: (os.getpid(), sum(here), here.append(4))) as found:
        process, whole, _ = found()
    assert (whole, here) == (6, [1, 2, 3])
    assert process != os.getpid()


@pytest.mark.usefixtures("two_cores")
def test_one_process_does_one_order_after_another() -> None:
    helper = Helper()
    answers = [helper.ask(note, number) for number in range(3)]
    (process, last), (other, first) = answers[2](), answers[0]()
    helper.close()
    assert (last, first) == ([0, 1, 2], [0])
    assert process == other != os.getpid()
    assert not FOUND


@pytest.mark.usefixtures("two_cores")
def test_what_can_wait_yields_to_what_is_waited_for() -> None:
    own = os.nice(0)
    for can_wait in (False, True):
        helper = Helper(can_wait=can_wait)
        with beside(partial(os.nice, 0), can_wait=can_wait) as found:
            assert (helper.ask(os.nice, 0)() > own) is (found() > own) is can_wait
        helper.close()
    assert os.nice(0) == own


@pytest.mark.usefixtures("two_cores")
def test_an_error_is_raised_where_the_result_is_asked_for() -> None:
    with beside(refuse) as found, pytest.raises(EvalrunError, match="no."):
        found()
    helper = Helper()
    refused, done = helper.ask(refuse), helper.ask(os.getpid)
    assert done() != os.getpid()
    with pytest.raises(EvalrunError, match="no."):
        refused()
    helper.close()


@pytest.mark.usefixtures("two_cores")
def test_steps_are_taken_until_the_work_beside_is_done(tmp_path: Path) -> None:
    taken: list[int] = []

    def steps() -> Iterator[Callable[[], object]]:
        for number in range(10_000):
            if number == 2:
                (tmp_path / "go").touch()
            yield lambda number=number: (taken.append(number), time.sleep(0.01))

    def work() -> int:
        while not (tmp_path / "go").exists():
            time.sleep(0.01)
        return os.getpid()

    assert done_while(work, steps()) != os.getpid()
    assert taken[:2] == [0, 1]
    assert len(taken) < 10_000


def test_without_leave_work_is_done_here_and_no_step_is_taken() -> None:
    assert done_while(os.getpid, [refuse]) == os.getpid()


@pytest.mark.usefixtures("two_cores")
def test_all_that_is_wrong_with_settings_is_told_from_beside() -> None:
    def work() -> None:
        raise ConfigError(["one is wrong.", "two is wrong."])

    with pytest.raises(ConfigError) as told:
        done_while(work, [])
    assert told.value.problems == ["one is wrong.", "two is wrong."]


@pytest.mark.usefixtures("two_cores")
def test_a_killed_process_is_a_sentence() -> None:
    with beside(end) as found, pytest.raises(EvalrunError, match="a helper process ended with -9"):
        found()
    helper = Helper()
    with pytest.raises(EvalrunError, match="run the same again"):
        helper.ask(end)()
    helper.close()


@pytest.mark.usefixtures("two_cores")
def test_a_process_that_is_ended_as_it_starts_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes before it has handlers of its own, where the command's would swallow it."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    monkeypatch.setattr(second_process, "_PATIENCE_S", 600.0)
    try:
        for _ in range(20):
            with beside(signal.pause):
                pass
    finally:
        signal.signal(signal.SIGTERM, before)


def wait_and_tidy_up(path: Path) -> None:
    path.write_text("at work")
    try:
        signal.pause()
    finally:
        path.write_text("tidied up")


@pytest.mark.usefixtures("two_cores")
def test_what_is_not_waited_for_is_ended_and_tidies_up(tmp_path: Path) -> None:
    with beside(signal.pause) as found:
        del found
    helper, path = Helper(), tmp_path / "state"
    helper.ask(wait_and_tidy_up, path)
    while not path.exists() or not path.read_text():
        time.sleep(0.01)
    helper.close()
    assert path.read_text() == "tidied up"


MAKES_TWO = """
import os, time
os.sched_getaffinity = lambda _: {0, 1}
from evalrun.core.second_process import Helper, beside, on_two_cores
with on_two_cores(), beside(lambda: time.sleep(60)):
    print(Helper().ask(os.getpid)(), flush=True)
    time.sleep(60)
"""


def test_helpers_end_with_a_process_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", MAKES_TWO], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        helper = int(process.stdout.readline())
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
    assert helper in map(int, children)
    assert len(children) == 2
    ends = time.monotonic() + 10
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < ends
        time.sleep(0.02)
