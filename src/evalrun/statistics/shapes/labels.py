"""The shape of each curve over training, or over model size: rising, falling, U-shaped, emergent.

A curve over training is one task's values of one model (and training seed) over log10(tokens); one over size is one
task's values at one step over log10(parameters), a point a model. "Up" means better: values of a metric where lower is
better are turned round first. Let k be the number of points; words about training are read as size where that is the
axis.

- Which *moves* between checkpoints count, and whether the *trend* does, `moves` defines, with one error rate over all
  curves of the report. The thresholds below are those of conf/analysis/interaction.yaml.
- *too few points*: fewer than three checkpoints.
- *U-shaped*: from the first checkpoint to a later one, the turn, a fall counts, and from the turn to the last a rise
  does. *inverted-U*: the reverse, with the turn before the last third of the log axis. One of the tests in `evidence`
  must find the same shape, or (with a later turn) a fall, where there are points enough for them: five. Of several
  turns the one whose lesser arm is the longest is told; if a curve has both kinds, that turn names it.
- *late drop*: the value is held, or still rising, up to the last third of the log axis, then falls and does not
  recover. Either an inverted U whose turn lies in the last third; or a fall counts and no rise follows it, no fall that
  counts ends before the last third nor before the fourth checkpoint, and all checkpoints before the last third are
  *near the best* before them: they have lost at most two fifths of the whole fall, from the best value to the lowest
  after it.
- *emergent*: only rises count; the first checkpoint whose t from the start is beyond the threshold comes after at least
  three checkpoints that lie below it and that span at least half of the log axis; and from there a rise beyond it
  within a doubling of the axis (or one gap between neighbouring checkpoints, where that is wider) is at least half of
  the whole rise, from the start to the highest value.
- *positive*, *inverse*: rises or falls count otherwise; where both do, the larger names the curve if it is at least
  twice the other, and the sentence tells of the other.
- *non-monotonic*: rises and falls count, and none of the above.
- *flat*: no move counts, and an equivalence test shows that the curve's checkpoints lie within the smallest change of
  interest: for each pair two one-sided tests at level alpha (Schuirmann 1987; no correction for many pairs is due, as
  all must pass: Berger 1982), on item errors, because the claim is about these checkpoints. The largest bound over the
  pairs, |v_j - v_i| + 1.645 errors, is the upper 95 % confidence bound of the curve's range.
- Neither a move nor flat, but with a trend that counts: *positive* or *inverse*, told by its largest rise or fall.
- *undecided*: otherwise. The curve may yet move by more than the margin; with few items this is the rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.stages import stage
from evalrun.statistics.naming import run_name
from evalrun.statistics.regression.model_frame import PARAMS
from evalrun.statistics.row_groups import Row, row_groups
from evalrun.statistics.shapes.curves import over_size
from evalrun.statistics.shapes.decision import Batch, Decision, bent, decide
from evalrun.statistics.shapes.noise import FEWEST_RESIDUALS
from evalrun.statistics.shapes.rules import LABELS, Labelled, label
from evalrun.statistics.shapes.thresholds import ShapeSettings

__all__ = [
    "COLUMNS",
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
    *("against_from_step", "against_from_value", "against_to_step", "against_to_value", "falls", "rises"),
    *("first_value", "lowest_value", "lowest_step", "highest_value", "highest_step", "last_value"),
    *("fall_z", "rise_z", "threshold_z", "pairs", "q", "sentence"),
    *("trend_z", "range_upper", "item_noise", "training_noise", "smallest_change"),
    *("higher_is_better", "note"),
]
OVER_SIZE_COLUMNS = [
    {"model": "step", "n_params": "tokens"}.get(name, name.replace("_step", "_model"))
    for name in COLUMNS
    if name != "seed"
]
_NEAR = 0.2  # of a curve's range: what spans no more than this is told as one level
_UNKNOWN_NOISE = f"training noise not measured: the task's curves have fewer than {FEWEST_RESIDUALS} inner points"


@stage("shapes and falls")
def describe_shapes(decision: Decision) -> pd.DataFrame:
    """Label every curve over training, as the module's docstring defines.

    Args:
        decision: Of `over_training`'s curves.

    Returns:
        One row for each task, model and seed, with the columns of `COLUMNS`. from, turn and to are the checkpoints
        that show the shape (turn: the lowest point of a U, the highest of an inverted U, the last checkpoint before an
        emergent jump, the last near the best before a late drop; missing otherwise); against, the largest move that
        counts the other way in a curve that rises, falls or is non-monotonic; falls and rises say whether any move that
        way counts; lowest and highest are over the whole curve, in the metric's own direction; fall_z, rise_z and
        trend_z are the strongest fall and rise and the slope in standard errors, and threshold_z what they are compared
        with, for `pairs` pairs; q is the curve's p, corrected over its moves and over the curves; range_upper is the
        upper 95 % bound of the curve's range; item_noise (median over the curve) and training_noise (of the task) are
        standard deviations of one value, smallest_change is what a move must span, all in units of the metric; note
        says where training noise could not be measured.
    """
    return _describe(decision, "step")[COLUMNS]


@stage("shapes and falls")
def shapes_over_size(table: pd.DataFrame, params: str, settings: ShapeSettings) -> pd.DataFrame:
    """Label every curve over model size: inverse is then inverse scaling proper (McKenzie et al. 2023).

    The curves over size are a family of their own for the error rate.

    Args:
        table: Rows of `Prepared.table`. Seeds, and models of equal size, are averaged.
        params: A key of `model_frame.PARAMS`: nominal, total or nonembedding. Models without that count are left out.
        settings: The thresholds of conf/analysis.

    Returns:
        One row for each task and step, with the columns of `OVER_SIZE_COLUMNS`: as `describe_shapes`, with models in
        place of steps.
    """
    return _describe(decide(over_size(table, PARAMS[params]), settings), "model")[OVER_SIZE_COLUMNS]


def _labelled(decision: Decision) -> Iterator[tuple[Batch, Labelled]]:
    """The curves, a bounded number at once, with their labels."""
    for batch in decision.batches():
        found = bent(decision, batch.which)
        yield batch, label(batch.curves, batch.moves, decision.level, found, decision.settings)


def of_largest(shapes: pd.DataFrame) -> dict[str, list[Row]]:
    """The rows of `describe_shapes` for each task's largest model: one, or one for each seed."""
    chosen = {}
    told = shapes.filter(items=["task", "title", "model", "n_params", "label", "sentence"])
    for task, rows in row_groups(told, "task").items():
        sizes = [row["n_params"] for row in rows if row["n_params"] == row["n_params"]]
        largest = [row for row in rows if row["n_params"] == max(sizes)] if sizes else rows
        chosen[str(task)] = [row for row in largest if row["model"] == largest[-1]["model"]]
    return chosen


def label_of(curves: Iterable[Row]) -> str:
    """The label that all curves (seeds) share, else `mixed`."""
    labels = {row["label"] for row in curves}
    return str(labels.pop()) if len(labels) == 1 else "mixed"


def headlines(shapes: pd.DataFrame) -> dict[str, str]:
    """Task name -> one sentence about its largest model; with several seeds, how many of them show which shape."""
    told = {}
    for task, curves in of_largest(shapes).items():
        first, count = curves[0], Counter(row["label"] for row in curves)
        listed = ", ".join(f"{label} in {count[label]}" for label in sorted(count, key=lambda one: (-count[one], one)))
        several = f"{first['title']} in {first['model']}: of {len(curves)} seeds, {listed}"
        told[task] = str(first["sentence"]) if len(curves) == 1 else several
    return told


def _describe(decision: Decision, point: str) -> pd.DataFrame:
    """A row a curve; `point` is the column that names a curve's points: step or model."""
    frames = []
    noise = decision.curves.noise
    for batch, found in _labelled(decision):
        frame = _rows(decision.curves.rows, batch, found, decision.level, point)
        frame["item_noise"] = np.sqrt(np.median(noise.items[batch.at], axis=1))
        frame["training_noise"] = np.sqrt(noise.training[batch.at[:, 0]])
        frame["smallest_change"] = batch.curves.margin
        frame["q"] = decision.q[batch.which]
        frame["note"] = np.where(noise.sought[batch.at[:, 0]], "", _UNKNOWN_NOISE)
        frame["sentence"] = [_sentence(row, point) for row in frame.to_dict("records")]
        frames.append(frame.set_index(batch.which))
    if not frames:
        return pd.DataFrame(columns=list(dict.fromkeys([*COLUMNS, *OVER_SIZE_COLUMNS])))
    return pd.concat(frames).sort_index()


def _rows(rows: pd.DataFrame, batch: Batch, found: Labelled, level: float, point: str) -> pd.DataFrame:
    """What is said of curves of equally many points."""
    at, moves = batch.at, batch.moves
    m, k = at.shape
    value, name, some = rows["value"].to_numpy(dtype="float64")[at], rows[point].to_numpy()[at], np.arange(m)
    about = ("task", "title", "model", "n_params", "seed", "step", "tokens", "higher_is_better")
    first = rows.iloc[at[:, 0]]
    frame = pd.DataFrame({column: first[column].to_numpy() for column in about if column in rows.columns})
    frame["label"], frame["points"], frame["held"] = found.label, k, found.held
    frame["falls"], frame["rises"] = found.falls, found.rises
    places = {"from": found.start, "turn": found.turn, "to": found.end}
    places |= {"against_from": found.against_start, "against_to": found.against_end}
    whens = [found.against_end <= found.start, found.against_start >= found.end]
    frame["against"] = np.select(whens, ["before", "after"], "within")
    places |= {"lowest": value.argmin(axis=1), "highest": value.argmax(axis=1)}
    for what, place in places.items():
        named = pd.Series(name[some, place])
        frame[f"{what}_{point}"] = named.where(place >= 0, np.nan if point == "step" else "")
        frame[f"{what}_value"] = np.where(place >= 0, value[some, place], np.nan)
    held = np.where(np.arange(k) <= found.turn[:, None], value, value[:, :1])  # up to the turn
    frame["held_low"], frame["held_high"] = held.min(axis=1), held.max(axis=1)
    frame["first_value"], frame["last_value"] = value[:, 0], value[:, -1]
    frame["fall_z"], frame["rise_z"] = moves.t.min(axis=(1, 2)), moves.t.max(axis=(1, 2))
    frame["threshold_z"], frame["trend_z"] = moves.threshold(level), moves.trend_t
    frame["pairs"], frame["range_upper"] = k * (k - 1) // 2, found.range_upper
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

    where = f"in {run_name(row)}" if point == "step" else f"at step {row['step']:.0f}"
    if label == "too few points":
        what = "checkpoint" if point == "step" else "model"
        body = f"{row['points']} {what}" + ("s" if row["points"] > 1 else "")
    elif label in ("flat", "undecided"):
        ends = f"{low:.{digits}f}", f"{high:.{digits}f}"
        verb = "stays" if label == "flat" else "lies"
        body = f"{verb} at {ends[0]}" if ends[0] == ends[1] else f"{verb} between {ends[0]} and {ends[1]}"
    elif np.isnan(turn):
        body = f"{'rises' if end > start else 'falls'} from {at('from')} to {at('to')}"
        if pd.notna(row["against_from_value"]):
            other = f"{'falls' if end > start else 'rises'} from {at('against_from')} to {at('against_to')}"
            if row["against"] == "within":
                body += f", and {other}"
            else:
                first, then, ended, began = body, other, "to", "against_from"
                if row["against"] == "before":
                    first, then, ended, began = other, body, "against_to", "from"
                body = f"{first}, then {then.replace(f'from {at(began)} ', '') if name(ended) == name(began) else then}"
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
