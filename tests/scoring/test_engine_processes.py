"""What an engine started ends with the process that started it, a killed one too."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from evalrun.scoring.engines import engine_processes

PARENT = """
import os, subprocess, sys, time
from evalrun.scoring.engines import engine_processes
engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
keeper = engine_processes.ended_with_this(engine_processes.below(os.getpid()))
print(engine.pid, keeper.pid, flush=True)
time.sleep(300)
"""


def test_processes_end_with_one_that_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    engine, keeper = map(int, parent.stdout.readline().split())
    assert {engine, keeper} <= engine_processes.below(parent.pid) <= engine_processes.below(os.getpid())
    parent.kill()
    parent.communicate()
    until = time.monotonic() + 60
    while any(_runs(pid) for pid in (engine, keeper)):
        assert time.monotonic() < until
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    """Whether a process is there and has not ended: what nobody waits for stays as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
