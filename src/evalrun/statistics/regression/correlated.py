"""Estimators that model how a model's checkpoints go together: generalised estimating equations, a mixed model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import minimize

from evalrun.core.text import counted
from evalrun.statistics.regression.clustered import few_models, one_row_each
from evalrun.statistics.regression.estimators import Fit, Plane, Prediction, asked, no_fit, t_fit
from evalrun.statistics.regression.exchangeable import Equations, solve
from evalrun.statistics.regression.model_frame import Array, Design
from evalrun.statistics.regression.satterthwaite import satterthwaite_df

_ZERO = 1e-4  # standard deviation, relative to the residual's, below which a random effect is told to be absent
_NO_MAXIMUM = "no mixed model: the restricted likelihood has no maximum"
_STEP = 1e-8  # of differences, in relative standard deviations
_STARTS = ((1.0, 0.3), (0.2, 0.05), (5.0, 1.0))  # relative standard deviations of intercept and slope


def fit_gee(design: Design, alpha: float) -> Fit:
    """Gaussian GEE by model, exchangeable working correlation, bias-reduced errors, t with clusters - 2 df.

    The errors hold whatever the true correlation is, given many clusters; the correction is what makes them usable
    for few. The df are the models less the intercept and slope of a regression on model size between them.

    Source: Liang & Zeger 1986; Mancl & DeRouen 2001. `statsmodels.GEE`, cov_type bias_reduced, gives the same numbers.
    """
    if why := _few(design) or one_row_each(design):
        return no_fit(design, why)
    found = solve(design, Plane.of(design).estimate) or _by_statsmodels(design)
    if found is None:
        return no_fit(design, "the estimating equations have no solution")
    if not found.converged:
        return no_fit(design, "the estimating equations did not converge")
    at = asked(design)
    df = min(design.clusters - 2, len(design.y) - design.x.shape[1])
    return t_fit(found.estimate[at], found.stderr[at], df, alpha)


def _by_statsmodels(design: Design) -> Equations | None:
    """Solve the equations row by row, where `exchangeable.solve` leaves them; None without a solution."""
    from statsmodels.genmod.cov_struct import Exchangeable
    from statsmodels.genmod.generalized_estimating_equations import GEE

    try:
        model = GEE(design.y, design.x, groups=design.groups, cov_struct=Exchangeable())
        with np.errstate(divide="raise", invalid="raise"):  # as in `exchangeable.solve`: else NaN, and a warning
            fit = model.fit(cov_type="bias_reduced")
    except (ValueError, ZeroDivisionError, FloatingPointError, np.linalg.LinAlgError):
        return None
    return Equations(np.asarray(fit.params), np.asarray(fit.bse), bool(fit.converged))


@dataclass(frozen=True, eq=False)
class _Sums:
    """Cross products of each model's rows: all that a likelihood with one grouping factor needs.

    Those of one content are equal, so that a fit of them can be kept.
    """

    zz: Array  # (models, random, random)
    zx: Array  # (models, random, columns)
    zy: Array  # (models, random)
    xx: Array  # (columns, columns), over all rows
    xy: Array  # (columns,)
    yy: float
    rows: int

    def _content(self) -> tuple[object, ...]:
        arrays = (self.zz, self.zx, self.zy, self.xx, self.xy)
        return (self.rows, self.yy, *((array.shape, array.tobytes()) for array in arrays))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Sums) and self._content() == other._content()

    def __hash__(self) -> int:
        return hash(self._content())


@dataclass(frozen=True)
class _Maximum:
    """Where the restricted likelihood is largest."""

    estimate: Array  # (columns,)
    stderr: Array
    theta: Array  # (sd) or (sd, covariance part, sd) of the random effects, relative to the residual's
    variance: float  # of the residuals


def fit_mixed(design: Design, alpha: float) -> Fit:
    """Linear mixed model, random intercept and slope over training by model, by restricted maximum likelihood.

    A variance of 0 is a valid estimate and is told in the note. Where the rows are too few for that or the likelihood
    has no maximum, nothing is fitted and the note says why: a model with less in it is another method, and no stand-in.
    Where training does not vary, only the intercept is random. Tests use t with Satterthwaite degrees of freedom.

    Source: Laird & Ware 1982; the profiled criterion in the relative Cholesky factor: Bates et al. 2015 (lme4),
    equations 33 to 42; the degrees of freedom: Kuznetsova et al. 2017 (lmerTest).
    """
    if why := _unfit(design):
        return no_fit(design, why)
    return _mixed_t(design, alpha, _random(design))


def _few(design: Design) -> str:
    """That models are too few; empty where they are not."""
    return few_models(design).replace("for errors clustered by model", "to tell how models differ")


def mixed_predictions(design: Design, x: Array) -> list[Prediction]:
    """The values of rows of new models, each with all that varies: coefficients, its level and slope, its residual.

    Args:
        design: The rows that were measured.
        x: (rows, columns) predictors of the new ones.
    """
    why, columns = _unfit(design), _random(design)
    sums = _sums(design, columns)
    found = None if why else _reml(sums)
    if found is None:
        why = why or _NO_MAXIMUM
        return [Prediction(np.nan, np.nan, np.nan, why)] * len(x)

    def parts(theta: Array) -> tuple[float, float, Array]:
        determinants, squares, _, covariance = _parts(theta, sums)
        own = x[:, columns] @ _factor(theta)
        return determinants, squares, np.diag(((x @ covariance) * x).sum(axis=1) + (own**2).sum(axis=1) + 1)

    errors = np.sqrt(found.variance * np.diag(parts(found.theta)[2]))
    df = satterthwaite_df(parts, found.theta, found.variance)
    rows = zip(x @ found.estimate, errors, df, strict=True)
    return [Prediction(float(value), float(error), float(own_df)) for value, error, own_df in rows]


def _random(design: Design) -> list[int]:
    """The columns with random effects: the intercept and, where it varies, training."""
    return [0] if design.slope is None else [0, design.slope]


def _unfit(design: Design) -> str:
    """Why no mixed model can be fitted; empty where one can."""
    count, rows = len(_random(design)) * design.clusters, len(design.y)
    few = (
        f"no mixed model: {counted(rows, 'checkpoint')} are too few for {counted(count, 'random effect')} of the models"
    )
    return _few(design) or (few if count >= rows else "")


def _mixed_t(design: Design, alpha: float, columns: list[int]) -> Fit:
    """The tests, with random effects of these columns by model."""
    sums = _sums(design, columns)
    found = _reml(sums)
    if found is None:
        return no_fit(design, _NO_MAXIMUM)

    def parts(theta: Array) -> tuple[float, float, Array]:
        determinants, squares, _, covariance = _parts(theta, sums)
        return determinants, squares, covariance

    df = satterthwaite_df(parts, found.theta, found.variance)
    at = asked(design)
    return t_fit(found.estimate[at], found.stderr[at], df[at], alpha, _absent(_factor(found.theta)))


def _absent(factor: Array) -> str:
    """Which random effects vanished: `factor` is the relative Cholesky factor of their covariance."""
    spread = np.sqrt((factor**2).sum(axis=1))
    names = [name for name, size in zip(("intercept", "slope"), spread, strict=False) if size < _ZERO]
    return f"variance of the random {' and '.join(names)} estimated as 0" if names else ""


def _sums(design: Design, random: list[int]) -> _Sums:
    """Cross products by cluster, from which the likelihood of any variance follows without the rows.

    Args:
        design: Response and predictors.
        random: Columns of the design with random effects by cluster.
    """
    x, y = design.x, design.y
    z = x[:, random]
    return _Sums(
        zz=design.geometry.sums(z, z),
        zx=design.geometry.sums(z, x),
        zy=design.geometry.sums(z, y[:, None])[:, :, 0],
        xx=x.T @ x,
        xy=x.T @ y,
        yy=float(y @ y),
        rows=len(y),
    )


def _factor(theta: Array) -> Array:
    """The lower triangular relative factor: theta is (sd) or (sd, covariance part, sd)."""
    return np.array([[theta[0]]]) if len(theta) == 1 else np.array([[theta[0], 0.0], [theta[1], theta[2]]])


_Parts = tuple[float, float, Array, Array]


def _parts(theta: Array, sums: _Sums) -> _Parts:
    """Log-determinants and residual sum of squares of the criterion, coefficients and their unscaled covariance."""
    return _parts_of([theta], sums)[0]


def _parts_of(thetas: Sequence[Array], sums: _Sums) -> list[_Parts]:
    """`_parts` of several factors at once: of four in twice the time of one."""
    factor = np.stack([_factor(theta) for theta in thetas])[:, None]  # (factors, 1, random, random)
    turned = np.swapaxes(factor, -1, -2)
    inner = np.linalg.cholesky(np.eye(factor.shape[-1]) + turned @ sums.zz @ factor)
    rx = np.linalg.solve(inner, turned @ sums.zx)
    ry = np.linalg.solve(inner, (sums.zy @ factor[:, 0])[..., None])[..., 0]
    a = sums.xx - np.einsum("kgri,kgrj->kij", rx, rx)
    b = sums.xy - np.einsum("kgri,kgr->ki", rx, ry)
    covariance = np.linalg.inv(a)
    logs, more = np.log(np.diagonal(inner, axis1=-2, axis2=-1)), np.linalg.slogdet(a)[1]
    found = []
    for k in range(len(thetas)):
        beta = covariance[k] @ b[k]
        squares = sums.yy - float((ry[k] ** 2).sum()) - float(b[k] @ beta)
        found.append((float(2 * logs[k].sum() + more[k]), squares, beta, covariance[k]))
    return found


def _slopes(theta: Array, bounds: Array) -> list[Array]:
    """Factors a step beside this one, one for each of its parts, forward unless that leaves the bounds (parts, 2)."""
    beside = theta + _STEP * np.diag(np.where(theta + _STEP > bounds[:, 1], -1.0, 1.0))
    return list(beside)


@lru_cache(maxsize=1024)  # the predictions are by the fit that the tests are of
def _reml(sums: _Sums) -> _Maximum | None:
    """The fit at the maximum; None without one."""

    def deviance(parts: _Parts) -> float:
        determinants, squares, beta, _ = parts
        df = sums.rows - len(beta)
        return determinants + df * float(np.log(squares / df)) if squares > 0 else np.inf

    def criterion(theta: Array) -> tuple[float, Array]:
        """The deviance and its slopes, as differences from those a step beside."""
        steps = _slopes(theta, np.array(bounds))
        here, *beside = map(deviance, _parts_of([theta, *steps], sums))
        moved = np.array([step[k] - theta[k] for k, step in enumerate(steps)])
        return here, (np.array(beside) - here) / moved

    single = sums.zz.shape[1] == 1
    bounds = [(0.0, 1e4)] if single else [(0.0, 1e4), (-1e4, 1e4), (0.0, 1e4)]
    best = None
    for level, slope in _STARTS:
        start = [level] if single else [level, 0.0, slope]
        try:
            found = minimize(criterion, start, jac=True, method="L-BFGS-B", bounds=bounds)
        except np.linalg.LinAlgError:
            continue
        if np.isfinite(found.fun) and (best is None or found.fun < best.fun):
            best = found
    if best is None or np.abs(best.x).max() >= 1e4:
        return None
    _, squares, beta, covariance = _parts(best.x, sums)
    variance = squares / (sums.rows - len(beta))
    stderr = np.sqrt(variance * np.diag(covariance))
    return _Maximum(beta, stderr, best.x, variance) if np.isfinite(stderr).all() else None
