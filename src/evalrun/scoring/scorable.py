"""Whether tokens can be scored at all: what cannot is named by its task, item and choice before a model sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evalrun.checkpoints.token_rules import quoted
from evalrun.core.errors import TaskError
from evalrun.scoring.trie import TokenRequest

_SHOWN = 40  # characters of a text that a sentence repeats


def embedded(lm: Any) -> int | None:
    """How many tokens a model has embeddings for; None where that cannot be seen."""
    weight = getattr(lm.model.get_input_embeddings(), "weight", None)
    shape: tuple[int, ...] = () if weight is None else tuple(weight.shape)
    return int(shape[0]) if len(shape) == 2 else None


def check(lm: Any, requests: Sequence[Any], coded: Sequence[TokenRequest]) -> None:
    """See that each request has a context, a continuation that fits the window, and tokens that the model knows.

    Args:
        lm: lm-eval's model.
        requests: lm-eval's instances.
        coded: Tokens of their contexts and continuations.

    Raises:
        TaskError: naming the first that cannot be scored, and how many there are.
    """
    rows = embedded(lm)
    faults = [
        (request, why) for request, tokens in zip(requests, coded, strict=True) if (why := _fault(lm, tokens, rows))
    ]
    if faults:
        raise TaskError(f"{place(faults[0][0])} {faults[0][1]}{_others(len(faults))}.")


def check_begin(lm: Any, requests: Sequence[Any]) -> None:
    """See that a tokenizer has a token that a text can be scored after.

    Raises:
        TaskError: it has none.
    """
    if requests and lm.prefix_token_id is None:
        raise TaskError(f"{place(requests[0])} {_NO_BEGIN}{_others(len(requests))}.")


def place(request: Any) -> str:
    """Where a request comes from: its task, item and choice, with the text."""
    text = str(request.args[1] if len(request.args) > 1 and isinstance(request.args[1], str) else request.args[0])
    short = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    choice = f", choice {request.idx + 1}" if request.request_type == "loglikelihood" else ""
    return f"task '{request.task_name}', item {(request.doc_id or 0) + 1}{choice}, {quoted(short)},"


_NO_BEGIN = (
    "has nothing before it to be scored after, and the tokenizer has neither a token for the beginning of a text nor "
    "one for its end: name one as bos_token or eos_token in tokenizer_config.json, or give the task a prompt"
)


def _others(count: int) -> str:
    return f" ({count} requests in all)" if count > 1 else ""


def _fault(lm: Any, tokens: TokenRequest, rows: int | None) -> str | None:
    """Why a request cannot be scored, as the tail of a sentence; None if it can.

    Args:
        lm: Its tokenizer and window (tokens).
        tokens: Context and continuation.
        rows: Tokens that the model has embeddings for; None if that is not known.
    """
    context, continuation = tokens
    if not context:
        return _NO_BEGIN
    if not continuation:
        return (
            "gives no token of its own, because the tokenizer joins it with its prompt or makes nothing of it: begin "
            'it with a space (target_delimiter: " "), or take it out of the data'
        )
    if len(continuation) > lm.max_length:
        return (
            f"has {len(continuation)} tokens, and the model reads {lm.max_length} at once: shorten it in the data, or "
            "take it out"
        )
    largest = max(max(context), max(continuation))
    if rows is not None and largest >= rows:
        spelt = lm.tokenizer.convert_ids_to_tokens(largest)
        return (
            f"has the token {spelt!r}, number {largest}, and the model has embeddings for {rows} tokens, 0 to "
            f"{rows - 1}: name the tokenizer that it was trained with (model.tokenizer=), or resize its embeddings"
        )
    return None
