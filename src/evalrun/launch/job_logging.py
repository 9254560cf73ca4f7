"""Logging of the jobs of one process, as Hydra sets it up: anew for the first, by another file for those like it.

What a job logs to differs from the one before in its file's name alone, and `logging.config` takes every logger of the
process in hand for it: a twentieth of what a small checkpoint costs beside its scoring.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from hydra.core.utils import configure_log
from omegaconf import DictConfig, OmegaConf

_FILE = "logging.FileHandler"


class JobLogging:
    """Sets up logging for one job after the other."""

    def __init__(self) -> None:
        self._left: Any = None  # the settings without the names of files, and logging as they left it
        self._files: dict[str, logging.FileHandler] = {}  # by the names that the settings give to handlers

    def begin(self, hydra: DictConfig) -> None:
        """Log as a job's `hydra.job_logging` says.

        Args:
            hydra: Its node of that name, with `hydra.runtime.output_dir` set.

        Raises:
            OSError: the file of a job like the one before cannot be opened.
            ValueError: what Hydra raises: a file, or a setting, of the first job.
        """
        plain: Any = OmegaConf.to_container(hydra.job_logging, resolve=True)
        verbose = OmegaConf.to_container(hydra.verbose) if OmegaConf.is_config(hydra.verbose) else hydra.verbose
        settings, names = _parted(plain or {})
        if names and self._files.keys() == names.keys() and self._left == (settings, verbose, _state(settings)):
            for name, handler in self._files.items():
                _write_to(handler, names[name])
            return
        self._left = None
        configure_log(hydra.job_logging, hydra.verbose)
        self._files = {
            str(handler.get_name()): handler
            for handler in logging.getLogger().handlers
            if type(handler) is logging.FileHandler and handler.stream is not None and handler.get_name() in names
        }
        self._left = settings, verbose, _state(settings)


def _parted(plain: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings without the names of files, and these by their handlers."""
    handlers = plain.get("handlers") or {}
    names = {name: str(one["filename"]) for name, one in handlers.items() if one.get("class") == _FILE}
    shared = {name: {**one, "filename": None} if name in names else one for name, one in handlers.items()}
    return {**plain, "handlers": shared}, names


def _state(settings: dict[str, Any]) -> list[Any]:
    """What a library that sets up logging itself would change: where it differs, logging is set up anew."""
    loggers = [logging.getLogger(), *map(logging.getLogger, settings.get("loggers") or {})]
    return [(one.level, list(one.handlers), one.propagate, one.disabled) for one in loggers]


def _write_to(handler: logging.FileHandler, name: str) -> None:
    """Let a handler write to another file from now on; it does not where that cannot be opened.

    Raises:
        OSError: the file cannot be opened.
    """
    stream: Any = open(name, handler.mode, encoding=handler.encoding, errors=handler.errors)  # noqa: SIM115
    handler.baseFilename = os.path.abspath(name)
    before = handler.setStream(stream)
    if before is not None:
        before.close()
