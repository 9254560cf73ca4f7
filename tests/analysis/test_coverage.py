"""Simulations: how often intervals hold and false effects are found, under the errors that each method is made for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from designs import SIZES, STEPS, design, errors, predictors, z
from statsmodels.stats.multitest import multipletests

from evalrun.statistics.regression.diagnostics import diagnose
from evalrun.statistics.regression.interactions import corrected, fit_design, fit_interactions
from evalrun.statistics.regression.model_frame import RegressionSettings

pytestmark = [pytest.mark.slow, pytest.mark.simulation]
CHOICE = RegressionSettings("nominal", "tokens", ["ols"], ["fdr_bh"], 0.05, 999, 0)
TRUE = np.array([0.4, -0.5, -0.2])


def coverage(method, kind, draws, models=8):
    """Share of 95 % intervals that hold the true coefficient, for each effect."""
    generator = np.random.default_rng(20240611)
    x, groups = predictors(models)
    held = np.zeros(3)
    for number in range(draws):
        y = x[:, 1:] @ TRUE + errors(kind, x, groups, generator)
        data = design(y, x, groups)
        fit = fit_design(data, False, method, replace(CHOICE, seed=number))
        held += (fit.low <= TRUE) & (fit.high >= TRUE)
    return held / draws


# The margin is three standard errors of the simulation: 3 sqrt(.05 x .95 / draws), 0.015 for 2000 draws.
@pytest.mark.parametrize(
    ("method", "kind", "draws"),
    [
        ("ols", "independent", 4000),
        ("hc3", "independent", 4000),
        ("hc3", "uneven", 4000),
        ("cr2", "shared", 4000),
        ("mixed", "shared", 200),
        ("gee", "shared", 2000),
        ("wild", "shared", 1000),
    ],
)
def test_intervals_hold_where_the_method_is_made_for_it(method, kind, draws):
    low, high = (0.93, 0.97) if method != "gee" else (0.93, 0.985)  # bias-reduced errors are wide for few models
    if method == "wild":
        low = 0.92  # six-point weights with 8 models reject 6 to 7 %
    margin = 3 * np.sqrt(0.05 * 0.95 / draws)
    held = coverage(method, kind, draws)
    assert (held > low - margin).all(), held
    assert (held < high + margin).all(), held


@pytest.mark.parametrize(
    ("method", "most"),
    [("ols", (0.72, 0.86, 0.86)), ("hc3", (0.72, 0.89, 0.89)), ("cluster", (0.92, 0.96, 0.92))],
)
def test_intervals_that_fail_where_checkpoints_share_errors(method, most):
    """What the documentation warns of: independent errors, and CR1 with 8 models."""
    held = coverage(method, "shared", 2000)
    assert (held < most).all(), held


def test_plain_cluster_errors_are_enough_for_many_models():
    held = coverage("cluster", "shared", 1000, models=40)
    assert ((held > 0.92) & (held < 0.97)).all(), held


@pytest.mark.parametrize("models", [3, 4, 5, 6, 8, 12])
@pytest.mark.parametrize("slopes", [0.0, 0.5])
def test_the_headline_holds_its_level_in_flat_studies_of_few_models(models, slopes):
    """Models with levels (and slopes) of their own and no trend: a study gets a star in one case of twenty."""
    generator = np.random.default_rng(models)
    size = SIZES[np.round(np.linspace(0, 7, models)).astype(int)] if models <= 8 else np.linspace(7.8, 10.1, models)
    p, t = z(np.repeat(size, 8)), z(np.tile(STEPS, models))
    x, groups = np.column_stack([np.ones(len(p)), p, t, p * t]), np.repeat(np.arange(models), 8)
    studies, effects, starred = 1000, np.zeros(3), 0
    for _ in range(studies):
        level, slope = generator.normal(0, 1, models)[groups], generator.normal(0, slopes, models)[groups]
        data = design(z(level + slope * x[:, 2] + generator.normal(0, 0.3, len(p))), x, groups)
        found = fit_design(data, False, "cr2", CHOICE).p
        effects += found < 0.05
        starred += multipletests(found, method="fdr_bh")[0].any()
    most = 0.06 + 3 * np.sqrt(0.05 * 0.95 / studies)
    assert (effects / studies < most).all(), effects
    assert starred / studies < most, starred


def table_of(tidy, generator, tasks):
    x, groups = predictors()
    frames = []
    for task in range(tasks):
        rows = pd.DataFrame({"model": [f"m{g}" for g in groups], "step": np.tile(2.0 ** np.arange(8), 8).astype(int)})
        rows["n_params_nominal"] = 10 ** (8 + x[:, 1])
        rows["value"] = errors("independent", x, groups, generator)
        frames.append(rows.assign(task=f"t{task}", title=f"T{task}", tokens=10 ** (9 + x[:, 2])))
    return tidy.table(pd.concat(frames).to_dict("records"))


def test_without_any_effect_a_study_finds_one_as_often_as_its_rate_says(tidy):
    """Under the global null the false discovery rate is the chance of any discovery."""
    generator = np.random.default_rng(3)
    choice = replace(CHOICE, corrections=["fdr_bh", "fdr_by", "holm"], alpha=0.2)
    any_found = np.zeros(3)
    studies = 100
    effects = fit_interactions(table_of(tidy, generator, 4 * studies), choice)
    for study in range(studies):  # of four tasks each
        own = corrected(effects.iloc[12 * study : 12 * (study + 1)].reset_index(drop=True), choice)
        any_found += [(own[f"q_{name}"] < 0.2).any() for name in choice.corrections]
    bh, by, holm = any_found / studies
    assert bh < 0.2 + 3 * np.sqrt(0.2 * 0.8 / studies)
    assert bh > 0.2 - 3 * np.sqrt(0.2 * 0.8 / studies)
    assert by <= bh
    assert holm <= bh


def test_autocorrelation_of_independent_residuals_is_seldom_significant(tidy):
    found = diagnose(table_of(tidy, np.random.default_rng(4), 300), CHOICE)
    assert (found["autocorrelation_p"] < 0.05).mean() < 0.09
