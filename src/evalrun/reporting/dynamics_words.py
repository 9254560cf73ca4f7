"""What the items of a task do over training, in sentences that a reader who is no statistician can use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.text import counted
from evalrun.reporting.scales import si
from evalrun.statistics.dynamics.distractors import COLUMN, PART, POSITION, RIGHT, TEXT
from evalrun.statistics.dynamics.guessing import FALL
from evalrun.statistics.dynamics.item_classes import LOSING
from evalrun.statistics.dynamics.item_dynamics import ItemDynamics
from evalrun.statistics.naming import run_name
from evalrun.tasks.right_answers import ordinal

_FALL = ["model", "seed", "peak_step", "trough_step"]
_OFTEN = 0.05  # of the wrong choices that a text must be, to be named in a sentence
_LONGEST = 40  # characters of a choice's text


def tokens_text(tokens: float) -> str:
    """`2.1B`; a dash where it is not known."""
    if not np.isfinite(tokens):
        return "–" if np.isnan(tokens) else "∞"
    return si(tokens)


def percent(share: float) -> str:
    """`12 %`, with a true minus sign."""
    return "–" if pd.isna(share) else f"{100 * share:z.0f} %".replace("-", "−")


def q_said(q: float) -> str:
    """`q < .001`, `q = .034`."""
    return "q < .001" if q < 0.001 else f"q = {q:.3f}".replace("0.", ".", 1)


def sentences(found: ItemDynamics, alpha: float) -> list[str]:
    """What is to be said of a task, in order: losses, falls, returns, the answers that took over, agreement.

    Args:
        found: Of one task.
        alpha: Level of what is shown.
    """
    return [
        *_losses(found, alpha),
        *_falls(found),
        *_returns(found, alpha),
        *_took_over(found),
        *_agreement(found),
    ]


def _losses(found: ItemDynamics, alpha: float) -> Iterator[str]:
    """Which curves lose items, and how many items by which class; one sentence for all that lose none."""
    none = []
    for row in found.losses.to_dict("records"):
        if pd.isna(row["q"]):
            continue
        if row["q"] >= alpha:
            none.append(run_name(row))
            continue
        own = found.classes[(found.classes["model"] == row["model"]) & same_seed(found.classes, row["seed"])]
        chance = float(own.loc[own["class"].isin(LOSING), "by_chance"].sum())
        yield (
            f"{run_name(row)} loses items that it knew, more than guesses and slips explain ({q_said(row['q'])}): "
            f"of {counted(int(row['items']), 'item')} {percent(row['lost'])} ({percent(row['lost_low'])} to "
            f"{percent(row['lost_high'])}) are known at one checkpoint and not at a later one, on average over all "
            f"pairs of checkpoints; {row['lost_items']:.0f} single items are seen to be lost or unstable, where "
            f"chance would make {chance:.0f}."
        )
    if none:
        what = "No loss of known items" if len(none) == len(found.losses) else f"{', '.join(none)}: no loss"
        yield f"{what} is shown: guesses and slips explain what went from right to wrong."
    hidden = [run_name(row) for row in found.losses.to_dict("records") if row["lost_high"] < 0]
    if hidden:
        yield (
            f"{', '.join(hidden)}: guesses stay the same from checkpoint to checkpoint, so that a share of lost items "
            "cannot be told."
        )


def _falls(found: ItemDynamics) -> Iterator[str]:
    """How many items were lost and learned in each fall."""
    for row in found.transitions[found.transitions["kind"] == FALL].to_dict("records"):
        below = ""
        if row["misled"] > 0:
            below = (
                f" At the end it is right less often than guesses are: {percent(row['misled'])} of the items at least "
                "are answered wrong by preference."
            )
        known, lost, low, high = (percent(max(0.0, row[name])) for name in ("known", "lost", "lost_low", "lost_high"))
        yield (
            f"{run_name(row)}, from step {row['from_step']:.0f} to {row['to_step']:.0f}: "
            f"{row['right_to_wrong']:.0f} answers went from right to wrong and {row['wrong_to_right']:.0f} from wrong "
            f"to right. Corrected for guesses, {known} of the items were known at first, and {lost} were lost "
            f"({low} to {high}).{below}"
        )


def _returns(found: ItemDynamics, alpha: float) -> Iterator[str]:
    """Whether the items that return are those that were lost."""
    for row in found.returned.to_dict("records"):
        where = f"{run_name(row)}, back at step {row['return_step']:.0f}"
        if pd.isna(row["q"]):
            yield f"{where}: whether the lost items return cannot be tested, {row['note']}."
            continue
        lost, other = (f"{row[f'{name}_returned']:.0f} of {row[name]:.0f}" for name in ("lost", "other"))
        same = "The items that return are those that were lost"
        verdict = same if row["q"] < alpha else "That is no clear difference"
        yield (
            f"{where}: of the items that were right at step {row['peak_step']:.0f} and wrong at "
            f"{row['trough_step']:.0f}, {lost} are right again, where chance would make it {row['expected']:.0f}; of "
            f"those that were wrong at both, {other} are right. {verdict} ({q_said(row['q'])})."
        )


def _took_over(found: ItemDynamics) -> Iterator[str]:
    """To which wrong choice the probability moved in each fall."""
    for _, own in found.distractors.groupby(_FALL, dropna=False, sort=False):
        first = own.iloc[0].to_dict()
        right = own[own["by"] == RIGHT].iloc[0]
        told = [_winner(own, by) for by in (POSITION, TEXT, COLUMN)]
        told = [name for name in told if name]
        to = f" The probability went most of all to {'; '.join(told)}." if told else ""
        parts = own[own["by"] == PART]
        most = parts.sort_values("change").iloc[0].to_dict() if len(parts) else {}
        part = ""
        if most and most["high"] < right["low"]:
            part = f" Most was lost where {most['value']} ({_change(most)})."
        if not (to or part):
            continue
        yield (
            f"{run_name(first)}, from step {first['peak_step']:.0f} to {first['trough_step']:.0f}: the probability "
            f"of the right choice went from {right['before']:.2f} to {right['after']:.2f}.{to}{part}"
        )


def _winner(own: pd.DataFrame, by: str) -> str:
    """The wrong choice that gained most, if it gained more than another of its kind beyond both intervals."""
    often = own["choices"] >= _OFTEN * own["choices"].max()
    rows = own[(own["by"] == by) & often].sort_values("change", ascending=False)
    if rows.empty or not rows["low"].iloc[0] > 0:
        return ""
    first = rows.iloc[0].to_dict()
    if by != COLUMN and (len(rows) < 2 or not first["low"] > rows["high"].iloc[1:].min()):
        return ""
    return f"{choice_name(by, str(first['value']))} ({_change(first)})"


def choice_name(by: str, value: str) -> str:
    """`the second choice`, `the choice “red”`, `the choice in column trap`."""
    if by == POSITION:
        return f"the {ordinal(int(value) - 1)} choice where it is wrong"
    if by == COLUMN:
        return f"the wrong choice that column {value} holds"
    return f"the wrong choice “{value if len(value) <= _LONGEST else value[: _LONGEST - 1] + '…'}”"


def _change(row: Mapping[Any, Any]) -> str:
    return f"{row['before']:.2f} to {row['after']:.2f} in {counted(int(row['choices']), 'item')}"


def _agreement(found: ItemDynamics) -> Iterator[str]:
    """How far models, and seeds, know the same items and learn them in the same order."""
    for between, own in found.agreement.groupby("between"):
        kappa, order = own["kappa"].dropna(), own["age_rho"].dropna()
        if kappa.empty:
            continue
        what = "two seeds" if between == "seeds" else "two models"
        span = f"{kappa.min():.2f}" if len(kappa) == 1 else f"{kappa.min():.2f} to {kappa.max():.2f}"
        said = f"Of {counted(len(kappa), 'pair')} of {what}, answers at the last common step agree beyond independence "
        said += f"by kappa = {span}"
        if len(order):
            told = f"{order.min():.2f}" if len(order) == 1 else f"{order.min():.2f} to {order.max():.2f}"
            said += f"; the ages of items that both learned correlate by {told}"
        yield (said + ".").replace(" -", " −")


def same_seed(frame: pd.DataFrame, seed: float) -> pd.Series[Any]:
    """Which rows are of a seed; of none, where it is NaN."""
    return frame["seed"].isna() if pd.isna(seed) else frame["seed"] == seed
