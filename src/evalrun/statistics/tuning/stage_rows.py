"""Which rows of a table are of a later stage of training, and which enter a fit or a curve."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from evalrun.core.columns import FIRST_STAGE
from evalrun.core.text import listed

ALL = "all"


class StageSplit(NamedTuple):
    """The rows of a study by what they are for; one frame three times where there are no later stages."""

    every: pd.DataFrame  # all
    curve: pd.DataFrame  # without side branches: one curve for each model and seed
    fitted: pd.DataFrame  # to which regressions over tokens are fitted
    notes: list[str]


def split(rows: pd.DataFrame, fit: str = FIRST_STAGE) -> StageSplit:
    """Divide rows into those of curves and those that are fitted.

    Args:
        rows: Of `table.Prepared.table`.
        fit: `pretraining`, or `all`: later stages too, side branches aside.
    """
    if "stage" not in rows.columns:
        return StageSplit(rows, rows, rows, [])
    curve = rows[rows["trunk"] == ""]
    if curve.empty:  # branches alone: each is a curve by itself
        curve = rows
    first = curve[curve["stage"] == ""]
    fitted = curve if fit == ALL or first.empty else first
    return StageSplit(
        rows, curve.reset_index(drop=True), fitted.reset_index(drop=True), list(_told(rows, curve, fitted))
    )


def stage_marks(rows: pd.DataFrame, x: str) -> list[tuple[float, str]]:
    """Where later stages begin, in the units of a column, and their names; a stage twice where models differ.

    Args:
        rows: Of one task or several.
        x: tokens or flops.
    """
    if "stage" not in rows.columns:
        return []
    later = rows[(rows["stage"] != "") & (rows["stage_tokens"] > 0)]
    places = later["stage_tokens"] * later[x] / later["tokens"]
    known = pd.DataFrame({"place": places, "stage": later["stage"]}).drop_duplicates().sort_values("place")
    return [(float(place), str(name)) for place, name in known.itertuples(index=False, name=None)]


def step_names(rows: pd.DataFrame) -> dict[tuple[str, float], str]:
    """Model and step -> what the checkpoint is called, of those of later stages: `sft step 100`."""
    if "stage" not in rows.columns:
        return {}
    later = rows.loc[rows["stage"] != "", ["model", "step", "stage", "stage_step"]].drop_duplicates()
    return {(model, step): f"{stage} step {own:.0f}" for model, step, stage, own in later.itertuples(index=False)}


def _told(rows: pd.DataFrame, curve: pd.DataFrame, fitted: pd.DataFrame) -> Iterator[str]:
    """Sentences about stages that are not fitted, or are, and about side branches.

    Args:
        rows: All.
        curve: Without side branches.
        fitted: To which regressions are fitted.
    """
    left = [name for name in curve["stage"].unique() if name and name not in set(fitted["stage"])]
    if left:
        yield (
            f"The regressions over parameters and tokens are of pretraining alone; {listed(left)} "
            f"{'is' if len(left) == 1 else 'are'} in the curves, the shapes and the falls "
            "(analysis.fit_stages=all: in the regressions too)."
        )
    elif any(fitted["stage"]):
        names = [name for name in fitted["stage"].unique() if name]
        yield f"The regressions are of {listed(names)} too: a token of tuning counts as one of pretraining."
    branches = sorted(set(rows["stage"]) - set(curve["stage"]))
    if branches:
        yield f"Side branches of training ({listed(branches)}) are no part of the curves: they are compared apart."
