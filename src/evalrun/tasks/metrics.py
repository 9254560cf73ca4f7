"""Metrics that lm-eval lacks: functions that any task file may name, as `!function evalrun.task_metrics.logprob`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Answer = tuple[float, bool]  # log-likelihood in nats, and whether it is what the model would say greedily


def logprob(doc: Mapping[str, Any], results: Sequence[Answer]) -> dict[str, float]:
    """Sequence probability: log-likelihood of the whole target after its prompt, summed over its tokens, in nats.

    The Inverse Scaling Prize reports the mean over rows of the negative of this, as a loss (McKenzie et al. 2023,
    arXiv:2306.09479; sequence_prob in github.com/naimenz/inverse-scaling-eval-pipeline).
    """
    ((value, _),) = results
    return {"logprob": float(value)}


def mc2_true_first(doc: Mapping[str, Any], results: Sequence[Answer]) -> dict[str, float]:
    """TruthfulQA-MC2 as lm-eval 0.3 has it: the share of probability on the answers before the first false label.

    With labels in any other order than true before false this is not the share of the true answers.
    """
    labels = list(doc["mc2_targets"]["labels"])
    probabilities = np.exp(np.array([value for value, _ in results], dtype=np.float64))
    true = labels.index(0) if 0 in labels else len(labels)
    return {"acc": float(probabilities[:true].sum() / probabilities.sum())}
