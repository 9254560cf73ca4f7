"""Reading texts window by window: some windows are scored at once, and each text is added up when its last one is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from evalrun.checkpoints.word_beginnings import WordBeginnings
from evalrun.scoring.trie import TokenRequest
from evalrun.scoring.whole_texts import CLOSING, CodedText, ReadText, Scored, boundaries

ScoreWindows = Callable[[Sequence[TokenRequest]], "list[Scored]"]
"""Windows -> of each what its scored tokens cost."""


@dataclass
class _Open:
    """A text of which windows wait."""

    coded: CodedText
    asked: int  # requests that it answers
    scored: list[Scored] = field(default_factory=list)  # of its windows


class TextReader:
    """Takes texts in turn and gives all of them back at the end."""

    def __init__(
        self, score: ScoreWindows, tick: Callable[[int], None], at_once: int, words: WordBeginnings | None
    ) -> None:
        """Begin.

        Args:
            score: Scores windows.
            tick: Told how many requests were answered.
            at_once: Tokens of windows that are scored in one call; what a text costs in memory beyond its tokens.
            words: Which tokens begin words, where boundaries are asked for: each text's last window is then `closing`.
        """
        self._score, self._tick, self._at_once, self._words = score, tick, at_once, words
        self._open: list[_Open] = []
        self._waiting: list[tuple[_Open, TokenRequest]] = []
        self._size = 0
        self._read: dict[str, ReadText] = {}

    def add(self, coded: CodedText, asked: int, windows: Iterable[TokenRequest]) -> None:
        """Take a text.

        Args:
            coded: Its tokens.
            asked: How many requests are of it.
            windows: Its windows, in order.
        """
        text = _Open(coded, asked)
        self._open.append(text)
        for window in windows:
            self._waiting.append((text, window))
            self._size += len(window[0]) + len(window[1])
            if self._size >= self._at_once:
                self._work()

    def end(self) -> dict[str, ReadText]:
        """Score what waits still; each text with what was found."""
        self._work()
        self._close(self._open)
        return self._read

    def _work(self) -> None:
        found = self._score([window for _, window in self._waiting]) if self._waiting else []
        for (text, _), scored in zip(self._waiting, found, strict=True):
            text.scored.append(scored)
        self._waiting, self._size = [], 0
        self._close(self._open[:-1])  # the last may have windows that have not come yet
        self._open = self._open[-1:]

    def _close(self, texts: Sequence[_Open]) -> None:
        for text in texts:
            self._read[text.coded.text] = self._whole(text.coded, text.scored)
            self._tick(text.asked)

    def _whole(self, coded: CodedText, scored: Sequence[Scored]) -> ReadText:
        """A text whose windows are all scored; its tokens are kept where their places are known to be wanted."""
        each = np.concatenate([one.nats for one in scored]) if scored else np.zeros(0)
        count = len(coded.tokens)
        nats = float(each[:count].sum())
        if coded.places is None:
            return ReadText(nats, count)
        if self._words is None:
            return ReadText(nats, count, coded.tokens, coded.places, each)
        masses = np.concatenate([one.masses for one in scored if one.masses is not None])
        end = len(coded.text)
        return ReadText(
            nats,
            count,
            np.append(coded.tokens, CLOSING),
            np.vstack([coded.places, [end, end]]),
            np.append(each[:count], 0.0),
            boundaries(coded.tokens, masses, self._words),
        )
