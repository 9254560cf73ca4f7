"""The tokens of prompts that are gone on with, as lm-eval makes those of a prompt that is alone in its batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from lm_eval.models.utils import has_bos_prefix

Tokens = tuple[int, ...]


def prompt_tokens(lm: Any, prompts: Iterable[str]) -> dict[str, Tokens]:
    """Prompt -> its tokens; one that begins as the tokenizer begins a text is not begun again.

    Args:
        lm: lm-eval's model.
        prompts: Distinct ones.
    """
    begin = getattr(lm.tokenizer, "bos_token", None)
    alike: dict[bool | None, list[str]] = defaultdict(list)
    for prompt in prompts:
        alike[False if has_bos_prefix(prompt, begin) else lm.add_bos_token].append(prompt)
    found: dict[str, Tokens] = {}
    for special, group in alike.items():
        how = {} if special is None else {"add_special_tokens": special}
        coded = lm.tokenizer(group, truncation=lm.truncation, **how)["input_ids"]
        found |= zip(group, map(tuple, coded), strict=True)
    return found
