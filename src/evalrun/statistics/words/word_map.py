"""Words from tokens: which tokens of a text are which word's, and what a word costs in nats.

A word is what stands between white space (`str.split`), marks that touch it included. White space belongs to the word
after it, as byte-level BPE (` word`) and SentencePiece (`▁word`) have it. So a token is the word's that holds its first
character that is no white space, and a token of white space alone is the next word's. What follows the last word is no
word's: it has a row of its own, with the empty word, so that the sums over words are those over tokens. Tokens without
a place in the text are in that row too. A token that holds parts of several words is the first one's; none of these is
`whole`, and words in which no token begins have no nats.

The correction is that of Pimentel & Meister (2024, "How to compute the probability of a word", arXiv:2406.14561): where
white space begins a word's tokens, they say that the word before has ended, and not that this one has. Of the tokens of
a word the probability is divided by that of its beginning (the mass of all tokens that begin with white space, and of
the end of text, where its first token stands) and multiplied by that of its end (the same mass after its last token).
Their product over a text is then the probability of its words. At the beginning of a text that does not begin with
white space, the divisor is the mass of all other tokens. A token with a word's end and the white space after it says
itself that the word has ended: that mass is 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.errors import AnalysisError
from evalrun.statistics.items.clusters import Codes
from evalrun.statistics.items.values import Floats

TOKEN_COLUMNS = ("doc_id", "position", "token", "start", "end", "nats", "boundary_nats")
CLOSING = -1  # the token of a row that stands after a text's last: it has a boundary and no nats
_WHITE = np.array([chr(code).isspace() for code in range(0x3001)] + [False])  # no white space comes after U+3000


@dataclass(frozen=True)
class WordMap:
    """The words of some texts and the tokens of each; for all checkpoints that parted the texts alike."""

    words: pd.DataFrame  # a row a word: doc_id, word_id (from 0 in its text), word, start, end, n_tokens, whole
    row: Codes  # (tokens,) of each token, in `words`; -1: none
    first: Codes  # (words,) its first token; -1: none
    last: Codes  # (words,) its last token
    doc: Codes  # (tokens,) place of the token's text among the texts

    def sums(self, nats: Floats) -> Floats:
        """(words,) nats of each word's tokens together; NaN of a word in which none begins.

        Args:
            nats: (tokens,) of each token.
        """
        is_there = self.row >= 0
        total = np.bincount(self.row[is_there], nats[is_there], len(self.words)).astype(np.float64)
        total[self.first < 0] = np.nan
        return total

    def corrected(self, nats: Floats, boundary: Floats) -> Floats:
        """(words,) nats of each word and its end, given its beginning; NaN of no whole word, and at unknown ends.

        Args:
            nats: (tokens,) of each token.
            boundary: (tokens,) minus the log of the mass of all tokens that begin with white space, or end the text,
                where a token that does so follows one that does not end in white space; at a text's first token that
                does not begin with it, of all others. NaN elsewhere.
        """
        there = np.flatnonzero(self.words["whole"].to_numpy() & (self.words["word"] != "").to_numpy())
        first, after = self.first[there], self.last[there] + 1
        starts = np.flatnonzero(np.diff(self.doc, prepend=-1))
        before = boundary[first]
        before[np.isnan(before) & ~np.isin(first, starts)] = 0.0  # the token before it ends in white space
        follows = after < len(self.doc)
        follows[follows] &= self.doc[after[follows]] == self.doc[first[follows]]
        end = np.full(len(there), np.nan)
        end[follows] = np.nan_to_num(boundary[after[follows]], nan=0.0)  # its last token ends in white space
        found = np.full(len(self.words), np.nan)
        found[there] = self.sums(nats)[there] - before + end
        return found


def word_map(tokens: pd.DataFrame, texts: Mapping[int, str]) -> WordMap:
    """Find the words of texts and give each token to one.

    Args:
        tokens: A row a token, the texts one after the other and each in order: doc_id, token, start and end (characters
            of the text; -1: not known). A token of `CLOSING` stands after a text and is no word's.
        texts: By doc_id.

    Raises:
        AnalysisError: a text is missing, or is not the one whose tokens these are.
    """
    ids, token, start, end = (tokens[name].to_numpy() for name in ("doc_id", "token", "start", "end"))
    place = np.cumsum(np.diff(ids, prepend=ids[:1]) != 0) if len(ids) else np.empty(0, np.int64)
    order = ids[np.flatnonzero(np.diff(place, prepend=-1))]
    missing = [one for one in order.tolist() if one not in texts]
    if missing or len(np.unique(order)) < len(order):
        what = f"text {missing[0]} is not among the task's" if missing else "a text's tokens do not stand together"
        raise AnalysisError(f"words cannot be told: {what}, so that the tokens are not those of its texts.")
    found = _Characters.of([texts[one] for one in order.tolist()])
    length = np.diff(found.begin)[place] - 1
    wrong = np.flatnonzero((end > length) | (start > end))
    if len(wrong):
        raise AnalysisError(
            f"words cannot be told: a token of text {ids[wrong[0]]} ends at character {end[wrong[0]]} of "
            f"{length[wrong[0]]}: the text is another than was scored."
        )
    return _mapped(found, order, place, np.where(token == CLOSING, CLOSING, 0), start, end)


@dataclass(frozen=True)
class _Characters:
    """Texts end to end, a line end after each."""

    text: str
    begin: Codes  # (texts + 1,) of each text
    starts: Codes  # (words,) where each word begins
    ends: Codes
    before: Codes  # (characters,) how many words have begun
    at: Codes  # (characters,) the word that a character is of; of white space the next one

    @classmethod
    def of(cls, texts: list[str]) -> _Characters:
        text = "".join(f"{one}\n" for one in texts)
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        solid = ~_WHITE[np.minimum(codes, len(_WHITE) - 1)]
        is_start = solid & ~np.concatenate([[False], solid[:-1]])
        is_end = solid & ~np.concatenate([solid[1:], [False]])
        before = np.cumsum(is_start)
        begin = np.cumsum([0, *(len(one) + 1 for one in texts)])
        return cls(text, begin, np.flatnonzero(is_start), np.flatnonzero(is_end) + 1, before, before - solid)


def _mapped(found: _Characters, order: Any, place: Codes, token: Codes, start: Codes, end: Codes) -> WordMap:
    """The map from places of tokens in texts.

    Args:
        found: The texts.
        order: (texts,) doc_id of each.
        place: (tokens,) which text each token is of.
        token: (tokens,) `CLOSING` or 0.
        start: (tokens,) in its text; -1: not known.
        end: (tokens,) likewise.
    """
    words_before = np.searchsorted(found.starts, found.begin)  # (texts + 1,)
    at = found.at[found.begin[place] + np.maximum(start, 0)]
    is_rest = (start < 0) | (at >= words_before[place + 1])
    counts = token != CLOSING
    has_rest = np.bincount(place[is_rest & counts], minlength=len(order)) > 0
    shift = np.concatenate([[0], np.cumsum(has_rest)])  # rows of rests before each text
    row = np.where(is_rest, words_before[place + 1] + shift[place], at + shift[place])
    total = int(words_before[-1] + shift[-1])
    reached = np.where(end > start, found.before[found.begin[place] + np.maximum(end, 1) - 1] - 1, -1)
    several = counts & ~is_rest & (reached > at)
    shared = np.zeros(total + 1, np.int64)
    np.add.at(shared, row[several], 1)
    np.add.at(shared, row[several] + (reached - at)[several] + 1, -1)
    row = np.where(counts, row, -1)
    numbers = np.flatnonzero(counts)
    first, last = np.full(total, -1), np.full(total, -1)
    first[row[numbers][::-1]] = numbers[::-1]
    last[row[numbers]] = numbers
    frame = _frame(found, order, words_before, has_rest)
    frame["n_tokens"] = np.bincount(row[numbers], minlength=total)
    frame["whole"] = (frame["n_tokens"] > 0) & (np.cumsum(shared[:-1]) == 0)
    return WordMap(frame, row, first, last, place)


def _frame(found: _Characters, order: Any, words_before: Codes, has_rest: Any) -> pd.DataFrame:
    """The words of texts in order, and after a text's words its rest, where it has one."""
    number = np.diff(words_before) + has_rest
    text = np.repeat(np.arange(len(order)), number)
    index = np.arange(len(text)) - np.repeat(np.cumsum(number) - number, number)
    is_word = index < np.diff(words_before)[text]
    start, end = (np.empty(len(text), np.int64) for _ in range(2))
    begin = found.begin[text]
    start[is_word], end[is_word] = found.starts - begin[is_word], found.ends - begin[is_word]
    length = np.diff(found.begin)[text] - 1
    previous = np.concatenate([[0], end[:-1]])
    start[~is_word] = np.where(index == 0, 0, previous)[~is_word]
    end[~is_word] = length[~is_word]
    spelt = np.full(len(text), "", dtype=object)
    spelt[is_word] = found.text.split()
    columns = {"doc_id": order[text], "word_id": index, "word": spelt, "start": start, "end": end}
    return pd.DataFrame(columns)
