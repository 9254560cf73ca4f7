"""The shape of each curve over training, or over model size: rising, falling, U-shaped, emergent.

A curve over training is one task's values of one model (and training seed) over log10(tokens); one over size is one
task's values at one step over log10(parameters), a point a model. "Up" means better: values of a metric where lower is
better are turned round first. Let k be the number of points; words about training are read as size where that is the
axis.

- A *move* from checkpoint i to a later one j counts when (a) its z = (v_j - v_i) / sqrt(s_i^2 + s_j^2) is beyond the
  two-sided Bonferroni threshold for all c = k (k - 1) / 2 + 1 comparisons, t* = T^-1(1 - alpha / 2 c), and (b) it
  spans at least a fifth of the curve's range: a blip in a long rise is no U, however many items make it significant.
  The comparison beside the pairs is the *trend*, the slope of the weighted straight line over its standard error.
  s^2 is the variance by item sampling and, where the task's curves show it, by training noise; T is normal, or
  Student's t where training noise was estimated: see `noise`. Checkpoints answer the same items, so their errors are
  positively correlated and this z is conservative.
- *too few points*: fewer than three checkpoints.
- *U-shaped*: a fall that counts, then, from the same checkpoint (the turn), a rise that counts. *inverted-U*: the
  reverse, with the turn before the last third of the log axis. Of several turns the one whose lesser arm is the longest
  is told; if a curve has both kinds, that turn names it.
- *late drop*: the value is held, or still rising, up to the last third of the log axis, then falls and does not
  recover. Either an inverted U whose turn lies in the last third; or a fall counts and no rise follows it, no fall that
  counts ends before the last third nor before the fourth checkpoint, and all checkpoints before the last third are
  *near the best* before them: they have lost at most two fifths of the whole fall, from the best value to the lowest
  after it.
- *inverse*: a fall counts otherwise, and no rise follows it.
- *emergent*: only rises count; the first checkpoint whose z from the start is beyond t* comes after at least three
  checkpoints that lie below it and that span at least half of the log axis; and from there a rise beyond t* within a
  doubling of the axis (or one gap between neighbouring checkpoints, where that is wider) is at least half of the whole
  rise, from the start to the highest value.
- *positive*: a rise counts otherwise.
- *flat*: no move counts, and an equivalence test shows that the curve's checkpoints lie within a margin: for each pair
  two one-sided tests at level alpha (Schuirmann 1987; no correction for many pairs is due, as all must pass: Berger
  1982), on item errors, because the claim is about these checkpoints. The largest bound over the pairs,
  |v_j - v_i| + 1.645 sqrt(s_i^2 + s_j^2), is the upper 95 % confidence bound of the curve's range.
- Neither a move nor flat, but with a trend beyond t*: *positive* or *inverse*, told by its largest rise or fall.
- *undecided*: otherwise. The curve may yet move by more than the margin; with few items this is the rule.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from evalrun.statistics.regression.model_frame import PARAMS
from evalrun.statistics.shapes.curves import CurveSet, over_size, over_training
from evalrun.statistics.shapes.moves import LABELS, Curves, Labelled, label_curves
from evalrun.statistics.shapes.noise import FEWEST_RESIDUALS

__all__ = [
    "COLUMNS",
    "FLAT_WITHIN",
    "LABELS",
    "OVER_SIZE_COLUMNS",
    "describe_shapes",
    "headlines",
    "label_of",
    "of_largest",
    "shapes_over_size",
]

COLUMNS = [
    *("task", "title", "model", "n_params", "seed", "label", "points"),
    *("from_step", "from_value", "turn_step", "turn_value", "to_step", "to_value"),
    *("first_value", "lowest_value", "lowest_step", "highest_value", "highest_step", "last_value"),
    *("fall_z", "rise_z", "threshold_z", "pairs", "sentence"),
    *("trend_z", "range_upper", "item_noise", "training_noise", "note"),
]
OVER_SIZE_COLUMNS = [
    {"model": "step", "n_params": "tokens"}.get(name, name.replace("_step", "_model"))
    for name in COLUMNS
    if name != "seed"
]
FLAT_WITHIN = 0.05
_NEAR = 0.2  # of a curve's range: what spans no more than this is told as one level
_UNKNOWN_NOISE = f"training noise not measured: the task's curves have fewer than {FEWEST_RESIDUALS} inner points"


def describe_shapes(table: pd.DataFrame, flat_within: float = FLAT_WITHIN) -> pd.DataFrame:
    """Label every curve over training, as the module's docstring defines.

    Args:
        table: Rows of `Prepared.table`: one for each task, model, seed and step.
        flat_within: Margin of a flat curve, in the metric's units.

    Returns:
        One row for each task, model and seed, with the columns of `COLUMNS`. from, turn and to are the checkpoints
        that show the shape (turn: the lowest point of a U, the highest of an inverted U, the last checkpoint before an
        emergent jump, the last near the best before a late drop; missing otherwise); lowest and highest are over the
        whole curve, in the metric's own direction; fall_z, rise_z and trend_z are the strongest fall and rise and the
        slope in standard errors, and threshold_z what they are compared with, for `pairs` pairs; range_upper is the
        upper 95 % bound of the curve's range; item_noise (median over the curve) and training_noise (of the task) are
        standard deviations of one value; note says where the latter could not be measured.
    """
    return _describe(over_training(table), "step", flat_within)[COLUMNS]


def shapes_over_size(table: pd.DataFrame, params: str, flat_within: float = FLAT_WITHIN) -> pd.DataFrame:
    """Label every curve over model size: inverse is then inverse scaling proper (McKenzie et al. 2023).

    Args:
        table: Rows of `Prepared.table`. Seeds, and models of equal size, are averaged.
        params: A key of `model_frame.PARAMS`: nominal, total or nonembedding. Models without that count are left out.
        flat_within: Margin of a flat curve, in the metric's units.

    Returns:
        One row for each task and step, with the columns of `OVER_SIZE_COLUMNS`: as `describe_shapes`, with models in
        place of steps.
    """
    return _describe(over_size(table, PARAMS[params]), "model", flat_within)[OVER_SIZE_COLUMNS]


def of_largest(shapes: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of `describe_shapes` for each task's largest model: one, or one for each seed."""
    chosen = {}
    for task, rows in shapes.groupby("task", sort=False):
        largest = rows[rows["n_params"] == rows["n_params"].max()] if rows["n_params"].notna().any() else rows
        chosen[str(task)] = largest[largest["model"] == largest["model"].iloc[-1]]
    return chosen


def label_of(curves: pd.DataFrame) -> str:
    """The label that all curves (seeds) share, else `mixed`."""
    labels = set(curves["label"])
    return str(labels.pop()) if len(labels) == 1 else "mixed"


def headlines(shapes: pd.DataFrame) -> dict[str, str]:
    """Task name -> one sentence about its largest model; with several seeds, how many of them show which shape."""
    told = {}
    for task, curves in of_largest(shapes).items():
        first = curves.iloc[0]
        counted = curves["label"].value_counts().sort_index().sort_values(ascending=False, kind="stable")
        listed = ", ".join(f"{label} in {count}" for label, count in counted.items())
        several = f"{first['title']} in {first['model']}: of {len(curves)} seeds, {listed}"
        told[task] = str(first["sentence"]) if len(curves) == 1 else several
    return told


def _describe(curves: CurveSet, point: str, flat_within: float) -> pd.DataFrame:
    """A row a curve; `point` is the column that names a curve's points: step or model."""
    frames = []
    up = curves.up
    for which, at in curves.batches():
        noise = curves.noise
        batch = Curves(curves.x[at], up[at], noise.items[at], noise.total[at], noise.df[at[:, 0]])
        frames.append(_rows(curves.rows, at, label_curves(batch, flat_within), point).set_index(which))
        items, total = noise.items[at], noise.total[at]
        frames[-1]["item_noise"] = np.sqrt(np.median(items, axis=1))
        frames[-1]["training_noise"] = np.sqrt((total - items)[:, 0])
        frames[-1]["note"] = np.where(noise.sought[at[:, 0]], "", _UNKNOWN_NOISE)
    if not frames:
        return pd.DataFrame(columns=list(dict.fromkeys([*COLUMNS, *OVER_SIZE_COLUMNS])))
    return pd.concat(frames).sort_index()


def _rows(rows: pd.DataFrame, at: np.ndarray[Any, Any], found: Labelled, point: str) -> pd.DataFrame:
    """What is said of curves of equally many points; `at` (m, k) are the positions of their rows."""
    m, k = at.shape
    value, name, some = rows["value"].to_numpy(dtype="float64")[at], rows[point].to_numpy()[at], np.arange(m)
    about = ("task", "title", "model", "n_params", "seed", "step", "tokens", "higher_is_better")
    first = rows.iloc[at[:, 0]]
    frame = pd.DataFrame({column: first[column].to_numpy() for column in about if column in rows.columns})
    frame["label"], frame["points"], frame["held"] = found.label, k, found.held
    places = {"from": found.start, "turn": found.turn, "to": found.end}
    places |= {"lowest": value.argmin(axis=1), "highest": value.argmax(axis=1)}
    for what, place in places.items():
        named = pd.Series(name[some, place])
        frame[f"{what}_{point}"] = named.where(place >= 0, np.nan if point == "step" else "")
        frame[f"{what}_value"] = np.where(place >= 0, value[some, place], np.nan)
    held = np.where(np.arange(k) <= found.turn[:, None], value, value[:, :1])  # up to the turn
    frame["held_low"], frame["held_high"] = held.min(axis=1), held.max(axis=1)
    frame["first_value"], frame["last_value"] = value[:, 0], value[:, -1]
    frame["fall_z"], frame["rise_z"], frame["threshold_z"] = found.fall_z, found.rise_z, found.threshold
    frame["trend_z"], frame["pairs"], frame["range_upper"] = found.trend_z, k * (k - 1) // 2, found.range_upper
    frame["sentence"] = [_sentence(row, point) for row in frame.to_dict("records")]
    return frame


def _sentence(row: dict[Any, Any], point: str) -> str:
    """`Memo Trap in tiny-l: falls from 0.41 (step 1) to 0.06 (step 32), then rises to 1.00 (step 512): U-shaped`."""
    low, high, label = row["lowest_value"], row["highest_value"], row["label"]
    digits = 2 if 0.05 <= high - low < 100 else 3
    start, turn, end = (row[f"{what}_value"] for what in ("from", "turn", "to"))

    def name(what: str) -> str:
        return f"step {row[f'{what}_step']:.0f}" if point == "step" else str(row[f"{what}_model"])

    def at(what: str) -> str:
        return f"{row[f'{what}_value']:.{digits}f} ({name(what)})"

    seed = "" if point == "model" or pd.isna(row["seed"]) else f" seed {row['seed']:.0f}"
    where = f"in {row['model']}{seed}" if point == "step" else f"at step {row['step']:.0f}"
    if label == "too few points":
        what = "checkpoint" if point == "step" else "model"
        body = f"{row['points']} {what}" + ("s" if row["points"] > 1 else "")
    elif label in ("flat", "undecided"):
        ends = f"{low:.{digits}f}", f"{high:.{digits}f}"
        verb = "stays" if label == "flat" else "lies"
        body = f"{verb} at {ends[0]}" if ends[0] == ends[1] else f"{verb} between {ends[0]} and {ends[1]}"
    elif np.isnan(turn):
        body = f"{'rises' if end > start else 'falls'} from {at('from')} to {at('to')}"
    elif row["held"]:
        least, most = row["held_low"], row["held_high"]
        near = most - least <= _NEAR * (high - low)  # a late drop may come after a rise, or after half a fall
        level = f"stays near {start:.{digits}f}" if near else f"lies between {least:.{digits}f} and {most:.{digits}f}"
        level += f" until {name('turn')}"
        body = f"{level}, then {'rises' if end > start else 'falls'} to {at('to')}"
    else:
        first, then = ("falls", "rises") if turn < start else ("rises", "falls")
        body = f"{first} from {at('from')} to {at('turn')}, then {then} to {at('to')}"
    worse = "" if row["higher_is_better"] else " (lower is better)"
    return f"{row['title']} {where}: {body}{worse}: {label}"
