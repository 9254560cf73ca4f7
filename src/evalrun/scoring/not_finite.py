"""What is said of a checkpoint whose answers are no numbers: how many, of what, and what in it is the cause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalrun.scoring.evaluate import Score

_HALF = ("float16", "bfloat16")


def refused(scores: Mapping[str, Score], allowed: float) -> dict[str, Score]:
    """The tasks with a greater share of items without a finite log-likelihood than is allowed."""
    return {name: score for name, score in scores.items() if score.lost > allowed * score.n}


def sentence(label: str, lost: Mapping[str, Score], model: Any) -> str:
    """Why tasks have no number on a checkpoint.

    Args:
        label: The checkpoint in words.
        lost: The tasks, by name.
        model: The model while it has its weights.
    """
    counts = [f"{score.lost} of {score.n} items ({score.lost / score.n:.1%}) of {name}" for name, score in lost.items()]
    share = max(score.lost / score.n for score in lost.values())
    rest = "" if share == 1 else (
        f"; scorer.allow_not_finite={_up(share)} scores the rest, and such a choice is then never the model's"
    )  # fmt: skip
    return f"{label} has no number for {', '.join(counts)}: log-likelihoods are not finite, {_cause(model)}{rest}."


def _cause(model: Any) -> str:
    """Why a model gives NaN or infinity, by its tensors and its dtype, and what to do: the tail of a sentence."""
    if model.device.type == "meta":
        return (
            "as its engine gives them: look at its log, and score the checkpoint with scorer=lm_eval, which says more"
        )
    tensors = [*model.named_parameters(), *model.named_buffers()]
    bad = [name for name, tensor in tensors if tensor.is_floating_point() and not tensor.isfinite().all()]
    if bad:
        many = f"{len(bad)} of its {len(tensors)} tensors hold" if len(bad) > 1 else f"{bad[0]} holds"
        first = f", the first {bad[0]}" if len(bad) > 1 else ""
        return (
            f"because {many} NaN or infinity{first}: the training diverged or a file is damaged, so leave this one out"
        )
    dtype = str(model.dtype).removeprefix("torch.")
    if dtype in _HALF:
        return f"though its weights are finite: what it computes overflows in {dtype}, so try scorer.dtype=float32"
    return f"though its weights are finite: what it computes overflows in {dtype}, so leave this one out"


def _up(share: float) -> float:
    """A share in two digits that is not below it."""
    for digits in range(2, 9):
        rounded: float = round(share + 0.5 * 10**-digits, digits)
        if rounded >= share:
            return rounded
    return share
