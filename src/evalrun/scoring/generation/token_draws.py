"""How the next token is chosen: the likeliest, or drawn as transformers' processors shape the probabilities."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lm_eval.models.utils import normalize_gen_kwargs
from numpy.typing import NDArray
from torch import Tensor
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from evalrun.scoring.unsupported import UnsupportedError

TOP_K = 50  # of transformers where neither the request nor the checkpoint says it
_SPARE = 64  # columns looked at beyond the likeliest: tokens that are as likely as the last of these stay too
_READ = {"do_sample", "temperature", "top_k", "top_p", "until", "max_gen_toks", "eos_token_id"}
_OF_NO_MATTER = {  # to what is written where a request is alone, on a model without images or an encoder
    "bos_token_id", "pad_token_id", "decoder_start_token_id", "transformers_version", "use_cache",
    "cache_implementation", "cache_config", "early_stopping", "length_penalty", "num_assistant_tokens",
    "is_assistant", "num_assistant_tokens_schedule", "assistant_confidence_threshold", "assistant_lookbehind",
    "target_lookbehind", "max_matching_ngram_size", "prefill_chunk_size", "disable_compile", "compile_config",
    "encoder_repetition_penalty", "output_attentions", "output_hidden_states", "output_scores", "output_logits",
    "return_dict_in_generate",
}  # fmt: skip
_NEUTRAL = {"num_beams", "typical_p", "repetition_penalty", "num_return_sequences", "num_beam_groups", "guidance_scale"}


@dataclass(frozen=True)
class TokenDraw:
    """Tokens are drawn."""

    temperature: float
    top_k: int  # 0: all
    top_p: float

    def draw(self, logits: Tensor, at: Tensor) -> Tensor:
        """The tokens at which the summed probabilities, in the order of the vocabulary, pass some shares.

        Args:
            logits: [rows, vocabulary] float32, finite or minus infinity.
            at: [rows] float64 in [0, 1).

        Returns:
            [rows] tokens.
        """
        columns = None
        if self.top_k > 0 and self.top_k + _SPARE < logits.shape[1]:
            values, places = logits.topk(self.top_k + _SPARE)
            if bool((values[:, self.top_k - 1] > values[:, -1]).all()):  # all that may stay are among them
                columns = places.sort(1).values
                logits = logits.gather(1, columns)
        for processor in self._processors():
            logits = processor(None, logits)
        sums = logits.softmax(-1).double().cumsum(1)
        chosen = torch.searchsorted(sums, (at.to(sums.device) * sums[:, -1])[:, None], right=True)[:, 0]
        chosen = torch.minimum(chosen, self._last(logits))
        return chosen if columns is None else columns.gather(1, chosen[:, None])[:, 0]

    def _processors(self) -> list[Any]:
        """In the order of transformers' `generate`."""
        found: list[Any] = []
        if self.temperature != 1.0:
            found.append(TemperatureLogitsWarper(self.temperature))
        if self.top_k:
            found.append(TopKLogitsWarper(self.top_k))
        if self.top_p < 1.0:
            found.append(TopPLogitsWarper(self.top_p))
        return found

    @staticmethod
    def _last(logits: Tensor) -> Tensor:
        """[rows] the last token that can be drawn: rounding must not lead behind it."""
        places = torch.arange(logits.shape[1], device=logits.device)
        return torch.where(logits == float("-inf"), -1, places).amax(1)


def draw_of(lm: Any, wanted: Mapping[str, Any]) -> TokenDraw | None:
    """How a request's tokens are drawn; None: the likeliest is taken.

    Args:
        lm: lm-eval's model, whose checkpoint may have settings of its own (generation_config.json).
        wanted: The request's `generation_kwargs`.

    Raises:
        UnsupportedError: settings that are left to transformers' own code, by name.
    """
    kwargs = normalize_gen_kwargs(dict(wanted), lm.max_gen_toks)
    own = {key: value for key, value in lm.model.generation_config.to_dict().items() if value is not None}
    own.pop("max_length", None)  # lm-eval sets it
    for key, value in (own | dict(kwargs)).items():
        known = key in _READ or key in _OF_NO_MATTER or key.startswith("_")
        if not known and value and not (key in _NEUTRAL and value == 1):
            raise UnsupportedError(f"texts are written with {key}={value}")
    if not kwargs["do_sample"]:
        return None
    temperature = float(kwargs.get("temperature") or 0.0)
    top_k, top_p = kwargs.get("top_k", own.get("top_k")), kwargs.get("top_p", own.get("top_p"))
    if temperature <= 0 or not 0 < (1.0 if top_p is None else top_p) <= 1 or (top_k or 0) < 0:
        raise UnsupportedError(f"texts are drawn with temperature={temperature}, top_k={top_k}, top_p={top_p}")
    return TokenDraw(temperature, TOP_K if top_k is None else int(top_k), 1.0 if top_p is None else float(top_p))


def shares(seed: int, request: Any, sample: int, count: int) -> NDArray[np.float64]:
    """[count] where each token of a text is drawn: the same whatever else is asked, and of whichever checkpoint.

    Args:
        seed: Of the run.
        request: lm-eval's instance.
        sample: Which of the texts of the request, counted from 0.
        count: Longest text in tokens.
    """
    return np.random.default_rng(int.from_bytes(draw_digest(seed, request, sample), "big")).random(count)


def draw_digest(seed: int, request: Any, sample: int) -> bytes:
    """What the draws of a text follow from: 32 bytes, the same whatever else is asked; arguments as of `shares`."""
    return hashlib.sha256(json.dumps([seed, request.task_name, request.doc_id, sample]).encode()).digest()
