"""A sweep in a real terminal, real signals, and what is said when they come."""

from __future__ import annotations

import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from evalrun import cli, progress
from evalrun.commands.run import signals
from evalrun.commands.summary.curve_values import values
from evalrun.config.compose import hydra_session
from evalrun.progress import JobProgress
from helpers import ROOT, TASK, make_rows, write_rows

SWEEP = ("-m", "model=glob(toy/*)", "step=1,2,...,8", "task=alpha,odd", "trust_task_code=true", "analysis=interaction")
# A user's own scoring code that takes its time at one checkpoint, and may not want to stop.
CODE = """\
import pathlib, sys, time, warnings
FOLDER = pathlib.Path(__file__).resolve().parents[2]
def process(doc, results):
    from hydra.core.hydra_config import HydraConfig
    place = "/".join(pathlib.Path(HydraConfig.get().runtime.output_dir).parts[-2:])
    how = (FOLDER / "how").read_text()
    if place == "toy-s/step4" and how != "go":
        if not (FOLDER / "met").exists():
            print("printed", "x" * 120)
            print("to standard error", file=sys.stderr)
            warnings.warn("a library's warning")
            (FOLDER / "met").touch()
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            if how == "stubborn":
                (FOLDER / "met").rename(FOLDER / "asked")
                time.sleep(600)
            raise
    likelihoods = [answer[0] for answer in results]
    return {"acc": float(likelihoods.index(max(likelihoods)) == doc["answer"])}
"""
# Makes the terminal its own, so that what is typed there reaches it as signals.
TAKE = "import fcntl, os, sys, termios; fcntl.ioctl(2, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A pseudo-terminal with a command in its foreground."""

    def __init__(self, words: Sequence[str], folder: Path, columns: int, **variables: str) -> None:
        import fcntl
        import struct
        import termios

        self.ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE, sys.executable, "-m", "evalrun", *words], cwd=folder, start_new_session=True,
            stdin=theirs, stdout=theirs, stderr=theirs, env={**environment(), "TERM": "xterm", **variables},
        )  # fmt: skip
        os.close(theirs)
        self.raw = ""

    def read(self, until: Callable[[], bool], seconds: float = 120) -> None:
        """Take what it shows until something holds, or its end."""
        deadline = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < deadline, self.raw
            if not select.select([self.ours], [], [], 0.2)[0]:
                continue
            try:
                self.raw += os.read(self.ours, 65536).decode()
            except OSError:  # it has ended
                return

    def press(self, key: str) -> None:
        """As a person would."""
        os.write(self.ours, key.encode())

    def close(self) -> None:
        """Leave nothing behind."""
        self.process.kill()
        self.process.wait()
        os.close(self.ours)

    @property
    def text(self) -> str:
        """All that was shown, without escapes."""
        return ESCAPES.sub("", self.raw).replace("\r\n", "\n").replace("\r", "\n")


def environment() -> dict[str, str]:
    return {**{key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS")},
            "PYTHONPATH": str(ROOT / "src")}  # fmt: skip


def appears(path: Path, process: subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_sweep_is_watched_stopped_in_every_way_and_finished(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace / "conf" / "task" / "odd.yaml").write_text(
        TASK.format(name="odd", title="Odd") + "process_results: !function odd.process\n"
    )
    (workspace / "conf" / "task" / "odd.py").write_text(CODE)
    write_rows(workspace / "data" / "odd.jsonl", make_rows(12, 9))
    how, met = workspace / "how", workspace / "met"
    kept = (
        "evalrun: interrupted: 2 of 8 jobs done and 1 of 2 tasks of toy-s step 4; all of it is kept in 'multirun/toy'. "
        f"The same command goes on from there:\n  {shlex.join(['python', '-m', 'evalrun', *SWEEP])}\n"
    )

    how.write_text("wait")
    terminal = Terminal(SWEEP, workspace, 100)
    try:
        terminal.read(lambda: "2 of 8 jobs" in terminal.text and "toy-s step 4  odd" in terminal.text)
        assert cli.main(["status", *SWEEP[1:]]) == 1
        running = capsys.readouterr().out
        assert re.search(r"running:\n  toy-s step 4: scoring odd, \d+% of \d+ requests \(process", running)
        terminal.press("\x03")
        terminal.read(lambda: False, 60)
        assert terminal.process.wait(10) == 130
    finally:
        terminal.close()
    assert kept in terminal.text
    assert "Traceback" not in terminal.text
    assert "\nprinted " + "x" * 120 + "\n" in terminal.text, "longer than the terminal is wide, and in one piece"
    assert "\nto standard error\n" in terminal.text
    assert "a library's warning\n" in terminal.text
    assert "\n  alpha: acc " in terminal.text
    assert "%|" not in terminal.text, "the view is the only picture of progress"
    assert terminal.raw.rfind("\x1b[?25h") > terminal.raw.rfind("\x1b[?25l"), "the cursor is back"

    how.write_text("stubborn")
    met.unlink()
    ended = subprocess.Popen(
        [sys.executable, "-m", "evalrun", *SWEEP], cwd=workspace, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    appears(met, ended)
    ended.send_signal(signal.SIGINT)
    appears(workspace / "asked", ended)
    ended.send_signal(signal.SIGTERM)
    began = time.monotonic()
    _, said = ended.communicate(timeout=60)
    assert time.monotonic() - began < 5, "the second signal ends it at once"
    assert ended.returncode == 143
    assert "\x1b" not in said

    how.write_text("go")
    terminal = Terminal(SWEEP, workspace, 100, TERM="dumb")
    try:
        terminal.read(lambda: False)
        assert terminal.process.wait(10) == 0, terminal.text
    finally:
        terminal.close()
    assert "\x1b" not in terminal.raw, "plain lines where the cursor cannot be moved"
    legend = terminal.text.index("acc at the 4 steps, then its last value")
    rows = [line.split() for line in terminal.text[legend:].splitlines()[2:5]]
    assert rows[0] == ["task", "scale", "toy-s", "toy-m"]
    assert [row[0] for row in rows[1:]] == ["alpha", "odd"]
    assert all(re.fullmatch("[▁▂▃▄▅▆▇█]{4}", row[at]) for row in rows[1:] for at in (4, 6)), rows
    assert terminal.text.index("interaction t (q)") > legend

    asked = progress.parse_scope(SWEEP[1:])
    assert asked.plan is not None
    with hydra_session():
        jobs = asked.plan.jobs
        journalled = values(jobs, jobs)
        shutil.rmtree("multirun/toy")
        assert values(jobs, jobs) == journalled, "from the store, as when another machine computed them"
        shutil.rmtree("mlruns")
        assert values(jobs, jobs) == []
    assert [(curve.task, curve.model, len(curve.values)) for curve in journalled] == [
        ("alpha", "toy-s", 4), ("odd", "toy-s", 4), ("alpha", "toy-m", 4), ("odd", "toy-m", 4)
    ]  # fmt: skip


ENTRY = JobProgress("toy", "toy-s", None, 4, "toy-s step 4", Path("multirun/toy/toy-s/step4"), ["a", "b", "c"], [], [])


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ([["c"]], "2 of 3 tasks of toy-s step 4 done, kept in 'multirun'."),
        ([["a", "b", "c"]], "nothing of toy-s step 4 was done yet."),
        ([[], []], "all 2 jobs are done and kept in 'multirun', their analysis is not."),
        ([["a", "b", "c"]] * 2, "0 of 2 jobs done."),
        ([[], ["b"]], "1 of 2 jobs done and 2 of 3 tasks of toy-s step 4; all of it is kept in 'multirun'."),
        (
            [["b"]] * 5,
            "0 of 5 jobs done, 2 of 3 tasks of toy-s step 4, 2 of 3 tasks of toy-s step 4, 2 of 3 tasks of toy-s "
            "step 4 and parts of 2 more; all of it is kept in 'multirun'.",
        ),
    ],
)
def test_what_is_kept(missing: list[list[str]], said: str) -> None:
    assert signals.kept([replace(ENTRY, missing=names) for names in missing], "multirun") == said


def test_what_goes_on() -> None:
    assert "computes all of it again" in signals.goes_on([ENTRY], force=True)
    assert signals.goes_on([ENTRY], force=False) == "The same command goes on with what is left to do"


def test_a_hangup_is_heeded_and_one_that_nohup_ignores_is_not() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
    try:
        with signals.graceful_signals(), pytest.raises(signals.Interrupted) as caught:
            signal.raise_signal(signal.SIGHUP)
        assert caught.value.exit_code == 129
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with signals.graceful_signals():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_are_heeded_only_for_a_while() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a shell's background
    try:
        with signals.graceful_signals():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            with pytest.raises(signals.Interrupted) as caught:
                signal.raise_signal(signal.SIGTERM)
            assert caught.value.exit_code == 143
        assert signal.getsignal(signal.SIGTERM) is before[signal.SIGTERM]
    finally:
        signal.signal(signal.SIGINT, before[signal.SIGINT])
