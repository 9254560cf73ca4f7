"""Is a jump in accuracy there in the continuous metrics too, or made by counting right answers?

A curve is one task's values of one model (and training seed) over log2(tokens). "Up" means better: metrics where lower
is better are turned round first. Of the accuracy's curve

- the *largest move* is the pair of checkpoints, the first before the second, with the largest difference among those
  whose z = difference / sqrt(se_1^2 + se_2^2) is beyond the two-sided Bonferroni threshold for all pairs at 5 %;
- a *window* is a pair at most one doubling of the tokens apart, or two neighbours that are further apart; a *jump* (up
  or down) is the window with the largest difference for each doubling (at least one) among those that are beyond the
  threshold for all windows, if that is at least half of the curve's range. It is looked for in curves of four
  checkpoints or more that span at least three doublings: over fewer a straight line looks like a jump.

Each continuous metric of the same curve is then *moved* between two checkpoints where |z| > 1.96, which is one question
and so needs no correction; checkpoints answer the same items, so that this z too is conservative. The labels:

- *opposite*: over the accuracy's largest move the metric moved the other way: while right answers were lost (won), the
  right answer became likelier (less likely);
- *in both*: the accuracy jumps, and in that window the metric moved the same way over at least half as large a share
  of its own range;
- *only in accuracy*: the accuracy jumps, and the metric does not: it moves smoothly, elsewhere or not at all. Such a
  jump says where a smooth change crosses the threshold between right and wrong: a mirage in the sense of Schaeffer,
  Miranda & Koyejo 2023 (arXiv:2304.15004);
- *none*: nothing to explain: no move that counts, or a gradual one that the metric does not contradict.

Probabilities and the Brier score saturate: they jump, if less, where a log-probability passes smoothly from certain
error to certainty. Of the metrics the log-probability of the right answer among the choices tells a mirage best.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from evalrun.core.stages import stage
from evalrun.core.text import counted
from evalrun.statistics.items.continuous import METRICS
from evalrun.statistics.items.right_choices import Integers
from evalrun.statistics.items.sums import Floats
from evalrun.statistics.naming import run_name
from evalrun.statistics.reliability.intervals import standard_errors

LABELS = ("only in accuracy", "in both", "opposite", "none")
COLUMNS = [
    *("task", "title", "model", "n_params", "seed", "metric", "label"),
    *("from_step", "to_step", "from_value", "to_value", "share", "doublings"),
    *("metric_from", "metric_to", "metric_z", "metric_share", "metric_before", "sentence", "note"),
]
_CURVE = ["task", "model", "seed"]
_ALPHA = 0.05
_Z = 1.96  # two-sided 5 %
_JUMP = 0.5  # share of the range within a doubling
_ALONG = 0.5  # of the accuracy's share, for a metric to jump too
_FEWEST, _SPAN = 4, 3.0  # checkpoints and doublings that a jump is looked for in
_AT_ONCE = 2_000_000  # pairs


@dataclass(frozen=True)
class _Moves:
    """Of some curves of equal length, the two checkpoints (positions, -1 for none) of one kind of move."""

    start: Integers
    end: Integers

    @property
    def found(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return self.start >= 0


@stage("items")
def find_artefacts(table: pd.DataFrame, continuous: pd.DataFrame) -> pd.DataFrame:
    """Set every accuracy curve against its continuous metrics, as the module's docstring defines.

    Args:
        table: Rows of `Prepared.table`: one for each task, model, seed and step.
        continuous: The continuous metrics of these rows, with the columns task, model, seed, step, metric (those of
            `METRICS` that are graded count, others are ignored), value and stderr.

    Returns:
        One row for each curve and metric, in the order of the table and of `METRICS`, with the columns of `COLUMNS`:
        from and to are the checkpoints of the jump, or of the largest move where the label is `opposite` or there is
        no jump (missing without either), with the accuracy there; share, the accuracy's difference between them in
        ranges of its curve, and doublings of the tokens between them; metric_from, metric_to and metric_z, the metric
        there and the z of its difference (above 0 where it moved the accuracy's way); metric_share, that difference in
        ranges of its own curve, and metric_before, the same from the first checkpoint to from_step. No rows where no
        curve has a continuous metric.
    """
    graded = [name for name, metric in METRICS.items() if metric.graded]
    own = continuous[continuous["metric"].isin(graded) & continuous["value"].notna()].drop_duplicates(
        [*_CURVE, "step", "metric"], keep="last"
    )
    table = table[~table["metric"].isin(METRICS.keys() - {"acc_norm"})]  # which count no right answers
    if own.empty or table.empty:
        return pd.DataFrame(columns=COLUMNS)
    wide = own.pivot(index=[*_CURVE, "step"], columns="metric", values=["value", "stderr"])
    wide.columns = pd.Index([" of ".join(pair) for pair in wide.columns.to_list()])
    rows = table.merge(wide.reset_index(), on=[*_CURVE, "step"], how="left")
    rows["_curve"] = rows.groupby(_CURVE, dropna=False, sort=False).ngroup()
    rows = rows.sort_values(["_curve", "tokens"], kind="stable", ignore_index=True)
    lengths = rows.groupby("_curve").size().to_numpy()
    starts = np.cumsum(lengths) - lengths
    found: list[pd.DataFrame] = []
    for length in np.unique(lengths):
        same = starts[lengths == length]
        several = max(1, _AT_ONCE // int(length) ** 2)
        for begin in range(0, len(same), several):
            at = same[begin : begin + several, None] + np.arange(length)
            found += _of_equal_length(rows, at, [name for name in graded if f"value of {name}" in rows])
    result = pd.concat(found, ignore_index=True).sort_values(["_curve", "_metric"], kind="stable", ignore_index=True)
    return result[COLUMNS]


def of_curves_that_move(artefacts: pd.DataFrame, shapes: pd.DataFrame) -> pd.DataFrame:
    """Artefacts with the label `none` where the accuracy's curve is not shown to move at the report's error rate.

    Args:
        artefacts: What `find_artefacts` returns.
        shapes: What `labels.describe_shapes` returns for the same curves.

    Returns:
        A copy with the same columns; the note says which labels were taken back.
    """
    if artefacts.empty:
        return artefacts
    moves = shapes.assign(moves=shapes["falls"] | shapes["rises"])[[*_CURVE, "moves"]]
    moved = artefacts[_CURVE].merge(moves, on=_CURVE, how="left")["moves"].fillna(False).to_numpy(dtype=bool)
    note = "the accuracy’s curve is not shown to move"
    held = (artefacts["label"] != "none") & ~moved
    return artefacts.assign(
        label=artefacts["label"].mask(held, "none"),
        note=artefacts["note"].mask(held, (artefacts["note"] + "; " + note).str.removeprefix("; ")),
    )


def _of_equal_length(rows: pd.DataFrame, at: Integers, metrics: list[str]) -> Iterator[pd.DataFrame]:
    """The result for some curves, a frame for each metric; `at` holds [curves, checkpoints] positions in `rows`."""
    first = rows.iloc[at[:, 0]]
    accuracy = _column(rows, "value")[at]
    up = np.where(_column(rows, "higher_is_better")[at[:, :1]] > 0, accuracy, -accuracy)
    errors = _errors(accuracy, _column(rows, "stderr")[at], _column(rows, "n")[at])
    doublings = np.log2(_column(rows, "tokens"))[at]
    largest, jump = _moves(up, errors, doublings)
    steps = _column(rows, "step")[at]
    for number, name in enumerate(metrics):
        value = _column(rows, f"value of {name}")[at]
        if np.isnan(value).all():
            continue
        turned = value if METRICS[name].higher_is_better else -value
        given = _errors(value, _column(rows, f"stderr of {name}")[at], np.full(value.shape, np.nan))
        over = _compare(largest, up, turned, given)
        opposite = over["metric_z"] < -_Z
        use_jump = jump.found & ~opposite
        shown = _Moves(np.where(use_jump, jump.start, largest.start), np.where(use_jump, jump.end, largest.end))
        compared = _compare(shown, up, turned, given)
        along = (compared["metric_z"] > _Z) & (compared["metric_share"] >= _ALONG * compared["share"])
        label = np.select([opposite, use_jump & along, use_jump], ["opposite", "in both", "only in accuracy"], "none")
        known = ~np.isnan(compared["metric_z"])
        label = np.where(known, label, "none")
        ends = {"from_step": steps, "to_step": steps, "from_value": accuracy, "to_value": accuracy}
        ends |= {"metric_from": value, "metric_to": value}
        frame = first[[*_CURVE, "title", "n_params", "metric", "_curve"]].reset_index(drop=True)
        frame = frame.assign(
            of=frame["metric"].replace("acc", "accuracy"),
            metric=name,
            _metric=number,
            label=label,
            **{key: _taken(array, shown.start if "from" in key else shown.end) for key, array in ends.items()},
            doublings=_taken(doublings, shown.end) - _taken(doublings, shown.start),
            **compared,
            note=_notes(value, doublings, shown, known),
        )
        frame = frame.iloc[np.flatnonzero(~np.isnan(value).all(axis=1))]
        yield frame.assign(sentence=[_sentence(row) for row in frame.to_dict("records")])


def _column(rows: pd.DataFrame, name: str) -> Floats:
    return rows[name].to_numpy(dtype="float64", na_value=np.nan)


def _errors(values: Floats, given: Floats, n: Floats) -> Floats:
    """Standard errors (`standard_errors`), and where there are none the roughness of the curve.

    This is the standard deviation of the differences between neighbouring checkpoints over sqrt(2).
    """
    gaps = np.diff(values, axis=1)
    seen = np.isfinite(gaps)
    count = np.maximum(seen.sum(axis=1, keepdims=True), 1)
    mean = np.where(seen, gaps, 0).sum(axis=1, keepdims=True) / count
    rough = np.sqrt((np.where(seen, gaps - mean, 0) ** 2).sum(axis=1, keepdims=True) / np.maximum(count - 1, 1) / 2)
    errors = standard_errors(values, given, n)
    return np.where(np.isnan(errors), rough, errors)


def _moves(up: Floats, errors: Floats, doublings: Floats) -> tuple[_Moves, _Moves]:
    """The largest move and the jump of each curve."""
    k = up.shape[1]
    early, late = np.triu_indices(k, 1)
    move = up[:, late] - up[:, early]
    error = np.sqrt(errors[:, late] ** 2 + errors[:, early] ** 2)
    z = np.divide(np.abs(move), error, out=np.where(move == 0, 0.0, np.inf), where=error > 0)
    size = np.abs(move)
    largest = _best(np.where(z > _threshold(np.array([len(early)])), size, 0), early, late)
    apart = doublings[:, late] - doublings[:, early]
    window = (apart <= 1 + 1e-6) | (late == early + 1)
    speed = size / np.maximum(apart, 1)
    whole = np.ptp(up, axis=1)[:, None]
    jumps = window & (z > _threshold(window.sum(axis=1))[:, None]) & (speed >= _JUMP * whole * (1 - 1e-9))
    jumps &= (np.ptp(doublings, axis=1) >= _SPAN)[:, None] & (k >= _FEWEST)
    return largest, _best(np.where(jumps, speed, 0), early, late)


def _threshold(questions: Integers) -> Floats:
    threshold: Floats = norm.ppf(1 - _ALPHA / 2 / np.maximum(questions, 1))
    return threshold


def _best(size: Floats, early: Integers, late: Integers) -> _Moves:
    if not size.shape[1]:
        nothing = np.full(len(size), -1)
        return _Moves(nothing, nothing)
    best = np.argmax(size, axis=1)
    found = size[np.arange(len(size)), best] > 0
    return _Moves(np.where(found, early[best], -1), np.where(found, late[best], -1))


def _taken(values: Floats, places: Integers) -> Floats:
    """Each curve's value at its place; NaN where that is -1."""
    return np.where(places >= 0, values[np.arange(len(values)), places], np.nan)


def _compare(moves: _Moves, up: Floats, metric: Floats, errors: Floats) -> dict[str, Floats]:
    """What accuracy and metric do over each curve's move; the metric's numbers count in the accuracy's direction."""
    move = _taken(up, moves.end) - _taken(up, moves.start)
    way = np.sign(move)
    change = way * (_taken(metric, moves.end) - _taken(metric, moves.start))
    error = np.sqrt(_taken(errors, moves.end) ** 2 + _taken(errors, moves.start) ** 2)
    scale = np.fmax.reduce(metric, axis=1) - np.fmin.reduce(metric, axis=1)  # NaN counts for nothing
    scale = np.where(scale > 0, scale, np.nan)
    whole = np.ptp(up, axis=1)
    z = np.divide(change, error, out=np.sign(change) * 1e6, where=error > 0)
    return {
        "share": np.divide(np.abs(move), whole, out=np.full(len(up), np.nan), where=whole > 0),
        "metric_z": np.where(np.isnan(change), np.nan, z),
        "metric_share": np.where(change == 0, 0.0, change / scale),
        "metric_before": way * (_taken(metric, moves.start) - metric[:, 0]) / scale + 0.0,  # no -0
    }


def _notes(value: Floats, doublings: Floats, shown: _Moves, known: np.ndarray[Any, Any]) -> list[str]:
    """What is doubtful of each curve, empty if nothing is.

    Args:
        value: A continuous metric, a row a curve and a column a checkpoint; NaN where missing.
        doublings: log2 of tokens, of the same shape.
        shown: The largest moves of accuracy.
        known: Whether the metric is there at both ends of the move.
    """
    short = (np.ptp(doublings, axis=1) < _SPAN) | (value.shape[1] < _FEWEST)
    missing = np.isnan(value).sum(axis=1)
    notes = []
    for i in range(len(value)):
        parts = ["too few checkpoints or doublings to look for a jump"] if short[i] else []
        if shown.found[i] and not known[i]:
            parts.append("the metric is missing at one of the two checkpoints")
        elif missing[i]:
            parts.append(f"the metric is missing at {counted(int(missing[i]), 'checkpoint')}")
        notes.append("; ".join(parts))
    return notes


def _sentence(row: Mapping[Any, Any]) -> str:
    """`Trap in m: accuracy falls from 0.81 (step 2) to 0.30 (step 4), 0.8 of its range; ...: only in accuracy`."""
    head = f"{row['title']} in {run_name(row)}: "
    if pd.isna(row["from_step"]):
        return f"{head}{row['of']} makes no move that counts: {row['label']}"
    goes = "rises" if row["to_value"] > row["from_value"] else "falls"
    head += f"{row['of']} {goes} from {row['from_value']:.2f} (step {row['from_step']:.0f}) to "
    head += f"{row['to_value']:.2f} (step {row['to_step']:.0f}), {row['share']:.2f} of its range; "
    name = f"the {METRICS[row['metric']].title}"
    if pd.isna(row["metric_z"]):
        return f"{head}{name} is not known there: {row['label']}"
    there = "from {:.2f} to {:.2f}".format(*(round(row[end], 2) + 0.0 for end in ("metric_from", "metric_to")))  # no -0
    if row["label"] == "opposite":
        return f"{head}{name} moves the other way, {there}: opposite"
    share = f"{abs(row['metric_share']):.2f} of its range"
    if abs(row["metric_z"]) <= _Z:
        body = f"{name} shows no change there ({there})"
    elif row["metric_z"] < 0:
        body = f"{name} goes the other way there, {there}, {share}"
    else:
        body = f"{name} goes {there}, {share}"
    before = f", after {row['metric_before']:.2f} before" if row["label"] == "only in accuracy" else ""
    return f"{head}{body}{before}: {row['label']}"
