"""The work that a set of requests asks for, with each distinct token in it once.

The inputs of all requests form a trie. Its nodes are numbered in the order of a depth-first walk, so that a piece of
the walk is an interval of numbers, and node j is seen by node i exactly when `j <= i < end[j]`. The plan depends on
tokens alone: it serves every checkpoint with the same tokenizer and window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
TokenRequest = tuple[Sequence[int], Sequence[int]]  # tokens of the context, tokens of the continuation

# A piece of the walk that becomes one row of attention: dense over its own tokens and their common ancestors.
LONGEST_ROW = 256
# What a row of its own costs, in pairs of tokens attended in vain: fixed, and for each ancestor that is gathered again.
ROW_COST, ANCESTOR_COST = 2000, 20


@dataclass(frozen=True)
class TokenTrie:
    """A trie of n nodes, cut into rows; and what each request scores in it.

    Attributes:
        token: [n] token of each node, in the order of the walk.
        position: [n] its depth, which is its position in the sequence.
        end: [n] the first node after its subtree.
        row_start: [rows + 1] rows are [row_start[r], row_start[r + 1]): the first node's ancestors are those of all.
        pair_node: [pairs] distinct scored (node, next token), sorted by node.
        pair_token: [pairs] the next token.
        request_start: [requests + 1] request i sums the pairs request_pair[request_start[i]:request_start[i + 1]].
        request_pair: [scored tokens] positions in pair_node.
        request_length: [requests] input tokens of each, after truncation to the window.
        request_lost: [requests] tokens that truncation took from its beginning.
        request_parted: [requests] 1 where scoring begins at a token of the prompt (see `parting`), else 0.
    """

    token: Ints
    position: Ints
    end: Ints
    row_start: Ints
    pair_node: Ints
    pair_token: Ints
    request_start: Ints
    request_pair: Ints
    request_length: Ints
    request_lost: Ints
    request_parted: Ints

    @property
    def requests(self) -> int:
        """How many requests it answers."""
        return len(self.request_start) - 1

    @property
    def longest(self) -> int:
        """Tokens of the longest input."""
        return int(self.position.max()) + 1

    def last_nodes(self) -> Ints:
        """[requests] the node after which each request is answered."""
        return self.pair_node[self.request_pair[self.request_start[1:] - 1]]

    def request(self, i: int) -> TokenRequest:
        """Context and continuation of a request, as tokens."""
        targets = self.request_pair[self.request_start[i] : self.request_start[i + 1]]
        last = int(self.pair_node[targets[-1]])
        path = np.flatnonzero(self.end[: last + 1] > last)
        inputs = self.token[path].tolist()
        return inputs[: len(inputs) - len(targets) + 1], self.pair_token[targets].tolist()

    def arrays(self) -> dict[str, Ints]:
        """The trie's fields by name, to be kept in a file."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def make_trie(requests: Sequence[TokenRequest], max_length: int, parted: Sequence[int] = ()) -> TokenTrie:
    """Build the trie and cut it into rows.

    Inputs are truncated from the left as lm-eval does: of context + continuation the last `max_length + 1` tokens are
    kept, and of those the last is not an input.

    Args:
        requests: Context (at least one token) and continuation (one to `max_length` tokens).
        max_length: The model's window.
        parted: Places of the requests that are scored from a token of the prompt on.

    Raises:
        ValueError: a continuation without tokens or longer than the window.
    """
    if not requests:
        raise ValueError("no requests")
    by_input: dict[bytes, list[tuple[int, Ints]]] = {}
    starts = np.zeros(len(requests) + 1, np.int64)
    lengths, lost = np.zeros(len(requests), np.int64), np.zeros(len(requests), np.int64)
    for i, (context, continuation) in enumerate(requests):
        tokens = _kept(i, context, continuation, max_length)
        starts[i + 1], lengths[i] = starts[i] + len(continuation), len(tokens) - 1
        lost[i] = len(context) + len(continuation) - len(tokens)
        by_input.setdefault(tokens[:-1].tobytes(), []).append((i, tokens[-len(continuation) :].astype(np.int64)))
    trie = _TrieBuilder()
    scored = np.empty(starts[-1], np.int64)
    for key in sorted(by_input):  # big-endian bytes sort as their integers do, a prefix before what extends it
        path = trie.add(np.frombuffer(key, dtype=">i4").astype(np.int64))
        for i, targets in by_input[key]:
            scored[starts[i] : starts[i + 1]] = path[-len(targets) :] << 32 | targets
    pairs, request_pair = np.unique(scored, return_inverse=True)
    token, position, end = trie.nodes()
    return TokenTrie(
        token=token,
        position=position,
        end=end,
        row_start=_rows(trie.run_depth, trie.run_start, len(token)),
        pair_node=pairs >> 32,
        pair_token=pairs & 0xFFFFFFFF,
        request_start=starts,
        request_pair=request_pair.astype(np.int64),
        request_length=lengths,
        request_lost=lost,
        request_parted=np.bincount(np.asarray(parted, np.int64), minlength=len(requests)),
    )


def make_forest(requests: Sequence[TokenRequest], max_length: int) -> TokenTrie:
    """The plan of requests that share nothing worth a search: each is a tree of its own, the shortest first.

    What a row of such a plan sees lies side by side, so that attention need not gather it.

    Args:
        requests: As `make_trie` has them.
        max_length: The model's window.

    Raises:
        ValueError: as `make_trie`.
    """
    kept = [_kept(i, *request, max_length) for i, request in enumerate(requests)]
    lengths = np.array([len(tokens) - 1 for tokens in kept], np.int64)
    scored = np.array([len(continuation) for _, continuation in requests], np.int64)
    order = np.argsort(lengths, kind="stable")
    stops = np.empty(len(requests), np.int64)  # the node after each request's last one
    stops[order] = np.cumsum(lengths[order])
    starts, size = (stops - lengths)[order], int(lengths.sum())
    nodes = [np.arange(stop - count, stop) for stop, count in zip(stops, scored, strict=True)]
    pairs = np.cumsum(scored[order])[np.argsort(order)]  # the pair after each request's last one
    return TokenTrie(
        token=np.concatenate([kept[i][:-1] for i in order]).astype(np.int64),
        position=np.arange(size) - np.repeat(starts, lengths[order]),
        end=np.repeat(stops[order], lengths[order]),
        row_start=_rows([0] * len(requests), starts.tolist(), size),
        pair_node=np.concatenate([nodes[i] for i in order]),
        pair_token=np.concatenate([kept[i][-scored[i] :] for i in order]).astype(np.int64),
        request_start=np.concatenate([[0], np.cumsum(scored)]),
        request_pair=np.concatenate([np.arange(stop - count, stop) for stop, count in zip(pairs, scored, strict=True)]),
        request_length=lengths,
        request_lost=np.array([len(a) + len(b) for a, b in requests], np.int64) - lengths - 1,
        request_parted=np.zeros(len(requests), np.int64),
    )


def _kept(
    number: int, context: Sequence[int], continuation: Sequence[int], max_length: int
) -> NDArray[np.signedinteger]:
    """A request's tokens that fit the window, and the last of its continuation.

    Args:
        number: Of the request.
        context: Tokens before it.
        continuation: Tokens that are scored.
        max_length: The model's window.

    Raises:
        ValueError: no tokens, or more scored than fit.
    """
    if not context or not 0 < len(continuation) <= max_length:
        raise ValueError(
            f"request {number} has {len(context)} + {len(continuation)} tokens in a window of {max_length}"
        )
    return np.asarray([*context, *continuation][-(max_length + 1) :], dtype=">i4")


class _TrieBuilder:
    """A trie that is given its sequences in sorted order, so that each adds one run of nodes to the walk."""

    def __init__(self) -> None:
        self.run_depth: list[int] = []  # where each run leaves the path that is there
        self.run_start: list[int] = []  # its first node
        self._tokens: list[Ints] = []
        self._ends: list[tuple[Ints, int]] = []  # nodes that close, and before which node
        self._path = self._sequence = np.zeros(0, np.int64)  # nodes and tokens of the sequence added last
        self._size = 0

    def add(self, sequence: Ints) -> Ints:
        """Add a sequence that sorts after all before it; returns the nodes of its tokens."""
        shared = _common_prefix(self._sequence, sequence)
        self._ends.append((self._path[shared:], self._size))
        self.run_depth.append(shared)
        self.run_start.append(self._size)
        new = np.arange(self._size, self._size + len(sequence) - shared)
        self._path, self._sequence = np.concatenate([self._path[:shared], new]), sequence
        self._tokens.append(sequence[shared:])
        self._size += len(new)
        return self._path

    def nodes(self) -> tuple[Ints, Ints, Ints]:
        """[n] token, position and end of every node."""
        end = np.full(self._size, self._size, np.int64)
        for closed, before in self._ends:
            end[closed] = before
        position = np.concatenate([np.arange(d, d + len(t)) for d, t in zip(self.run_depth, self._tokens, strict=True)])
        return np.concatenate(self._tokens), position, end


def _common_prefix(one: Ints, other: Ints) -> int:
    length = min(len(one), len(other))
    differ = np.flatnonzero(one[:length] != other[:length])
    return int(differ[0]) if len(differ) else length


def _rows(depths: Sequence[int], starts: Sequence[int], size: int) -> Ints:
    """Cut the walk into rows: pieces whose first node's ancestors are ancestors of all.

    A run joins the row before it unless a row of its own is cheaper: joined, its tokens and the row's are attended in
    vain where they do not see each other; alone, it gathers the keys and values of its ancestors again.
    """
    rows: list[int] = []
    depth = 0  # of the open row's first node
    for run_depth, start, stop in zip(depths, starts, [*starts[1:], size], strict=True):
        length, held = stop - start, start - rows[-1] if rows else 0
        inside = run_depth - depth  # how many of the run's ancestors the open row holds
        wasted = 2 * length * (held - inside)
        joins = rows and inside >= 0 and held + length <= LONGEST_ROW and wasted <= ROW_COST + ANCESTOR_COST * inside
        if not joins:
            pieces = -(-length // LONGEST_ROW)
            cuts = [start + length * piece // pieces for piece in range(pieces)]
            rows += cuts
            depth = run_depth + cuts[-1] - start
    return np.asarray([*rows, size], np.int64)
