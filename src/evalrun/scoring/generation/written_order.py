"""Which of lm-eval's texts belongs to which request: it sorts requests, and gives no tokens away."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from evalrun.scoring.generation.ending import Ending
from evalrun.scoring.generation.generated import Done, Generated


class WrittenOrder:
    """Stands where lm-eval puts the answers that it keeps, and so sees the order in which requests are written."""

    def __init__(self, lm: Any, requests: Sequence[Any], tick: Callable[[int], None], done: Done | None) -> None:
        """Prepare to see requests written.

        Args:
            lm: lm-eval's model.
            requests: lm-eval's instances.
            tick: Told of each text.
            done: Told of each, and what it is.
        """
        self.rows: deque[list[int]] = deque()  # tokens of texts that lm-eval is about to give
        self._lm, self._tick, self._done = lm, tick, done
        self._places: dict[str, deque[int]] = defaultdict(deque)
        for place, request in enumerate(requests):
            self._places[_key(request.args)].append(place)
        self._endings: dict[str, Ending] = {}
        self._found: dict[int, Generated] = {}
        self._keeper: Any = None

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Watch the model for a while."""
        self._keeper, self._lm.cache_hook = self._lm.cache_hook, self
        try:
            yield
        finally:
            self._lm.cache_hook = self._keeper

    def add_partial(self, kind: str, asked: Any, answer: Any) -> None:
        """lm-eval has the answer to a request: what it would have written alone, as a row goes on until all end."""
        wanted, place = repr(asked[1]), self._places[_key(asked)].popleft()
        if wanted not in self._endings:
            self._endings[wanted] = Ending(self._lm, asked[1])
        written = replace(self._endings[wanted].alone(self.rows.popleft()), text=answer)
        self._found[place] = written
        self._tick(1)
        if self._done is not None:
            self._done(place, written)
        self._keeper.add_partial(kind, asked, answer)

    def generated(self) -> list[Generated]:
        """What was written, in the order of the requests."""
        return [self._found[place] for place in sorted(self._found)]


def _key(asked: Any) -> str:
    """A request in words; equal ones are written in their order."""
    return repr((asked[0], sorted(asked[1].items())))
