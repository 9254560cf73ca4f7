"""Continuous metrics beside accuracy, from the log-probabilities of each item's choices.

Accuracy asks only whether the right choice has the highest log-probability, so that it may jump, or fall, where the
log-probabilities themselves move smoothly: Schaeffer, Miranda & Koyejo 2023, "Are emergent abilities of large language
models a mirage?" (arXiv:2304.15004). The metrics here are means over items of

- l_g, the log-probability of the right choice g: the sum over its tokens, in nats;
- log q_g, with q the choices' probabilities made to sum to one: q_c = exp(l_c) / sum over choices j of exp(l_j);
- q_g - the largest q of a wrong choice;
- the sum over choices c of (q_c - [c = g])^2, as Brier 1950 has it: from 0 to 2;
- whether g has the highest l_c / (characters of c): a right or wrong again, but of another question;

and ratios of two sums over items, so that a long answer counts by its bytes:

- bits per byte of the right choices: the sum of -l_g over that of the bytes b_g, / ln 2; the same of all wrong choices.

b_c is the number of UTF-8 bytes of the text whose log-probability l_c is: the choice with the delimiter before it (a
space, mostly), since the tokens that were scored spell that too. So OLMES and olmo-eval (:bpb) count; lm-eval's
acc_bytes and acc_norm, which only order the choices of one item, leave the delimiter out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.ratios import RATIOS
from evalrun.statistics.items.right_choices import Integers, gold_of
from evalrun.statistics.items.sums import Floats, Sums

NO_BYTES = "the bytes of the choices are not known: no bits per byte"
# Of an item frame, where present.
COLUMNS = ["target", "logprobs", "choice_chars", "choice_bytes", "prediction", "acc", "acc_mutual_info", "filter"]


@dataclass(frozen=True)
class ContinuousMetric:
    """What a metric is, for people."""

    title: str  # as in the middle of a sentence, after "the"
    higher_is_better: bool
    graded: bool  # is set against accuracy: moves with the log-probabilities, and no other of them says the same
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
    "gold_bits_per_byte": ContinuousMetric(
        "bits per byte of the right answer",
        higher_is_better=False,
        graded=False,
        sentence="The right choices as a text: their negative log-probabilities, summed and in bits, by their UTF-8 "
        "bytes with the delimiter before them. It moves long before accuracy does.",
        source="OLMES, Gu et al. 2024, arXiv:2406.08446; Heineman et al. 2025, arXiv:2508.13144",
    ),
    "wrong_bits_per_byte": ContinuousMetric(
        "bits per byte of the wrong answers",
        higher_is_better=True,
        graded=False,
        sentence="The same of all wrong choices, which ought to be unlikely. It falls while a model learns the "
        "language, whatever it knows of the question: read it beside the right answers'.",
        source="OLMES, Gu et al. 2024, arXiv:2406.08446",
    ),
}


@dataclass(frozen=True)
class Continuous:
    """The metrics of one task on one checkpoint."""

    metrics: dict[str, tuple[float, float]]  # of METRICS: value over items and its standard error; NaN where unknown
    n: int  # items that the values are over
    note: str  # why something is missing, or which items were left out


@dataclass(frozen=True)
class OfItems:
    """The metrics that the items of a result allow."""

    values: dict[str, Floats | Sums]  # metric of METRICS -> of each of the rows
    rows: Any  # labels of the items
    note: str  # why something is missing, or which items were left out


def continuous(items: pd.DataFrame) -> Continuous:
    """All metrics of `METRICS` from the items of one result.

    Args:
        items: One row an item, with such of `COLUMNS` as there are: target (JSON) and logprobs (each choice, in nats)
            are needed; choice_chars for acc_norm, choice_bytes for bits per byte; acc and prediction tell which of two
            choices is right where the target does not, and whether acc is graded already. Of several filters the first
            counts.

    Returns:
        Means and ratios, standard errors (sample standard deviation over items by sqrt n, of a ratio of its linearised
        values), how many items, and a note.
    """
    found = of_items(items)
    n = len(found.rows)
    metrics = dict.fromkeys(METRICS, (np.nan, np.nan))
    for name, value in found.values.items():
        each = value.linear if isinstance(value, Sums) else value
        metrics[name] = float(each.mean()), float(each.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    return Continuous(metrics, n, found.note)


def per_item(items: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The metrics of each item: what a paired test of two checkpoints compares.

    Args:
        items: As for `continuous`.

    Returns:
        One column for each of `METRICS` with the index of `items` (of the first filter), NaN where there is none; and
        what to say of it, in a few words, or "".
    """
    found = of_items(items)
    values = pd.DataFrame(np.nan, index=_of_first_filter(items).index, columns=list(METRICS))
    for name, value in found.values.items():
        values.loc[found.rows, name] = value.each if isinstance(value, Sums) else value
    return values, found.note


def of_items(items: pd.DataFrame) -> OfItems:
    """The metrics of each item that has a right choice and finite log-probabilities, by name.

    Args:
        items: As for `continuous`.
    """
    items = _of_first_filter(items)
    kept, notes = _choices(items)
    if kept is None:
        return OfItems({}, items.index[:0], "; ".join(notes))
    choices, rows = kept
    found: dict[str, Floats | Sums] = {"gold_logprob": choices.logprobs[choices.at_gold]}
    several = not (choices.counts == 1).all()
    if not several:
        notes.append("one text to score: no choices to compare it with")
    else:
        found |= choices.graded()
        if choices.chars is None:
            notes.append("the lengths of the choices are not known: no acc_norm")
        else:
            found["acc_norm"] = choices.right_by(choices.logprobs / choices.chars)
    if choices.sizes is None:
        notes.append(NO_BYTES)
    else:
        found |= choices.bits_per_byte(several)
    return OfItems(found, items.index[rows], "; ".join(notes))


def _of_first_filter(items: pd.DataFrame) -> pd.DataFrame:
    if "filter" in items and items["filter"].nunique() > 1:
        items = items[items["filter"] == items["filter"].iloc[0]]
    return items


@dataclass(frozen=True)
class _Choices:
    """Items with their choices end to end."""

    logprobs: Floats  # [choices of all items]
    chars: Floats | None  # [choices of all items]: their lengths
    sizes: Floats | None  # [choices of all items]: their bytes, with the delimiter before them
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

    def bits_per_byte(self, several: bool) -> dict[str, Floats | Sums]:
        """The sums of the right choices; and of the wrong ones, where items have several."""
        assert self.sizes is not None
        nats, sizes = -self.logprobs[self.at_gold], self.sizes[self.at_gold]
        found: dict[str, Floats | Sums] = {"gold_bits_per_byte": Sums(RATIOS["gold_bits_per_byte"], nats, sizes)}
        if several and (self.counts > 1).all():
            wrong = -np.add.reduceat(self.logprobs, self.starts) - nats
            others = np.add.reduceat(self.sizes, self.starts) - sizes
            found["wrong_bits_per_byte"] = Sums(RATIOS["wrong_bits_per_byte"], wrong, others)
        return found

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
    chars, sizes = (_lengths(items, counts, name) for name in ("choice_chars", "choice_bytes"))
    starts = np.cumsum(counts[rows]) - counts[rows]
    at_gold = starts + gold[rows].astype(np.int64)
    chars, sizes = (None if lengths is None else lengths[kept] for lengths in (chars, sizes))
    choices = _Choices(flat[kept], chars, sizes, counts[rows], starts, at_gold)
    left_out = len(items) - len(rows)
    return (choices, rows), [f"{left_out} of {len(items)} items left out"] if left_out else []


def _is_tie(logprobs: Sequence[float]) -> bool:
    return len(logprobs) > 1 and np.count_nonzero(np.asarray(logprobs) == np.max(logprobs)) != 1  # NaN: of all


def _lengths(items: pd.DataFrame, counts: Integers, column: str) -> Floats | None:
    """The length of every choice, where it was kept and is none of them 0."""
    if column not in items or items[column].isna().any():
        return None
    kept = [one[:count] for one, count in zip(items[column].tolist(), counts.tolist(), strict=True)]
    lengths = np.concatenate(kept).astype(np.float64)
    return lengths if len(lengths) == counts.sum() and (lengths > 0).all() else None
