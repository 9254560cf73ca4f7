"""What tells two tokenizers apart, whatever library wrote their files: their tokens, and how they part a text."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from typing import Any

# Words, numbers, spaces, punctuation, code, other scripts, marks: where the rules of tokenizers differ. It is short,
# since a tokenizer of bytes warns of more tokens than its model reads.
_TEXT = "The  cat's 3.14159 don't, unbelievable!\n\tx_1 = f(a)[0];  Ünïcödé été 你好 мир 🙂 e\u0301 \u00a0https://a.b"


@lru_cache(maxsize=16)
def tokenizer_digest(tokenizer: Any) -> str:
    """Sha256 over a tokenizer's tokens with their numbers, and over those of a text.

    Its files are another thing: a later version of a library writes the same tokenizer in other words.

    Args:
        tokenizer: As `tokenizer.load` gave it.
    """
    tokens = sorted((str(token), int(number)) for token, number in tokenizer.get_vocab().items())
    said = json.dumps([tokens, [int(token) for token in tokenizer(_TEXT, verbose=False)["input_ids"]]])
    return hashlib.sha256(said.encode()).hexdigest()
