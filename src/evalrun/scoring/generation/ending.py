"""When a text ends: as lm-eval and transformers end it where a request is alone in its batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

from evalrun.scoring.generation.generated import Generated
from evalrun.scoring.generation.thinking import answer_of

_MORE = 2  # tokens that lm-eval looks back further than a stop string has


class Ending:
    """The stop strings, ends of text and the limit of one request."""

    def __init__(self, lm: Any, wanted: dict[str, Any]) -> None:
        """Read what a request asks for.

        Args:
            lm: lm-eval's model: its tokenizer, ends of text and limit where the request names none.
            wanted: The request's `generation_kwargs`.
        """
        kwargs = normalize_gen_kwargs(wanted, lm.max_gen_toks)
        self.stops = handle_stop_sequences(kwargs.pop("until", None), lm.tok_decode(lm.eot_token_id, False))
        self.limit = int(kwargs["max_gen_toks"])
        self.ends = ends_of_text(lm.model.generation_config, kwargs)
        self._lm = lm
        encode = lm.tokenizer.encode
        self._looks = [(stop, len(encode(stop, add_special_tokens=False)) + _MORE) for stop in self.stops]

    def reason(self, tokens: Sequence[int]) -> str | None:
        """Why a text of these tokens, at least one, ends with the last of them: as in `Generated.finish`."""
        if tokens[-1] in self.ends:
            return "eos"
        if any(stop in self._lm.tok_decode(tokens[-count:], False) for stop, count in self._looks):
            return "stop"
        return "length" if len(tokens) >= self.limit else None

    def alone(self, tokens: Sequence[int]) -> Generated:
        """What a request would have written alone, of a row in a batch that went on until all had ended."""
        for count in range(1, len(tokens) + 1):
            if reason := self.reason(tokens[:count]):
                return self.generated(tokens[:count], reason)
        return self.generated(tokens, "length")

    def generated(self, tokens: Sequence[int], reason: str) -> Generated:
        """The record of a text that has ended."""
        whole = self._lm.tok_decode(list(tokens))
        text = answer_of(tokens, self._lm.tok_decode, self.stops, self._lm.think_end_token)
        return Generated(text, whole, tuple(tokens), reason)


def ends_of_text(config: Any, wanted: dict[str, Any]) -> frozenset[int]:
    """The tokens that end a text: those of the checkpoint's generation settings, unless a request names others."""
    named = wanted.get("eos_token_id", config.eos_token_id)
    return frozenset() if named is None else frozenset([named] if isinstance(named, int) else map(int, named))
