"""The estimators that model the correlation of a model's checkpoints, against their definitions."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import statsmodels.api as sm
from designs import design, errors, example, predictors
from scipy import stats

from evalrun.statistics.regression.clustered import fit_cluster
from evalrun.statistics.regression.correlated import fit_gee, fit_mixed


def test_gee_errors_by_mancl_and_derouen():
    data = example(lost=9)
    fit = fit_gee(data, 0.05)
    structure = sm.cov_struct.Exchangeable()
    sm.GEE(data.y, data.x, groups=data.groups, cov_struct=structure).fit()
    rho = structure.dep_params
    inverses, bread = [], 0
    for g in range(data.clusters):
        own = data.x[data.groups == g]
        inverses.append(np.linalg.inv((1 - rho) * np.eye(len(own)) + rho))
        bread = bread + own.T @ inverses[-1] @ own
    bread = np.linalg.inv(bread)
    beta = bread @ sum(
        data.x[data.groups == g].T @ inverses[g] @ data.y[data.groups == g] for g in range(data.clusters)
    )
    meat = 0
    for g in range(data.clusters):
        own, residual = data.x[data.groups == g], (data.y - data.x @ beta)[data.groups == g]
        hat = own @ bread @ own.T @ inverses[g]
        score = own.T @ inverses[g] @ np.linalg.solve(np.eye(len(own)) - hat, residual)
        meat = meat + np.outer(score, score)
    np.testing.assert_allclose(fit.estimate, beta[1:], rtol=1e-5)
    np.testing.assert_allclose(fit.stderr, np.sqrt(np.diag(bread @ meat @ bread))[1:], rtol=1e-4)
    assert set(fit.df) == {6}


def test_mixed_is_two_stages_where_the_grid_is_whole():
    """Each model's own line, then lines through the models' levels and slopes: t with models - 2 df, exactly."""
    data = example("shared", models=8, steps=8, seed=5)
    fit = fit_mixed(data, 0.05)
    assert fit.note == ""
    lines = np.array([np.polyfit(data.x[data.groups == g, 2], data.y[data.groups == g], 1) for g in range(8)])
    size = data.x[::8, 1]
    levels, slopes = stats.linregress(size, lines[:, 1]), stats.linregress(size, lines[:, 0])
    assert fit.estimate[0] == pytest.approx(levels.slope, rel=1e-6)
    assert fit.estimate[2] == pytest.approx(slopes.slope, rel=1e-6)
    assert fit.t[0] == pytest.approx(levels.slope / levels.stderr, rel=1e-3)
    assert fit.p[2] == pytest.approx(slopes.pvalue, rel=1e-3)
    np.testing.assert_allclose(fit.df, 6, rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_mixed_agrees_with_statsmodels_where_that_converges(seed):
    data = example(lost=7, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = sm.MixedLM(data.y, data.x, groups=data.groups, exog_re=data.x[:, [0, 2]]).fit(reml=True)
    assert other.converged
    fit = fit_mixed(data, 0.05)
    np.testing.assert_allclose(fit.estimate, other.fe_params[1:], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(fit.stderr, other.bse_fe[1:], rtol=1e-2)


def test_mixed_without_shared_errors_is_ols():
    x, groups = predictors()
    generator = np.random.default_rng(4)
    y = generator.normal(size=64)
    for g in range(8):  # less than no variance between the models: no levels, no slopes
        own = np.column_stack([np.ones(8), x[groups == g, 2]])
        y[groups == g] -= own @ np.linalg.lstsq(own, y[groups == g], rcond=None)[0]
    fit, plain = fit_mixed(design(y, x, groups), 0.05), sm.OLS(y, x).fit()
    assert fit.note == "variance of the random intercept and slope estimated as 0"
    np.testing.assert_allclose(fit.stderr, plain.bse[1:], rtol=1e-6)
    np.testing.assert_allclose(fit.df, plain.df_resid, rtol=1e-5)
    np.testing.assert_allclose(fit.p, plain.pvalues[1:], rtol=1e-4)


def test_mixed_with_two_steps_a_model_is_not_fitted():
    """Neither with less in it: a fallback is another method, and is never counted as this one."""
    fit = fit_mixed(example(models=8, steps=2), 0.05)
    assert fit.note == "no mixed model: 16 checkpoints are too few for 16 random effects of the models"
    assert np.isnan(fit.p).all()


def test_with_one_row_a_model_nothing_depends_within_models():
    generator = np.random.default_rng(0)
    size = np.linspace(-1, 1, 12)
    x = np.column_stack([np.ones(12), size])
    data = design(generator.normal(size=12), x, np.arange(12), effects=("parameters",), slope=None)
    mixed, gee, cluster = fit_mixed(data, 0.05), fit_gee(data, 0.05), fit_cluster(data, 0.05)
    assert mixed.note == "no mixed model: 12 checkpoints are too few for 12 random effects of the models"
    assert gee.note == "one checkpoint a model: nothing within models to take into account"
    assert np.isnan([*mixed.p, *gee.p]).all()
    plain = sm.OLS(data.y, x).fit()
    assert cluster.df.tolist() == [plain.df_resid] == [10]  # not the 11 of as many clusters
    np.testing.assert_allclose(cluster.stderr, plain.HC1_se[1:])
    assert cluster.note == gee.note


@pytest.mark.parametrize("fit", [fit_gee, fit_mixed])
def test_two_models_are_too_few(fit):
    found = fit(example(models=2), 0.05)
    assert np.isnan(found.p).all()
    assert found.note == "2 models: too few to tell how models differ"


@pytest.mark.simulation
@pytest.mark.parametrize("kind", ["independent", "shared"])
def test_mixed_holds_its_level_with_few_models(kind):
    """4 models, 300 draws: at most 5 % and three standard errors of the simulation."""
    generator = np.random.default_rng(3)
    x, groups = predictors(models=4)
    rejected = [fit_mixed(design(errors(kind, x, groups, generator), x, groups), 0.05).p < 0.05 for _ in range(300)]
    assert (np.mean(rejected, axis=0) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)).all()
