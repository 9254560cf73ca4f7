"""The answers of a task, items by checkpoints, ready to be modelled; or why they cannot be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evalrun.core.text import counted
from evalrun.statistics.items.clusters import Clusters, Codes, clustered_means, clusters_of_items
from evalrun.statistics.items.values import Aligned, Items, align, columns_of, item_values
from evalrun.statistics.regression.clustered import few_models
from evalrun.statistics.regression.model_frame import Array, Design, TaskFrame, join_notes

_UNCLEAR = 0.05  # share of answers that are neither right nor wrong, as ties are, beyond which they are other values


@dataclass(frozen=True)
class AnswerSheet:
    """What all checkpoints of a task answered."""

    design: Design  # the checkpoints
    values: Array  # (items, checkpoints) 1 for right, 0 for wrong; a tie is the share of right choices in it
    codes: Codes  # (items,) the cluster of each; its own where there are none
    clusters: float  # how many; NaN where there are none
    error_ratio: float  # by how much clusters enlarge the accuracies' standard errors, in the middle checkpoint; or NaN
    note: str  # what was left out, and why clusters that were asked for are not there


def answer_sheet(frame: TaskFrame, design: Design, items: Items, clusters: Clusters | None) -> AnswerSheet | str:
    """Read the answers of the checkpoints that have any; or a few words on why there are none.

    Args:
        frame: A task.
        design: Its checkpoints.
        items: Gives per-item results.
        clusters: Gives the clusters of a task's items; None for items that were drawn one by one.
    """
    found = [
        item_values(items(str(row.run_id), str(row.task), columns_of(str(row.metric))), str(row.metric))
        for row in frame.rows.itertuples()
    ]
    there = [values for values in found if values is not None]
    if not there:
        return "no per-item results"
    aligned = align(there)
    if not len(aligned.values):
        return aligned.note
    design, values = design.keep(np.array([one is not None for one in found])), aligned.values
    if why := _unfit(design, values):
        return why
    lost, ties = len(found) - len(there), int(((values != 0) & (values != 1)).sum())
    left_out = f"{counted(lost, 'checkpoint')} without per-item results left out" if lost else ""
    tied = f"{counted(ties, 'answer')} of choices that tie, counted as their share" if ties else ""
    codes, ratio, unclustered = _grouped(str(frame.labels["task"]), aligned, clusters)
    note = join_notes(left_out, aligned.note, tied, unclustered)
    if codes is None:
        return AnswerSheet(design, values, np.arange(len(values), dtype=np.int64), np.nan, np.nan, note)
    return AnswerSheet(design, values, codes, float(codes.max() + 1), ratio, note)


def _unfit(design: Design, values: Array) -> str:
    """Why answers cannot be fitted; empty where they can be."""
    unclear = (values != 0) & (values != 1)
    if unclear.mean() > _UNCLEAR or values.min() < 0 or values.max() > 1:
        return "its items are not right or wrong: there are no answers to count"
    if len(design.x) <= design.x.shape[1] or np.linalg.matrix_rank(design.x) < design.x.shape[1]:
        return "too few checkpoints with per-item results"
    if len(values) < 2 or values.std() == 0:
        return f"all answers are alike ({counted(len(values), 'item')})"
    if design.slope != 1 and few_models(design):  # a column of sizes is there
        return f"{counted(design.clusters, 'model')}: too few to see how much models differ"
    return ""


def _grouped(task: str, aligned: Aligned, clusters: Clusters | None) -> tuple[Codes | None, float, str]:
    """The clusters of the items, how much larger they make the errors of accuracies, and why there are none."""
    if clusters is None or aligned.keys is None:
        return None, np.nan, ""
    codes, why = clusters_of_items(clusters(task), aligned.keys)
    if codes is None:
        return None, np.nan, why
    alone = np.arange(len(aligned.values), dtype=np.int64)
    plain, grouped = (clustered_means(aligned.values, one).variance for one in (alone, codes))
    return codes, float(np.sqrt(np.median(grouped[plain > 0] / plain[plain > 0]))), ""
