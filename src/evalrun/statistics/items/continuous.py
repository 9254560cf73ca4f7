"""Continuous metrics beside accuracy, from the log-probabilities of each item's choices.

Accuracy asks only whether the right choice has the highest log-probability, so that it may jump, or fall, where the
log-probabilities themselves move smoothly: Schaeffer, Miranda & Koyejo 2023, "Are emergent abilities of large language
models a mirage?" (arXiv:2304.15004). The metrics here are means over items of

- l_g, the log-probability of the right choice g: the sum over its tokens, in nats;
- log q_g, with q the choices' probabilities made to sum to one: q_c = exp(l_c) / sum over choices j of exp(l_j);
- q_g - the largest q of a wrong choice;
- the sum over choices c of (q_c - [c = g])^2, as Brier 1950 has it: from 0 to 2;
- whether g has the highest l_c / (characters of c): a right or wrong again, but of another question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

# Of an item frame, where present.
COLUMNS = ["target", "logprobs", "choice_chars", "prediction", "acc", "acc_mutual_info", "filter"]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class ContinuousMetric:
    """What a metric is, for people."""

    title: str  # as in the middle of a sentence, after "the"
    higher_is_better: bool
    graded: bool  # moves with the log-probabilities; false for one that only counts right answers
    sentence: str
    source: str


METRICS = {
    "gold_logprob": ContinuousMetric(
        "log-probability of the right answer",
        higher_is_better=True,
        graded=True,
        sentence="The log-probability of the right choice, summed over its tokens, in nats.",
        source="Schaeffer et al. 2023, arXiv:2304.15004",
    ),
    "gold_logprob_choices": ContinuousMetric(
        "log-probability of the right answer among the choices",
        higher_is_better=True,
        graded=True,
        sentence="The same after the probabilities of the choices are made to sum to one: that all choices become "
        "likelier together is no gain.",
        source="Schaeffer et al. 2024, arXiv:2406.04391",
    ),
    "margin": ContinuousMetric(
        "probability margin",
        higher_is_better=True,
        graded=True,
        sentence="The probability of the right choice less that of the likeliest wrong one, both among the choices.",
        source="Schaeffer et al. 2024, arXiv:2406.04391",
    ),
    "brier": ContinuousMetric(
        "Brier score",
        higher_is_better=False,
        graded=True,
        sentence="The squared distance of the choices' probabilities from the right answer: 0 is certain and right, "
        "2 certain and wrong.",
        source="Brier 1950, Monthly Weather Review 78(1):1-3; Schaeffer et al. 2023, arXiv:2304.15004",
    ),
    "acc_norm": ContinuousMetric(
        "accuracy by log-probability per character",
        higher_is_better=True,
        graded=False,
        sentence="Accuracy when the choice with the highest log-probability per character is taken, as lm-eval's "
        "acc_norm: long choices are no longer unlikely for being long.",
        source="lm-eval, ConfigurableTask.process_results",
    ),
}


@dataclass(frozen=True)
class Continuous:
    """The metrics of one task on one checkpoint."""

    metrics: dict[str, tuple[float, float]]  # of METRICS: mean over items and its standard error; NaN where unknown
    n: int  # items that the means are over
    note: str  # why something is missing, or which items were left out


def continuous(items: pd.DataFrame) -> Continuous:
    """All metrics of `METRICS` from the items of one result.

    Args:
        items: One row an item, with such of `COLUMNS` as there are: target (JSON) and logprobs (each choice, in nats)
            are needed; choice_chars for acc_norm; acc and prediction tell which of two choices is right where the
            target does not, and whether acc is graded already. Of several filters the first counts.

    Returns:
        Means, standard errors (sample standard deviation over items by sqrt n), how many items, and a note.
    """
    values, note = per_item(items)
    table = values.to_numpy()
    table = table[~np.isnan(table).all(axis=1)]
    n = len(table)
    if not n:
        return Continuous(dict.fromkeys(METRICS, (np.nan, np.nan)), 0, note)
    means = table.mean(axis=0)
    errors = table.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.full(len(means), np.nan)
    return Continuous(dict(zip(METRICS, zip(means.tolist(), errors.tolist(), strict=True), strict=True)), n, note)


def per_item(items: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The metrics of each item: what a paired test of two checkpoints compares.

    Args:
        items: As for `continuous`.

    Returns:
        One column for each of `METRICS` with the index of `items` (of the first filter), NaN where there is none; and
        what to say of it, in a few words, or "".
    """
    if "filter" in items and items["filter"].nunique() > 1:
        items = items[items["filter"] == items["filter"].iloc[0]]
    values = {name: np.full(len(items), np.nan) for name in METRICS}
    kept, notes = _choices(items)
    if kept is not None:
        choices, rows = kept
        found: dict[str, Floats] = {"gold_logprob": choices.logprobs[choices.at_gold]}
        if (choices.counts == 1).all():
            notes.append("one text to score: no choices to compare it with")
        else:
            found |= choices.graded()
            if choices.chars is None:
                notes.append("the lengths of the choices are not known: no acc_norm")
            else:
                found["acc_norm"] = choices.right_by(choices.logprobs / choices.chars)
        for name, column in found.items():
            values[name][rows] = column
    return pd.DataFrame(values, index=items.index), "; ".join(notes)


@dataclass(frozen=True)
class _Choices:
    """Items with their choices end to end."""

    logprobs: Floats  # [choices of all items]
    chars: Floats | None  # [choices of all items]: their lengths
    counts: Integers  # [items]
    starts: Integers  # [items]: place of each item's first choice
    at_gold: Integers  # [items]: place of its right choice

    def graded(self) -> dict[str, Floats]:
        """Of each item: log q_g, margin and Brier score."""
        shifted = self.logprobs - np.repeat(np.maximum.reduceat(self.logprobs, self.starts), self.counts)
        total = np.add.reduceat(np.exp(shifted), self.starts)
        logq = shifted - np.repeat(np.log(total), self.counts)
        gold = np.exp(logq[self.at_gold])
        away = np.exp(logq)
        away[self.at_gold] = 0
        margin = gold - np.maximum.reduceat(away, self.starts)
        away[self.at_gold] = 1 - gold
        brier = np.add.reduceat(away**2, self.starts)
        return {"gold_logprob_choices": logq[self.at_gold], "margin": margin, "brier": brier}

    def right_by(self, scores: Floats) -> Floats:
        """Of each item, whether the choice with its highest score is the right one: 1 / k of k that tie."""
        highest = scores == np.repeat(np.maximum.reduceat(scores, self.starts), self.counts)
        right: Floats = highest[self.at_gold] / np.add.reduceat(highest.astype(np.float64), self.starts)
        return right


def _choices(items: pd.DataFrame) -> tuple[tuple[_Choices, Integers] | None, list[str]]:
    """The choices of the items that have a right one and finite log-probabilities, with the rows of these items.

    The notes say why it is none or not all of them.
    """
    if "logprobs" not in items or "target" not in items or not len(items):
        return None, ["no log-probabilities of choices"]
    logprobs = items["logprobs"].tolist()
    if "acc_mutual_info" in items:  # lm-eval puts the choices' log-probabilities without the question behind the others
        logprobs = [one[: len(one) // 2] for one in logprobs]
    if "acc" in items and pd.api.types.is_numeric_dtype(items["acc"]):
        acc = items["acc"].to_numpy(np.float64)
        between = np.flatnonzero(~((acc == 0) | (acc == 1) | np.isnan(acc)))
        if not all(_is_tie(logprobs[i]) for i in between):  # a tie is worth a share of one
            return None, ["its accuracy is a probability for each item, and graded already"]
    counts = np.fromiter(map(len, logprobs), np.int64, len(logprobs))
    if not counts.any():
        return None, ["no log-probabilities of choices"]
    flat = np.concatenate(logprobs).astype(np.float64)
    gold = gold_of(items, counts)
    known = (gold >= 0) & (gold < counts) & (gold == np.floor(gold))
    if not known.any():
        return None, ["the right answer is not the number of a choice"]
    owner = np.repeat(np.arange(len(counts)), counts)
    finite = np.bincount(owner[~np.isfinite(flat)], minlength=len(counts)) == 0
    used = known & finite
    rows = np.flatnonzero(used)
    if not len(rows):
        return None, ["no finite log-probability"]
    kept = used[owner]
    chars = _chars(items, counts)
    starts = np.cumsum(counts[rows]) - counts[rows]
    at_gold = starts + gold[rows].astype(np.int64)
    choices = _Choices(flat[kept], None if chars is None else chars[kept], counts[rows], starts, at_gold)
    left_out = len(items) - len(rows)
    return (choices, rows), [f"{left_out} of {len(items)} items left out"] if left_out else []


def _is_tie(logprobs: Sequence[float]) -> bool:
    return len(logprobs) > 1 and np.count_nonzero(np.asarray(logprobs) == np.max(logprobs)) != 1  # NaN: of all


def gold_of(items: pd.DataFrame, counts: Integers) -> Floats:
    """The place of each item's right choice, NaN where it is not known."""
    if (counts <= 1).all():  # the target is the text that is scored, and no number
        return np.zeros(len(counts))
    gold: Floats = pd.to_numeric(items["target"], errors="coerce").to_numpy(np.float64)
    if np.isnan(gold).any() and {"prediction", "acc"} <= set(items.columns) and "acc_mutual_info" not in items:
        gold = _unquoted(items, counts, gold)
        # Where the contexts differ instead of the choices (WinoGrande) the target is a text too.
        several = items["target"].str.startswith("[").to_numpy(bool)
        predicted, acc = items["prediction"].to_numpy(np.float64), items["acc"].to_numpy(np.float64)
        told = np.isnan(gold) & ~several & (counts == 2)
        gold = np.where(told, np.where(acc > 0, predicted, 1 - predicted), gold)  # of a tie, either
    return gold


def _unquoted(items: pd.DataFrame, counts: Integers, gold: Floats) -> Floats:
    """Places that stand between quotes, as in lm-eval's samples, which hold every target as text.

    A text between quotes may be a choice that is a number, too: they are places if they say what `acc` says.
    """
    quoted = items["target"].str.fullmatch(r'"\d+"', na=False).to_numpy(bool)
    if not quoted.any():
        return gold
    place = pd.to_numeric(items["target"].str.strip('"').where(quoted), errors="coerce").to_numpy(np.float64)
    hit = items["prediction"].to_numpy(np.float64) == place
    fits = (hit == (items["acc"].to_numpy(np.float64) > 0)) & (place < counts)
    return np.where(quoted, place, gold) if fits[quoted].all() else gold


def _chars(items: pd.DataFrame, counts: Integers) -> Floats | None:
    """The length of every choice, where it was kept and is none of them 0."""
    if "choice_chars" not in items:
        return None
    lengths = [one[:count] for one, count in zip(items["choice_chars"].tolist(), counts.tolist(), strict=True)]
    chars = np.concatenate(lengths).astype(np.float64)
    return chars if len(chars) == counts.sum() and (chars > 0).all() else None
