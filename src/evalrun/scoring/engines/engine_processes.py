"""The processes that vLLM starts do not end with one that is killed, and hold its memory: these see to it.

Run as a program it waits until its standard input ends, which is when whoever started it is gone, and ends processes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path

GRACE_S = 5.0  # for processes to end by themselves


def below(pid: int) -> frozenset[int]:
    """The processes that a process started, and those that they started; none where the system does not tell."""
    parents: dict[int, int] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parents[int(file.parent.name)] = int(file.read_text(errors="replace").rpartition(")")[2].split()[1])
    found: set[int] = set()
    new = {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    return frozenset(found)


def ended_with_this(pids: Collection[int]) -> subprocess.Popen[bytes]:
    """Have processes ended when this one is gone, however it ends, or the standard input of what is returned closes."""
    return subprocess.Popen(
        [sys.executable, "-I", __file__, *map(str, pids)], stdin=subprocess.PIPE, start_new_session=True
    )


def main(words: list[str]) -> int:
    """Wait, and end the processes of these numbers; returns 0."""
    left = set(map(int, words))
    sys.stdin.read()
    until = time.monotonic() + GRACE_S
    while left and time.monotonic() < until:
        time.sleep(0.1)
        left = {pid for pid in left if Path(f"/proc/{pid}").exists()}
    for pid in left:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
