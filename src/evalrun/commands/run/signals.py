"""Ctrl-C, SIGTERM and SIGHUP: end in order and say what is kept; the second time, end at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from evalrun import progress
from evalrun.core.errors import EvalrunError
from evalrun.core.secrets import command_line
from evalrun.core.text import counted
from evalrun.grid.sweep_plan import Plan
from evalrun.progress import JobProgress

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NAMED = 3  # checkpoints that are named one by one
_SHOW_CURSOR = b"\x1b[?25h"


class Interrupted(KeyboardInterrupt):
    """Raised in the main thread by the first signal.

    Args:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


@contextmanager
def graceful_signals() -> Iterator[None]:
    """While the block lasts, the first signal raises Interrupted, and the second ends the process.

    Signals that were ignored, as in a shell's background, are ignored still.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    heard = [number for number in _SIGNALS if before[number] is not signal.SIG_IGN]

    def first(number: int, frame: FrameType | None) -> None:
        for each in heard:
            signal.signal(each, _at_once)
        raise Interrupted(number)

    for number in heard:
        signal.signal(number, first)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])


def _at_once(number: int, frame: FrameType | None) -> None:
    """No clean-up: what is journalled is whole, and worker processes see that this one is gone."""
    if os.isatty(2):
        os.write(2, _SHOW_CURSOR + b"\n")
    os._exit(128 + number)


def interrupt_message(words: Sequence[str], plan: Plan) -> str:
    """What is kept, and the command that goes on.

    Args:
        words: The command's, as typed.
        plan: What it was to do.
    """
    command = command_line(words)
    try:
        scope = progress.Scope(tuple(words), plan.config.tracking, plan.root, plan)
        entries = progress.collect_progress(scope).entries
    except EvalrunError:  # the sentence is not worth an error of its own
        return f"interrupted; what was computed is kept. The same command goes on from there:\n  {command}"
    where = os.path.commonpath([entry.folder for entry in entries]) if len(entries) > 1 else str(entries[0].folder)
    return f"interrupted: {kept(entries, where)} {goes_on(entries, plan.config.force)}:\n  {command}"


def kept(entries: Sequence[JobProgress], where: str) -> str:
    """What is done of some jobs, in a sentence.

    Args:
        entries: One for each job.
        where: The folder that holds their folders.
    """
    done = [entry for entry in entries if not entry.missing]
    begun = [entry for entry in entries if entry.missing and len(entry.missing) < len(entry.tasks)]
    if len(entries) == 1:
        (entry,) = entries
        tasks = len(entry.tasks) - len(entry.missing)
        said = f"{tasks} of {counted(len(entry.tasks), 'task')} of {entry.label}"
        return f"nothing of {entry.label} was done yet." if not tasks else f"{said} done, kept in '{where}'."
    if len(done) == len(entries):
        return f"all {len(entries):,} jobs are done and kept in '{where}', their analysis is not."
    parts = [f"{len(done):,} of {len(entries):,} jobs done"]
    parts += [f"{len(entry.tasks) - len(entry.missing)} of {counted(len(entry.tasks), 'task')} of {entry.label}"
              for entry in begun[:_NAMED]]  # fmt: skip
    if len(begun) > _NAMED:
        parts.append(f"parts of {len(begun) - _NAMED} more")
    kept = f"; all of it is kept in '{where}'." if done or begun else "."
    return (" and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]) + kept


def goes_on(entries: Sequence[JobProgress], force: bool) -> str:
    """What the same command would do, to be followed by it."""
    if force:
        return "With force=true the same command computes all of it again"
    if any(entry.missing for entry in entries):
        return "The same command goes on from there"
    return "The same command goes on with what is left to do"


def say(words: Sequence[str], plan: Plan, error: KeyboardInterrupt) -> int:
    """Print it; returns the exit code."""
    with suppress(OSError):  # the terminal may be what is gone
        print(f"evalrun: {interrupt_message(words, plan)}", file=sys.stderr)
    return error.exit_code if isinstance(error, Interrupted) else 128 + signal.SIGINT
