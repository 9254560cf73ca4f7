"""The estimating equations by sums over clusters: the numbers are those of statsmodels, row by row."""

from __future__ import annotations

import warnings

import numpy as np
from designs import design, errors, predictors
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.genmod.cov_struct import Exchangeable
from statsmodels.genmod.generalized_estimating_equations import GEE

from evalrun.statistics.regression import correlated
from evalrun.statistics.regression.estimators import Plane
from evalrun.statistics.regression.exchangeable import solve


def statsmodels(data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return GEE(data.y, data.x, groups=data.groups, cov_struct=Exchangeable()).fit(cov_type="bias_reduced")


@given(
    st.integers(0, 10_000),
    st.sampled_from(["independent", "uneven", "shared"]),
    st.integers(4, 12),
    st.integers(3, 10),
    st.floats(0, 0.6),
)
def test_numbers_are_those_of_statsmodels(seed, kind, models, steps, lost):
    """With clusters of unequal size, cells that are missing, a model of one row."""
    generator = np.random.default_rng(seed)
    x, groups = predictors(models, steps)
    y = x @ [0, 0.4, -0.5, -0.2] + errors(kind, x, groups, generator)
    keep = np.flatnonzero(generator.uniform(size=len(y)) >= lost)
    keep = np.union1d(keep, np.arange(models) * steps)  # each model has one at least
    data = design(y[keep], x[keep], groups[keep])
    if len(keep) < 8 or np.linalg.matrix_rank(data.x) < 4:
        return
    found = solve(data, Plane.of(data).estimate)
    if found is None:  # a cluster alone decides a coefficient
        return
    other = statsmodels(data)
    assert found.converged == other.converged
    if other.converged:
        np.testing.assert_allclose(found.estimate, other.params, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(found.stderr, other.bse, rtol=1e-9)


def test_a_correlation_that_has_no_inverse_is_no_solution():
    """It comes to -1 / 2, and models have three checkpoints: statsmodels divides by nought too."""
    generator = np.random.default_rng(4)
    x, groups = predictors(4, 4)
    y = x @ [0, 0.4, -0.5, -0.2] + errors("uneven", x, groups, generator)
    keep = np.union1d(np.flatnonzero(generator.uniform(size=len(y)) >= 0.5), np.arange(4) * 4)
    found = correlated.fit_gee(design(y[keep], x[keep], groups[keep]), 0.05)
    assert found.note == "the estimating equations have no solution"


def test_the_fast_way_is_taken_and_the_other_where_it_must_be(monkeypatch):
    generator = np.random.default_rng(2)
    x, groups = predictors()
    y = x @ [0, 0.4, -0.5, -0.2] + errors("shared", x, groups, generator)
    asked = []
    monkeypatch.setattr(correlated, "_by_statsmodels", lambda data: asked.append(data))
    assert correlated.fit_gee(design(y, x, groups), 0.05).note == ""
    assert asked == []
    alone = np.column_stack([np.ones(64), groups == 3]).astype(float)  # a column of one model's own
    data = design(y, alone, groups, effects=("parameters",), slope=None)
    assert correlated.fit_gee(data, 0.05).note == "the estimating equations have no solution"
    assert asked == [data]


def test_what_is_left_to_statsmodels_is_its_answer(monkeypatch):
    generator = np.random.default_rng(2)
    x, groups = predictors()
    data = design(x @ [0, 0.4, -0.5, -0.2] + errors("shared", x, groups, generator), x, groups)
    fast = correlated.fit_gee(data, 0.05)
    monkeypatch.setattr(correlated, "solve", lambda *_: None)
    slow = correlated.fit_gee(data, 0.05)
    for name in ("estimate", "stderr", "t", "p", "df"):
        np.testing.assert_allclose(getattr(fast, name), getattr(slow, name), rtol=1e-9)


def test_equations_that_do_not_converge_say_so(monkeypatch):
    generator = np.random.default_rng(2)
    x, groups = predictors()
    data = design(x @ [0, 0.4, -0.5, -0.2] + errors("shared", x, groups, generator), x, groups)
    monkeypatch.setattr("evalrun.statistics.regression.exchangeable._NEAR", 0.0)
    fit = correlated.fit_gee(data, 0.05)
    assert fit.note == "the estimating equations did not converge"
    assert np.isnan(fit.p).all()


def test_errors_stay_those_of_statsmodels_near_the_edge():
    """Four models with an interaction: single clusters decide almost all of a coefficient."""
    generator = np.random.default_rng(9)
    x, groups = predictors(4, 12)
    data = design(x @ [0, 0.4, -0.5, -0.2] + errors("shared", x, groups, generator), x, groups)
    found, other = solve(data, Plane.of(data).estimate), statsmodels(data)
    assert found is not None
    np.testing.assert_allclose(found.stderr, other.bse, rtol=1e-9)
