"""The regression against R (tests/reference): another language's implementation of each method."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from evalrun.statistics.regression.correlated import _mixed_t
from evalrun.statistics.regression.diagnostics import diagnose
from evalrun.statistics.regression.interactions import fit_interactions
from evalrun.statistics.regression.model_frame import RegressionSettings, task_frames

FOLDER = Path(__file__).resolve().parents[1] / "reference"
CHOICE = RegressionSettings(
    "nominal", "tokens", ["ols", "hc3", "cluster", "cr2", "quasibinomial", "gee", "mixed"], ["fdr_bh"], 0.05, 99, 0
)
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
TASKS = list(EXPECTED["tasks"])
DF = json.loads((FOLDER / "expected_df.json").read_text())["tasks"]  # Satterthwaite's, by lmerTest


@pytest.fixture(scope="module")
def table(tidy):
    rows = pd.read_csv(FOLDER / "data.csv").rename(columns={"parameters": "n_params_nominal"})
    rows["title"] = rows["task"]
    return tidy.table(rows.to_dict("records"))


@pytest.fixture(scope="module")
def effects(table):
    return fit_interactions(table, CHOICE).set_index(["task", "method"])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("method", ["ols", "hc3", "cluster", "cr2", "quasibinomial"])
def test_tests_and_intervals(effects, task, method):
    own, expected = effects.loc[(task, method)], EXPECTED["tasks"][task][method]
    # The logistic fit stops by a change of the deviance: 8 digits.
    tolerance = 1e-6 if method == "quasibinomial" else 1e-8
    for name in ("estimate", "stderr", "df", "t", "p", "low", "high"):
        np.testing.assert_allclose(own[name], expected[name], rtol=tolerance, err_msg=name)
    assert set(own["n"]) == {EXPECTED["tasks"][task]["n"]}
    assert set(own["clusters"]) == {EXPECTED["tasks"][task]["clusters"]}


@pytest.mark.parametrize("task", TASKS)
def test_gee(effects, task):
    """Loose: statsmodels takes degrees of freedom off the correlation's estimate, geepack does not."""
    own, expected = effects.loc[(task, "gee")], EXPECTED["tasks"][task]["gee"]
    np.testing.assert_allclose(own["estimate"], expected["estimate"], atol=0.02)
    np.testing.assert_allclose(own["stderr"], expected["stderr"], rtol=0.02)


@pytest.mark.parametrize("task", TASKS)
def test_mixed(effects, task):
    """lme4 and this package stop their optimisers by other rules; one fit lies on the boundary, in both."""
    own, expected = effects.loc[(task, "mixed")], EXPECTED["tasks"][task]["mixed"]
    np.testing.assert_allclose(own["estimate"], expected["estimate"], rtol=1e-4)
    np.testing.assert_allclose(own["stderr"], expected["stderr"], rtol=1e-4)
    np.testing.assert_allclose(own["df"], DF[task]["mixed"], rtol=1e-5)  # of one fit on the boundary, too


@pytest.mark.parametrize("task", TASKS)
def test_random_intercept_only(table, task):
    expected = EXPECTED["tasks"][task]["intercept"]
    design = next(frame.design for frame in task_frames(table, CHOICE) if frame.labels["task"] == task)
    fit = _mixed_t(design, 0.05, [0])
    np.testing.assert_allclose(fit.estimate, expected["estimate"], rtol=1e-4)
    np.testing.assert_allclose(fit.stderr, expected["stderr"], rtol=1e-4)
    np.testing.assert_allclose(fit.df, DF[task]["intercept"], rtol=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_diagnostics(table, task):
    own, expected = diagnose(table, CHOICE).set_index("task").loc[task], EXPECTED["tasks"][task]
    assert own["influence"] == pytest.approx(expected["cooks"])
    assert own["dispersion"] == pytest.approx(expected["dispersion"], rel=1e-6)
    gain = expected["aic_linear"] - expected["aic_quadratic"]
    assert own["aic_linear"] - own["aic_quadratic"] == pytest.approx(gain)
    # R counts the variance as a parameter, statsmodels does not: 2 apart in each.
    assert own["aic_linear"] == pytest.approx(expected["aic_linear"] - 2)
    assert own["curved"] == (gain > 10) == (task == "curved")


@pytest.mark.parametrize("name", ["fdr_bh", "fdr_by", "holm"])
def test_corrections(name):
    adjusted = EXPECTED["adjusted"]
    np.testing.assert_allclose(multipletests(adjusted["p"], method=name)[1], adjusted[name], rtol=1e-12)
