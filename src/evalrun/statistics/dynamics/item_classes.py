"""What became of each item of a curve: known, learned, lost, regained, by a decision that allows for chance.

The model: an item is known or not, and may change at any checkpoint. A known one is answered right but for slips (a
share of at most `slip`), another one is guessed right with the probability g. Of all courses of an item the one with
the highest log-likelihood less a price for each change is taken (Viterbi 1967, IEEE Transactions on Information Theory
13:260-269; the price makes it the penalised likelihood of change points).

The highest price is set so that an item that never changes is given a change with a probability of at most alpha,
whatever its number of checkpoints T: a false stretch at the start or the end must be exp(price) times as likely as
none, one in between exp(2 price) times, and a likelihood ratio against the truth exceeds c with a probability of at
most 1 / c from each place where a stretch may begin (Ville 1939). So 2 x + T x^2 = alpha, with x = exp(-price). Where
all items together show that many change at once, a change costs less: halfway between that price and -log of the share
that was learned (or lost) for certain, the lower end of its 99 % interval as `guessing` estimates it. Where nothing is
shown to change, as under guessing, the price is the highest. To begin as known costs -log of the largest
share that the first accuracy allows for.

An item whose answers fit one constant probability between g and 1 - slip better than any course, by as much as a
change must, is unstable; so is one that was lost more than once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from evalrun.statistics.dynamics.guessing import known, least_misled
from evalrun.statistics.dynamics.item_grid import Singles
from evalrun.statistics.items.item_errors import mean_interval
from evalrun.statistics.items.values import Floats

ALWAYS, NEVER, LEARNED = "always right", "never", "learned for good"
LOST, REGAINED, UNSTABLE = "lost", "lost and regained", "unstable"
CLASSES = (ALWAYS, LEARNED, REGAINED, UNSTABLE, LOST, NEVER)
LOSING = (LOST, REGAINED, UNSTABLE)  # of items that were lost at least once, or may have been
_LUCKY = 0.01  # a right answer, at least, to an item that is not known: also where it is free
_SURE = 0.01  # one minus the level of the intervals of what items do together
_FEWEST = 20  # items that show what items do together
_MOST = 0.98  # of them that change at once
_LEAST_GAP = 0.02  # between the two states' probabilities of a right answer

Flags = np.ndarray[Any, np.dtype[np.bool_]]
Codes = np.ndarray[Any, np.dtype[np.int8]]


@dataclass(frozen=True)
class States:
    """What the two states of an item say of its answers."""

    guess: Floats  # (items,) probability of a right answer to an item that is not known
    slip: float  # of a wrong one to an item that is known
    price: float  # of a change, at most, in units of log-likelihood

    def likelihoods(self, right: Singles) -> tuple[Singles, Singles]:
        """(checkpoints, items) log-likelihood of each answer if the item is not known, and if it is; 0 if missing."""
        hits = np.nan_to_num(right, nan=0.0)
        misses = np.where(np.isnan(right), np.float32(0), 1 - hits)
        g = self.guess.astype(np.float32)
        unknown = hits * np.log(g) + misses * np.log1p(-g)
        sure = hits * np.float32(np.log1p(-self.slip)) + misses * np.float32(np.log(self.slip))
        return unknown.astype(np.float32), sure.astype(np.float32)


@dataclass(frozen=True)
class Prices:
    """What the steps of a course cost, in units of log-likelihood; arrays are (checkpoints,), their first is unused."""

    start: tuple[float, float]  # to begin as not known, as known
    gain: Floats  # to become known at a checkpoint
    loss: Floats
    stay_unknown: Floats
    stay_known: Floats


@dataclass(frozen=True)
class Courses:
    """The course of each item."""

    known: Flags  # (checkpoints, items)
    codes: Codes  # (items,) places in CLASSES
    gained: np.ndarray[Any, np.dtype[np.int16]]  # (items,) first checkpoint of the first known stretch; -1: none
    lost: np.ndarray[Any, np.dtype[np.int16]]  # (items,) first checkpoint after that stretch; -1: it lasts

    def counts(self) -> dict[str, int]:
        """How many items are of each class."""
        return dict(zip(CLASSES, np.bincount(self.codes, minlength=len(CLASSES)).tolist(), strict=True))


def states(guess: Floats, slip: float, alpha: float, checkpoints: int) -> States:
    """The two states, with the price of a change for curves of so many checkpoints.

    Args:
        guess: (items,) probability that a guess is right.
        slip: Share of wrong answers to known items.
        alpha: Probability, at most, that an item that never changes is given a change.
        checkpoints: Of the curve.
    """
    at_most = (np.sqrt(1 + alpha * checkpoints) - 1) / checkpoints
    lucky = np.clip(guess, _LUCKY, 1 - slip - _LEAST_GAP)
    return States(lucky, slip, float(-np.log(at_most)))


def follow(right: Singles, model: States) -> Courses:
    """The course and the class of each item.

    Args:
        right: (checkpoints, items) 1, 0, a tie's share, or NaN.
        model: Of `states`.
    """
    unknown, sure = model.likelihoods(right)
    course, best = _best_course(unknown, sure, prices(right, model))
    steps = len(right)
    change = np.diff(course.astype(np.int8), axis=0)
    losses = (change < 0).sum(axis=0)
    first, last = course[0], course[-1]
    any_known = course.any(axis=0)
    gained = np.where(any_known, course.argmax(axis=0), -1).astype(np.int16)
    after = ~course & (np.arange(steps)[:, None] > gained) & any_known
    lost = np.where(after.any(axis=0), after.argmax(axis=0), -1).astype(np.int16)
    unstable = (losses > 1) | (_constant(right, model) - np.float32(model.price) > best + 1e-4)
    names = np.select(
        [unstable, ~any_known, losses == 0, last],
        [CLASSES.index(UNSTABLE), CLASSES.index(NEVER), CLASSES.index(LEARNED), CLASSES.index(REGAINED)],
        CLASSES.index(LOST),
    )
    always = ~unstable & first & (losses == 0)
    return Courses(course, np.where(always, CLASSES.index(ALWAYS), names).astype(np.int8), gained, lost)


def prices(right: Singles, model: States) -> Prices:
    """What changes cost, by how many items change together."""
    steps = len(right)
    misled = least_misled(right, model.guess)
    gain, loss = np.zeros((2, steps))
    for place in range(1, steps):
        before, after = right[place - 1], right[place]
        both = np.isfinite(before) & np.isfinite(after)
        if both.sum() < _FEWEST:
            continue
        g, h = (model.guess[both] * (1 - misled[at]) for at in (place - 1, place))
        x, y = known(before[both], g, model.slip), known(after[both], h, model.slip)
        for rates, had, each in ((gain, 1 - x, (1 - x) * y), (loss, x, x * (1 - y))):
            certain, base = mean_interval(each, _SURE)[1], max(float(had.mean()), 0.0)
            rates[place] = min(certain / max(base, certain), _MOST) if certain > 0 else 0.0
    cheapest = np.exp(-model.price)
    told = right[0][np.isfinite(right[0])]
    allowed = 0.5
    if len(told) >= _FEWEST:
        x = known(told, model.guess[np.isfinite(right[0])] * (1 - misled[0]), model.slip)
        allowed = float(np.clip(mean_interval(x, _SURE)[2], cheapest, 0.5))
    return Prices(
        (float(-np.log1p(-allowed)), float(-np.log(allowed))),
        (model.price - np.log(np.maximum(gain, cheapest))) / 2,
        (model.price - np.log(np.maximum(loss, cheapest))) / 2,
        -np.log1p(-gain),
        -np.log1p(-loss),
    )


def _best_course(unknown: Singles, sure: Singles, cost: Prices) -> tuple[Flags, Singles]:
    """The most likely states, each change paid for, and what they come to less the prices."""
    steps, items = unknown.shape
    stay = np.empty((2, steps, items), dtype=bool)  # whether the best way to a state comes from the same state
    not_known, is_known = unknown[0] - np.float32(cost.start[0]), sure[0] - np.float32(cost.start[1])
    for step in range(1, steps):
        gain, loss, stay_unknown, stay_known = (
            np.float32(each[step]) for each in (cost.gain, cost.loss, cost.stay_unknown, cost.stay_known)
        )
        unlearned, unlost = not_known - stay_unknown, is_known - stay_known
        learned, lost = not_known - gain, is_known - loss
        stay[0, step], stay[1, step] = unlearned >= lost, unlost >= learned
        not_known, is_known = np.maximum(unlearned, lost) + unknown[step], np.maximum(unlost, learned) + sure[step]
    course = np.empty((steps, items), dtype=bool)
    course[-1] = is_known > not_known
    for step in range(steps - 1, 0, -1):
        same = np.where(course[step], stay[1, step], stay[0, step])
        course[step - 1] = course[step] == same
    return course, np.maximum(not_known, is_known)


def _constant(right: Singles, model: States) -> Singles:
    """(items,) log-likelihood of the best constant probability between the two states'."""
    there = np.isfinite(right)
    asked = there.sum(axis=0)
    hits = np.where(there, right, 0).sum(axis=0)
    share = np.clip(hits / np.maximum(asked, 1), model.guess, 1 - model.slip)
    best: Singles = (hits * np.log(share) + (asked - hits) * np.log1p(-share)).astype(np.float32)
    return best


def slips(right: Singles, courses: Courses, most: float) -> float:
    """The share of wrong answers in the known stretches of the items' courses, at most `most`; 0 where none is known.

    Stretches are known by being right, so that in few checkpoints the share is a little small.
    """
    stable = courses.known & (courses.codes != CLASSES.index(UNSTABLE)) & np.isfinite(right)
    count = int(stable.sum())
    return min(most, float(1 - right[stable].mean(dtype=np.float64))) if count else 0.0


def by_chance(courses: Courses, model: States, seed: int, most: int = 2000) -> dict[str, float]:
    """How many items of each class there would be if no item were ever lost: made answers, classed in the same way.

    An item that is known at the end is taken to be known since it was last not known, and to be guessed before; one
    that is not known at the end was never known. That leaves the most room for guesses that look like losses.

    Args:
        courses: Of the real answers.
        model: By which they were found.
        seed: Of the draws.
        most: Items that are made at least, by repeating small sets.

    Returns:
        Class -> number of items, on average over the draws.
    """
    steps, items = courses.known.shape
    since = np.where(courses.known.all(axis=0), 0, steps - courses.known[::-1].argmin(axis=0))
    start = np.where(courses.known[-1], since, steps)
    p = np.where(np.arange(steps)[:, None] >= start, 1 - model.slip, model.guess).astype(np.float32)
    random = np.random.default_rng(seed)
    draws = max(1, min(100, most // items))
    total = np.zeros(len(CLASSES))
    for _ in range(draws):
        made = (random.random(p.shape, dtype=np.float32) < p).astype(np.float32)
        total += np.bincount(follow(made, model).codes, minlength=len(CLASSES))
    return dict(zip(CLASSES, (total / draws).tolist(), strict=True))
