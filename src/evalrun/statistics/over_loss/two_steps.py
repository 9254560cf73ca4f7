"""Forecasts in two steps: size and tokens give the loss by a law, the loss gives the value by a sigmoid.

After Bhagia et al. 2024 (arXiv:2412.04403): L = A / N^a + B / D^b + E, then value = floor + (ceiling - floor) / (1 +
exp(slope (L - middle))). The law is fitted to the last checkpoint of each run where sizes were trained for several
lengths, as there; else to the checkpoints after the first tenth of each run. The sigmoid is fitted to all checkpoints.

The interval is for one checkpoint of a new size: draws of the loss (t with the error of the law) go through the
sigmoid, and a draw of what a value scatters around it is added. Values of a share are kept between 0 and 1.

A forecast is believed where it was right before: the largest size is left out, the two largest where four are left, and
the last half of the largest run, and their last values are forecast from the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from evalrun.statistics.over_loss.fitted_form import FittedForm, fit_law, fit_sigmoid
from evalrun.statistics.regression.geometry import Array

FEWEST_SIZES = 4  # the law has three parameters that sizes are spent on
_FEWEST_PLACES = 8
_WARM_UP = 0.1  # of a run's tokens, which the law leaves out
_LATE = 0.5  # of the largest run's tokens, from where on it is forecast
_BOUND = 12.0  # the largest t that is drawn, in standard errors
HOLD_OUT = ["left_out", "model", "size", "training", "forecast", "low", "high", "true", "error"]


class Forecast(NamedTuple):
    """What a checkpoint is expected to score."""

    loss: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class TwoSteps:
    """Both fits to one task's rows."""

    law: FittedForm
    curve: FittedForm
    units: tuple[float, float]  # ln of parameters and tokens that the law counts from
    is_share: bool
    kind: str  # which checkpoints the law was fitted to, in words

    def at(self, size: float, tokens: float, alpha: float, draws: int, seed: int) -> Forecast:
        """Forecast one checkpoint of a new size, with the interval of 1 - alpha.

        Args:
            size: Parameters.
            tokens: Of its training.
            alpha: Level.
            draws: How many.
            seed: Of the draws.
        """
        place = np.log([size, tokens]) - self.units
        of_loss, error, df = self.law.at(place)
        loss = float(np.exp(of_loss))
        value, spread, curve_df = self.curve.at(np.array([loss]))
        generator = np.random.default_rng(seed)
        drawn = np.exp(of_loss + error * _t(generator, df, draws))
        values = self.curve.form(self.curve.parameters, drawn[:, None])[0] + spread * _t(generator, curve_df, draws)
        if self.is_share:
            values, value = np.clip(values, 0, 1), float(np.clip(value, 0, 1))
        low, high = np.quantile(values, [alpha / 2, 1 - alpha / 2])
        return Forecast(loss, value, float(low), float(high))


def _t(generator: np.random.Generator, df: float, draws: int) -> Array:
    return np.clip(generator.standard_t(df, draws), -_BOUND, _BOUND)


@dataclass(frozen=True)
class TaskPlaces:
    """One task's checkpoints, as arrays (rows,)."""

    model: np.ndarray[Any, np.dtype[np.object_]]  # with its seed
    size: Array  # parameters
    tokens: Array
    loss: Array
    value: Array

    @classmethod
    def of(cls, rows: pd.DataFrame, size: str) -> TaskPlaces:
        """Those of a table with losses.

        Args:
            rows: A task's, with loss.
            size: Column of the parameters.
        """
        names = rows["model"].astype(str) + rows["seed"].map(lambda seed: "" if pd.isna(seed) else f" seed {seed:.0f}")
        numbers = (rows[name].to_numpy(dtype="float64") for name in (size, "tokens", "loss", "value"))
        return cls(names.to_numpy(dtype=object), *numbers)

    @cached_property
    def sizes(self) -> Array:
        """The sizes, from small to large."""
        return np.unique(self.size)

    def keep(self, rows: np.ndarray[Any, np.dtype[np.bool_]]) -> TaskPlaces:
        """Only those rows."""
        return TaskPlaces(self.model[rows], self.size[rows], self.tokens[rows], self.loss[rows], self.value[rows])

    @cached_property
    def ends(self) -> Array:
        """(rows,) the last tokens of each row's run."""
        return pd.Series(self.tokens).groupby(self.model).transform("max").to_numpy(dtype="float64")

    def last(self) -> dict[float, int]:
        """Size -> the row of its longest run's last checkpoint."""
        return {float(size): int(np.flatnonzero(self.size == size)[self._latest(size)]) for size in self.sizes}

    def _latest(self, size: float) -> int:
        return int(np.argmax(self.tokens[self.size == size]))


def fit_two_steps(of: TaskPlaces) -> TwoSteps | str:
    """Fit the law and the sigmoid.

    Args:
        of: The task's checkpoints.

    Returns:
        The fits; or why there are none.
    """
    if len(of.sizes) < FEWEST_SIZES:
        return f"{len(of.sizes)} size{'s' if len(of.sizes) > 1 else ''}: the law of loss needs {FEWEST_SIZES}"
    lengths = pd.Series(of.ends).groupby(of.size).nunique()
    if (lengths > 1).sum() >= FEWEST_SIZES - 1:
        used, kind = of.tokens == of.ends, "the last checkpoint of each run"
    else:
        used, kind = of.tokens >= _WARM_UP * of.ends, "checkpoints after the first tenth of each run"
    if used.sum() < _FEWEST_PLACES or len(np.unique(of.tokens[used])) < 3:
        return f"{int(used.sum())} checkpoints for the law of loss: too few"
    is_share = bool(((of.value >= 0) & (of.value <= 1)).all())
    if np.ptp(of.value) <= 0 or np.ptp(of.loss) <= 0:
        return "the value, or the loss, is constant"
    logs = np.log(of.size), np.log(of.tokens)
    units = float(logs[0][used].mean()), float(logs[1][used].mean())
    size, tokens = (one[used] - unit for one, unit in zip(logs, units, strict=True))
    groups = np.unique(of.size, return_inverse=True)[1]
    law = fit_law(size, tokens, of.loss[used], np.unique(of.size[used], return_inverse=True)[1])
    return TwoSteps(law, fit_sigmoid(of.loss, of.value, groups, is_share), units, is_share, kind)


def hold_out(of: TaskPlaces, alpha: float, draws: int, seed: int) -> pd.DataFrame:
    """Forecast what is known from the rest: the largest size, the two largest, the last half of the largest run.

    Args:
        of: The task's checkpoints.
        alpha: Of the intervals.
        draws: For the intervals.
        seed: Of the draws.

    Returns:
        A row for each last checkpoint that was left out, with the columns of `HOLD_OUT`: error is forecast less true,
        in the metric's units.
    """
    found = []
    last = of.last()
    for what, kept, targets in _folds(of, last):
        fitted = fit_two_steps(of.keep(kept))
        if isinstance(fitted, str):
            continue
        for row in targets:
            place = float(of.size[row]), float(of.tokens[row])
            told, true = fitted.at(*place, alpha, draws, seed), float(of.value[row])
            found.append(
                (what, str(of.model[row]), *place, told.value, told.low, told.high, true, told.value - true)
            )  # fmt: skip
    return pd.DataFrame(found, columns=HOLD_OUT)


def _folds(
    of: TaskPlaces, last: dict[float, int]
) -> Iterator[tuple[str, np.ndarray[Any, np.dtype[np.bool_]], list[int]]]:
    """What is left out, in words; the rows that stay; the rows that are forecast."""
    for count, what in ((1, "the largest size"), (2, "the two largest sizes")):
        if len(of.sizes) - count >= FEWEST_SIZES:
            largest = of.sizes[-count:]
            yield what, ~np.isin(of.size, largest), [last[float(size)] for size in largest]
    row = last[float(of.sizes[-1])]
    rest = (of.model == of.model[row]) & (of.tokens > _LATE * of.tokens[row])
    if 0 < rest.sum() < (of.model == of.model[row]).sum():
        yield "the last half of the largest run", ~rest, [row]
