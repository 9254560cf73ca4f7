"""What takes the time: stages that sum up to the whole, a line while they last, `analyze --timings`."""

from __future__ import annotations

import io
import re
import threading
import time

import pytest

from evalrun.commands.ingest.command import command as ingest
from evalrun.core import progress_line, stages
from evalrun.core.stages import StageClock, clocked, stage, timings


@stage("inner")
def inner() -> None:
    time.sleep(0.02)


def test_stages_sum_up_to_the_whole_and_the_innermost_counts() -> None:
    clock = StageClock()
    with clocked(clock):
        with stage("outer"):
            inner()
            assert clock.at == "outer"
        inner()
    assert clock.at == ""
    spent = clock.seconds()
    assert list(spent) == ["outer", "inner", stages.REST]
    assert spent["inner"] >= 0.04 > spent["outer"]
    assert sum(spent.values()) == pytest.approx(clock.whole(), abs=0.01)
    inner()  # no clock runs: nothing happens
    assert clock.seconds()["inner"] == spent["inner"]


def test_timings_are_a_line_a_stage_and_their_sum() -> None:
    clock = StageClock()
    with clocked(clock):
        inner()
        with stage("figures"):
            time.sleep(0.03)
    *lines, whole = timings(clock).splitlines()[1:]
    seconds = [float(re.search(r"([\d.]+) s", line).group(1)) for line in lines]
    assert [line.split()[0] for line in lines] == ["inner", "figures", "all"]
    assert sum(seconds) == pytest.approx(float(re.search(r"in all +([\d.]+) s", whole).group(1)), abs=0.02)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def quick(monkeypatch) -> None:
    monkeypatch.setattr(progress_line, "SHOWN_FROM", 0.05)
    monkeypatch.setattr(progress_line, "_REDRAWN", 0.02)


def watch(monkeypatch, stream: io.StringIO) -> str:
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with progress_line.watched("analysis"):
        with stage("figures"):
            time.sleep(0.25)
        between = stream.getvalue()
        time.sleep(0.1)
        assert stream.getvalue() == between  # nothing is drawn over what is printed between stages
    return stream.getvalue()


def test_a_terminal_has_one_line_that_is_written_again_and_taken_away(monkeypatch, quick) -> None:
    said = watch(monkeypatch, Terminal())
    assert said.count("analysis: figures, 0 s") > 2
    assert "\n" not in said
    assert said.endswith("\r\x1b[K")


def test_a_pipe_has_a_line_now_and_then(monkeypatch, quick) -> None:
    assert watch(monkeypatch, io.StringIO()) == "analysis: figures, 0 s\n"


def test_short_work_says_nothing_and_leaves_no_thread(monkeypatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    with progress_line.watched("analysis"):
        inner()
    assert not stream.getvalue()
    assert "progress-line" not in {thread.name for thread in threading.enumerate()}


def test_a_table_that_is_filed_says_what_it_is_at(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress_line, "SHOWN_FROM", 0.0)
    monkeypatch.setattr(progress_line, "_REDRAWN", 0.001)
    monkeypatch.setattr(progress_line, "_SPARSE", (0.001, 1.0))
    entered: list[str] = []
    enter = StageClock.enter
    monkeypatch.setattr(StageClock, "enter", lambda clock, name: (entered.append(name), enter(clock, name)))
    rows = [f"EleutherAI/pythia-70m\tstep{step}000\tmade\tacc\t0.5" for step in range(1, 144)]
    (tmp_path / "table.tsv").write_text("\n".join(["model\trevision\ttask\tmetric\tvalue", *rows]))
    assert ingest(["table.tsv"]) == 0
    done = list(dict.fromkeys(entered))
    assert done == ["reading files", "finding models and tasks", "comparing with the store", "filing"]
    shown = re.findall(r"(?m)^ingest: (.*), \d s$", capsys.readouterr().err)
    assert shown  # not each of them on a busy machine: some take a millisecond
    assert {*shown} <= {*entered}
