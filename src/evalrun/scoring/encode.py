"""Tokens of many requests at once: the same as lm-eval's one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lm_eval.models.utils import has_bos_prefix

from evalrun.scoring.trie import TokenRequest


def encode(lm: Any, pairs: Sequence[tuple[str, str]], separate: bool) -> list[TokenRequest]:
    """Tokenise contexts and continuations as `lm_eval.api.model.TemplateLM.loglikelihood` does.

    Each distinct text is tokenised once, all in one call of the tokenizer.

    Args:
        lm: lm-eval's model: its tokenizer and its rules for special tokens.
        pairs: Context and continuation of each request.
        separate: Tokenise the two alone, as lm-eval 0.3 did, instead of both as one text that is split.
    """
    prefix = lm.prefix_token_id
    plain = tokens_of(lm, (b for a, b in pairs if a == "" or separate), add_special_tokens=False)
    if separate:
        whole = tokens_of(lm, (a for a, _ in pairs if a))
        return [(whole[a], plain[b]) if a else after_prefix(prefix, plain[b]) for a, b in pairs]
    bare = [a.rstrip() for a, _ in pairs]  # white space at the end belongs to the continuation's first token
    whole = tokens_of(lm, (text for (a, b), c in zip(pairs, bare, strict=True) if a for text in (c, a + b)))
    return [
        (whole[c], whole[a + b][len(whole[c]) :]) if a else after_prefix(prefix, plain[b])
        for (a, b), c in zip(pairs, bare, strict=True)
    ]


def after_prefix(prefix: int | None, tokens: list[int]) -> TokenRequest:
    """An empty context: the text is scored after the beginning-of-text token, which it may already start with.

    A tokenizer without such a token leaves the context empty, which `scorable` refuses.
    """
    if prefix is None:
        return [], tokens
    return ([prefix], tokens) if tokens[:1] != [prefix] else (tokens[:1], tokens[1:])


def tokens_of(lm: Any, texts: Iterable[str], add_special_tokens: bool | None = None) -> dict[str, list[int]]:
    """Text -> tokens of each distinct text, with the special tokens that `HFLM.tok_encode` would add."""
    start = None if lm.prefix_token_id is None else lm.tokenizer.decode(lm.prefix_token_id)
    flags: dict[bool | None, list[str]] = {}
    for text in dict.fromkeys(texts):
        flag = add_special_tokens
        if flag is None:
            flag = False if start is not None and has_bos_prefix(text, start) else lm.add_bos_token
        flags.setdefault(flag, []).append(text)
    found: dict[str, list[int]] = {}
    for flag, group in flags.items():
        special = {} if flag is None else {"add_special_tokens": flag}
        found.update(zip(group, lm.tokenizer(group, **special)["input_ids"], strict=True))
    return found
