"""A task's answers packed small, for a page that shows every item: 12 million of them in some 20 MB.

Whether an answer is right is kept exactly, at every checkpoint, as are classes; ages are rounded to four bytes, and
probabilities to one (`choice_shares` says what that loses). Of tasks so large that a page would become unwieldy the
wrong choices are kept at fewer checkpoints than the right one, and of yet larger ones everything is.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evalrun.statistics.dynamics.heat_maps import Places, order_of_learning
from evalrun.statistics.dynamics.item_classes import CLASSES, Courses
from evalrun.statistics.dynamics.item_grid import ItemCurve, ItemGrid, Singles

_MOST_ANSWERS = 13_000_000  # kept at every checkpoint: 10,000 items of 8 models at 154
_MOST_OTHERS = 8_000_000  # probabilities of wrong choices
_WRONG, _RIGHT, _PARTLY, _UNKNOWN = range(4)  # two bits an answer
_LEVEL = 6  # of deflate


@dataclass(frozen=True)
class PackedItems:
    """What a page shows of a task's answers."""

    keys: pd.DataFrame  # doc_id and, where they are there, doc_hash: (items,) each
    about: dict[str, Any]  # plain values, for JSON
    chunks: dict[str, bytes]  # name -> deflated array


def pack(grid: ItemGrid, courses: Sequence[Courses], items: pd.DataFrame) -> PackedItems:
    """Pack all answers to a task.

    Numbers are little-endian. Of the task: `choices` and `gold`, 16 bits an item. Of curve i: `class-i`, `age-i`,
    `low-i`, `high-i` (32-bit floats, tokens) and `rank-i` (place in the order of learning, 32 bits), an entry an item;
    `answers-i`, two bits each, the lowest first; `right-i` and `others-i`, codes of probabilities of the first choice
    and of the others: items x checkpoints, and choices x items x those checkpoints that `about` lists.

    Args:
        grid: Of `read_grid`, with the probabilities of choices where there are any.
        courses: Of each curve.
        items: `ItemDynamics.items`: a row an item and curve, in the order of both.
    """
    chunks = {"choices": _deflated(grid.choices, "<i2"), "gold": _deflated(grid.gold, "<i2")}
    kept = _kept(grid.curves, len(grid.keys), _MOST_ANSWERS)
    wrong = [0 if curve.shares is None else curve.shares.shape[2] - 1 for curve in grid.curves]
    others = _thinned([len(steps) for steps in kept], [len(grid.keys) * count for count in wrong], _MOST_OTHERS)
    said = []
    for place, (curve, course) in enumerate(zip(grid.curves, courses, strict=True)):
        own = items.iloc[place * len(grid.keys) : (place + 1) * len(grid.keys)]
        rank = np.empty(len(grid.keys), dtype=np.int64)
        rank[order_of_learning(curve, course)] = np.arange(len(rank))
        arrays = {"class": _deflated(course.codes, "<u1"), "rank": _deflated(rank, "<u4")}
        for name, column in (("age", "age"), ("low", "age_low"), ("high", "age_high")):
            arrays[name] = _deflated(own[column].to_numpy(np.float64), "<f4")
        arrays["answers"] = _deflated(_two_bits(curve.right[kept[place]].T), "<u1")
        if curve.shares is not None:
            shares = curve.shares[kept[place]]
            arrays["right"] = _deflated(shares[:, :, 0].T, "<u1")
            arrays["others"] = _deflated(shares[others[place], :, 1:].transpose(2, 1, 0), "<u1")
        chunks |= {f"{name}-{place}": content for name, content in arrays.items()}
        said.append(
            {
                "label": curve.label,
                "steps": curve.steps[kept[place]].tolist(),
                "tokens": curve.tokens[kept[place]].tolist(),
                "of": len(curve.steps),
                "others": others[place].tolist() if wrong[place] > 0 else [],
                "shares": curve.shares is not None,
            }
        )
    about = {"items": len(grid.keys), "ids": grid.keys["doc_id"].tolist(), "classes": list(CLASSES), "curves": said}
    return PackedItems(grid.keys, about, chunks)


def _kept(curves: Sequence[ItemCurve], items: int, most: int) -> list[Places]:
    """The checkpoints of each curve that are kept."""
    return _thinned([len(curve.steps) for curve in curves], [items] * len(curves), most)


def _thinned(lengths: Sequence[int], costs: Sequence[int], most: int) -> list[Places]:
    """Places of so many of each curve's checkpoints, evenly spread, that all together cost at most so much.

    Args:
        lengths: Checkpoints of each curve.
        costs: Of one of them.
        most: That all may cost; two are kept of each curve at least.
    """
    each = 2
    while each < max(lengths) and sum(min(n, each + 1) * cost for n, cost in zip(lengths, costs, strict=True)) <= most:
        each += 1
    return [np.unique(np.rint(np.linspace(0, n - 1, min(n, each))).astype(np.intp)) for n in lengths]


def _two_bits(right: Singles) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Answers, four to a byte, the first in the lowest bits."""
    known = np.where(right == 1, _RIGHT, np.where(right == 0, _WRONG, _PARTLY))
    codes = np.where(np.isnan(right), _UNKNOWN, known).astype(np.uint8).ravel()
    fours = np.pad(codes, (0, -len(codes) % 4)).reshape(-1, 4)
    packed: np.ndarray[Any, np.dtype[np.uint8]] = (fours * np.array([1, 4, 16, 64], np.uint8)).sum(1, dtype=np.uint8)
    return packed


def _deflated(array: np.ndarray[Any, Any], kind: str) -> bytes:
    return zlib.compress(np.ascontiguousarray(array, dtype=kind).tobytes(), _LEVEL)
