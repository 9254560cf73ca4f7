"""On which requests the shared path is held against lm-eval's own, and how far apart the two may be."""

from __future__ import annotations

import math
import random

import torch

from evalrun.scoring.trie import TokenRequest, TokenTrie

Answers = list[tuple[float, bool]]  # log-likelihood in nats, and whether greedy decoding would say it
CHECKED_REQUESTS, CHECKED_TOKENS = 8, 2048  # of a self-check: so many requests, or fewer when they are long
ENDS = 256  # tokens of a request, its last, that a self-check compares: all before them are seen by these
PROBED_REQUESTS, PROBED_TOKENS = 2, 32  # of the one that every checkpoint has: the ends of so many requests
# Differences to lm-eval's own path that are rounding: absolute in nats, and relative to the log-likelihood.
TOLERANCE = {torch.float32: (1e-3, 1e-5), torch.float16: (0.1, 0.01), torch.bfloat16: (0.5, 0.02)}


def sample(plan: TokenTrie) -> list[int]:
    """Requests for a self-check: the longest and some others, few enough to cost little."""
    order = random.Random(0).sample(range(plan.requests), min(plan.requests, 4 * CHECKED_REQUESTS))
    chosen, tokens = [int(plan.request_length.argmax())], 0
    for i in order:
        tokens += int(plan.request_length[i])
        if i not in chosen and len(chosen) < CHECKED_REQUESTS and tokens <= CHECKED_TOKENS:
            chosen.append(i)
    return chosen


def end_of(request: TokenRequest) -> TokenRequest:
    """A request of which no more than its last tokens are scored."""
    context, said = request
    return [*context, *said[:-ENDS]], said[-ENDS:]


def probe_requests(plan: TokenTrie) -> list[TokenRequest]:
    """The ends of a few requests, which cost next to nothing."""
    places = sorted({round(i * (plan.requests - 1) / (PROBED_REQUESTS - 1)) for i in range(PROBED_REQUESTS)})
    return [(context[-PROBED_TOKENS:], said[:4]) for context, said in map(plan.request, places)]


def compare(ours: Answers, theirs: Answers, dtype: torch.dtype) -> tuple[float, str | None]:
    """The largest difference in nats, and the worst of those that are more than rounding, in words; None: none is.

    Where neither is a number there is nothing to compare: such a checkpoint is refused by its own count.
    """
    absolute, relative = TOLERANCE[dtype]
    largest, worst, sentence = 0.0, 1.0, None
    for (found, _), (expected, _) in zip(ours, theirs, strict=True):
        if found == expected or (math.isnan(found) and math.isnan(expected)):
            continue
        difference = abs(found - expected) if math.isfinite(found - expected) else math.inf
        largest = max(largest, difference)
        excess = difference / (absolute + relative * abs(expected))
        if excess > worst:
            worst, sentence = excess, f"log-likelihood {found:.4f} instead of lm-eval's {expected:.4f}"
    return largest, sentence
