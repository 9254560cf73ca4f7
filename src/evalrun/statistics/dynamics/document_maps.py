"""What each document of a task costs over training: documents by checkpoints, as a small picture has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evalrun.statistics.items.values import Floats, Items, align, columns_of, item_values
from evalrun.statistics.naming import run_name

_ROWS = 240  # of a picture: more cannot be told apart
_MIDDLE = (2.0, 98.0)  # percentiles of all values between which a picture's colours are spread


@dataclass(frozen=True)
class DocumentMap:
    """The documents of one curve, the dearest at its last checkpoint first."""

    label: str
    tokens: Floats  # (checkpoints,)
    documents: int
    costs: Floats  # (rows, checkpoints) in the metric's unit; a row is a document, or the mean of some neighbours


@dataclass(frozen=True)
class DocumentMaps:
    """All curves of a task on the same documents."""

    task: str
    title: str
    metric: str
    low: float  # where the colours begin and end, of all curves alike
    high: float
    curves: tuple[DocumentMap, ...]
    note: str  # of documents that are left out


def document_maps(rows: pd.DataFrame, items: Items) -> DocumentMaps | str:
    """The documents that all checkpoints have; or a sentence's worth of words on why there are none.

    Args:
        rows: Of the prepared table, of one task whose metric is a ratio of sums.
        items: Gives per-item results.
    """
    rows = rows.sort_values(["n_params", "model", "seed", "tokens"], kind="stable")
    first = rows.iloc[0]
    metric = str(first["metric"])
    read = [item_values(items(str(run), str(first["task"]), columns_of(metric)), metric) for run in rows["run_id"]]
    there = np.array([one is not None for one in read])
    if there.sum() < 2:
        return "no items are in the store"
    aligned = align([one for one in read if one is not None])
    if not len(aligned.each):
        return aligned.note
    places = pd.Series(np.cumsum(there) - 1, index=rows.index)[there]
    curves = []
    for _, own in rows[there].groupby(["model", "seed"], dropna=False, sort=False):
        if len(own) > 1:
            label = run_name(own.iloc[0].to_dict())
            costs = aligned.each[:, places[own.index].to_numpy()]
            curves.append(DocumentMap(label, own["tokens"].to_numpy(dtype="float64"), len(costs), _rows(costs)))
    if not curves:
        return "no model has items at two checkpoints"
    low, high = np.percentile(np.concatenate([one.costs.ravel() for one in curves]), _MIDDLE)
    return DocumentMaps(
        str(first["task"]), str(first["title"]), metric, float(low), float(high), tuple(curves), aligned.note
    )


def _rows(costs: Any) -> Floats:
    """Documents by what they cost at the end, the dearest first; as many rows as a picture shows."""
    ordered = costs[np.argsort(-costs[:, -1], kind="stable")]
    count = min(len(ordered), _ROWS)
    starts = np.arange(count) * len(ordered) // count
    found: Floats = np.add.reduceat(ordered, starts) / np.diff(np.append(starts, len(ordered)))[:, None]
    return found
