"""Whole texts in windows: what a rolling log-likelihood is the sum of.

The windows are lm-eval's: the first predicts as many tokens as the model reads at once, after one token for the text's
beginning; each other predicts the next ones with all before them that fit. lm-eval moves on by a whole window, so that
the first token of each sees one before it; a smaller stride lets it see more, and costs as much more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalrun.checkpoints.word_beginnings import WordBeginnings
from evalrun.scoring.trie import Ints, TokenRequest

Floats = NDArray[np.float64]
CHARACTERS = 1_000_000  # of texts that are tokenised in one call, of which each takes a hundred bytes meanwhile
OVERLAP, AGREED = 8_000, 64  # characters that pieces of a longer text share, and tokens by which they must agree there
KEPT = 8_000_000  # numbers that are kept of texts' tokens from one checkpoint to the next, of 8 bytes
CLOSING = -1  # the token of the entry that stands after a text, where boundaries are asked for


@dataclass(frozen=True)
class Scored:
    """What a window's scored tokens cost.

    Attributes:
        nats: [scored]
        masses: [scored, 2] minus the log of the mass, in each's place, of the tokens before which a word ends, and of
            those that a text can go on with; where boundaries are asked for.
    """

    nats: Floats
    masses: Floats | None = None


@dataclass(frozen=True)
class ReadText:
    """What a checkpoint says of a text.

    Attributes:
        nats: Minus its log-likelihood.
        count: Its tokens.
        tokens: [tokens] Kept, as what follows, where tokens are asked for; one more, `CLOSING`, with boundaries.
        places: [tokens, 2] characters of the text where each begins and ends; -1 where that is not known.
        each: [tokens] nats.
        boundary: [tokens] nats of where words begin and end: see `WordMap.corrected`.
    """

    nats: float
    count: int
    tokens: Ints | None = None
    places: Ints | None = None
    each: Floats | None = None
    boundary: Floats | None = None


@dataclass(frozen=True)
class CodedText:
    """A text's tokens and where they stand in it."""

    text: str
    tokens: Ints  # [tokens]
    places: Ints | None  # [tokens, 2]


class KnownTokens:
    """The tokens of texts by one tokenizer, kept for the next checkpoint as long as they are few enough."""

    def __init__(self) -> None:
        self._known: dict[str, CodedText] = {}
        self._size = 0

    def of(self, lm: Any, texts: Iterable[str], places: bool) -> Iterator[CodedText]:
        """What `tokens_of_texts` gives, in another order where some are known."""
        unknown = []
        for text in texts:
            known = self._known.get(text)
            if known is None or (places and known.places is None):
                unknown.append(text)
            else:
                yield known
        for coded in tokens_of_texts(lm, unknown, places):
            size = coded.tokens.size + (0 if coded.places is None else coded.places.size)
            if self._size + size <= KEPT:
                self._known[coded.text] = coded
                self._size += size
            yield coded


def tokens_of_texts(lm: Any, texts: Iterable[str], places: bool) -> Iterator[CodedText]:
    """Tokens of texts without the tokenizer's own beginning and end, some texts at a time.

    Args:
        lm: lm-eval's model.
        texts: Distinct ones.
        places: Also where each token stands.
    """
    waiting: list[str] = []
    size = 0
    for text in texts:
        if len(text) > CHARACTERS and waiting:
            yield from _tokenised(lm, waiting, places)
            waiting, size = [], 0
        waiting.append(text)
        size += len(text)
        if size >= CHARACTERS:
            yield from _tokenised(lm, waiting, places)
            waiting, size = [], 0
    if waiting:
        yield from _tokenised(lm, waiting, places)


def _tokenised(lm: Any, texts: list[str], places: bool) -> Iterator[CodedText]:
    """One call of the tokenizer.

    Args:
        lm: lm-eval's model.
        texts: To tokenise.
        places: Also where each token stands; -1 by a tokenizer that cannot say.
    """
    fast = bool(getattr(lm.tokenizer, "is_fast", False))
    if fast and len(texts) == 1 and len(texts[0]) > CHARACTERS + OVERLAP:
        pieces = _in_pieces(lm, texts[0])
        if pieces is not None:
            yield CodedText(texts[0], pieces[0], pieces[1] if places else None)
            return
    coded = _call(lm, texts, places and fast)
    for place, text in enumerate(texts):
        tokens = np.asarray(coded["input_ids"][place], np.int64)
        where = None
        if places:
            where = np.asarray(coded["offset_mapping"][place], np.int64) if fast else np.full((len(tokens), 2), -1)
        yield CodedText(text, tokens, None if where is None else where.reshape(-1, 2))


def _call(lm: Any, texts: list[str], places: bool) -> Any:
    return lm.tokenizer(
        texts,
        add_special_tokens=False,
        return_attention_mask=False,
        return_offsets_mapping=places,
        verbose=False,
    )


def _in_pieces(lm: Any, text: str) -> tuple[Ints, Ints] | None:
    """Tokens and places of a long text, piece by piece; None where two pieces do not agree in what they share.

    A piece goes on in the middle of what it shares with the one before, where both have the same tokens in the same
    places for a while: what came earlier has no say any more in where a token ends.

    Args:
        lm: lm-eval's model, with a tokenizer that says where tokens stand.
        text: Longer than a piece.
    """
    tokens, places = list[Ints](), list[Ints]()
    for start in range(0, len(text) - OVERLAP, CHARACTERS):
        coded = _call(lm, [text[start : start + CHARACTERS + OVERLAP]], places=True)
        own = np.asarray(coded["input_ids"][0], np.int64)
        where = np.asarray(coded["offset_mapping"][0], np.int64).reshape(-1, 2) + start
        if start:
            last, last_places = tokens[-1], places[-1]
            here = int(np.searchsorted(where[:, 0], start + OVERLAP // 2))
            first = where[here, 0] if here < len(own) else -1
            before = int(np.searchsorted(last_places[:, 0], first))
            ours, theirs = slice(here, here + AGREED), slice(before, before + AGREED)
            agreed = np.array_equal(own[ours], last[theirs]) and np.array_equal(where[ours], last_places[theirs])
            if not agreed or len(own[ours]) < AGREED:
                return None
            tokens[-1], places[-1] = last[:before], last_places[:before]
            own, where = own[here:], where[here:]
        tokens.append(own)
        places.append(where)
    return np.concatenate(tokens), np.concatenate(places)


def closing(tokens: Ints, begin: int, window: int) -> TokenRequest:
    """The window in whose place after a text's last token nothing is scored but boundaries; its token is any."""
    return [begin, *tokens.tolist()][-window:], [0]


def boundaries(tokens: Ints, masses: Floats, words: WordBeginnings) -> Floats:
    """[tokens + 1] What `WordMap.corrected` takes: nats of the mass of words' ends where one ends, else NaN.

    Args:
        tokens: Of a text.
        masses: [tokens + 1, 2] `Scored.masses` in the place of each token, and after the last.
        words: Which tokens begin words.
    """
    begins = np.append(words.begins[tokens], True)
    begins[1:] &= ~words.trails[tokens]  # a token with white space at its end says itself that the word has ended
    found: Floats = np.where(begins, masses[:, 0], np.nan)
    if not begins[0]:
        found[0] = masses[0, 1]
    return found


def windows(tokens: Ints, begin: int, window: int, stride: int) -> Iterator[TokenRequest]:
    """The windows of a text: context and what is scored after it; every token is scored once.

    Args:
        tokens: Of the text; without any there is no window.
        begin: The token before the first one.
        window: Tokens that the model sees at once.
        stride: Tokens that each window after the first scores, at most `window`.
    """
    first = min(window, len(tokens))
    if first:
        yield [begin], tokens[:first].tolist()
    for start in range(first, len(tokens), stride):
        stop = min(start + stride, len(tokens))
        yield tokens[stop - window - 1 : start].tolist(), tokens[start:stop].tolist()
