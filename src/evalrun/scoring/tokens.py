"""Tokens without a model: what a scorer would make of a text, from a tokenizer's files alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lm_eval.models.utils import resolve_max_length
from transformers import AutoConfig
from transformers.utils.logging import set_verbosity_error

from evalrun.checkpoints import tokenizer
from evalrun.core.errors import CheckpointError, first_line
from evalrun.scoring import departures
from evalrun.scoring.parting import encode_items
from evalrun.scoring.trie import TokenRequest


class ScorerTokenizer:
    """A tokenizer with lm-eval's rules for special tokens.

    Args:
        folder: Of its files, and of the config.json that says how much the model reads at once.
        remote_code: Whether code in the folder may run.
        by: Whether its `file` or its `class` is followed (scorer.tokens_by).

    Raises:
        CheckpointError: it cannot be loaded.
    """

    def __init__(self, folder: Path, remote_code: bool, by: str = "file") -> None:
        """Load the tokenizer of a checkpoint.

        Args:
            folder: Of its files.
            remote_code: Run code that lies beside them.
            by: `scorer.tokens_by`: whether its file or its class is followed.

        Raises:
            CheckpointError: it cannot be loaded.
        """
        set_verbosity_error()  # it warns of a text that is longer than the model reads, which the caller counts
        try:
            self.tokenizer = tokenizer.load(folder, remote_code, by)
            shape = AutoConfig.from_pretrained(folder, trust_remote_code=remote_code)
        except Exception as error:  # transformers and tokenizers raise their own
            raise CheckpointError(f"the tokenizer in '{folder}' cannot be loaded ({first_line(error)}).") from None
        self._by = by
        own: Any = self.tokenizer
        self.max_length: int = resolve_max_length(shape, own)  # tokens that the model reads at once
        self.unknown: str | None = own.unk_token  # what stands for words that it does not know
        first = own.bos_token_id if own.bos_token_id is not None else own.eos_token_id
        self._lm = SimpleNamespace(tokenizer=own, prefix_token_id=first, add_bos_token=None)

    def encode(
        self, pairs: Sequence[tuple[str, str]], items: Sequence[int], separate: bool
    ) -> tuple[list[TokenRequest], list[int]]:
        """Tokens of contexts and continuations, as they are scored; see `parting.encode_items`."""
        return encode_items(self._lm, pairs, items, separate)

    def apart(self, requests: list[Any]) -> list[str]:
        """A sentence where the tokenizer's class and its file part texts of some requests differently."""
        departure = tokenizer.departure_of(self.tokenizer)
        number, texts, first = (0, 0, None) if departure is None else departures.among(departure, requests)
        return (
            []
            if first is None or departure is None
            else [departures.sentence(departure, number, texts, first, self._by)]
        )

    def piece(self, token: int) -> str:
        """What one token stands for; a part of a character as the tokenizer spells it."""
        text = str(self.tokenizer.decode([token]))
        return str(self.tokenizer.convert_ids_to_tokens(token)) if "\N{REPLACEMENT CHARACTER}" in text else text
