"""`python -m evalrun watch path=runs/my-model task=...`: the words, the lines, the exit code."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any, cast

from omegaconf import OmegaConf

from evalrun.checkpoints import devices
from evalrun.commands.watch import hooks
from evalrun.commands.watch.loop import Watch
from evalrun.config.compose import compose, hydra_session, to_config
from evalrun.config.schema import Config
from evalrun.core import console
from evalrun.core.errors import ConfigError
from evalrun.core.plain_names import slug
from evalrun.core.secrets import hide_password
from evalrun.core.text import counted
from evalrun.grid import override_checks
from evalrun.grid import overrides as ov
from evalrun.grid.job_folders import FolderTemplate
from evalrun.tasks import task_file
from evalrun.tracking import Store

NOTHING_WORSE, FAILED, DROPPED, INTERRUPTED = 0, 1, 3, 130
_OWN = ("step", "experiment")


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
    config, plain, folders = configured([word for word in words if word != "--once"])
    Store(config.tracking).check()  # before the first checkpoint, not after it
    task_file.resolve_for(config)
    devices.check([config])
    watch = Watch(config, plain, folders, say=_say, warn=_warn)
    if threading.current_thread() is threading.main_thread():  # how a service manager ends it
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if "--once" in words:
            watch.once()
            return _verdict(watch)
        _say(f"watching {config.model.path}, every {config.watch.poll_s:g} s; Ctrl-C ends it")
        watch.forever()
    except KeyboardInterrupt:
        _warn(
            f"interrupted after {counted(watch.evaluated, 'checkpoint')}. Every task that was scored "
            "is kept, in multirun/ and in MLflow; the same command goes on from there."
        )
    return INTERRUPTED


def configured(words: Sequence[str]) -> tuple[Config, dict[str, Any], FolderTemplate]:
    """The config of a watch from overrides, the same as plain values to be kept with results, and its jobs' folders.

    Args:
        words: Overrides; the model is `local` unless they name one.

    Raises:
        ConfigError: anything that cannot be right.
    """
    with hydra_session():
        given = ov.parse(words)
        keys = [o.key_or_group for o in given]
        if misplaced := [key for key in keys if key in _OWN]:
            raise ConfigError(f"watch takes no {misplaced[0]}=: it evaluates every checkpoint of the run in path=.")
        override_checks.check(given)
        many = [o.key_or_group for o in given if o.is_sweep_override() and o.key_or_group not in ("task", "tasks")]
        if many:
            raise ConfigError(f"watch looks at one run, and {many[0]}= has several values: start a watch for each.")
        local = [] if "model" in keys else [f"model={ov.LOCAL}"]
        cfg = compose([*local, *ov.for_hydra(given), "step=0"])
        config = to_config(cfg)
        kept = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in ("hydra", "watch")])
        plain = OmegaConf.to_container(kept, resolve=True)
    found = list(hooks.problems(config.watch))
    if config.checkpoint.folder is None:
        found.append(f"watch looks at a folder, and the checkpoints of {config.model.name} are on the hub: give path=.")
    if found:
        raise ConfigError(found)
    config.sweep = f"watch-{slug(config.model.name)}"
    values = cast("dict[str, Any]", plain)
    if config.tracking.uri is not None:
        config.tracking.uri = values["tracking"]["uri"] = hide_password(config.tracking.uri)
    return config, values, FolderTemplate(cfg)


def _verdict(watch: Watch) -> int:
    if watch.newest is not None and watch.newest.drops:
        return DROPPED
    return FAILED if watch.faults or watch.newest is None else NOTHING_WORSE


def _say(line: str) -> None:
    print(line, flush=True)


def _warn(sentence: str) -> None:
    print(f"evalrun: {sentence}", file=sys.stderr, flush=True)


def _handler() -> logging.Handler:
    handler = console.Handler()
    handler.setFormatter(console.Formatter("%(message)s"))
    return handler
