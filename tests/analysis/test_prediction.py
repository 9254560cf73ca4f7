"""Predictions of checkpoints that were not evaluated: against statsmodels, closed forms and a simulation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

import evalrun
from evalrun.errors import AnalysisError
from evalrun.statistics.regression.model_frame import RegressionSettings
from evalrun.statistics.regression.prediction import COLUMNS, Place, predict_values

CHOICE = RegressionSettings("nominal", "tokens", ["cr2"], ["fdr_bh"], 0.05, 99, 0)
STEPS = range(8)


def study(tidy, generator, models=6, level=0.05, slope=0.02, noise=0.02):
    """A plane, models that differ from it in level and slope, noise of checkpoints; and the next model's own value."""
    own = generator.normal(0, 1, (models + 1, 2)) * [level, slope]
    size = np.append(np.linspace(7, 9, models), 8.2)

    def value(m, step):
        flat = 0.5 + 0.03 * (size[m] - 8) - 0.02 * (step - 3.5)
        return flat + own[m, 0] + own[m, 1] * (step - 3.5) / 2.3 + generator.normal(0, noise)

    rows = [
        {
            "model": f"m{m}", "n_params_nominal": 10 ** size[m], "step": 10**s, "tokens": 10.0 ** (s + 3),
            "value": value(m, s),
        }
        for m in range(models)
        for s in STEPS
    ]  # fmt: skip
    return tidy.table(rows), value(models, 5.0)


PLACE = Place(10**8.2, 10.0**8)


def test_by_least_squares_as_statsmodels(tidy):
    table, _ = study(tidy, np.random.default_rng(0))
    (found,) = predict_values(table, PLACE, CHOICE, "ols").to_dict("records")
    size, tokens = np.log10(table["n_params_nominal"]), np.log10(table["tokens"])
    x = np.column_stack([np.ones(len(table)), size, tokens, size * tokens])
    there = sm.OLS(table["value"].to_numpy(), x).fit().get_prediction([[1, 8.2, 8, 8.2 * 8]])
    assert found["value"] == pytest.approx(there.predicted_mean[0], rel=1e-9)
    np.testing.assert_allclose([found["low"], found["high"]], there.conf_int(obs=True, alpha=0.05)[0], rtol=1e-8)


def test_by_the_mixed_model_of_a_whole_grid_as_the_means_of_its_models(tidy):
    """At mean training and mean size: each model's mean is one observation, plus what one value adds within a model."""
    models = 6
    table, _ = study(tidy, np.random.default_rng(1), models)
    (found,) = predict_values(table, Place(1e8, 10**6.5), CHOICE, "mixed").to_dict("records")
    size, tokens = np.log10(table["n_params_nominal"]).to_numpy() - 8, np.log10(table["tokens"]).to_numpy() - 6.5
    means = table.groupby("model")["value"].mean().to_numpy()
    between = sm.OLS(means, sm.add_constant(size[:: len(STEPS)])).fit()
    lines = [
        np.polyfit(tokens[m * 8 : m * 8 + 8], table["value"].to_numpy()[m * 8 : m * 8 + 8], 1) for m in range(models)
    ]
    left = table["value"].to_numpy() - np.concatenate(
        [np.polyval(lines[m], tokens[m * 8 : m * 8 + 8]) for m in range(models)]
    )
    residual = left @ left / (models * 6)
    assert found["value"] == pytest.approx(means.mean(), rel=1e-6)
    variance = between.mse_resid * (1 + 1 / models) + residual * (1 - 1 / 8)
    assert found["stderr"] == pytest.approx(np.sqrt(variance), rel=1e-3)
    parts = [(between.mse_resid * (1 + 1 / models)) ** 2 / 4, (residual * 7 / 8) ** 2 / (models * 6)]
    assert found["df"] == pytest.approx(variance**2 / sum(parts), rel=1e-2)  # Satterthwaite's own formula
    reach = stats.t.ppf(0.975, found["df"]) * found["stderr"]
    assert found["high"] - found["value"] == pytest.approx(reach)


def test_beyond_and_absent_are_said(tidy):
    table, _ = study(tidy, np.random.default_rng(2))
    far = predict_values(table, Place(1e10, 1e8), CHOICE, "mixed")
    assert list(far) == COLUMNS
    assert far["note"].tolist() == ["beyond what was evaluated (model size)"]
    assert (far["high"] <= 1).all()
    one = table[table["model"] == "m0"]
    assert predict_values(one, PLACE, CHOICE, "ols")["note"].tolist() == [
        "only one model size: nothing is known of another"
    ]
    two = predict_values(table[table["model"].isin(["m0", "m1"])], PLACE, CHOICE, "mixed")
    assert two["note"].str.startswith("2 models: too few").all()
    assert two["value"].isna().all()


def test_public_face(tidy):
    table, _ = study(tidy, np.random.default_rng(3))
    pd.testing.assert_frame_equal(
        evalrun.predict(table, 10**8.2, 1e8), predict_values(table, PLACE, CHOICE, "mixed"), check_dtype=False
    )
    assert evalrun.predict(table, 10**8.2, 1e8, alpha=0.5)["low"].gt(evalrun.predict(table, 10**8.2, 1e8)["low"]).all()
    with pytest.raises(AnalysisError, match="'cr2' is no method of prediction"):
        evalrun.predict(table, 1e8, 1e8, method="cr2")
    with pytest.raises(AnalysisError, match="above 0, not 0 and 1e"):
        evalrun.predict(table, 0, 1e8)
    for size, training in (("70m", 1e8), (1e8, None), (float("inf"), 1e8), (1e8, float("nan")), (True, 1e8)):
        with pytest.raises(AnalysisError, match=r"above 0, not .* as numbers, such as 1e9 and 3e11\.$"):
            evalrun.predict(table, size, training)


@pytest.mark.simulation
def test_intervals_hold_a_new_models_value_and_those_of_least_squares_do_not(tidy):
    generator, draws = np.random.default_rng(4), 300
    held = {"mixed": 0, "ols": 0}
    for _ in range(draws):
        table, value = study(tidy, generator)
        for method in held:
            (found,) = predict_values(table, PLACE, CHOICE, method).to_dict("records")
            held[method] += found["low"] <= value <= found["high"]
    margin = 3 * np.sqrt(0.05 * 0.95 / draws)
    assert held["mixed"] / draws > 0.95 - margin, held
    assert held["ols"] < held["mixed"], held
