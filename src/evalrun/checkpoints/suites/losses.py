"""What the losses that a Trainer logged say of a run: whether two logs are of one run, and where training diverged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from evalrun.core.text import counted


def first_difference(before: Mapping[int, float], after: Mapping[int, float]) -> int | None:
    """The first step at which two logs hold different losses; NaN is no difference to NaN."""
    for step, loss in before.items():
        other = after.get(step, loss)
        if other != loss and not (math.isnan(loss) and math.isnan(other)):
            return step
    return None


def doubt(logs: Iterable[Mapping[int, float]], name: str) -> str | None:
    """A sentence about losses that a sound training does not have; None where there are none.

    transformers' Trainer leaves losses of NaN and infinity out of its means (`logging_nan_inf_filter`), so that a
    stretch of nothing else is logged as 0.0.

    Args:
        logs: Step -> training loss, of each checkpoint.
        name: The run's folder.
    """
    losses = {step: loss for log in logs for step, loss in log.items()}
    bad = sorted(step for step, loss in losses.items() if loss == 0 or not math.isfinite(loss))
    if not bad:
        return None
    first = losses[bad[0]]
    said = "0.0, which is how a Trainer logs NaN" if first == 0 else "NaN" if math.isnan(first) else "infinity"
    more = f" and at {counted(len(bad) - 1, 'later step')}" if len(bad) > 1 else ""
    return (
        f"the training log of '{name}' shows a loss of {said}, at step {bad[0]}{more}: the run may have diverged there."
    )
