"""A sigmoid of loss and a law of loss, fitted by least squares, with the variance of a new size's value.

Residuals have two parts: one that all checkpoints of a size have in common (that size lies off the form), and one of
each checkpoint. Both variances are the moments' (Henderson's method with the Jacobian in place of the design), and the
coefficients' covariance is that of least squares under them. A value of a new size has all three.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from evalrun.statistics.regression.geometry import Array, Codes

SIGMOID, LAW = ("floor", "ceiling", "slope", "middle"), ("A", "a", "B", "b", "E")
_BETWEEN = {SIGMOID: 1, LAW: 3}  # parameters that sizes are spent on: of the law A, a and E
_STARTS = (0.5, 2.0, 6.0)  # slopes of a sigmoid, in ranges of the loss
_POWERS = (0.15, 0.45)  # of the law
_TRIED = 3  # starts, the nearest to the values first
_TINY = 1e-9


@dataclass(frozen=True)
class FittedForm:
    """A form with its parameters, and how values scatter around it."""

    names: tuple[str, ...]
    parameters: Array
    residuals: Array  # (rows,)
    jacobian: Array  # (rows, free parameters): those at a bound are taken as known
    free: np.ndarray[Any, np.dtype[np.bool_]]  # (parameters,)
    groups: Codes  # (rows,) the size of each row: 0, 1, ...
    form: Callable[[Array, Array], tuple[Array, Array]]  # parameters and places -> values, gradient

    @property
    def sd(self) -> float:
        """Standard deviation of the residuals, by their degrees of freedom."""
        left = max(len(self.residuals) - int(self.free.sum()), 1)
        return float(np.sqrt(self.residuals @ self.residuals / left))

    def at(self, place: Array) -> tuple[float, float, float]:
        """The value at one place, the standard error of one value of a new size there, and its degrees of freedom."""
        value, gradient = self.form(self.parameters, place[None, :])
        weights = gradient[0, self.free] @ self._solve  # what each row adds to the value
        by_size = np.bincount(self.groups, weights)
        shared, own = self._variances
        parts = np.array([shared * (by_size @ by_size + 1), own * (weights @ weights + 1)])
        sizes, rows = int(self.groups.max()) + 1, len(self.residuals)
        df = np.array([max(sizes - _BETWEEN[self.names], 1), max(rows - sizes - int(self.free.sum()), 1)])
        variance = float(parts.sum())
        if variance <= 0:
            return float(value[0]), 0.0, float(df[1])
        return float(value[0]), float(np.sqrt(variance)), float(variance**2 / (parts**2 / df).sum())

    @cached_property
    def _solve(self) -> Array:
        """(free parameters, rows): by how much each row's value moves each parameter."""
        return np.asarray(np.linalg.pinv(self.jacobian, rcond=_TINY), dtype="float64")

    @cached_property
    def _variances(self) -> tuple[float, float]:
        """Of what a size's checkpoints share, and of what is each one's own."""
        rows, sizes = len(self.residuals), int(self.groups.max()) + 1
        r = self.residuals - self.jacobian @ (self._solve @ self.residuals)
        # Sums over each size of the rows, and columns, of what least squares leaves: never rows by rows.
        by_size = [np.bincount(self.groups, column, sizes) for column in (*self.jacobian.T, *self._solve)]
        left, right = np.split(np.array(by_size), 2)
        inner = np.diag(np.bincount(self.groups, minlength=sizes)) - left.T @ right
        shares = float(np.trace(inner))
        system = np.array([[shares, rows - int(self.free.sum())], [(inner * inner.T).sum(), shares]])
        moments = np.array([r @ r, (np.bincount(self.groups, r) ** 2).sum()])
        if abs(np.linalg.det(system)) > _TINY * abs(system).max() ** 2:
            shared, own = np.linalg.solve(system, moments)
            if shared > 0 and own > 0:
                return float(shared), float(own)
            if shared > 0:
                return float(moments[1] / system[1, 0]), 0.0
        return 0.0, float(moments[0] / max(system[0, 1], 1.0))


def sigmoid(parameters: Array, place: Array) -> tuple[Array, Array]:
    """Floor + (ceiling - floor) / (1 + exp(slope (loss - middle))), and its gradient."""
    floor, ceiling, slope, middle = parameters
    off = place[:, 0] - middle
    share = 1 / (1 + np.exp(np.clip(slope * off, -500, 500)))
    bend = (ceiling - floor) * share * (1 - share)
    return floor + (ceiling - floor) * share, np.column_stack([1 - share, share, -bend * off, bend * slope])


def law(parameters: Array, place: Array) -> tuple[Array, Array]:
    """ln(A / N^a + B / D^b + E) with ln A, ln B and ln E as parameters, and its gradient.

    Args:
        parameters: ln A, a, ln B, b, ln E.
        place: (rows, 2) ln of parameters and tokens, each less a fixed unit.
    """
    big, a, much, b, least = parameters
    of_size, of_tokens, rest = np.exp(big - a * place[:, 0]), np.exp(much - b * place[:, 1]), np.exp(least)
    total = of_size + of_tokens + rest
    gradient = [of_size, -of_size * place[:, 0], of_tokens, -of_tokens * place[:, 1], np.full(len(place), rest)]
    return np.log(total), np.column_stack(gradient) / total[:, None]


def fit_sigmoid(loss: Array, value: Array, groups: Codes, is_share: bool) -> FittedForm:
    """The sigmoid of least squares, which may rise or fall with loss.

    Args:
        loss: (rows,)
        value: (rows,)
        groups: (rows,) the size of each row: 0, 1, ...
        is_share: Whether values lie between 0 and 1, and so do floor and ceiling.
    """
    wide, high = max(float(np.ptp(loss)), _TINY), max(float(np.ptp(value)), _TINY)
    lowest, highest = (0.0, 1.0) if is_share else (value.min() - 10 * high, value.max() + 10 * high)
    bounds = np.array([[lowest, lowest, _TINY, loss.min() - 2 * wide], [highest, highest, 1e3 / wide, loss.max()]])
    early, late = (value[order].mean() for order in (loss >= np.quantile(loss, 0.9), loss <= np.quantile(loss, 0.1)))
    starts = [
        [early, late, slope / wide, middle]
        for slope in _STARTS
        for middle in np.quantile(loss, (0.1, 0.5))
    ]  # fmt: skip
    return _best(SIGMOID, sigmoid, loss[:, None], value, groups, starts, bounds)


def fit_law(size: Array, tokens: Array, loss: Array, groups: Codes) -> FittedForm:
    """L = A / N^a + B / D^b + E by least squares of ln L (Hoffmann et al. 2022; Bhagia et al. 2024).

    Args:
        size: (rows,) ln of parameters, less a unit.
        tokens: (rows,) ln of tokens, less a unit.
        loss: (rows,) above 0.
        groups: (rows,) the size of each row: 0, 1, ...
    """
    lowest = np.log(loss.min())
    bounds = np.array([[-20.0, 0.0, -20.0, 0.0, lowest - 12], [20.0, 2.0, 20.0, 2.0, lowest]])
    starts = [
        [lowest - 1, a, lowest - 1, b, lowest + np.log(share)] for a, b, share in product(_POWERS, _POWERS, (0.3, 0.8))
    ]
    return _best(LAW, law, np.column_stack([size, tokens]), np.log(loss), groups, starts, bounds)


def _best(
    names: tuple[str, ...],
    form: Callable[[Array, Array], tuple[Array, Array]],
    place: Array,
    value: Array,
    groups: Codes,
    starts: list[list[float]],
    bounds: Array,
) -> FittedForm:
    """The best of the fits from the likeliest starts.

    Args:
        names: Of the parameters.
        form: The form, with its gradient.
        place: (rows, predictors).
        value: (rows,)
        groups: (rows,) the size of each row.
        starts: Parameters to begin at.
        bounds: (2, parameters) the least and the most.
    """
    best = None
    inside = [np.clip(start, bounds[0] + _TINY, bounds[1] - _TINY) for start in starts]
    far = [float(((form(start, place)[0] - value) ** 2).sum()) for start in inside]
    for start in (inside[number] for number in np.argsort(far)[:_TRIED]):
        found = least_squares(
            lambda p: form(p, place)[0] - value,
            start,
            jac=lambda p: form(p, place)[1],
            bounds=(bounds[0], bounds[1]),
            x_scale="jac",
            max_nfev=400,
        )
        if best is None or found.cost < best.cost:
            best = found
    assert best is not None  # there are starts
    room = np.maximum(bounds[1] - bounds[0], _TINY)
    free = (best.x - bounds[0] > 1e-6 * room) & (bounds[1] - best.x > 1e-6 * room)
    jacobian = form(best.x, place)[1][:, free]
    return FittedForm(names, best.x, value - form(best.x, place)[0], jacobian, free, groups, form)
