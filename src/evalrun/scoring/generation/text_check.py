"""Written texts held against lm-eval's own, each written alone; and whether two that differ part by rounding."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from evalrun.scoring.generation.writer import Text
from evalrun.scoring.self_check import TOLERANCE

CHECKED, CHECKED_TOKENS = 4, 24  # texts of a self-check, and how much of each
PROBED, PROBED_PROMPT, PROBED_TOKENS = 2, 32, 4  # of the one that every checkpoint has: the ends of so many prompts


def sample(texts: Sequence[Text]) -> list[Text]:
    """Texts for a self-check, written greedily: the longest prompt and some others, each twice."""
    ordered = random.Random(0).sample(list(texts), min(len(texts), CHECKED - 1))
    chosen = {text.prompt: text for text in [max(texts, key=lambda text: len(text.prompt)), *ordered]}
    return [_plain(text, text.prompt, CHECKED_TOKENS) for text in chosen.values() for _ in range(2)]


def probes(texts: Sequence[Text]) -> list[Text]:
    """The beginnings of a few texts after the ends of their prompts, which cost next to nothing."""
    places = sorted({round(i * (len(texts) - 1) / (PROBED - 1)) for i in range(PROBED)})
    return [_plain(texts[i], texts[i].prompt[-PROBED_PROMPT:], PROBED_TOKENS) for i in places]


def _plain(text: Text, prompt: tuple[int, ...], limit: int) -> Text:
    return Text(prompt, text.ending, min(limit, text.limit))


def written_alone(lm: Any, text: Text) -> list[int]:
    """Tokens of lm-eval's own text after a prompt, greedily."""
    context, length = torch.tensor([text.prompt], device=lm.device), len(text.prompt) + text.limit
    ends = {"eos_token_id": sorted(text.ending.ends)} if text.ending.ends else {}
    found = lm._model_generate(
        context, length, text.ending.stops, attention_mask=torch.ones_like(context), do_sample=False, **ends
    )
    tokens: list[int] = found[0, len(text.prompt) :].tolist()
    return tokens


def fault(lm: Any, text: Text, theirs: Sequence[int]) -> tuple[bool, str | None]:
    """Whether a greedy text parts from lm-eval's by rounding, and what else is wrong with it, in words.

    Where both part, the checkpoint's logits there decide: two tokens whose logits are as close as two ways to compute
    them are a tie, and what follows is no longer compared as text. The largest logit before each token is compared too:
    a fault may be too small to change one of a few tokens.
    """
    ours = text.tokens
    logits = logits_after(lm, text)
    if wrong := _another_logit(lm, text, logits):
        return False, wrong
    for place, (one, other) in enumerate(zip(ours, theirs, strict=False)):
        if one == other:
            continue
        gap = float(logits[place, other] - logits[place, one])
        if abs(gap) <= 2 * _tolerance(lm, float(logits[place, other])):
            return True, None
        return False, f"token {place + 1} is {one} instead of lm-eval's {other}, whose logit is {gap:.4f} higher"
    if len(ours) != len(theirs):
        return False, f"it has {len(ours)} tokens instead of lm-eval's {len(theirs)}"
    return False, None


def drawn_fault(lm: Any, text: Text) -> tuple[bool, str | None]:
    """What `fault` says, of a text that was drawn: lm-eval's logits are drawn from at the same shares."""
    if text.draw is None or text.shares is None:
        raise ValueError("nothing was drawn")
    logits = logits_after(lm, text)
    if wrong := _another_logit(lm, text, logits):
        return False, wrong
    shares = torch.from_numpy(text.shares[: len(text.tokens)])
    spread = 2 * TOLERANCE[lm.model.dtype][0]  # a logit off by so much moves a probability by no more
    found = [text.draw.draw(logits, (shares + shift).clamp(0, 1 - 1e-12)) for shift in (-spread, 0.0, spread)]
    for place, token in enumerate(text.tokens):
        lowest, expected, highest = (int(one[place]) for one in found)
        if not lowest <= token <= highest:
            return False, f"token {place + 1} was drawn as {token} instead of lm-eval's {expected}"
    return found[1].tolist() != text.tokens, None


def _another_logit(lm: Any, text: Text, logits: Tensor) -> str | None:
    """The first of the largest logits that is further from lm-eval's than rounding, in words."""
    for place, (found, expected) in enumerate(zip(text.largest, logits.amax(1).tolist(), strict=True)):
        if not abs(found - expected) <= _tolerance(lm, expected):
            return f"the largest logit before token {place + 1} is {found:.4f} instead of lm-eval's {expected:.4f}"
    return None


def _tolerance(lm: Any, logit: float) -> float:
    absolute, relative = TOLERANCE[lm.model.dtype]
    return absolute + relative * abs(logit)


@torch.inference_mode()
def logits_after(lm: Any, text: Text) -> Tensor:
    """[tokens, vocabulary] float32 logits before each token of a text, by the model's own code."""
    read = torch.tensor([[*text.prompt, *text.tokens[:-1]]], device=lm.device)
    found: Tensor = lm.model(read).logits[0, -len(text.tokens) :].float()
    return found
