"""Metrics of code that a model writes: a function that any task file may name, `!function evalrun.task_code.passes`.

A task that names it has `unsafe_code: true` too, and runs with run_generated_code=true alone (`permission`). This
file is part of the key of what it judged: nothing else stands here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
