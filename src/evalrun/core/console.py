"""What a person sees while it runs: plain log lines, and progress bars that keep quiet where no one watches."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from typing import Any

from tqdm import tqdm

from evalrun.core.secrets import masked


class Formatter(logging.Formatter):
    """Writes every message, and the traceback below it, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """The line or lines of a record."""
        return masked(super().format(record))


class Handler(logging.Handler):
    """Log to standard error, above any progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; a closed or broken stream is not worth losing a run for."""
        try:
            text = self.format(record)
            prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
            tqdm.write(prefix + text, file=sys.stderr)
        except (OSError, ValueError):
            self.handleError(record)


def shortened(name: str, width: int) -> str:
    """The name, or its two ends with three dots between: names of one sweep often begin alike."""
    if len(name) <= width:
        return name
    end = max(1, (width - 3) * 2 // 3)
    return f"{name[: max(1, width - 3 - end)]}...{name[-end:]}"


def columns(otherwise: int) -> int:
    """Columns of the terminal that standard output is; `otherwise` where it is none."""
    return shutil.get_terminal_size((otherwise, 24)).columns if sys.stdout.isatty() else otherwise


def can_redraw() -> bool:
    """Whether standard error is a terminal that can move its cursor, so that progress can be drawn in place."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def bar(total: int, desc: str, unit: str) -> Any:
    """A tqdm bar on standard error, below those that are there; silent where that cannot be redrawn."""
    silent = not can_redraw()
    return tqdm(total=total, desc=desc, unit=unit, leave=False, file=sys.stderr, disable=silent)
