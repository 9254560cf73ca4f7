"""The plan: a trie with one node for each distinct prefix, walked in passes in which a node sees its ancestors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalrun.scoring import passes, trie
from evalrun.scoring.trie import TokenTrie, make_forest, make_trie

TOKENS = st.integers(0, 3)  # few, so that prefixes are shared at every depth
CONTEXT = st.lists(TOKENS, min_size=1, max_size=30)
CONTINUATION = st.lists(TOKENS, min_size=1, max_size=6)
REQUESTS = st.lists(st.tuples(CONTEXT, CONTINUATION), min_size=1, max_size=40)


def truncated(request: tuple[list[int], list[int]], window: int) -> list[int]:
    """What lm-eval feeds the model, the last target included."""
    return [*request[0], *request[1]][-(window + 1) :]


def prefix_of(made: TokenTrie, node: int) -> tuple[int, ...]:
    """The sequence that a node ends, by its definition: it and those before it whose subtree holds it."""
    return tuple(int(made.token[j]) for j in range(node + 1) if made.end[j] > node)


@given(REQUESTS, st.integers(6, 40))
def test_a_node_is_a_distinct_prefix(requests: list[tuple[list[int], list[int]]], window: int) -> None:
    made = make_trie(requests, window)
    inputs = [truncated(request, window)[:-1] for request in requests]
    prefixes = {tuple(tokens[:length]) for tokens in inputs for length in range(1, len(tokens) + 1)}
    assert [prefix_of(made, node) for node in range(len(made.token))] == sorted(prefixes)
    assert [len(prefix) - 1 for prefix in sorted(prefixes)] == made.position.tolist()


@given(REQUESTS, st.integers(6, 40), st.sampled_from([make_trie, make_forest]))
def test_a_request_is_found_again(
    requests: list[tuple[list[int], list[int]]], window: int, make: Callable[..., TokenTrie]
) -> None:
    made = make(requests, window)
    for i, request in enumerate(requests):
        kept = truncated(request, window)
        context, continuation = made.request(i)
        assert [*context, *continuation] == kept
        assert list(continuation) == request[1]
        assert made.request_length[i] == len(kept) - 1
        assert made.request_lost[i] == len(request[0]) + len(request[1]) - len(kept)
        pairs = made.request_pair[made.request_start[i] : made.request_start[i + 1]]
        scored = [(prefix_of(made, made.pair_node[pair]), int(made.pair_token[pair])) for pair in pairs]
        first = len(kept) - len(request[1])
        assert scored == [(tuple(kept[:at]), kept[at]) for at in range(first, len(kept))]
    assert len({*zip(made.pair_node.tolist(), made.pair_token.tolist(), strict=True)}) == len(made.pair_node)


@given(
    REQUESTS, st.integers(1, 60), st.sampled_from([4, 16, 256]), st.sampled_from([0, 2000]),
    st.sampled_from([make_trie, make_forest]),
)  # fmt: skip
def test_in_a_pass_each_node_sees_its_ancestors_and_nothing_else(
    requests: list[tuple[list[int], list[int]]],
    budget: int,
    longest_row: int,
    row_cost: int,
    make: Callable[..., TokenTrie],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trie, "LONGEST_ROW", longest_row)
        patch.setattr(trie, "ROW_COST", row_cost)
        patch.setattr(passes, "ROW_COST", row_cost)
        patch.setattr(passes, "ALONE", 3)
        made = make(requests, 64)
        row, path, run = 0, np.zeros(0, np.int64), []
        while row < len(made.row_start) - 1:
            work, row = passes.next_pass(made, row, budget)
            assert work.path == len(path)
            assert work.stop - work.start <= max(budget, longest_row)
            keys = np.concatenate([path, np.arange(work.start, work.stop)])  # nodes, in the order that keys have
            run += list(range(work.start, work.stop))
            seen = []
            for bucket in work.buckets:
                width = bucket.query.shape[1]
                for queries, row_keys, end in zip(bucket.query, bucket.key, bucket.end, strict=True):
                    above = row_keys[: len(row_keys) - width]
                    for i in np.flatnonzero(queries >= 0):
                        own = [j for j in range(width) if j <= i < end[j]]
                        visible = [*above[above >= 0], *row_keys[len(above) :][own]]
                        node = work.start + queries[i]
                        assert sorted(keys[visible]) == [j for j in range(node + 1) if made.end[j] > node]
                        seen.append(node)
                    for i in np.flatnonzero(queries < 0):  # padding sees something, and nothing real sees it
                        assert end[i] > i
            assert sorted(seen) == list(range(work.start, work.stop))
            path = keys[work.keep]
    assert run == list(range(len(made.token)))  # each node once: the body runs no token twice


@pytest.mark.parametrize("make", [make_trie, make_forest])
@pytest.mark.parametrize("request_", [([], [1]), ([1], []), ([1], [1] * 9)])
def test_a_request_that_cannot_be_scored_is_refused(
    request_: tuple[list[int], list[int]], make: Callable[..., TokenTrie]
) -> None:
    with pytest.raises(ValueError, match=r"request 1 has \d \+ \d tokens in a window of 8"):
        make([([1], [1]), request_], 8)
