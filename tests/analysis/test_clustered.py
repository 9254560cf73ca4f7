"""Errors clustered by model, each against its definition written out."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from designs import design, example, predictors
from scipy import linalg, stats

from evalrun.statistics.regression.clustered import fit_cluster, fit_cr2
from evalrun.statistics.regression.estimators import fit_hc3
from evalrun.statistics.regression.wild import fit_wild, sign_patterns


def ols(data):
    bread = np.linalg.inv(data.x.T @ data.x)
    beta = bread @ data.x.T @ data.y
    return bread, beta, data.y - data.x @ beta


def cr1(x, y, groups):
    """Coefficients and CR1 errors."""
    bread = np.linalg.inv(x.T @ x)
    beta = bread @ x.T @ y
    residual = y - x @ beta
    scores = [x[groups == g].T @ residual[groups == g] for g in np.unique(groups)]
    meat = sum(np.outer(score, score) for score in scores)
    (n, k), count = x.shape, len(scores)
    return beta, np.sqrt(np.diag(bread @ meat @ bread) * count / (count - 1) * (n - 1) / (n - k))


def test_hc3():
    data = example("uneven", lost=5)
    bread, _, residual = ols(data)
    leverage = np.diag(data.x @ bread @ data.x.T)
    meat = sum(np.outer(row, row) * (e / (1 - h)) ** 2 for row, e, h in zip(data.x, residual, leverage, strict=True))
    fit = fit_hc3(data, 0.05)
    np.testing.assert_allclose(fit.stderr, np.sqrt(np.diag(bread @ meat @ bread))[1:])
    assert set(fit.df) == {len(data.y) - 4}


def test_cluster():
    data = example(lost=5)
    beta, error = cr1(data.x, data.y, data.groups)
    fit = fit_cluster(data, 0.1)
    np.testing.assert_allclose(fit.estimate, beta[1:])
    np.testing.assert_allclose(fit.stderr, error[1:])
    np.testing.assert_allclose(fit.high, beta[1:] + stats.t.ppf(0.95, 7) * error[1:])
    assert fit.note.startswith("8 models are few")
    assert fit_cluster(example(models=12), 0.1).note == ""


def test_cr2_with_whole_matrices():
    data = example(lost=11)
    bread, _, residual = ols(data)
    n, count = len(data.y), data.clusters
    maker = np.eye(n) - data.x @ bread @ data.x.T
    whitened = np.zeros((count, n, 4))  # columns of P before the working model
    scores = np.zeros((count, 4))
    for g in range(count):
        own = data.groups == g
        adjust = linalg.inv(linalg.sqrtm(maker[np.ix_(own, own)])).real
        weights = adjust @ data.x[own] @ bread
        scores[g] = weights.T @ residual[own]
        whitened[g] = maker[:, own] @ weights
    fit = fit_cr2(data, 0.05)
    np.testing.assert_allclose(fit.stderr, np.sqrt((scores**2).sum(axis=0))[1:])
    for k in range(3):
        p = whitened[:, :, k + 1] @ whitened[:, :, k + 1].T
        assert fit.df[k] == pytest.approx(np.trace(p) ** 2 / (p**2).sum())


def test_cr2_is_hc2_where_each_row_is_its_own_cluster():
    data = example("uneven")
    bread, _, residual = ols(data)
    leverage = np.diag(data.x @ bread @ data.x.T)
    meat = sum(np.outer(row, row) * e**2 / (1 - h) for row, e, h in zip(data.x, residual, leverage, strict=True))
    alone = design(data.y, data.x, np.arange(len(data.y)))
    np.testing.assert_allclose(fit_cr2(alone, 0.05).stderr, np.sqrt(np.diag(bread @ meat @ bread))[1:])


def test_cr2_where_a_model_alone_decides_a_coefficient():
    data = example(models=8)
    x = np.column_stack([data.x, data.groups == 3])
    fit = fit_cr2(design(data.y, x, data.groups), 0.05)
    assert np.isfinite(fit.stderr).all()


@pytest.mark.parametrize("models", [4, 10])
def test_wild_p_by_fitting_every_draw(models):
    data = example(models=models, steps=5, seed=3)
    fit = fit_wild(data, 0.05, draws=199, seed=1)
    weights, whole = sign_patterns(models, 199, 1)
    beta, error = cr1(data.x, data.y, data.groups)
    for column in (1, 2, 3):
        others = np.delete(data.x, column, axis=1)
        fitted = others @ np.linalg.lstsq(others, data.y, rcond=None)[0]
        far = 0
        for signs in weights:
            b, e = cr1(data.x, fitted + (data.y - fitted) * signs[data.groups], data.groups)
            far += abs(b[column] / e[column]) >= abs(beta[column] / error[column]) * (1 - 1e-9)
        expected = far / len(weights) if whole else (1 + far) / (1 + len(weights))
        assert fit.p[column - 1] == pytest.approx(expected)
    np.testing.assert_allclose(fit.stderr, error[1:])
    assert np.isnan(fit.df).all()


def test_wild_interval_ends_where_the_test_of_that_value_reaches_the_level():
    data = example(models=12, steps=4)
    fit = fit_wild(data, 0.1, draws=999, seed=0)
    for k in range(3):
        for end, outward in ((fit.low[k], -1), (fit.high[k], 1)):
            shift = outward * 1e-6 * fit.stderr[k]
            inside, outside = (
                fit_wild(design(data.y - data.x[:, k + 1] * value, data.x, data.groups), 0.1, 999, 0).p[k]
                for value in (end - shift, end + shift)
            )
            assert inside > 0.1 >= outside


def test_sign_patterns():
    few, whole = sign_patterns(9, 50_000, 0)
    assert not whole
    assert set(np.round(np.unique(few) ** 2, 12)) == {0.5, 1.0, 1.5}
    assert abs(few.mean()) < 0.01
    assert (few**2).mean() == pytest.approx(1, abs=0.01)  # residuals keep their variance
    some, whole = sign_patterns(11, 10, 0)
    assert whole
    assert {tuple(row) for row in some} == set(product((1.0, -1.0), repeat=11))
    many, whole = sign_patterns(13, 200, 0)
    assert not whole
    assert many.shape == (200, 13)
    assert set(np.unique(many)) == {-1.0, 1.0}
    np.testing.assert_array_equal(many, sign_patterns(13, 200, 0)[0])
    assert (many != sign_patterns(13, 200, 1)[0]).any()


@pytest.mark.parametrize("fit", [fit_cluster, fit_cr2, lambda data, alpha: fit_wild(data, alpha, 99, 0)])
def test_two_models_are_too_few(fit):
    x, groups = predictors(models=2)
    data = design(np.random.default_rng(0).normal(size=len(groups)), x, groups)
    found = fit(data, 0.05)
    assert np.isnan(found.p).all()
    assert np.isfinite(found.estimate).all()
    assert found.note == "2 models: too few for errors clustered by model"


def test_wild_without_an_interval_says_so():
    found = fit_wild(example(models=3), 0.001, 99, 0)
    assert np.isnan(found.low).all()
    assert np.isfinite(found.p).all()
    assert "too few for an interval" in found.note
