"""Logistic regression of proportions, against its definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from designs import design, predictors
from scipy import optimize, stats

from evalrun.statistics.regression.bounded import fit_quasibinomial


def proportions(seed=0, items=None):
    x, groups = predictors()
    generator = np.random.default_rng(seed)
    n = generator.integers(50, 2000, len(x)) if items is None else np.full(len(x), items)
    p = 1 / (1 + np.exp(-(x @ [0.3, 0.6, -0.4, 0.2] + generator.normal(0, 0.3, len(x)))))
    values = generator.binomial(n, p) / n
    return design(values, x, groups, values=values, items=n.astype("float64"))


def test_estimates_errors_and_dispersion_by_hand():
    data = proportions()
    n, y, x = data.items, data.values, data.x

    def negative(beta):
        eta = x @ beta
        return -(n * (y * eta - np.logaddexp(0, eta))).sum() / n.sum()

    beta = optimize.minimize(negative, np.zeros(4), method="BFGS", options={"gtol": 1e-10}).x
    mean = 1 / (1 + np.exp(-x @ beta))
    variance = mean * (1 - mean) / n
    dispersion = ((y - mean) ** 2 / variance).sum() / (len(y) - 4)
    information = x.T @ (x * (n * mean * (1 - mean))[:, None])
    error = np.sqrt(dispersion * np.diag(np.linalg.inv(information)))
    fit = fit_quasibinomial(data, 0.05)
    np.testing.assert_allclose(fit.estimate, beta[1:], rtol=1e-5)
    np.testing.assert_allclose(fit.stderr, error[1:], rtol=1e-5)
    np.testing.assert_allclose(fit.p, 2 * stats.t.sf(abs(beta / error)[1:], 60), rtol=1e-3)
    assert dispersion > 2
    assert fit.log_odds


def test_errors_do_not_depend_on_how_many_items_all_rows_have():
    data = proportions(items=500)
    more = replace(data, items=data.items * 40)
    np.testing.assert_allclose(fit_quasibinomial(data, 0.05).stderr, fit_quasibinomial(more, 0.05).stderr)


def test_unknown_items_weigh_equally_and_it_is_said():
    data = proportions(items=500)
    unknown = fit_quasibinomial(replace(data, items=np.full(64, np.nan)), 0.05)
    np.testing.assert_allclose(unknown.stderr, fit_quasibinomial(data, 0.05).stderr)
    assert unknown.note == "number of items unknown: rows weighted equally"


@pytest.mark.parametrize("outside", [-0.01, 1.01])
def test_values_that_are_no_proportions(outside):
    data = proportions()
    fit = fit_quasibinomial(replace(data, values=np.where(data.groups == 0, outside, data.values)), 0.05)
    assert np.isnan(fit.estimate).all()
    assert fit.note == "values outside 0 to 1: no proportions"


def test_separated_zeros_and_ones():
    data = proportions()
    fit = fit_quasibinomial(replace(data, values=(data.x[:, 1] > 0).astype("float64")), 0.05)
    assert np.isnan(fit.p).all()
    assert fit.note.startswith("the logistic fit")


def test_accuracies_below_chance_are_fitted():
    data = proportions()
    fit = fit_quasibinomial(replace(data, values=data.values * 0.1), 0.05)
    assert np.isfinite(fit.p).all()
