"""The walk in forward passes: which nodes a pass runs, and what each row of attention in it may see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evalrun.scoring.trie import ROW_COST, Ints, TokenTrie

Row = tuple[int, int, Ints]  # first node, node after the last, and the ancestors of the first as indices of keys
WASTE = 1.2
# Tokens of a row that is worth a call of its own, and of passes where it is: a GPU's are larger, and calls cost more.
ALONE, FEW = 64, 4096


@dataclass(frozen=True)
class Bucket:
    """Rows of one pass that are attended together, padded to one shape.

    Attributes:
        query: [rows, width] tokens of the pass; -1 is padding.
        key: [rows, keys] what they may see, indices into the kept path followed by the pass: ancestors, then in the
            last `width` columns the row itself; -1 is padding.
        end: [rows, width] the first column, counted from the queries' own, that no longer sees each query.
    """

    query: Ints
    key: Ints
    end: Ints


@dataclass(frozen=True)
class Pass:
    """One forward pass over nodes [start, stop) of a plan.

    Attributes:
        start: First node.
        stop: First node of the next pass.
        path: How many ancestors of its first node are kept.
        buckets: Its rows.
        keep: Which of (kept path, this pass) the next pass needs: the open path, root first.
    """

    start: int
    stop: int
    path: int
    buckets: list[Bucket]
    keep: Ints


def next_pass(plan: TokenTrie, first_row: int, budget: int) -> tuple[Pass, int]:
    """The pass that begins with a row, and the row after it.

    Args:
        plan: The plan.
        first_row: Where the walk stands; the ancestors of its first node are kept.
        budget: Tokens in one pass; a pass has at least one row.
    """
    starts = plan.row_start
    start = int(starts[first_row])
    stop_row = max(first_row + 1, int(np.searchsorted(starts, start + budget, side="right")) - 1)
    stop = int(starts[stop_row])
    path = int(plan.position[start])
    walked = np.arange(int(plan.position[start:stop].max()) + 1)  # the open path by depth, as indices of keys
    rows = []
    for row in range(first_row, stop_row):
        begin, end = int(starts[row]), int(starts[row + 1])
        rows.append((begin, end, walked[: plan.position[begin]].copy()))
        walked[plan.position[begin:end]] = path + np.arange(begin, end) - start
    keep = walked[: plan.position[stop]] if stop < len(plan.token) else walked[:0]
    alone = [stop - start <= FEW and _without_gaps(row, start - path) for row in rows]
    buckets = [_bucket(plan, [row], start, path) for row, by_itself in zip(rows, alone, strict=True) if by_itself]
    others = [row for row, by_itself in zip(rows, alone, strict=True) if not by_itself]
    return Pass(start, stop, path, buckets + _buckets(plan, others, start, path), keep), stop_row


def _buckets(plan: TokenTrie, rows: Sequence[Row], start: int, kept: int) -> list[Bucket]:
    """Put rows of similar shape together: at most `WASTE` times the pairs that they need, and some."""
    ordered = sorted(rows, key=lambda row: (row[1] - row[0], len(row[2])), reverse=True)
    groups: list[list[Row]] = []
    width = depth = pairs = 0
    for row in ordered:
        own, above = row[1] - row[0], len(row[2])
        grown = max(depth, above)
        needed = pairs + own * (own + above)
        if groups and (len(groups[-1]) + 1) * width * (width + grown) <= WASTE * needed + ROW_COST:
            groups[-1].append(row)
            depth, pairs = grown, needed
        else:
            groups.append([row])
            width, depth, pairs = own, above, own * (own + above)
    return [_bucket(plan, group, start, kept) for group in groups]


def _without_gaps(row: Row, before: int) -> bool:
    """Whether a long row and all it sees lie side by side among the keys, so that nothing need be copied.

    Args:
        row: The row.
        before: What its nodes are numbered more than its keys.
    """
    begin, end, above = row
    return end - begin >= ALONE and bool((above == np.arange(begin - len(above), begin) - before).all())


def _bucket(plan: TokenTrie, rows: Sequence[Row], start: int, kept: int) -> Bucket:
    """Rows of different lengths in one padded array, -1 where there is nothing.

    Args:
        plan: The trie.
        rows: Of each its first node, the one after its last, and the places of what it sees above it.
        start: Node that the rows' own places count from.
        kept: Places that come before the rows' own among the keys.

    Returns:
        Arrays of shape (rows, longest row), keys (rows, most above + longest row).
    """
    width = max(end - begin for begin, end, _ in rows)
    depth = max(len(above) for _, _, above in rows)
    query = np.full((len(rows), width), -1, np.int64)
    key = np.full((len(rows), depth + width), -1, np.int64)
    ends = np.tile(np.arange(1, width + 1), (len(rows), 1))  # padding sees itself: an empty row would be NaN
    for i, (begin, end, above) in enumerate(rows):
        own = np.arange(begin, end) - start
        query[i, : end - begin] = own
        key[i, depth - len(above) : depth] = above
        key[i, depth : depth + end - begin] = kept + own
        ends[i, : end - begin] = plan.end[begin:end] - begin
    return Bucket(query, key, ends)
