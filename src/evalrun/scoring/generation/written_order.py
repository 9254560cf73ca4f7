"""Which of lm-eval's texts belongs to which request: it sorts requests, and gives no tokens away."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from evalrun.scoring.generation.ending import Ending
from evalrun.scoring.generation.generated import Generated


class WrittenOrder:
    """Stands where lm-eval puts the answers that it keeps, and so sees the order in which requests are written."""

    def __init__(self, tick: Callable[[int], None]) -> None:
        """`tick` is told of each text."""
        self._tick = tick
        self.rows: list[list[int]] = []  # tokens of each text
        self._keys: list[str] = []
        self._keeper: Any = None

    @contextmanager
    def noted(self, lm: Any) -> Iterator[None]:
        """Watch a model of lm-eval for a while."""
        self._keeper, lm.cache_hook = lm.cache_hook, self
        try:
            yield
        finally:
            lm.cache_hook = self._keeper

    def add_partial(self, kind: str, asked: Any, answer: Any) -> None:
        """lm-eval has the answer to a request."""
        self._keys.append(_key(asked))
        self._tick(1)
        self._keeper.add_partial(kind, asked, answer)

    def generated(self, lm: Any, requests: Sequence[Any], texts: Sequence[str]) -> list[Generated]:
        """What each request would have written alone: rows of a batch go on until all of them have ended.

        Args:
            lm: lm-eval's model.
            requests: lm-eval's instances.
            texts: Its answers.
        """
        rows: dict[str, list[list[int]]] = defaultdict(list)
        for key, tokens in zip(self._keys, self.rows, strict=True):
            rows[key].append(tokens)
        endings: dict[str, Ending] = {}
        found = []
        for request, text in zip(requests, texts, strict=True):
            wanted = repr(request.args[1])
            if wanted not in endings:
                endings[wanted] = Ending(lm, request.args[1])
            found.append(replace(endings[wanted].alone(rows[_key(request.args)].pop(0)), text=text))
        return found


def _key(asked: Any) -> str:
    """A request in words; equal ones are written in their order."""
    return repr((asked[0], sorted(asked[1].items())))
