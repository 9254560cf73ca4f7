"""The log-probability of every token of whole texts, and the mass of words' beginnings where words begin.

Windows are lm-eval's: the first predicts as many tokens as the model reads at once, after one token for the text's
beginning; each other predicts as many new ones, the last of them with all before it that fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lm_eval.utils import get_rolling_token_windows
from numpy.typing import NDArray

from evalrun.checkpoints.word_beginnings import WordBeginnings
from evalrun.scoring.head import Head

Floats = NDArray[np.float64]
CLOSING = -1  # the token of the row that stands after a text, where boundaries are asked for
_AT_ONCE = 2048  # tokens of a batch, padding included, or one window


@dataclass
class TextTokens:
    """A text's tokens; one entry a token, and a last one for its end where boundaries are asked for."""

    token: list[int]
    start: list[int]  # characters; -1: not known
    end: list[int]
    nats: Floats
    boundary_nats: Floats | None  # see `WordMap.corrected`


@dataclass(frozen=True)
class _Window:
    """A piece of a text that is scored in one row of a pass."""

    text: int
    place: int  # of its first scored token
    inputs: Sequence[int]
    scored: Sequence[int]


def tokens_of(tokenizer: Any, encode: Any, text: str, closed: bool) -> TextTokens:
    """The tokens of a text and where they stand in it, not yet scored.

    Args:
        tokenizer: Of transformers.
        encode: Gives a text's tokens as they are scored.
        text: The text.
        closed: With a last entry for the end.
    """
    ids = [int(token) for token in encode(text)]
    places = [(-1, -1)] * len(ids)
    if getattr(tokenizer, "is_fast", False):
        found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        if list(found["input_ids"]) == ids:
            places = [(int(start), int(end)) for start, end in found["offset_mapping"]]
    if closed:
        ids, places = [*ids, CLOSING], [*places, (len(text), len(text))]
    start, end = ([place[side] for place in places] for side in (0, 1))
    return TextTokens(ids, start, end, np.zeros(len(ids)), np.full(len(ids), np.nan) if closed else None)


@torch.inference_mode()
def score(
    model: Any, head: Head, texts: Sequence[TextTokens], begin: int, longest: int, words: WordBeginnings | None
) -> None:
    """Fill in the nats of tokens, and their boundaries.

    Args:
        model: Causal, of transformers.
        head: Its head.
        texts: What is scored, changed.
        begin: The token before a text.
        longest: Tokens that the model reads at once.
        words: Which tokens begin words; None where no boundaries are asked for.
    """
    parts = None if words is None else torch.from_numpy(np.stack([words.ends, words.goes_on])).to(head.device)
    windows = [one for number, text in enumerate(texts) for one in _windows(number, text, begin, longest)]
    windows.sort(key=lambda one: -len(one.inputs))
    for batch in _batches(windows):
        inputs = [torch.tensor(one.inputs) for one in batch]
        padded = torch.nn.utils.rnn.pad_sequence(inputs, batch_first=True).to(head.device)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(one) for one in inputs], batch_first=True)
        hidden = model.base_model(input_ids=padded, attention_mask=mask.to(head.device)).last_hidden_state
        for row, one in enumerate(batch):
            states = hidden[row, len(one.inputs) - len(one.scored) : len(one.inputs)]
            _fill(texts[one.text], one, head, states, words, parts)


def _fill(text: TextTokens, window: _Window, head: Head, states: Any, words: WordBeginnings | None, parts: Any) -> None:
    """Write what a window's hidden states say into its text.

    Args:
        text: Changed.
        window: Of it.
        head: The model's head.
        states: [scored, hidden] before each scored token.
        words: Which tokens begin words; None: no boundaries.
        parts: [2, vocabulary] the tokens before which a word ends, and those that a text goes on with.
    """
    scored = np.asarray(window.scored)
    at = slice(window.place, window.place + len(scored))
    real = np.flatnonzero(scored != CLOSING)
    if len(real):
        rows = torch.arange(len(real), device=states.device)
        tokens = torch.from_numpy(scored[real]).to(states.device)
        text.nats[at][real] = -head(states[: len(real)], rows, tokens)[0].double().cpu().numpy()
    if words is None or text.boundary_nats is None:
        return
    before = np.array([*(text.token[window.place - 1 : window.place] if window.place else [CLOSING]), *scored[:-1]])
    begins = (scored == CLOSING) | words.begins[np.maximum(scored, 0)]
    begins &= (before == CLOSING) | ~words.trails[np.maximum(before, 0)]
    masses = -head.masses(states, parts).double().cpu().numpy()
    text.boundary_nats[at] = np.where(begins, masses[:, 0], np.nan)
    if window.place == 0 and not begins[0]:
        text.boundary_nats[0] = masses[0, 1]


def _windows(number: int, text: TextTokens, begin: int, longest: int) -> Iterator[_Window]:
    """The windows of a text, and one that scores nothing but its end."""
    ids = [token for token in text.token if token != CLOSING]
    place = 0
    for inputs, scored in get_rolling_token_windows(ids, begin, longest, 1):
        yield _Window(number, place, inputs, scored)
        place += len(scored)
    if text.boundary_nats is not None:
        yield _Window(number, len(ids), [begin, *ids][-longest:], [CLOSING])


def _batches(windows: Sequence[_Window]) -> Iterator[Sequence[_Window]]:
    """Windows of about one length, longest first, as many as a pass takes."""
    start = 0
    while start < len(windows):
        stop = start + max(1, _AT_ONCE // len(windows[start].inputs))
        yield windows[start:stop]
        start = stop
