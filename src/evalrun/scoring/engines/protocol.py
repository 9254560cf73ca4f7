"""What the answers of a server say: log-probabilities of a prompt, what was written, why it ended."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

NONE_AT_ALL = -9999.0  # what vLLM writes for minus infinity, which JSON has not


@dataclass(frozen=True)
class PromptScores:
    """What a prompt's tokens are worth, each after all before it.

    Attributes:
        logprobs: [tokens - 1] nats of the second and all that follow.
        greedy: [tokens - 1] whether each is the likeliest.
    """

    logprobs: list[float]
    greedy: list[bool]


@dataclass(frozen=True)
class WrittenTokens:
    """What is said of the tokens that were written.

    Attributes:
        logprobs: [tokens] nats.
        tokens: [tokens] their numbers; None where they are not told.
    """

    logprobs: list[float]
    tokens: list[int] | None


def first_choice(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one text of an answer.

    Raises:
        ValueError: it has none.
    """
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise ValueError("an answer without choices")
    return choices[0]


def prompt_length(answer: Mapping[str, Any]) -> int | None:
    """Into how many tokens a server parted a prompt; None where it does not say."""
    said = (answer.get("usage") or {}).get("prompt_tokens")
    return said if isinstance(said, int) else None


def prompt_scores(answer: Mapping[str, Any], tokens: int) -> PromptScores | None:
    """What a prompt of so many tokens is worth, asked with `echo` and one token to write; None: it is not said."""
    told = first_choice(answer).get("logprobs")
    if not isinstance(told, Mapping) or prompt_length(answer) not in (None, tokens):
        return None
    values, tops = told.get("token_logprobs"), told.get("top_logprobs")
    if not isinstance(values, list) or not isinstance(tops, list) or len(values) != len(tops):
        return None
    if len(values) not in (tokens, tokens + 1):
        return None
    logprobs, greedy = [], []
    for value, top in zip(values[1:tokens], tops[1:tokens], strict=True):
        if not isinstance(value, (int, float)) or not isinstance(top, Mapping) or not top:
            return None
        logprobs.append(_nats(value))
        greedy.append(value >= max(top.values()))
    return PromptScores(logprobs, greedy)


def written_tokens(answer: Mapping[str, Any]) -> WrittenTokens | None:
    """The log-probabilities of what was written, as OpenAI's protocol or llama.cpp tells them; None: not at all."""
    choice = first_choice(answer)
    told = choice.get("logprobs")
    if not isinstance(told, Mapping):
        return None
    values: Any
    tokens: Any
    if isinstance(content := told.get("content"), list):
        content = list(takewhile(_is_one_token, content))
        values, tokens = [one.get("logprob") for one in content], [one.get("id") for one in content]
    else:
        values, tokens = told.get("token_logprobs"), choice.get("token_ids")
    if not isinstance(values, list) or not values or not all(isinstance(value, (int, float)) for value in values):
        return None
    named = isinstance(tokens, list) and len(tokens) == len(values) and all(isinstance(one, int) for one in tokens)
    return WrittenTokens([_nats(value) for value in values], list(tokens) if named and tokens else None)


def _is_one_token(entry: Mapping[str, Any]) -> bool:
    """Whether what llama.cpp tells of a token is of it alone.

    Tokens that are parts of one character are told together, with the number and the log-probability of the last: what
    comes after has more before it than is told. The likeliest tokens beside it have their own bytes.
    """
    own = [one.get("bytes") for one in entry.get("top_logprobs") or () if one.get("id") == entry.get("id")]
    return not own or own[0] == entry.get("bytes")


def finish_of(choice: Mapping[str, Any], may_stop: bool) -> str:
    """Why a text ended, as `Generated.finish` says it.

    A server that does not name the stop string leaves open whether it was one, or the text's own end: where the request
    has stop strings it counts as one.

    Args:
        choice: Of an answer.
        may_stop: Whether the request has stop strings.

    Raises:
        ValueError: it was broken off.
    """
    reason = choice.get("finish_reason")
    if reason == "length":
        return "length"
    if reason != "stop":
        raise ValueError(f"a text that ended with finish_reason {reason!r}")
    if "stop_reason" in choice:
        return "stop" if isinstance(choice["stop_reason"], str) else "eos"
    return "stop" if may_stop else "eos"


def _nats(value: float) -> float:
    return -math.inf if value <= NONE_AT_ALL else float(value)
