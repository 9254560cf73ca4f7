"""What a stage of training did: its last checkpoint against the last one before it, task by task, on the same items.

A curve's falls look for the worst pair of all; this is one comparison that was named beforehand and pays for no
search. The tests are those of `compare` (`paired`): exact McNemar where an answer is right or wrong. One correction for
multiple tests is over all tasks, models, seeds and stages of a study, side branches too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalrun.core.columns import FIRST_STAGE
from evalrun.core.text import counted, listed
from evalrun.statistics.items.clusters import Clusters
from evalrun.statistics.items.paired import COLUMNS as OF_PAIR
from evalrun.statistics.items.paired import compare_checkpoints, with_verdicts
from evalrun.statistics.items.values import Items
from evalrun.statistics.naming import run_name

COLUMNS = [
    *("model", "n_params", "seed", "stage", "stage_step", "stage_before", "stage_before_step", "stage_tokens"),
    *OF_PAIR,
]
_RUN = ["model", "seed"]


@dataclass(frozen=True)
class PairTesting:
    """How pairs of checkpoints are tested."""

    items: Items | None = None  # gives per-item results; None to do without
    clusters: Clusters | None = None  # gives the clusters of a task's items
    correction: str = "fdr_bh"  # statsmodels' name
    alpha: float = 0.05
    draws: int = 9999
    seed: int = 0


def what_tuning_did(rows: pd.DataFrame, how: PairTesting) -> pd.DataFrame:
    """Compare the last checkpoint of every later stage with the last one before it.

    Args:
        rows: Of `table.Prepared.table`, side branches too.
        how: How pairs are tested.

    Returns:
        One row for each model, seed, stage and task with the columns of `COLUMNS`: before and after in the metric's
        units, difference with low and high, the items that fell and rose, q over all rows, verdict in the metric's
        direction. Empty where no stage has a checkpoint before it.
    """
    if "stage" not in rows.columns:
        return pd.DataFrame(columns=COLUMNS)
    frames = []
    for before, after in _pairs(rows):
        given = how.items, how.correction, how.alpha, how.draws, how.seed, how.clusters
        found = compare_checkpoints(before, after, *given)
        first, last = before.iloc[0], after.iloc[0]
        about = {name: last[name] for name in ("model", "n_params", "seed", "stage", "stage_step", "stage_tokens")}
        about |= {"stage_before": first["stage"] or FIRST_STAGE}
        about |= {"stage_before_step": first["step"] if pd.isna(first["stage_step"]) else first["stage_step"]}
        frames.append(found.assign(**about)[COLUMNS])
    if not frames:
        return pd.DataFrame(columns=COLUMNS)
    return with_verdicts(pd.concat(frames, ignore_index=True), how.correction, how.alpha)


def _pairs(rows: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """The rows of the checkpoint before each stage, and of the stage's last; one a task."""
    for _, own in rows.groupby(_RUN, dropna=False, sort=False):
        for stage in own["stage"].unique():
            if not stage:
                continue
            mine = own[own["stage"] == stage]
            after = mine[mine["step"] == mine["step"].max()]
            before = _before(rows, own, after.iloc[0])
            if len(before):
                yield before, after


def _before(rows: pd.DataFrame, own: pd.DataFrame, last: pd.Series) -> pd.DataFrame:
    """The rows of the last checkpoint that a stage can have started from; of a side branch maybe one of the trunk's.

    Args:
        rows: All.
        own: Of the stage's model and seed.
        last: A row of the stage.
    """
    candidates = own[(own["stage"] != last["stage"]) & (own["step"] <= last["stage_from"])]
    if candidates.empty and last["trunk"]:
        same_seed = rows["seed"].isna() if pd.isna(last["seed"]) else rows["seed"] == last["seed"]
        trunk = rows[(rows["model"] == last["trunk"]) & same_seed]
        candidates = trunk[trunk["step"] <= last["stage_from"]]
    found: pd.DataFrame = candidates[candidates["step"] == candidates["step"].max()]
    return found


def tuning_sentences(found: pd.DataFrame, alpha: float) -> Iterator[str]:
    """What each stage made worse and better, and how many comparisons show nothing.

    Args:
        found: `what_tuning_did`.
        alpha: The level of q.
    """
    if found.empty:
        return
    for stage, own in found.groupby(found["stage"].str.partition("@")[0], sort=False):
        worse, better = (own[own["verdict"] == verdict] for verdict in ("worse", "better"))
        tests = int(own["q"].notna().sum())
        rest = f"{tests - len(worse) - len(better)} of {counted(tests, 'comparison')}"
        yield (
            f"Stage {stage} made {_said(worse)} worse and {_said(better)} better; {rest} show{'s' * (tests == 1)} no "
            f"difference (q < {alpha:g}, against the last checkpoint before it, on the same items)."
        )


def _said(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "nothing"
    rows = rows.assign(_size=np.abs(rows["difference"])).sort_values("_size", ascending=False, kind="stable")
    names = [
        f"{row['title']} in {run_name(row)} ({row['before']:.2f} to {row['after']:.2f})"
        for row in rows.to_dict("records")
    ]
    return listed(names, 4)
