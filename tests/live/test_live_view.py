"""The live view: what is known of a sweep, how long it will go on, and the lines that say so."""

from __future__ import annotations

import io
import json
import math
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from rich.console import Console

from evalrun.core import environment
from evalrun.journal import job_state
from evalrun.journal.job_state import JobState, watched
from evalrun.launch.live.board import Board, Snapshot, Watched
from evalrun.launch.live.quantities import gpu_memory, time_left
from evalrun.launch.live.render import View
from evalrun.launch.live.screen import StreamAboveView, showing
from evalrun.launch.live.time_left import Spent, TimeLeft, left

ABOUT = JobState(
    state="running", suite="toy", model="toy-s", seed=None, step=2, label="toy-s step 2", tasks=["alpha"],
    sweep="abc", every_s=15,
)  # fmt: skip
SIZES = {"s": 1_000_000, "m": 10_000_000, "l": 100_000_000}


def write(path: Path, **changes: object) -> None:
    """A state file as a job on another machine renews it."""
    now = int(time.time() * 1000)
    about = replace(ABOUT, place="elsewhere", host="node7", started_ms=now, seen_ms=now, **changes)
    path.write_text(json.dumps(asdict(about)))


def test_scoring_is_told_to_the_file_and_counted(tmp_path: Path) -> None:
    tally = job_state.RequestCounter()
    memory = {"allocated": 2 * 10**9, "peak": 3 * 10**9, "total": 80 * 10**9}
    with watched(tmp_path, "name", replace(ABOUT, every_s=0.05), tally) as work, work.at_work():
        with work.scoring(40, lambda: memory) as tick:
            tick(30)
            deadline = time.monotonic() + 10
            while (state := job_state.read(work.path)) is None or state.scored != 30:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert (state.requests, state.gpu_memory) == (40, memory)
        with work.scoring(40, lambda: 1 // 0):  # type: ignore[arg-type, return-value]
            time.sleep(0.1)
            state = job_state.read(work.path)
            assert state is not None, "a driver that cannot say what is held costs no sign of life"
    assert tally.requests == 30


def test_what_a_job_is_at_is_on_disk_within_a_second(tmp_path: Path) -> None:
    with watched(tmp_path, "name", ABOUT) as work, work.at_work():
        work.doing("loading the checkpoint")
        deadline = time.monotonic() + 5
        while (state := job_state.read(work.path)) is None or state.doing != "loading the checkpoint":
            assert time.monotonic() < deadline, "the next renewal is 15 seconds away"
            time.sleep(0.02)


def test_a_board_follows_jobs_from_their_files_to_their_end(tmp_path: Path) -> None:
    board = Board([Watched("s", SIZES["s"], tmp_path / f"{i}.json") for i in range(4)])
    board.look()
    assert board.snapshot() == Snapshot(4, 0, (), (), None, None)
    write(tmp_path / "2.json", scored=10, requests=100, doing="scoring alpha")
    write(tmp_path / "1.json")
    board.look()
    found = board.snapshot()
    assert [state.scored for state in found.at_work] == [0, 10], "in the order of the sweep"
    board.ended(2, 64.0, 100)
    board.ended(0, 1.0, 0, "s step 1: no checkpoint.")
    (tmp_path / "2.json").unlink()
    time.sleep(1.1)
    board.look()
    found = board.snapshot()
    assert (found.done, found.failures, len(found.at_work)) == (1, ("s step 1: no checkpoint.",), 1)
    assert found.rate is not None
    assert found.rate == pytest.approx(100 / 1.1, rel=0.3), "of the job that ended all requests count"
    assert found.left is not None
    write(tmp_path / "1.json", state="failed")
    (tmp_path / "3.json").write_text("{")
    board.look()
    assert board.snapshot().at_work == ()


def test_short_first_jobs_say_nothing_of_the_time_left(tmp_path: Path) -> None:
    board = Board([Watched("s", SIZES["s"], tmp_path / f"{i}.json") for i in range(9)])
    for i in (0, 1):
        write(tmp_path / f"{i}.json")
    board.look()
    for i in (0, 1):
        board.ended(i, 15.0, 100)
    assert board.snapshot().left is None, "the first jobs of two workers loaded libraries"
    board.ended(2, 0.5, 100)
    assert board.snapshot().left is not None


def test_a_board_of_a_large_grid_opens_some_files_at_a_time(tmp_path: Path) -> None:
    board = Board([Watched("s", 1, tmp_path / f"{i}.json") for i in range(1232)])
    write(tmp_path / "1200.json")
    began = time.perf_counter()
    for _ in range(6):
        board.look()
    assert (time.perf_counter() - began) / 6 < 0.02, "twice a second this may cost a few per cent at most"
    for _ in range(7):
        board.look()
    assert len(board.snapshot().at_work) == 1, "a turn takes some looks, and who is found is followed"


def test_time_left() -> None:
    done = [Spent("s", 10.0, True)] * 3
    assert left(SIZES, [], [], ["s"], 5) is None, "nothing is known before a job is done"
    assert left(SIZES, [Spent("s", 10.0, False)], [], ["s"], 5) is None, "a failure measures nothing"
    assert left(SIZES, done, [("s", 6.0, 0.5)], ["s", "s"], 36) == TimeLeft(25.0)
    assert left(SIZES, done, [("s", 3.0, None)] * 2, ["s"] * 4, 18) == TimeLeft(27.0), "two at a time"
    assert left(SIZES, done, [("s", 0.0, None)], [], 3) == TimeLeft(10.0), "ten at a time do not shorten one"
    assert left(SIZES, done, [], ["m"], 30) == TimeLeft(10.0, "at least")
    assert left(SIZES, [Spent("m", 10.0, True)], [], ["s", "s"], 10) == TimeLeft(20.0, "at most")
    assert left(SIZES, [Spent("m", 10.0, True)], [], ["s", "l"], 10) is None, "bounds on both sides say nothing"
    both = [Spent("s", 10.0, True), Spent("m", 50.0, True)]
    grown = left(SIZES, both, [], ["l"], 60)
    assert grown is not None
    assert (grown.seconds, grown.bound) == (pytest.approx(250.0), ""), "five times as long for ten times the size"
    shrunk = left(SIZES, [Spent("s", 60.0, True), Spent("m", 50.0, True)], [], ["l"], 110)
    assert shrunk is not None
    assert shrunk.seconds == pytest.approx(50.0), "no size is expected to be faster than a smaller one"
    warm = [Spent("s", 40.0, True), Spent("s", 10.0, True), Spent("s", 10.0, True)]
    assert left(SIZES, warm, [], ["s"], 60) == TimeLeft(10.0), "the first job of a process also loads libraries"


@pytest.mark.parametrize(
    ("seconds", "bound", "said"),
    [
        (0.2, "", "1 s left"),
        (59.6, "", "60 s left"),
        (100, "at least", "at least 2 min left"),
        (7199, "", "2 h 0 min left"),
        (12_000, "at most", "at most 3 h 20 min left"),
    ],
)
def test_time_in_words(seconds: float, bound: str, said: str) -> None:
    assert time_left(TimeLeft(seconds, bound)) == said


def drawn(found: Snapshot, width: int, height: int = 40, **options: object) -> list[str]:
    out = io.StringIO()
    settings = {"force_terminal": True, "color_system": None, **options}
    Console(file=out, width=width, height=height, **settings).print(View(found))  # type: ignore[arg-type]
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert lines[0] == ""
    assert all(len(line) < width for line in lines)
    return lines[1:]


def busy(i: int, **changes: object) -> JobState:
    return replace(
        ABOUT, label=f"toy-s step {2**i}", doing="scoring alpha, beta", requests=200, scored=50, host="node7",
        gpu_memory={"allocated": 21_300_000_000, "peak": 40_000_000_000, "total": 85_000_000_000}, **changes,
    )  # fmt: skip


def test_a_wide_terminal_shows_all() -> None:
    found = Snapshot(64, 18, ("toy-s step 4: no\ncheckpoint of it.",), (busy(2), busy(9)), 1840.4, TimeLeft(720))
    headline, first, second, failure = drawn(found, 120)
    assert headline.startswith("18 of 64 jobs  ━")
    assert headline.endswith("1 failed  1,840 requests/s  12 min left")
    assert first.startswith("toy-s step 4    alpha, beta")
    assert first.endswith("  ━━━           25%  node7  21.3 of 85 GB, peak 40.0")
    assert first.index("━") == second.index("━")
    assert failure == "failed toy-s step 4: no checkpoint of it."


def test_a_narrow_one_the_most_important() -> None:
    found = Snapshot(64, 18, ("x" * 90,), (busy(2),), 1840.4, TimeLeft(12_000, "at least"))
    headline, job, failure = drawn(found, 60)
    assert headline == "18 of 64 jobs  ━━        1 failed  at least 3 h 20 min left"
    assert job.startswith("toy-s step 4  alpha, beta")
    assert job.endswith("25%  node7")
    assert failure.endswith("...")
    assert drawn(found, 30)[0] == "18 of 64 jobs  ━━━━"
    Console(file=io.StringIO(), width=8, force_terminal=True).print(View(found))  # too narrow to be read, and no error


def test_of_a_long_label_both_ends_are_kept() -> None:
    labels = [f"a-training-run-with-a-very-long-name-lr3e-4-bs512-seed17-and-more step {step}" for step in (100, 200)]
    states = tuple(replace(busy(1), label=label) for label in labels)
    _, *lines = drawn(Snapshot(2, 0, (), states, None, None), 80)
    assert [
        ("a-training-run" in line, f" step {step}  alpha, beta" in line)
        for step, line in zip((100, 200), lines, strict=True)
    ] == [(True, True)] * 2
    assert all(line.endswith("25%") for line in lines)


def test_many_jobs_and_failures_leave_room_for_the_log() -> None:
    found = Snapshot(64, 0, tuple(f"failure {i}" for i in range(5)), tuple(busy(i) for i in range(30)), None, None)
    lines = drawn(found, 100, height=24)
    assert len(lines) <= 14
    assert "  and 21 more at work" in lines
    assert lines[-3:] == ["failed failure 2", "failed failure 3", "failed failure 4"]
    assert len(drawn(found, 100, height=10)) <= 7


def test_colours_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Snapshot(2, 1, (), (busy(1),), None, None)
    out = io.StringIO()
    monkeypatch.setenv("NO_COLOR", "1")
    Console(file=out, width=80, force_terminal=True, color_system="standard").print(View(found))
    assert "\x1b[3" not in out.getvalue()


def test_memory_in_words() -> None:
    assert gpu_memory(None) == ""
    assert gpu_memory({"allocated": 10**8, "peak": 10**9, "total": 80 * 10**9}) == "0.1 of 80 GB, peak 1.0"


def test_memory_is_a_gpus() -> None:
    assert environment.gpu_memory("cpu") is None
    import torch

    assert torch.cuda.is_available() or environment.gpu_memory("all") is None


@pytest.mark.gpu
def test_memory_of_a_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    before = environment.gpu_memory("cuda:0")
    held = torch.empty(10**8, dtype=torch.uint8, device="cuda:0")
    found = environment.gpu_memory("cuda:0")
    assert before is not None
    assert found is not None
    assert found["allocated"] - before["allocated"] >= held.nbytes
    assert found["allocated"] <= found["peak"] <= found["total"]


def test_no_terminal_no_view(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    stderr = sys.stderr
    with showing([Watched("s", 1, tmp_path / "none.json")]) as board:
        assert sys.stderr is stderr
        board.ended(0, 1.0, 1)
    assert capfd.readouterr() == ("", "")


def test_what_is_printed_while_a_view_is_shown_stays_whole() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    console = Console(file=out, width=20, force_terminal=True, color_system=None)
    long = "a line that is longer than the terminal is wide [not markup]"
    with StreamAboveView(console, out) as above:
        assert not above.isatty()
        print(long, file=above)
        print("begun ", end="", file=above)
        assert "begun" not in out.getvalue()
        print("and ended", file=above)
        print("no end", end="", file=above)
    assert out.getvalue() == f"{long}\nbegun and ended\nno end\n"
    assert above.isatty()
    print("later", file=above)  # a logging handler that was made while the view was shown
    assert out.getvalue().endswith("later\n")


def test_the_estimate_is_never_no_number() -> None:
    sizes = {"s": 0, "m": 0}
    found = left(sizes, [Spent("s", 0.0, True)], [], ["m"], 0.0)
    assert found is not None
    assert math.isfinite(found.seconds)
