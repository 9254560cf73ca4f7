"""Whether the assumptions hold, each number against its definition."""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evalrun.statistics.regression.diagnostics import COLUMNS, diagnose
from evalrun.statistics.regression.interactions import METHODS, fit_interactions
from evalrun.statistics.regression.model_frame import RegressionSettings

CHOICE = RegressionSettings("nominal", "tokens", ["ols"], ["fdr_bh"], 0.05, 99, 0)


@pytest.fixture
def table(tidy):
    return tidy.grid(tasks=["a"], seeds=[1.0, 2.0])


def z(values):
    return (values - values.mean()) / values.std(ddof=1)


def fitted(rows):
    y, p, t = z(rows["value"]), z(np.log10(rows["n_params_nominal"])), z(np.log10(rows["tokens"]))
    x = np.column_stack([np.ones(len(y)), p, t, p * t])
    beta = np.linalg.lstsq(x, y, rcond=None)[0]
    return x, y.to_numpy(), beta


def test_autocorrelation_is_over_neighbours_of_one_run(table):
    shuffled = table.sample(frac=1, random_state=1).reset_index(drop=True)
    row = diagnose(shuffled, CHOICE).iloc[0]
    x, y, beta = fitted(shuffled)
    rows = shuffled.assign(residual=y - x @ beta)
    pairs = []
    for _, run in rows.groupby(["model", "seed"]):
        residuals = run.sort_values("tokens")["residual"].tolist()
        pairs += pairwise(residuals)
    first, second = np.array(pairs).T
    r = (first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum())
    assert len(pairs) == 6 * 5
    assert row["autocorrelation"] == pytest.approx(r)
    assert row["autocorrelation_p"] == pytest.approx(2 * stats.norm.sf(abs(r) * np.sqrt(30)))


def test_dispersion_is_that_of_the_counts(table):
    generator = np.random.default_rng(0)
    fair = table.assign(value=generator.binomial(600, 0.4, len(table)) / 600)
    assert diagnose(fair, CHOICE)["dispersion"].iloc[0] == pytest.approx(1, abs=0.5)
    loud = diagnose(table, CHOICE)["dispersion"].iloc[0]
    assert diagnose(table.assign(n=6000), CHOICE)["dispersion"].iloc[0] == pytest.approx(10 * loud)
    assert diagnose(table.assign(n=np.nan), CHOICE)["dispersion"].isna().all()
    assert diagnose(table.assign(value=table["value"] * 3), CHOICE)["dispersion"].isna().all()


def test_influence_by_leaving_each_row_out(table):
    row = diagnose(table, CHOICE).iloc[0]
    x, y, beta = fitted(table)
    variance = ((y - x @ beta) ** 2).sum() / (len(y) - 4)
    distances = []
    for i in range(len(y)):
        change = x @ (beta - np.linalg.lstsq(np.delete(x, i, 0), np.delete(y, i), rcond=None)[0])
        distances.append(change @ change / (4 * variance))
    assert row["influence"] == pytest.approx(max(distances))
    most = table.iloc[int(np.argmax(distances))]
    assert row["influence_at"] == f"{most['model']} step {most['step']} seed {most['seed']:.0f}"


def test_squares_against_a_fit_with_them(table):
    row = diagnose(table, CHOICE).iloc[0]
    x, y, _ = fitted(table)

    def aic(columns):
        residual = y - columns @ np.linalg.lstsq(columns, y, rcond=None)[0]
        n = len(y)
        return n * (np.log(2 * np.pi * (residual**2).sum() / n) + 1) + 2 * columns.shape[1]

    assert row["aic_linear"] == pytest.approx(aic(x))
    assert row["aic_quadratic"] == pytest.approx(aic(np.column_stack([x, x[:, 1] ** 2, x[:, 2] ** 2])))
    assert not row["curved"]
    bent = table.assign(value=table["value"] - 0.02 * (np.log2(table["step"]) - 2) ** 2)
    row = diagnose(bent, CHOICE).iloc[0]
    assert row["curved"]
    gain = row["aic_linear"] - row["aic_quadratic"]
    assert f"curved: squares of the predictors improve AIC by {gain:.0f}" in row["warnings"]


def test_a_model_that_alone_makes_an_effect_is_named(tidy):
    """Five models without any trend and a large one that falls."""
    generator = np.random.default_rng(2)
    rows = tidy.grid(tasks=["a"], models=["m1", "m2", "m3", "m4", "m5", "m6"], steps=[1, 2, 4, 8, 16, 32])
    rows["n_params_nominal"] = rows["model"].str[1:].astype(int).rpow(3) * 1000
    rows["value"] = 0.5 + generator.normal(0, 0.01, len(rows))
    rows.loc[rows["model"] == "m6", "value"] -= 0.06 * np.log2(rows.loc[rows["model"] == "m6", "step"])
    row = diagnose(rows, CHOICE).iloc[0]
    assert row["influence_model"] == "m6"
    assert row["influence_flips"]
    assert "without m6 the uncorrected p of" in row["warnings"]
    assert (fit_interactions(rows, CHOICE)["p"] < 0.05).sum() == 2
    assert fit_interactions(rows[rows["model"] != "m6"], CHOICE)["p"].min() > 0.05


def test_correlated_checkpoints_are_a_warning_for_methods_that_take_them_as_independent(tidy):
    rows = tidy.grid(tasks=["a"], models=["m1", "m2", "m3", "m4"], steps=[1, 2, 4, 8, 16, 32])
    rows["n_params_nominal"] = rows["model"].str[1:].astype(int).rpow(3) * 1000
    rows["value"] += rows["model"].map({"m1": 0.2, "m2": -0.2, "m3": -0.2, "m4": 0.2})
    for method in METHODS:
        row = diagnose(rows, replace(CHOICE, methods=[method])).iloc[0]
        assert row["autocorrelation"] > 0.5
        assert ("neighbouring checkpoints correlate" in row["warnings"]) == (method in ("ols", "hc3", "quasibinomial"))
        assert ("4 models are few" in row["warnings"]) == (method == "cluster")


def test_published(published):
    found = diagnose(published, CHOICE).set_index("task")
    gain = found["aic_linear"] - found["aic_quadratic"]
    assert found["autocorrelation"].max() == pytest.approx(0.79, abs=0.005)
    assert found["curved"].sum() == 5
    assert gain["isp_resisting_correction"] == pytest.approx(93, abs=0.5)
    assert gain["isp_redefine"] == pytest.approx(40, abs=0.5)


def test_a_task_that_cannot_be_fitted_says_so(tidy):
    both = pd.concat([tidy.grid(tasks=["a"], value=0.5), tidy.grid(tasks=["b"])], ignore_index=True)
    found = diagnose(both, CHOICE)
    assert list(found.columns) == COLUMNS
    assert found["task"].tolist() == ["a", "b"]
    assert found.loc[0, "warnings"] == "not looked at: the value is constant (0.5 in all 18 rows)"
    assert found.loc[0, ["autocorrelation", "dispersion", "influence", "aic_linear"]].isna().all()
    assert np.isfinite(found.loc[1, "influence"])


@settings(max_examples=settings.default.max_examples // 4)
@given(data=st.data())
def test_never_fails(tidy, data):
    grid = tidy.grid(tasks=["a"], models=["tiny-s", "tiny-m", "tiny-l", "tiny-x"], steps=[1, 2, 8], seeds=[1.0, 2.0])
    size = data.draw(st.integers(1, len(grid)))
    keep = data.draw(st.lists(st.sampled_from(range(len(grid))), min_size=size, max_size=size, unique=True))
    values = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 7.0]), min_size=size, max_size=size))
    method = data.draw(st.sampled_from(list(METHODS)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = diagnose(grid.iloc[keep].assign(value=values), replace(CHOICE, methods=[method], draws=19))
    assert len(found) == 1
    numbers = found.select_dtypes("number").to_numpy(dtype=float)
    assert not np.isinf(numbers).any()
