"""The rounds of a sweep, each launched as a sweep of its own, and at the end what was not computed and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from evalrun.core.text import counted, listed
from evalrun.progress.rounds import LeftOut

_STEPS = 12  # that a line names


def not_computed(left_out: Sequence[LeftOut]) -> Iterator[str]:
    """Lines for the end of a sweep with `until=`: a line for each task and model.

    Args:
        left_out: What was not computed; nothing is said where that is nothing.
    """
    if not left_out:
        return
    cells = sum(len(one.steps) for one in left_out)
    yield f"not computed, because until=settled needs no more of these curves ({counted(cells, 'result')}):"
    by_task: dict[str, list[LeftOut]] = defaultdict(list)
    for one in left_out:
        by_task[one.curve[1]].append(one)
    for task, own in by_task.items():
        for one in own:
            model, seed = one.curve[2:]
            named = model if seed is None else f"{model} seed {seed}"
            steps = listed([str(step) for step in one.steps], _STEPS)
            yield f"  {task} in {named}: {one.label} by {one.of - len(one.steps)} of {one.of} steps, without {steps}"
    yield "A dip between two neighbours that are alike is not seen; the same command without until= computes the rest."
