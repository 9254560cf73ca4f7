"""What a walk through a trie finds, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from evalrun.scoring.self_check import ENDS, Answers
from evalrun.scoring.trie import TokenTrie
from evalrun.scoring.whole_texts import Floats, Scored


@dataclass
class Counts:
    """What the last requests cost; none of it depends on the machine."""

    requests: int = 0
    nodes: int = 0  # distinct tokens in their contexts
    body_tokens: int = 0  # tokens run through the body
    head_rows: int = 0  # positions run through the head
    passes: int = 0
    checked: int = 0  # requests that lm-eval's own path scored too
    difference: float = 0.0  # the largest difference among them, in nats
    ties: int = 0  # texts among them that part from lm-eval's where two tokens are equally likely


@dataclass(frozen=True)
class Shared:
    """What a plan's walk found.

    Attributes:
        plan: The plan.
        logprobs: [pairs] of it, in nats.
        greedy: [pairs] whether the token is the most likely one.
        precision: Of the log-softmax.
        masses: [pairs, parts] log of the mass of parts of the vocabulary, where these are asked for.
    """

    plan: TokenTrie
    logprobs: Floats
    greedy: NDArray[np.bool_]
    precision: torch.dtype
    masses: Floats | None = None

    @cached_property
    def answers(self) -> Answers:
        """Of each request the sum, and whether it is greedy throughout."""
        plan = self.plan
        sums = torch.from_numpy(np.add.reduceat(self.logprobs[plan.request_pair], plan.request_start[:-1]))
        if self.precision != torch.float32:
            sums = sums.to(self.precision).double()  # lm-eval sums in the precision of the log-softmax
        said = np.logical_and.reduceat(self.greedy[plan.request_pair], plan.request_start[:-1])
        return list(zip(sums.tolist(), said.tolist(), strict=True))

    def ends(self, chosen: Sequence[int]) -> Answers:
        """Answers of some requests as `end_of` has them."""
        plan, found = self.plan, []
        for i in chosen:
            pairs = plan.request_pair[plan.request_start[i] : plan.request_start[i + 1]][-ENDS:]
            found.append((float(self.logprobs[pairs].sum()), bool(self.greedy[pairs].all())))
        return found

    def each(self) -> list[Scored]:
        """Of each request what its scored tokens cost."""
        at, cuts = self.plan.request_pair, self.plan.request_start[1:-1]
        nats = np.split(-self.logprobs[at], cuts)
        if self.masses is None:
            return [Scored(one) for one in nats]
        return [Scored(*both) for both in zip(nats, np.split(-self.masses[at], cuts), strict=True)]
