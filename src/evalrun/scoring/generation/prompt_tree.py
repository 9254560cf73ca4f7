"""The prompts of many requests as a tree: what of each is kept once for all that share it, and what is its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from evalrun.scoring.passes import Pass, next_pass
from evalrun.scoring.trie import Ints, TokenTrie, make_trie

# Tokens that a shared piece must save in each step, over copies for each request, to be worth a product of its own.
WORTH = 256


@dataclass(frozen=True)
class Leaf:
    """Where a prompt ends.

    Attributes:
        prompt: Its number.
        node: Its last token's.
        shared: The last nodes of the pieces that it has in common with others, from the root on.
        own: [tokens] nodes of what comes after these.
    """

    prompt: int
    node: int
    shared: tuple[int, ...]
    own: Ints


class PromptTree:
    """Distinct prompts, walked in passes."""

    def __init__(self, prompts: Sequence[Sequence[int]], users: Sequence[int], at_once: int) -> None:
        """Plan the walk.

        Args:
            prompts: Tokens of each, at least one, all distinct.
            users: How many texts are written after each.
            at_once: How many are written at the same time.
        """
        self.plan: TokenTrie = make_trie([(prompt, [0]) for prompt in prompts], max(map(len, prompts)))
        self._last, self._at_once = self.plan.last_nodes(), at_once
        weights = np.zeros(len(self.plan.token) + 1, np.int64)
        np.add.at(weights, self._last + 1, users)
        before = np.cumsum(weights)
        self._users = before[self.plan.end] - before[:-1]  # [n] texts below each node
        self._order = np.argsort(self._last)
        self._row = self._next_leaf = 0
        self._path = np.zeros(self.plan.longest, np.int64)  # nodes of the open path by depth
        self.pieces: dict[int, tuple[Ints, int]] = {}  # last node of a shared piece -> its nodes, and texts below it

    @property
    def done(self) -> bool:
        """Whether every prompt was walked through."""
        return self._row == len(self.plan.row_start) - 1

    def peek(self, budget: int) -> tuple[Pass, int]:
        """The next pass of at most so many tokens, and the row after it."""
        return next_pass(self.plan, self._row, budget)

    def advance(self, work: Pass, next_row: int) -> list[Leaf]:
        """The prompts that end in a pass that was run, in the order of the walk."""
        self._row = next_row
        return list(self._leaves(work))

    def _leaves(self, work: Pass) -> Iterator[Leaf]:
        """The prompts that end in a pass; the open path goes on to its end."""
        position, node = self.plan.position, work.start
        while self._next_leaf < len(self._order):
            prompt = int(self._order[self._next_leaf])
            last = int(self._last[prompt])
            if last >= work.stop:
                break
            self._path[position[node : last + 1]] = np.arange(node, last + 1)
            node = last + 1
            self._next_leaf += 1
            yield self._leaf(prompt, last)
        self._path[position[node : work.stop]] = np.arange(node, work.stop)

    def _leaf(self, prompt: int, last: int) -> Leaf:
        """Cut the path to a prompt's last node: a piece ends where fewer texts go on, if sharing it is worth it."""
        path = self._path[: self.plan.position[last] + 1].copy()
        users = self._users[path]
        ends = [*(np.flatnonzero(np.diff(users)) + 1).tolist(), len(path)]
        shared, begin, run = [], 0, 0
        for end in ends:
            texts = int(users[end - 1])
            if (end - run) * (min(texts, self._at_once) - 1) >= WORTH:
                shared.append(int(path[end - 1]))
                self.pieces.setdefault(shared[-1], (path[begin:end], texts))
                begin = end
            run = end
        return Leaf(prompt, last, tuple(shared), path[begin:])
