"""Predictions of checkpoints that were not evaluated: against R, statsmodels, closed forms and a simulation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from test_run import conf

import evalrun
from evalrun.errors import AnalysisError
from evalrun.reporting.prediction_section import ahead
from evalrun.reporting.table_files import table_files
from evalrun.statistics.findings import analyze_table
from evalrun.statistics.regression.diagnostics import diagnose
from evalrun.statistics.regression.model_frame import RegressionSettings
from evalrun.statistics.regression.prediction import COLUMNS, Place, planes_ahead, predict_ahead, predict_values

CHOICE = RegressionSettings("nominal", "tokens", ["cr2"], ["fdr_bh"], 0.05, 99, 0)
STEPS = range(8)
FOLDER = Path(__file__).resolve().parents[1] / "reference"
BY_R = json.loads((FOLDER / "expected_prediction.json").read_text())["tasks"]


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


@pytest.mark.parametrize("task", list(BY_R))
def test_as_r_predicts(tidy, task):
    """`predict(lm(...), interval="prediction")`, and lme4's fit with the variances that a new model adds."""
    rows = pd.read_csv(FOLDER / "data.csv").rename(columns={"parameters": "n_params_nominal"})
    table, expected = tidy.table(rows[rows["task"] == task].to_dict("records")), BY_R[task]
    for place, (size, training) in enumerate(zip(expected["size"], expected["training"], strict=True)):
        (plain,) = predict_values(table, Place(size, training), CHOICE, "ols").to_dict("records")
        for name in ("value", "low", "high"):
            assert plain[name] == pytest.approx(expected["ols"][name][place], rel=1e-9), name
        (mixed,) = predict_values(table, Place(size, training), CHOICE, "mixed").to_dict("records")
        for name in ("value", "stderr"):
            assert mixed[name] == pytest.approx(expected["mixed"][name][place], rel=1e-4), name
        assert mixed["note"].startswith("beyond") == (place > 0)


def ahead_of(table, methods=("cr2", "mixed", "ols"), labels=("positive",)):
    choice = replace(CHOICE, methods=list(methods))
    shapes = pd.DataFrame({"task": table["task"].iloc[0], "label": labels})
    return predict_ahead(planes_ahead(table, choice), diagnose(table, choice), shapes).set_index(["method", "ahead"])


def test_a_tenfold_ahead_is_the_same_as_asked_for(tidy):
    table, _ = study(tidy, np.random.default_rng(5))
    found = ahead_of(table)
    for (method, where), row in found.iterrows():
        place = Place(1e10, 1e10) if where == "parameters" else Place(1e9, 1e11)
        (asked,) = predict_values(table, place, CHOICE, method).to_dict("records")
        assert [row["value"], row["low"], row["high"]] == pytest.approx([asked["value"], asked["low"], asked["high"]])
        assert (
            row["note"] == f"beyond what was evaluated ({'model size' if where == 'parameters' else 'training step'})"
        )
    assert ahead_of(table, ["cr2", "ols"]).empty


def test_where_a_plane_does_not_fit_nothing_is_foretold(tidy):
    table, _ = study(tidy, np.random.default_rng(6))
    bent = table.assign(value=table["value"] - 0.02 * (np.log10(table["tokens"]) - 6.5) ** 2)
    low = table.assign(value=0.3 + 0.1 * (table["value"] - 0.5) - 0.04 * (np.log10(table["tokens"]) - 6.5))
    down = low.assign(value=low["value"] - 0.9 * low["value"].min())
    for rows, labels, why in (
        (
            table,
            ["emergent", "U-shaped", "undecided"],
            "no prediction: a plane does not fit, 2 of 3 curves turn or jump",
        ),
        (bent, ["late drop"], r"no prediction: a plane does not fit, squares of the predictors improve AIC by \d+"),
        (down, ["inverse"], "no prediction: the plane leads below 0, where no share can be"),
    ):
        row = ahead_of(rows, labels=labels).loc[("mixed", "tokens")]
        assert np.isnan([row["value"], row["low"], row["high"]]).all()
        assert pd.Series([row["note"]]).str.fullmatch(why).all(), row["note"]


def test_the_report_and_its_table_show_it(tidy):
    table, _ = study(tidy, np.random.default_rng(7))
    found = analyze_table(table, conf(methods=["cr2", "mixed"], items=False), "x")
    section = ahead(found)
    row = found.predictions.set_index("ahead").loc["parameters"]
    assert section.about.startswith("An extrapolation")
    assert section.rows[0][1].text == f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})".replace("-", "−")
    assert section.rows[0][1].hint == "10B parameters, 10B tokens"
    assert f"{row['value']:.6}"[:6] in table_files(found, table)["tables/predictions.csv"]
    assert ahead(analyze_table(table, conf(methods=["cr2"], items=False), "x")) is None


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
