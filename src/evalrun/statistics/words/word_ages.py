"""The age at which a model acquires a word: where its surprisal is halfway between chance and the least it comes to.

As in Chang & Bergen (2022, TACL 10:1-16): a sigmoid is fitted to the mean surprisal of a word's occurrences over log10
of training, and the age is where the sigmoid is halfway between that of chance and the least mean. Without a known
chance the largest mean stands for it. The interval is that of occurrences drawn anew, text by text (percentiles).

Given centre and steepness a sigmoid's two levels follow by least squares, so that the fit is the sigmoid of greatest
correlation with the curve: found among many, then among ever nearer ones, for all words and draws at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import expit

from evalrun.statistics.items.clusters import Codes
from evalrun.statistics.items.values import Floats

FEWEST = 4  # checkpoints of a fit
DRAWS = 200
_BEYOND = 1.0  # decades that a centre may lie before the first checkpoint or after the last
_CENTRES, _STEEP = 60, 24
_STEEPEST = 12.0  # per space between checkpoints: one has all of the fall
_GENTLEST = 1.0  # per whole range
_ZOOMS = 8
_AT_ONCE = 4096  # curves


@dataclass(frozen=True)
class Sigmoids:
    """Fitted to curves that fall: `low + (high - low) / (1 + exp(steep (x - centre)))`; NaN of those that do not."""

    low: Floats
    high: Floats
    centre: Floats
    steep: Floats
    explained: Floats  # share of the curve's variance

    def where(self, value: Floats) -> Floats:
        """(curves,) the x at which each is at a value; -inf, inf: it is below it, above it, everywhere."""
        with np.errstate(divide="ignore", invalid="ignore"):
            share = (value - self.low) / (self.high - self.low)
            found: Floats = self.centre + np.log(1 / np.clip(share, 0, 1) - 1) / self.steep
        return found


@dataclass(frozen=True)
class WordAges:
    """In tokens; one entry a word."""

    age: Floats  # NaN where it was acquired before the first checkpoint, after the last, or never
    low: Floats  # 0: before the first checkpoint
    high: Floats  # inf: after the last
    fall: Floats  # nats from chance to the least mean
    explained: Floats  # share of the curve's variance that the sigmoid has


def fit_sigmoids(x: Floats, curves: Floats) -> Sigmoids:
    """Fit a falling sigmoid to each curve by least squares.

    Args:
        x: (steps,) ascending, `FEWEST` or more.
        curves: (curves, steps)
    """
    parts = [_fitted(x, curves[start : start + _AT_ONCE]) for start in range(0, len(curves), _AT_ONCE)]
    return Sigmoids(*(np.concatenate(one) for one in zip(*parts, strict=True)))


def _fitted(x: Floats, curves: Floats) -> tuple[Floats, ...]:
    """The numbers of `Sigmoids`; the arguments are those of `fit_sigmoids`."""
    mean = curves.mean(axis=1, keepdims=True)
    spread = np.sqrt(((curves - mean) ** 2).sum(axis=1))
    unit = (curves - mean) / np.where(spread > 0, spread, 1.0)[:, None]
    reach = float(x[-1] - x[0])
    centres = np.linspace(x[0] - _BEYOND, x[-1] + _BEYOND, _CENTRES)
    gentle, steep = np.log(_GENTLEST / reach), np.log(_STEEPEST / float(np.diff(x).min()))
    slopes = np.linspace(gentle, steep, _STEEP)
    grid = np.stack(np.meshgrid(centres, slopes, indexing="ij"), axis=-1).reshape(-1, 2)
    best = grid[np.argmax(unit @ _shapes(x, grid).T, axis=1)]
    width = np.array([centres[1] - centres[0], slopes[1] - slopes[0]])
    near = np.stack(np.meshgrid(*[np.linspace(-1, 1, 5)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    for _ in range(_ZOOMS):
        tried = best[:, None] + near * width
        tried[..., 1] = np.clip(tried[..., 1], gentle, steep)
        found = np.einsum("ct,cgt->cg", unit, _shapes(x, tried.reshape(-1, 2)).reshape(*tried.shape[:2], -1))
        best = tried[np.arange(len(best)), np.argmax(found, axis=1)]
        width = width * 0.6
    shape = expit(-np.exp(best[:, 1:]) * (x - best[:, :1]))
    middle = shape.mean(axis=1, keepdims=True)
    norm = ((shape - middle) ** 2).sum(axis=1)
    height = ((curves - mean) * (shape - middle)).sum(axis=1) / norm
    low = mean[:, 0] - height * middle[:, 0]
    explained = height**2 * norm / np.where(spread > 0, spread, 1.0) ** 2
    falls = (height > 0) & (spread > 0)
    numbers = (low, low + height, best[:, 0], np.exp(best[:, 1]), explained)
    return tuple(np.where(falls, number, np.nan) for number in numbers)


def _shapes(x: Floats, at: Floats) -> Floats:
    """(sigmoids, steps) falling ones of unit norm about 0, by centre and log steepness; one that is flat has none."""
    shape = expit(-np.exp(at[:, 1:]) * (x - at[:, :1]))
    shape -= shape.mean(axis=1, keepdims=True)
    norm = np.sqrt((shape**2).sum(axis=1, keepdims=True))
    found: Floats = np.divide(shape, norm, out=np.zeros_like(shape), where=norm > 1e-6)
    return found


def word_ages(
    tokens: Floats,
    nats: Floats,
    words: Codes,
    texts: Codes,
    alpha: float,
    chance: Floats | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> WordAges:
    """The age of each word in one model's training.

    Args:
        tokens: (checkpoints,) seen in training, ascending and above 0, `FEWEST` or more.
        nats: (occurrences, checkpoints) surprisal of each occurrence.
        words: (occurrences,) 0, 1, ...: which word it is.
        texts: (occurrences,) in which text it stands.
        alpha: One minus the level of the intervals.
        chance: (words,) surprisal by chance in nats; None: the largest mean of each.
        draws: Of texts, for the intervals.
        seed: Of the draws.
    """
    x = np.log10(tokens)
    order = np.argsort(words, kind="stable")
    bounds = np.searchsorted(words[order], np.arange(int(words.max(initial=-1)) + 2))
    rng = np.random.default_rng(seed)
    columns = []
    for word, (start, stop) in enumerate(pairwise(bounds)):
        own = order[start:stop]
        curves = np.stack(list(_drawn(nats[own], texts[own], draws, rng)))
        top = curves.max(axis=1) if chance is None else np.full(len(curves), chance[word])
        fits = fit_sigmoids(x, curves)
        half = (top + curves.min(axis=1)) / 2
        columns.append((_inside(x, fits.where(half)), top[0] - curves[0].min(), fits.explained[0]))
    at = np.array([each for each, _, _ in columns]).reshape(len(columns), draws + 1)
    known = ~np.isnan(at[:, 0])
    ends = np.quantile(
        np.where(np.isnan(at[:, 1:]), np.inf, at[:, 1:]), (alpha / 2, 1 - alpha / 2), axis=1, method="nearest"
    )
    low, high = (np.where(known, 10.0**end, np.nan) for end in ends)
    age = np.where(np.isfinite(at[:, 0]), 10.0 ** at[:, 0], np.nan)
    fall, explained = (np.array([one[place] for one in columns], dtype=np.float64) for place in (1, 2))
    return WordAges(age, low, high, fall, explained)


def _inside(x: Floats, at: Floats) -> Floats:
    """Places on a log axis; -inf before the first checkpoint, inf after the last."""
    return np.where(at < x[0], -np.inf, np.where(at > x[-1], np.inf, at))


def _drawn(nats: Floats, texts: Codes, draws: int, rng: np.random.Generator) -> Iterator[Floats]:
    """The mean of a word's occurrences at each checkpoint; then the same of texts drawn anew.

    Args:
        nats: (occurrences, checkpoints)
        texts: (occurrences,)
        draws: How often.
        rng: Draws.
    """
    _, code = np.unique(texts, return_inverse=True)
    count = np.bincount(code).astype(np.float64)
    sums = np.zeros((len(count), nats.shape[1]))
    np.add.at(sums, code, nats)
    yield sums.sum(axis=0) / count.sum()
    times = rng.multinomial(len(count), np.full(len(count), 1 / len(count)), size=draws)
    yield from (times @ sums) / (times @ count)[:, None]
