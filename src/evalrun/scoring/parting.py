"""Choices that would be scored on the same tokens, or on none, because a token spans the prompt's end and their start.

"She walk" + "ed home" and "She walk" + "s home" are `She| walked| home` and `She| walks| home`: past the prompt's two
tokens both are ` home`, and lm-eval's log-likelihoods are equal though the texts differ. Such items, and no others, are
scored from where the tokens part: all their choices after the tokens that they share with their prompt alone, so that
what is compared is the probability of each whole text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from evalrun.scoring.encode import after_prefix, encode, tokens_of
from evalrun.scoring.trie import TokenRequest


def items_of(requests: Iterable[Any]) -> list[int]:
    """A number for each of lm-eval's requests: equal for those of one item of one task."""
    numbers: dict[Any, int] = {}
    return [
        numbers.setdefault((request.task_name, getattr(request, "doc_id", place)), len(numbers))
        for place, request in enumerate(requests)
    ]


def encode_items(
    lm: Any, pairs: Sequence[tuple[str, str]], items: Sequence[int], separate: bool
) -> tuple[list[TokenRequest], list[int]]:
    """`encode`, with the items parted that need it.

    Args:
        lm: lm-eval's model: its tokenizer and its rules for special tokens.
        pairs: Context and continuation of each request.
        items: To which item each belongs.
        separate: Tokenise the two alone; then no token spans them, and nothing is parted.

    Returns:
        The tokens of each request, and the places of those that were parted.
    """
    coded = encode(lm, pairs, separate)
    groups: dict[tuple[int, str], list[int]] = defaultdict(list)
    for place, (item, (context, _)) in enumerate(zip(items, pairs, strict=True)):
        if context and not separate:
            groups[item, context].append(place)
    alike = {key: places for key, places in groups.items() if _need_it(pairs, coded, places)}
    texts = [
        text
        for places in alike.values()
        for place in places
        for text in (pairs[place][0].rstrip(), "".join(pairs[place]))
    ]
    whole = tokens_of(lm, texts) if texts else {}
    parted: list[int] = []
    for (_, context), places in alike.items():
        texts = ["".join(pairs[place]) for place in places]
        cut = min(_shared(whole[context.rstrip()], whole[text]) for text in texts)
        if any(len(whole[text]) == cut for text in texts):
            continue  # a choice that adds nothing to its prompt: refused as ever
        for place, text in zip(places, texts, strict=True):
            tokens = whole[text]
            coded[place] = (tokens[:cut], tokens[cut:]) if cut else after_prefix(lm.prefix_token_id, tokens)
            parted.append(place)
    return coded, sorted(parted)


def _need_it(pairs: Sequence[tuple[str, str]], coded: Sequence[TokenRequest], places: Sequence[int]) -> bool:
    """Whether two different texts of an item have the same scored tokens, or one has none."""
    texts: dict[tuple[int, ...], str] = {}
    return any(
        not coded[place][1] or texts.setdefault(tuple(coded[place][1]), pairs[place][1]) != pairs[place][1]
        for place in places
    )


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two texts begin with alike."""
    count = 0
    while count < min(len(one), len(other)) and one[count] == other[count]:
        count += 1
    return count
