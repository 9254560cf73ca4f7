"""What a gate asks of a task: the words of conf/gate, and what is wrong in them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from evalrun.config.schema import GateConf
from evalrun.core.errors import suggest

MARGIN, IMPROVE, AT_LEAST, AT_MOST = "margin", "improve", "at_least", "at_most"
KINDS = (MARGIN, IMPROVE, AT_LEAST, AT_MOST)
UNDECIDED = ("fail", "pass")
_HOW = "write a number, the fall that is allowed, or some of {margin: 0.1, improve: 0.02, at_least: 0.6, at_most: 3}"


@dataclass(frozen=True)
class GateThreshold:
    """One thing that is asked of a task."""

    kind: str  # of `KINDS`
    value: float  # in the metric's units


def thresholds(gate: GateConf, task: str) -> list[GateThreshold]:
    """What a gate asks of a task: what it says of it, and else the margin of all.

    Args:
        gate: Without `gate_problems`.
        task: Its name.
    """
    said = gate.tasks.get(task, {})
    own = said if isinstance(said, dict) else {MARGIN: said}
    asked = own if MARGIN in own or IMPROVE in own else {MARGIN: gate.margin, **own}
    return [GateThreshold(kind, float(asked[kind])) for kind in KINDS if asked.get(kind) is not None]


def gate_problems(gate: GateConf) -> Iterator[str]:
    """Sentences about values of a gate that cannot be right."""
    if not gate.against.strip():
        yield "gate.against is empty: write previous, best, a name of gate.pinned, or MODEL@STEP."
    for name, checkpoint in gate.pinned.items():
        if not checkpoint.strip():
            yield f"gate.pinned.{name} is empty: write a checkpoint, MODEL@STEP."
        if name in ("previous", "best"):
            yield f"gate.pinned names '{name}', which gate.against has a meaning of its own for: rename it."
    if gate.margin is not None and (problem := _number_problem(gate.margin, True)):
        yield f"gate.margin is {gate.margin}: {problem}."
    for task, said in gate.tasks.items():
        yield from _task_problems(str(task), said)
    if not 0 < gate.alpha < 0.5:
        yield f"gate.alpha is {gate.alpha}: it must lie between 0 and 0.5."
    if gate.undecided not in UNDECIDED:
        yield f"gate.undecided is '{gate.undecided}': {suggest(gate.undecided, UNDECIDED)}"
    if gate.items < 0:
        yield f"gate.items is {gate.items}: it must be 0 or a number of items to show."


def _task_problems(task: str, said: Any) -> Iterator[str]:
    """Sentences about what a gate says of one task."""
    key = f"gate.tasks.{task}"
    if said is None:
        return
    if not isinstance(said, dict):
        if problem := _number_problem(said, True):
            yield f"{key} is {said!r}: {problem or _HOW}."
        return
    if not said:
        yield f"{key} is empty: {_HOW}."
    for kind, value in said.items():
        if kind not in KINDS:
            yield f"{key} has '{kind}': {suggest(str(kind), KINDS)}"
        elif value is not None and (problem := _number_problem(value, kind in (MARGIN, IMPROVE))):
            yield f"{key}.{kind} is {value!r}: {problem}."
    if said.get(MARGIN) is not None and said.get(IMPROVE) is not None:
        yield f"{key} has margin and improve, of which the second says more: leave margin out."


def _number_problem(value: Any, is_size: bool) -> str:
    """What is wrong with a threshold; empty where nothing is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"it must be a number; {_HOW}"
    if not math.isfinite(value):
        return "it must be finite"
    if is_size and value < 0:
        return "it must be 0 or more: the size of a change, whichever way is worse"
    return ""
