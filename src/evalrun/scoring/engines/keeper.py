"""Run by `served_checkpoint` as a program: starts a server, and ends it with all that it started.

It ends the server when its standard input ends, which is when whoever started it says so or is gone: killed, too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

GRACE_S = 10.0  # between asking it to end and ending it


def main(words: list[str]) -> int:
    """Start the server and wait until it ends, or is to end; returns its exit code."""
    try:
        server = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"'{words[0]}' cannot be started: {error.strerror}", file=sys.stderr)
        return 127

    def when_it_ends() -> None:
        code = server.wait()
        _end(server.pid, signal.SIGKILL)  # what it left behind
        os._exit(code if code >= 0 else 128 - code)

    threading.Thread(target=when_it_ends, daemon=True).start()
    sys.stdin.read()
    _end(server.pid, signal.SIGTERM)
    time.sleep(GRACE_S)  # the thread ends this process before, where the server heeds it
    _end(server.pid, signal.SIGKILL)
    return 0


def _end(group: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
