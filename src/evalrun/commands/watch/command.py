"""`python -m evalrun watch path=runs/my-model task=...`: the words, the lines, the exit code."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Sequence

from evalrun.commands.watch.evaluating import evaluator as evaluator_of
from evalrun.commands.watch.loop import Watch
from evalrun.commands.watch.watch_request import WatchRequest
from evalrun.core import console
from evalrun.core.text import counted
from evalrun.grid.job_spec import JobTasks
from evalrun.tracking import Store

NOTHING_WORSE, FAILED, DROPPED, INTERRUPTED = 0, 1, 3, 130


def command(words: Sequence[str]) -> int:
    """Watch a training run until interrupted, or with --once only what is there.

    Returns:
        0 nothing is worse; 1 a checkpoint could not be evaluated; 3 the newest checkpoint fell significantly in a
        task, whatever else happened; 130 interrupted.

    Raises:
        ConfigError: words that cannot be right; with --once, no run in the folder.
        EvalrunError: tasks or the store cannot be read.
    """
    logging.basicConfig(level=logging.WARNING, handlers=[_handler()])
    is_once = "--once" in words
    request = WatchRequest([word for word in words if word != "--once"])
    Store(request.config.tracking).check()  # before the first checkpoint, not after it
    JobTasks(request.config).checked()
    evaluator = evaluator_of(request.launcher, request.setup(), waits=is_once)
    evaluator.check(request.config)
    watch = Watch(request, evaluator, say=_say, warn=_warn)
    watch.open(is_once)
    if threading.current_thread() is threading.main_thread():  # how a service manager ends it
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if is_once:
            watch.once()
            return _verdict(watch)
        watched = ", ".join(request.patterns) or request.config.model.path
        _say(f"watching {watched}, every {request.config.watch.poll_s:g} s; Ctrl-C ends it")
        watch.forever()
    except KeyboardInterrupt:
        _warn(
            f"interrupted after {counted(watch.evaluated, 'checkpoint')}. Every task that was scored "
            "is kept, in multirun/ and in MLflow; the same command goes on from there."
        )
    return INTERRUPTED


def _verdict(watch: Watch) -> int:
    if any(visit.fallen for visit in watch.newest):
        return DROPPED
    return FAILED if watch.faults or not watch.newest else NOTHING_WORSE


def _say(line: str) -> None:
    print(line, flush=True)


def _warn(sentence: str) -> None:
    print(f"evalrun: {sentence}", file=sys.stderr, flush=True)


def _handler() -> logging.Handler:
    handler = console.Handler()
    handler.setFormatter(console.Formatter("%(message)s"))
    return handler
