"""Other processes of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from functools import lru_cache
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Whether a process has this number; another user's counts."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@lru_cache(maxsize=1)
def place_of_processes() -> str:
    """Equal only where one pid is one process; hosts of a cluster may share a name, and containers a host."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # no Linux
        return socket.gethostname()


def end_group(leader: int) -> None:
    """End a process that began a group, and all that it started in it; nothing where none is left."""
    with contextlib.suppress(OSError):
        os.killpg(leader, signal.SIGKILL)
