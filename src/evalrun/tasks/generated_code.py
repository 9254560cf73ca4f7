"""Metrics of code that a model writes: a function that any task file may name, `!function evalrun.task_code.passes`.

A task that names it has `unsafe_code: true` too, and runs with run_generated_code=true alone (`refuse_unasked`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evalrun.core.errors import TaskError
from evalrun.tasks import code_process

SECONDS = 3.0  # of a program, as the limit of HumanEval's own code is
MEMORY_MB = 1024


def passes(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Whether a function that a model wrote passes its tests: rows as HumanEval has them (Chen et al. 2021).

    The program is `prompt`, what was written, `test` and `check(entry_point)` (arXiv:2107.03374, section 2.2); it
    passes if it comes to its end within the limits.

    Args:
        doc: A row: prompt, test, entry_point.
        results: What was written.
    """
    (written,) = results
    program = f"{doc['prompt']}{written}\n{doc['test']}\ncheck({doc['entry_point']})\n"
    return {"passes": float(code_process.ends(program, SECONDS, MEMORY_MB))}


def refuse_unasked(run_generated_code: bool, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """See that what models write is run only where a person asked for it.

    Args:
        run_generated_code: Whether one did.
        configs: Task -> its config.

    Raises:
        TaskError: a task runs it, and nobody asked; or runs it by code that sets no limits.
    """
    for name, config in configs.items():
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
