"""SLURM's queue as its own commands show it, and which of our jobs are in it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalrun.core.atomic import replace_file
from evalrun.core.errors import EvalrunError, first_line

POLL_S = 2.0


class QueuedTasks:
    """Which SLURM tasks have which jobs, for the command that comes back."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, list[str]]:
        """SLURM task -> keys of its jobs; empty where nothing was submitted."""
        try:
            found: dict[str, list[str]] = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return found

    def write(self, tasks: Mapping[str, Sequence[str]]) -> None:
        """Replace the file as a whole."""
        replace_file(self.path, json.dumps(tasks, indent=1))


def active_tasks() -> set[str]:
    """The tasks of this user that wait or run. Asked of the queue: accounting may be off.

    Raises:
        EvalrunError: there is no squeue, or it does not answer for some minutes.
    """
    words = ["squeue", "--me", "--array", "--noheader", "--format=%i"]
    for _ in range(30):  # a busy controller does not always answer
        try:
            found = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
            return set(found.stdout.split())
        except FileNotFoundError:
            raise EvalrunError(
                "there is no squeue on this machine: start the sweep where SLURM jobs are submitted."
            ) from None
        except (subprocess.SubprocessError, OSError) as error:
            problem = first_line(error)
            time.sleep(POLL_S)
    raise EvalrunError(f"SLURM does not say what is in its queue ({problem}); what was submitted goes on, ask again.")


def state_of(task: str) -> str:
    """How a task ended, where SLURM keeps accounts."""
    words = ["sacct", "--noheader", "--parsable2", "--allocations", "--format=State", "-j", task]
    try:
        found = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    except (subprocess.SubprocessError, OSError):
        return ""
    return found.stdout.strip().splitlines()[-1] if found.stdout.strip() else ""


def cancel(tasks: Mapping[str, Any]) -> None:
    """End tasks, whatever their state."""
    scancel([*tasks])


def scancel(tasks: Sequence[str], *options: str) -> None:
    """Call `scancel` with options; of no tasks nothing is called."""
    if tasks:
        subprocess.run(["scancel", *options, *tasks], capture_output=True, timeout=60, check=False)


def job_ids(tasks: Mapping[str, Any]) -> str:
    """The jobs of array tasks, each once, for a message."""
    return ", ".join(dict.fromkeys(task.partition("_")[0] for task in tasks))
