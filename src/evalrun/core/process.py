"""Other processes of this machine."""

from __future__ import annotations

import contextlib
import os
import signal


def is_alive(pid: int) -> bool:
    """Whether a process has this number; another user's counts."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def end_group(leader: int) -> None:
    """End a process that began a group, and all that it started in it; nothing where none is left."""
    with contextlib.suppress(OSError):
        os.killpg(leader, signal.SIGKILL)
