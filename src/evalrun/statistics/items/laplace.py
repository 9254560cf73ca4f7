"""Logistic regression of single answers with crossed random effects of items, models and checkpoints.

    logit P(item i is right at checkpoint c) = x_c b + a_i + u_m(c) + v_m(c) t_c + w_c

with a_i, (u_m, v_m) and w_c normal around 0, (u_m, v_m) of any covariance. The likelihood is Laplace's approximation,
that of lme4's glmer (Bates et al. 2015, Journal of Statistical Software 67(1); Breslow & Clayton 1993, JASA 88:9-25),
with the random effects in spherical form, so that a variance may be 0. The restricted likelihood takes the coefficients
into the same integral (Noh & Lee 2007, Journal of Multivariate Analysis 98:896-915; glmmTMB's REML=TRUE).

Every item is asked at every checkpoint. Then the answers count only by the right answers of each checkpoint and of each
item (as in Rasch's model), items with equal sums have the same conditional mode, and the work grows with the number of
different sums, not with that of items. The items' block of the Hessian is diagonal and is eliminated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize

from evalrun.statistics.items.modes import Answers, Mode, Posterior, find_mode
from evalrun.statistics.regression.model_frame import Array

_STEP = 1e-3  # of the differences that second derivatives are made of, in log-odds
_FAR = 50.0  # log-odds: where a spread or a coefficient has no maximum


@dataclass(frozen=True)
class Spreads:
    """Standard deviations of the random effects, in log-odds; 0 where there is none."""

    items: float
    models: float  # of their levels, where the predictors are at their means
    slopes: float  # of their slopes over training, in log-odds per standard deviation of the predictor
    checkpoints: float


@dataclass(frozen=True)
class Crossed:
    """The checkpoints' predictors, and which random effects there are beside that of items."""

    x: Array  # (checkpoints, coefficients), an intercept first
    groups: np.ndarray[Any, np.dtype[np.int64]] | None  # (checkpoints,) models as 0, 1, ...; None for no effect of them
    slope: int | None  # column of x whose slope differs by model; None for levels alone
    checkpoints: bool  # whether each checkpoint has an effect of its own

    @property
    def start(self) -> Array:
        """Relative factors to begin from: items; models' level, its part in the slope, the slope; checkpoints."""
        models = [] if self.groups is None else [1.0] if self.slope is None else [1.0, 0.0, 1.0]
        return np.array([1.0, *models, *[1.0] * self.checkpoints])

    def effects(self, theta: Array) -> Array:
        """(checkpoints, effects): the design of all effects but the items', scaled to unit variance."""
        blocks, rest = [np.empty((len(self.x), 0))], list(theta[1:])
        if self.groups is not None:
            own = (self.groups[:, None] == np.arange(self.groups.max() + 1)).astype("float64")
            level, along = rest.pop(0), 0.0
            if self.slope is not None:
                t = self.x[:, self.slope]
                along, sharp = rest.pop(0), rest.pop(0)
                blocks += [own * (level + along * t)[:, None], own * (sharp * t)[:, None]]
            else:
                blocks.append(own * level)
        if self.checkpoints:
            blocks.append(np.eye(len(self.x)) * rest.pop(0))
        return np.hstack(blocks)

    def spreads(self, theta: Array) -> Spreads:
        """What relative factors mean."""
        rest = [float(abs(factor)) for factor in theta[1:]]
        models = rest.pop(0) if self.groups is not None else 0.0
        slopes = math.hypot(rest.pop(0), rest.pop(0)) if self.groups is not None and self.slope is not None else 0.0
        return Spreads(float(abs(theta[0])), models, slopes, rest.pop(0) if self.checkpoints else 0.0)


@dataclass(frozen=True)
class CrossedFit:
    """A maximum: coefficients in log-odds."""

    estimate: Array  # (coefficients,)
    stderr: Array  # NaN where the Hessian is singular
    spreads: Spreads
    deviance: float  # -2 (restricted) log-likelihood
    mode: Mode | None  # of all effects, the coefficients last among them; None without the restricted likelihood


def fit_crossed(answers: Answers, crossed: Crossed, restricted: bool) -> CrossedFit | None:
    """Maximise the likelihood; None where it has no maximum.

    Args:
        answers: What was answered.
        crossed: By whom.
        restricted: Whether variances are those of the restricted likelihood, which few models do not make too small;
            the coefficients are the most likely given these, and so are the errors. Otherwise both are most likely
            together, and the errors are those of their joint Hessian, as glmer has them.
    """
    surface = Surface(answers, crossed)
    theta = _minimise(surface.restricted, crossed.start)
    if theta is None:
        return None
    p = crossed.x.shape[1]
    mode = surface.mode_of(theta)
    deviance = mode.objective - p * np.log(2 * np.pi)

    def given(beta: Array) -> tuple[float, Array]:
        value, slope = surface.plain(np.r_[theta, beta])
        return value, slope[-p:]

    beta = _minimise(given, mode.v[-p:])
    if beta is not None and not restricted:
        both = _minimise(surface.plain, np.r_[theta, beta])
        theta, beta = (both[:-p], both[-p:]) if both is not None else (theta, None)
    if beta is None:
        return None
    if restricted:
        hessian = _hessian(given, beta)
    else:
        hessian, deviance = _hessian(surface.plain, np.r_[theta, beta]), surface.plain(np.r_[theta, beta])[0]
    variances = 2 * np.diag(_inverse(hessian))[-p:]
    stderr = np.sqrt(np.where(variances > 0, variances, np.nan))
    return CrossedFit(beta, stderr, crossed.spreads(theta), float(deviance), mode if restricted else None)


class Surface:
    """-2 log-likelihood by Laplace's approximation, and its gradient."""

    def __init__(self, answers: Answers, crossed: Crossed) -> None:
        """Start from no effect.

        Args:
            answers: What was answered.
            crossed: By whom.
        """
        self._answers, self._crossed = answers, crossed
        self._units = [crossed.effects(unit) for unit in np.eye(len(crossed.start))[1:]]
        self._starts: dict[bool, tuple[Array, Array]] = {}

    def restricted(self, theta: Array) -> tuple[float, Array]:
        """With the coefficients integrated out, a constant p log(2 pi) left out.

        Args:
            theta: The relative factors, as `Crossed.start` has them.
        """
        x = self._crossed.x
        mode, nothing = self.mode_of(theta), np.zeros(x.shape)
        return mode.objective, mode.gradient([np.hstack([unit, nothing]) for unit in self._units], x[:, :0])

    def mode_of(self, theta: Array) -> Mode:
        """The conditional mode of all effects and coefficients, given the relative factors."""
        x, effects = self._crossed.x, self._crossed.effects(theta)
        penalty = np.r_[np.ones(effects.shape[1]), np.zeros(x.shape[1])]
        return self._mode(theta[0], np.hstack([effects, x]), penalty, np.zeros(len(x)), True)

    def plain(self, both: Array) -> tuple[float, Array]:
        """With given coefficients.

        Args:
            both: The relative factors, then the coefficients.
        """
        x = self._crossed.x
        theta, beta = both[: -x.shape[1]], both[-x.shape[1] :]
        effects = self._crossed.effects(theta)
        mode = self._mode(theta[0], effects, np.ones(effects.shape[1]), x @ beta, False)
        return mode.objective, mode.gradient(self._units, x)

    def _mode(self, spread: float, design: Array, penalty: Array, offset: Array, restricted: bool) -> Mode:
        """The conditional mode, looked for from the last one.

        Args:
            spread: Standard deviation of the items.
            design: (checkpoints, effects) of what else is integrated over.
            penalty: (effects,) 1 for random effects, 0 for coefficients.
            offset: (checkpoints,) log-odds from given coefficients.
            restricted: Whose last mode is meant.
        """
        nothing = np.zeros(len(self._answers.score)), np.zeros(design.shape[1])
        for start in (self._starts.get(restricted, nothing), nothing):
            mode = find_mode(Posterior(self._answers, spread, design, penalty, offset), *start)
            if np.isfinite(mode.objective):
                self._starts[restricted] = mode.a, mode.v
                break
        return mode


def _minimise(function: Any, start: Array) -> Array | None:
    """The place of the minimum of a function that gives its gradient too; None where there is none.

    A spread may pass through 0, for its sign says nothing: kept from that, it would stay at 0, where the gradient is 0.
    """
    bounds = [(-_FAR, _FAR)] * len(start)
    options = {"ftol": 1e-13, "gtol": 1e-5, "maxiter": 500}
    found = minimize(function, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    place: Array = found.x
    return place if np.isfinite(found.fun) and np.abs(place).max() < _FAR else None


def _hessian(function: Any, at: Array) -> Array:
    """Second derivatives by central differences of the gradient."""
    moves = np.eye(len(at)) * _STEP
    rows = np.array([(function(at + move)[1] - function(at - move)[1]) / (2 * _STEP) for move in moves])
    return np.asarray((rows + rows.T) / 2, dtype="float64")


def _inverse(hessian: Array) -> Array:
    """The inverse; NaN where there is none."""
    try:
        return np.asarray(np.linalg.inv(hessian), dtype="float64")
    except np.linalg.LinAlgError:
        return np.full(hessian.shape, np.nan)
