"""Whether a person asked for what models write to be run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalrun.core.errors import TaskError
from evalrun.tasks.generated_code import MEMORY_MB, SECONDS, passes


def refuse_unasked(run_generated_code: bool, tasks: Mapping[str, Mapping[str, Any]]) -> None:
    """See that what models write is run only where a person asked for it.

    Args:
        run_generated_code: Whether one did.
        tasks: Name -> the task's config.

    Raises:
        TaskError: a task runs it, and nobody asked; or runs it by code that sets no limits.
    """
    for name, config in tasks.items():
        if not config.get("unsafe_code"):
            continue
        if getattr(config.get("process_results"), "own", None) is not passes:
            raise TaskError(
                f"task '{name}' runs code that the model writes (unsafe_code) by code that sets it no limits: take "
                "task=humaneval, or write process_results: !function evalrun.task_code.passes in a file of yours."
            )
        if not run_generated_code:
            raise TaskError(
                f"task '{name}' runs code that the model writes (unsafe_code): say run_generated_code=true to have it "
                f"run in a process with {SECONDS:g} seconds, {MEMORY_MB} MB and a folder of its own, on a machine that "
                "you can lose; or leave the task out."
            )
