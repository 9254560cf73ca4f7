"""Effects that cannot be tested say why, each its own reason, and take nothing from the others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from designs import design, example
from test_run import conf

from evalrun.reporting.regression_sentences import regression
from evalrun.statistics.findings import analyze_table
from evalrun.statistics.regression.clustered import fit_cluster, fit_cr2
from evalrun.statistics.regression.estimators import t_fit
from evalrun.statistics.regression.interactions import fit_interactions
from evalrun.statistics.regression.model_frame import RegressionSettings
from evalrun.statistics.regression.wild import fit_wild

CHOICE = RegressionSettings("nominal", "tokens", ["cr2", "ols", "cluster", "wild"], ["fdr_bh"], 0.05, 199, 0)


def degenerate():
    """Six models of which one alone decides the third effect: without residuals of its own, its errors cancel."""
    generator = np.random.default_rng(2)
    groups = np.repeat(np.arange(6), 4)
    first, second = generator.normal(size=24), generator.normal(size=24)
    third = np.zeros(24)
    third[:4] = [-1.0, 1.0, -1.0, 1.0]  # within the first model alone
    y = generator.normal(size=24)
    own = np.column_stack([np.ones(24), first, second])
    own[:4], y[:4] = [[1, 0, 0]] * 4, third[:4] + 0.5
    y[4:] -= own[4:] @ np.linalg.lstsq(own[4:], y[4:], rcond=None)[0] - 0.5
    x = np.column_stack([np.ones(24), own[:, 1], own[:, 2], third])
    return design(y, x, groups)


def test_an_effect_without_an_error_takes_no_test_from_the_others():
    data = degenerate()
    plain, wild = fit_cluster(data, 0.05), fit_wild(data, 0.05, 199, 0)
    for fit in (plain, wild):
        assert np.isfinite(fit.p[:2]).all()
        assert np.isnan(fit.p[2])
        assert fit.said(2) == "no standard error: the residuals that would give it cancel or are all 0"
        assert "cancel" not in fit.said(0)
    assert plain.said(0).startswith("6 models are few")


@pytest.mark.parametrize(
    ("estimate", "stderr", "df", "why"),
    [
        (np.nan, 1.0, 5.0, "no estimate"),
        (1.0, 1.0, 0.0, "no test: 0 degrees of freedom"),
        (1.0, np.inf, 5.0, "it cannot be computed"),
        (1.0, 0.0, 5.0, "cancel or are all 0"),
        (1.0, 1.0, np.nan, "degrees of freedom cannot be estimated"),
    ],
)
def test_each_absent_test_has_its_own_reason(estimate, stderr, df, why):
    fit = t_fit(np.array([1.0, estimate]), np.array([1.0, stderr]), np.array([5.0, df]), 0.05, "the models are few")
    assert np.isfinite(fit.p[0])
    assert np.isnan(fit.p[1])
    assert fit.said(0) == "the models are few"
    assert why in fit.said(1)
    assert "few" not in fit.said(1)


def finals(tidy, models=9, tasks=20):
    """One checkpoint a model: studies of final checkpoints."""
    generator = np.random.default_rng(5)
    rows = [
        {"task": f"t{t}", "title": f"T{t}", "model": f"m{m}", "n_params_nominal": 1e6 * 2.0**m, "step": 100}
        | {"n_params": 1e6 * 2.0**m, "value": 0.3 + 0.04 * m * (t % 2) + generator.normal(0, 0.02), "weights": f"{m}"}
        for t in range(tasks)
        for m in range(models)
    ]
    return tidy.table(rows)


def test_with_one_step_a_model_nothing_is_counted_for_a_method_that_was_not_fitted(tidy):
    methods = ["cr2", "ols", "hc3", "cluster", "gee", "mixed"]
    study = analyze_table(finals(tidy), conf(methods=methods, corrections=["fdr_bh"]), "x")
    tested = study.effects[study.effects["effect"] == "parameters"].groupby("method")["p"].count()
    assert tested[["cr2", "ols", "hc3", "cluster"]].eq(20).all()
    assert tested[["gee", "mixed"]].eq(0).all()
    residual = 9 - 2
    assert (study.effects["df"].dropna() <= residual + 1e-9).all()
    told = " ".join(regression(study))
    assert "by the mixed model" not in told.replace("tested by GEE and the mixed model", "")
    assert "No effect could be tested by GEE and the mixed model" in told


def test_degrees_of_freedom_are_never_above_the_residual_ones():
    for fit in (fit_cluster, fit_cr2):
        for models, steps, lost in ((9, 1, 2), (8, 2, 9), (12, 1, 0)):
            data = example(models=models, steps=max(steps, 2), lost=lost)
            rows, columns = data.x.shape
            found = fit(data, 0.05)
            assert (found.df[np.isfinite(found.df)] <= rows - columns + 1e-9).all()


def test_intervals_stay_within_what_shares_can_do(tidy):
    """With three models an interval of one degree of freedom reaches beyond a change by the whole scale."""
    table = tidy.grid(tasks=["a"])
    table["value"] = np.random.default_rng(1).uniform(0.05, 0.95, len(table))
    found = fit_interactions(table, CHOICE)
    loose = fit_interactions(table.assign(higher_is_better=False), CHOICE)  # as of a metric without bounds
    cut = found["note"].str.contains("interval cut at what values between 0 and 1 can show")
    assert cut.any()
    beyond = loose[cut]
    assert (found.loc[cut, "high"] - found.loc[cut, "low"] < beyond["high"] - beyond["low"]).all()
    pd.testing.assert_frame_equal(found.loc[~cut, ["low", "high", "p"]], loose.loc[~cut, ["low", "high", "p"]])
    np.testing.assert_array_equal(found["p"], loose["p"])
    x = np.column_stack([np.ones(len(table)), *(z(np.log10(table[name])) for name in ("n_params_nominal", "tokens"))])
    x = np.column_stack([x, x[:, 1] * x[:, 2]])
    generator = np.random.default_rng(0)
    extremes = []  # slopes of tables of zeros and ones, which no table of shares exceeds
    for _ in range(3000):
        extremes.append(np.linalg.lstsq(x, (generator.random(len(x)) < 0.5).astype(float), rcond=None)[0][1:])
    per_ten = {
        "parameters": 1 / np.log10(table["n_params_nominal"]).std(),
        "tokens": 1 / np.log10(table["tokens"]).std(),
    }
    per_ten["interaction"] = per_ten["parameters"] * per_ten["tokens"]
    for k, (effect, unit) in enumerate(per_ten.items()):
        rows = found[found["effect"] == effect]
        reached = np.abs([extreme[k] for extreme in extremes]).max() * unit
        ends = rows.loc[cut, ["raw_low", "raw_high"]].abs().max().max()
        assert np.isnan(ends) or ends >= reached
        assert np.isnan(ends) or ends < 4 * reached


def z(values):
    return ((values - values.mean()) / values.std(ddof=1)).to_numpy()
