"""A program that nobody has read, run in a process of its own: limits of time, memory and files, no secrets.

It guards against accidents, not against a program that was written to break out: a user who needs that runs evalrun in
a container or a virtual machine.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
import tempfile
from functools import lru_cache

from evalrun.core.errors import TaskError
from evalrun.core.process import end_group

_GRACE = 2.0  # seconds for the interpreter to start and end, beside the program's
_FILES_MB, _OPEN_FILES = 16, 64

# What the process runs: it takes the limits upon itself, runs the program, and says a word that the program was not
# told. One that ends early, by sys.exit or os._exit(0), has not said it.
_INSIDE = """
import io, os, resource, sys
seconds, memory, files, opened = (int(word) for word in sys.argv[1:5])
word, program = sys.stdin.read().split("\\n", 1)
out = os.dup(1)
for stream in (0, 1, 2):
    os.dup2(os.open(os.devnull, os.O_RDWR), stream)
for kind, most in (("CPU", seconds), ("AS", memory), ("FSIZE", files), ("NOFILE", opened), ("CORE", 0)):
    resource.setrlimit(getattr(resource, "RLIMIT_" + kind), (most, most))
sys.setrecursionlimit(10_000)
exec(compile(program, "program.py", "exec"), {"__name__": "program"})
os.write(out, word.encode())
"""


def ends(program: str, seconds: float, memory_mb: int) -> bool:
    """Whether a program comes to its end without an error.

    It has a new, empty folder, which is deleted, no environment, no input, and no network where this system lets a
    process give it up (`unshare`).

    Args:
        program: Python.
        seconds: Of processor time, and as many more of waiting.
        memory_mb: Of address space.

    Raises:
        TaskError: this machine runs none.
    """
    _see_that_it_can(memory_mb)
    return _ends(program, seconds, memory_mb)


@lru_cache(maxsize=4)
def _see_that_it_can(memory_mb: int) -> None:
    """See that an empty program comes to its end here: else every program of a model would fail, and none be wrong."""
    if not _ends("", _GRACE, memory_mb):
        raise TaskError(
            f"programs cannot be run here: an empty one does not end within {_GRACE:g} seconds and {memory_mb} MB; "
            "evaluate the task on Linux, or leave it out."
        )


def _ends(program: str, seconds: float, memory_mb: int) -> bool:
    """Whether a program comes to its end without an error; or whether this machine runs none."""
    word = secrets.token_hex(16)
    limits = (max(1, round(seconds)), memory_mb << 20, _FILES_MB << 20, _OPEN_FILES)
    with tempfile.TemporaryDirectory(prefix="evalrun-code-", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [*_apart(), sys.executable, "-I", "-S", "-c", _INSIDE, *map(str, limits)],
            cwd=folder, env={}, text=True, errors="replace", start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            told, _ = process.communicate(f"{word}\n{program}", 2 * seconds + _GRACE)
        except subprocess.TimeoutExpired:
            told = ""
        finally:
            end_group(process.pid)
            process.communicate()
    return told == word


@lru_cache(maxsize=1)
def _apart() -> tuple[str, ...]:
    """The words that start a process without a network, if there are any here."""
    words = ("unshare", "--net", "--map-root-user")
    if shutil.which(words[0]) is None:
        return ()
    tried = subprocess.run([*words, "true"], capture_output=True, check=False)
    return words if tried.returncode == 0 else ()
