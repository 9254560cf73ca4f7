"""Rows of a bucket out of the tokens of a pass, without a copy where they lie side by side."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evalrun.scoring.passes import Bucket
from evalrun.scoring.trie import Ints


def rows_of(tensor: Tensor, index: Tensor | slice, rows: int, repeats: int = 1) -> Tensor:
    """[N, heads, d] -> [rows, heads * repeats, tokens of a row, d]."""
    chosen = tensor[index] if isinstance(index, slice) else tensor.index_select(0, index)
    gathered = chosen.view(rows, -1, *tensor.shape[1:]).transpose(1, 2)
    return gathered if repeats == 1 else gathered.repeat_interleave(repeats, 1)


def span_of(bucket: Bucket) -> tuple[slice, slice] | None:
    """Where the queries and the keys of a bucket lie, if it has one row without gaps."""
    if len(bucket.query) != 1:
        return None
    asking, seen = side_by_side(bucket.query[0]), side_by_side(bucket.key[0])
    return (asking, seen) if asking and seen else None


def side_by_side(places: Ints) -> slice | None:
    """The slice that some places are, if they are one."""
    first, last = int(places[0]), int(places[-1]) + 1
    return slice(first, last) if first >= 0 and bool((np.diff(places) == 1).all()) else None


def chosen(tensor: Tensor, places: Ints) -> Tensor:
    """Some of [nodes, heads, d]; without a copy where they lie side by side."""
    span = side_by_side(places)
    return tensor[span] if span else tensor.index_select(0, torch.from_numpy(places).to(tensor.device))
