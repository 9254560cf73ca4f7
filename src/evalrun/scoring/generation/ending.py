"""When a text ends: as lm-eval and transformers end it where a request is alone in its batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

from evalrun.scoring.generation.generated import Generated
from evalrun.scoring.generation.thinking import answer_in

_MORE = 2  # tokens that lm-eval looks back further than a stop string has
_BROKEN = "\ufffd"  # what a part of a character decodes to


class Ending:
    """The stop strings, ends of text and the limit of one request."""

    def __init__(self, lm: Any, wanted: Mapping[str, Any]) -> None:
        """Read what a request asks for.

        Args:
            lm: lm-eval's model: its tokenizer, ends of text and limit where the request names none.
            wanted: The request's `generation_kwargs`.
        """
        kwargs = normalize_gen_kwargs(dict(wanted), lm.max_gen_toks)
        self.stops = handle_stop_sequences(kwargs.pop("until", None), lm.tok_decode(lm.eot_token_id, False))
        self.limit = int(kwargs["max_gen_toks"])
        self.ends = ends_of_text(lm.model.generation_config, kwargs)
        self._decode, self._think_end = lm.tok_decode, lm.think_end_token
        encode = lm.tokenizer.encode
        self._looks = [(stop, len(encode(stop, add_special_tokens=False)) + _MORE) for stop in self.stops]
        self._last = {stop[-1:] for stop in self.stops}  # with "" every token may be the last
        self._may_stop: dict[int, bool] | None = {} if _joins_bytes(lm.tokenizer, self.stops) else None

    def reason(self, tokens: Sequence[int], limit: int | None = None) -> str | None:
        """Why a text of these tokens, at least one, ends with the last of them: as in `Generated.finish`.

        Args:
            tokens: All that was written.
            limit: Other than the request's own.
        """
        last = tokens[-1]
        if last in self.ends:
            return "eos"
        if self._can_stop(last) and any(stop in self._decode(tokens[-count:], False) for stop, count in self._looks):
            return "stop"
        return "length" if len(tokens) >= (self.limit if limit is None else limit) else None

    def _can_stop(self, token: int) -> bool:
        """Whether a stop string may end in a token; where bytes are joined, its last character stands in it."""
        known = self._may_stop
        if known is None:
            return True
        if token not in known:
            text = self._decode([token], False)
            known[token] = _BROKEN in text or any(last in text for last in self._last)
        return known[token]

    def alone(self, tokens: Sequence[int]) -> Generated:
        """What a request would have written alone, of a row in a batch that went on until all had ended."""
        for count in range(1, len(tokens) + 1):
            if reason := self.reason(tokens[:count]):
                return self.generated(tokens[:count], reason)
        return self.generated(tokens, "length")

    def generated(self, tokens: Sequence[int], reason: str) -> Generated:
        """The record of a text that has ended."""
        whole = self._decode(list(tokens))
        text = answer_in(whole, tokens, self._decode, self.stops, self._think_end)
        return Generated(text, whole, tuple(tokens), reason)


def ends_of_text(config: Any, wanted: Mapping[str, Any]) -> frozenset[int]:
    """The tokens that end a text: those of the checkpoint's generation settings, unless a request names others."""
    named = wanted.get("eos_token_id", config.eos_token_id)
    return frozenset() if named is None else frozenset([named] if isinstance(named, int) else map(int, named))


def _joins_bytes(tokenizer: Any, stops: Sequence[str]) -> bool:
    """Whether a text is the bytes of its tokens one after the other, and nothing is tidied afterwards."""
    decoder = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
    tidied = getattr(tokenizer, "clean_up_tokenization_spaces", False)
    return type(decoder).__name__ == "ByteLevel" and not tidied and not any(_BROKEN in stop for stop in stops)
