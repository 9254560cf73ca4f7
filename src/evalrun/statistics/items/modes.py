"""The conditional mode of random effects in a logistic model, and Laplace's approximation there with its gradient.

Items are gathered by their sums (see `laplace`): the block of the Hessian that belongs to them is diagonal, and what is
left after their elimination is small and dense.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit

from evalrun.statistics.regression.model_frame import Array

_CLOSE = 1e-18  # Newton's decrement at which a mode is found: the determinant moves by its root
_MOST = 100  # of Newton's steps


@dataclass(frozen=True)
class Answers:
    """Answers of items at checkpoints, each item at each, by what the likelihood needs of them."""

    right: Array  # (checkpoints,) right answers of all items
    score: Array  # (groups,) right answers of each item of a group
    items: Array  # (groups,) items that have this score

    @classmethod
    def of(cls, values: Array) -> Answers:
        """From (items, checkpoints) of 0 and 1."""
        score, items = np.unique(values.sum(axis=1), return_counts=True)
        return cls(values.sum(axis=0), score, items.astype("float64"))


@dataclass(frozen=True)
class Posterior:
    """Answers, and the design of what they depend on."""

    answers: Answers
    spread: float  # standard deviation of the items
    design: Array  # (checkpoints, effects) of all else that is integrated over, scaled to unit variance
    penalty: Array  # (effects,) 1 for random effects, 0 for coefficients
    offset: Array  # (checkpoints,) log-odds that are given

    def at(self, a: Array, v: Array) -> tuple[float, Array, Array]:
        """-2 log joint density (less constants), the probability of each answer, and its variance."""
        n, common = self.answers.items, self.offset + self.design @ v
        logit = common + self.spread * a[:, None]
        inside = n @ (self.answers.score * self.spread * a) + self.answers.right @ common
        inside -= n @ np.logaddexp(0, logit).sum(axis=1)
        p = expit(logit)
        return float(-2 * inside + n @ a**2 + self.penalty @ v**2), p, p * (1 - p)


@dataclass(frozen=True)
class Mode:
    """The conditional mode, and -2 log of Laplace's integral (less constants): infinite where no mode was found."""

    posterior: Posterior
    a: Array  # (groups,) effect of an item, in units of the items' standard deviation
    v: Array  # (effects,)
    objective: float
    p: Array  # (groups, checkpoints) probability of a right answer
    rows: Array  # (groups,) the items' block of the Hessian of -log density
    cross: Array  # (groups, effects) the block beside it, of one item
    small: Array  # (effects, effects) what is left after the items are eliminated

    def gradient(self, along: Sequence[Array], given: Array) -> Array:
        """Derivatives of the objective: by the items' spread, by what scales the design, by what makes the offset.

        The mode moves with these: its part is found by one solution with the Hessian (the adjoint). The derivative of
        the determinant needs the third derivative of the density, which is w (1 - 2 p).

        Args:
            along: (checkpoints, effects) each: the design's derivative by each scale.
            given: (checkpoints, coefficients): the offset's by each coefficient.
        """
        own, n, lam = self.posterior, self.posterior.answers.items, self.posterior.spread
        design, a, p = own.design, self.a, self.p
        w = p * (1 - p)
        inverse = np.linalg.inv(self.small)
        beside = self.cross @ inverse / self.rows[:, None]  # minus the block of the inverse beside the items'
        items = 1 / self.rows + (beside * self.cross).sum(axis=1) / self.rows
        spread = design @ inverse
        both = beside @ design.T
        leverage = lam**2 * items[:, None] - 2 * lam * both + (spread * design).sum(axis=1)
        third = w * (1 - 2 * p) * leverage
        weight, bend, residual = n @ w, n @ third, own.answers.right - n @ p
        pull_a, pull_v = lam * third.sum(axis=1), design.T @ bend
        move_v = inverse @ (pull_v - self.cross.T @ (n * pull_a / self.rows))
        move_a = (pull_a - self.cross @ move_v) / self.rows
        total, item_residual = w.sum(axis=1), own.answers.score - p.sum(axis=1)
        by_items = -2 * n @ (a * item_residual) + 2 * n @ (w * (lam * items[:, None] - both)).sum(axis=1)
        by_items += n @ (third.sum(axis=1) * a) - (n * move_a) @ (lam * total * a - item_residual)
        by_items -= (design @ move_v) @ ((n * a) @ w)
        direct = weight[:, None] * spread - lam * w.T @ (n[:, None] * beside)
        found = [float(by_items)]
        for change, touched in [(one, one @ self.v) for one in along] + [(None, column) for column in given.T]:
            slope = -2 * touched @ residual + bend @ touched
            slope -= lam * (n * move_a) @ (w @ touched) + (design @ move_v) @ (weight * touched)
            if change is not None:
                slope += 2 * (change * direct).sum() + (change @ move_v) @ residual
            found.append(float(slope))
        return np.array(found)


def find_mode(posterior: Posterior, a: Array, v: Array) -> Mode:
    """Newton's method with steps halved while they lead up.

    Args:
        posterior: Whose mode.
        a: Items to begin from.
        v: Effects to begin from.
    """
    answers, lam, design = posterior.answers, posterior.spread, posterior.design
    n = answers.items
    value, p, w = posterior.at(a, v)
    for _ in range(_MOST):
        rows = 1 + lam**2 * w.sum(axis=1)
        cross = lam * (w @ design)
        small = (design * (n @ w)[:, None]).T @ design + np.diag(posterior.penalty)
        small -= (cross * (n / rows)[:, None]).T @ cross
        down_a = lam * (answers.score - p.sum(axis=1)) - a
        down_v = design.T @ (answers.right - n @ p) - posterior.penalty * v
        try:
            factor = cho_factor(small)
        except np.linalg.LinAlgError:
            break
        move_v = cho_solve(factor, down_v - cross.T @ (n * down_a / rows))
        move_a = (down_a - cross @ move_v) / rows
        if n @ (move_a * down_a) + move_v @ down_v < _CLOSE:
            determinants = n @ np.log(rows) + 2 * np.log(np.diag(factor[0])).sum()
            return Mode(posterior, a, v, float(value + determinants), p, rows, cross, small)
        share = 1.0
        while (tried := posterior.at(a + share * move_a, v + share * move_v))[0] > value + 1e-10 * abs(value):
            share /= 2
            if share < 1e-8:
                break
        a, v = a + share * move_a, v + share * move_v
        value, p, w = tried
    return Mode(posterior, a, v, np.inf, p, rows, cross, small)
