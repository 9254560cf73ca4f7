"""Which tokens of a vocabulary begin a word: those that begin with white space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

_Mask = np.ndarray[Any, np.dtype[np.bool_]]
_AT_ONCE = 10_000  # tokens
_known: WeakKeyDictionary[Any, dict[int, WordBeginnings]] = WeakKeyDictionary()


@dataclass(frozen=True)
class WordBeginnings:
    """Parts of a vocabulary; one entry a row of the model's embedding."""

    begins: _Mask  # begins with white space: ` word`, `▁word`, a line end; or every token, where all are whole words
    ends: _Mask  # a word ends before it: these, and the end of text
    trails: _Mask  # ends in white space, and so says itself that a word has ended
    goes_on: _Mask  # what a text can begin with that does not begin with white space: all others, and the end of text


def word_beginnings(tokenizer: Any, size: int) -> WordBeginnings:
    """What each token adds after a letter; looked at once for all checkpoints with a tokenizer.

    Args:
        tokenizer: Of transformers.
        size: Rows of the model's embedding, which may be more than the tokenizer has.
    """
    known = _known.setdefault(tokenizer, {})
    if size not in known:
        known[size] = _looked_at(tokenizer, size)
    return known[size]


def _looked_at(tokenizer: Any, size: int) -> WordBeginnings:
    """What `word_beginnings` gives; the arguments are its own."""
    letter = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    numbers = np.array(sorted(number for number in tokenizer.get_vocab().values() if number < size))
    before, (begins, trails) = len(_decoded(tokenizer, [letter])[0]), np.zeros((2, size), dtype=bool)
    for start in range(0, len(numbers), _AT_ONCE):
        some = numbers[start : start + _AT_ONCE]
        texts = _decoded(tokenizer, [[*letter, number] for number in some.tolist()])
        begins[some] = [text[before : before + 1].isspace() for text in texts]
        trails[some] = [text[before:][-1:].isspace() for text in texts]
    end = np.zeros(size, dtype=bool)
    if tokenizer.eos_token_id is not None:
        end[tokenizer.eos_token_id] = True
        begins[tokenizer.eos_token_id] = False
    known = np.zeros(size, dtype=bool)
    known[numbers] = True
    return WordBeginnings(begins, begins | end, trails, known & ~begins | end)


def _decoded(tokenizer: Any, ids: list[list[int]]) -> list[str]:
    """Texts of tokens as they are, nothing tidied."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        return list(backend.decode_batch(ids, skip_special_tokens=False))
    return [tokenizer.decode(one, clean_up_tokenization_spaces=False) for one in ids]
