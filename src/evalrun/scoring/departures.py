"""Where a tokenizer's class and its own file part the texts of tasks differently: said once, and kept with results."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from evalrun.checkpoints import tokenizer as tokenizers
from evalrun.checkpoints.token_rules import Departure, Difference
from evalrun.scoring.requests import rendered

log = logging.getLogger(__name__)

_left_out: set[tuple[str, ...]] = set()  # tokens of a tokenizer's own that were told of in this process
_found: WeakKeyDictionary[Any, dict[tuple[int, int | None], tuple[int, int, Difference | None]]] = WeakKeyDictionary()


def token_settings(tokenizer: Any, tasks: Mapping[str, Any], limit: int | None, by: str) -> dict[str, dict[str, Any]]:
    """What each task's result says of its tokens; a warning for a task with texts that are parted differently.

    Args:
        tokenizer: As `tokenizer.load` gave it.
        tasks: Name -> lm-eval's task object.
        limit: Of the first so many items; None for all.
        by: Whether the tokenizer follows its `file` or its `class` (scorer.tokens_by).

    Returns:
        Of each task `tokens_by`, and where any text differs `tokens_differ`, how many of its distinct texts do; of one
        that scores whole texts `tokens_left_out`, those that the tokenizer would add, if any; of another those that it
        would put after a text, or, where code of its own still does, `tokens_appended`.
    """
    departure = tokenizers.departure_of(tokenizer)
    said: dict[str, dict[str, Any]] = {name: {"tokens_by": by} for name in tasks}
    rolling = [name for name, task in tasks.items() if task.OUTPUT_TYPE == "loglikelihood_rolling"]
    if rolling and (own := tokenizers.added(tokenizer)):
        said |= {name: said[name] | {"tokens_left_out": own} for name in rolling}
        _say_left_out(rolling[0], own)
    others = [name for name in tasks if name not in rolling]
    if others and (off := tokenizers.left_off(tokenizer)):
        said |= {name: said[name] | {"tokens_left_out": off} for name in others}
        _say_no_end(others[0], off)
    if others and (end := tokenizers.ending(tokenizer)):
        said |= {name: said[name] | {"tokens_appended": end} for name in others}
        _warn_of_ending(others[0], end)
    for name, task in tasks.items() if departure is not None else ():
        assert departure is not None
        known = _found.setdefault(task, {})
        first_time = (id(tokenizer), limit) not in known
        if first_time:
            known[id(tokenizer), limit] = among(departure, rendered(task, limit))
        number, texts, first = known[id(tokenizer), limit]
        if first is not None:
            said[name]["tokens_differ"] = number
            if first_time:
                log.warning("%s: %s", name, sentence(departure, number, texts, first, by))
    return said


def _say_left_out(name: str, own: list[str]) -> None:
    if tuple(own) in _left_out:
        return
    _left_out.add(tuple(own))
    log.warning(
        "%s: whole texts are scored after one token for the beginning, without the %s that the tokenizer adds to each; "
        "lm-eval scores those too",
        *(name, " and ".join(own)),
    )


def _say_no_end(name: str, end: list[str]) -> None:
    if ("no", *end) in _left_out:
        return
    _left_out.add(("no", *end))
    log.warning(
        "%s: prompts and choices are read without the %s that the tokenizer puts after every text; lm-eval ends "
        "prompts with it, and scores it instead of a choice's first token",
        *(name, " and ".join(end)),
    )


def _warn_of_ending(name: str, end: list[str]) -> None:
    if ("", *end) in _left_out:
        return
    _left_out.add(("", *end))
    log.warning(
        "%s: the tokenizer's own code adds %s to the end of every text, so that prompts end with it before answers "
        "begin, and a choice is scored without its first token where both are tokenised as one, as in lm-eval: take it "
        "out of the tokenizer's files, or name a tokenizer that adds none with model.tokenizer=",
        *(name, " and ".join(end)),
    )


def sentence(departure: Departure, number: int, texts: int, first: Difference, by: str) -> str:
    """What to know of texts that are parted differently, without the full stop."""
    other = {"file": "class", "class": "file"}[by]
    return (
        f"{number} of {texts} texts have other tokens by tokenizer.json than by transformers' {departure.name}: "
        f"{first}; the {by} is followed (scorer.tokens_by={other} follows the {other})"
    )


def among(departure: Departure, requests: list[Any]) -> tuple[int, int, Difference | None]:
    """How many distinct texts of some requests are parted differently, of how many, and the first of them."""
    texts = list(dict.fromkeys("".join(word for word in request.args if isinstance(word, str)) for request in requests))
    whole = any(request.request_type == "loglikelihood_rolling" for request in requests)
    number, first = departure.among(texts, special=not whole)
    return number, len(texts), first
