"""The thinking part of a text: everything up to the last occurrence of what ends it is cut, as lm-eval cuts it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lm_eval.models.utils import postprocess_generated_text

from evalrun.scoring.generation.generated import Generated


def think_end(tokenizer: Any, text: str | None) -> str | int | None:
    """What ends a thinking part, as lm-eval's models take it: a special token by its number, which no text shows.

    Args:
        tokenizer: Of the checkpoint; None where a server has it.
        text: chat.think_end.
    """
    if text is not None and text in getattr(tokenizer, "all_special_tokens", ()):
        return int(tokenizer.convert_tokens_to_ids(text))
    return text


def answer_in(
    whole: str,
    tokens: Sequence[int],
    decode: Callable[[list[int]], str],
    stops: Sequence[str],
    end: str | int | None,
) -> str:
    """What a task sees of a text that was written: without its thinking part, and then up to the first stop string.

    Args:
        whole: The text.
        tokens: Its tokens, which count where `end` is one.
        decode: lm-eval's, which leaves special tokens out.
        stops: Its stop strings.
        end: See `think_end`.
    """
    if not isinstance(end, int):
        return str(postprocess_generated_text(whole, list(stops), end))
    ends = [place for place, token in enumerate(tokens) if token == end]
    rest = list(tokens[ends[-1] + 1 :] if ends else tokens)
    return str(postprocess_generated_text(decode(rest).lstrip(), list(stops), None))


def unended(written: Iterable[Generated], end: str | int | None) -> int:
    """How many texts reached their limit before what ends a thinking part; of them a task sees all that was thought.

    Args:
        written: The texts.
        end: See `think_end`; without one no text thinks.
    """
    if end is None:
        return 0
    cut_short = [one for one in written if one.finish in ("length", "window")]
    return sum(end not in (one.whole if isinstance(end, str) else one.tokens or (end,)) for one in cut_short)
