"""Attention of models that do something to its scores before they become probabilities."""

from __future__ import annotations

import torch
from torch import Tensor


def by_scores(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    visible: Tensor,
    scale: float | None,
    softcap: float | None,
    sinks: Tensor | None,
    added: Tensor | None,
) -> Tensor:
    """Step by step, in the precision of each step that transformers' own code has: [rows, heads, width, d].

    Args:
        query: [rows, heads, width, d].
        key: [rows, heads, keys, d].
        value: As the keys.
        visible: [rows, 1, width, keys] 0, or -inf where a query does not see a key.
        scale: Of the scores.
        softcap: As `attend` has it.
        sinks: As `attend` has them.
        added: [heads, rows, 1, keys] to the scores.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if added is None:
        scores = torch.matmul(query, key.transpose(2, 3)) * scale
    else:  # rounded once, as torch.baddbmm does
        scores = torch.matmul(query.float(), key.float().transpose(2, 3)) * scale
        scores = (scores + added.transpose(0, 1).float()).to(query.dtype)
    if softcap:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores + visible
    if sinks is None:
        return scores.softmax(-1, dtype=torch.float32).to(value.dtype) @ value
    aside = sinks.view(1, -1, 1, 1).expand(*scores.shape[:3], 1).to(scores.dtype)
    return torch.cat([scores, aside], -1).softmax(-1)[..., :-1].to(value.dtype) @ value
