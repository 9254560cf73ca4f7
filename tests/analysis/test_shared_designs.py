"""Tasks that share a design are fitted by what they share: the numbers are those of each task alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_study import made_study
from statsmodels.regression.linear_model import OLS

from evalrun.statistics.regression.diagnostics import diagnose
from evalrun.statistics.regression.estimators import predict_ols
from evalrun.statistics.regression.interactions import METHODS, RegressionSettings, fit_interactions
from evalrun.statistics.regression.model_frame import task_frames
from evalrun.statistics.regression.pooled import fit_pooled
from evalrun.statistics.regression.sensitivity import sensitivity

REFERENCE = Path(__file__).resolve().parents[1] / "reference" / "expected_fits.json"
CHOICE = RegressionSettings("nominal", "tokens", list(METHODS), ["fdr_bh", "holm"], 0.05, 999, 3)


@pytest.fixture(scope="module")
def study() -> pd.DataFrame:
    return made_study()


def test_numbers_are_those_of_the_build_that_fitted_each_task_alone(study) -> None:
    found = {"effects": fit_interactions(study, CHOICE), "diagnostics": diagnose(study, CHOICE)}
    found["pooled"] = fit_pooled(study, CHOICE)
    for name, columns in json.loads(REFERENCE.read_text()).items():
        for column, expected in columns.items():
            values, wanted = found[name][column].to_numpy(dtype="float64"), np.array(expected, dtype="float64")
            # An optimiser ends where it is near enough, and where that is depends on the processor's sums.
            searched = (
                (found[name]["method"] == "mixed").to_numpy()
                if "method" in found[name]
                else np.zeros(len(values), bool)
            )
            for rows, share in ((~searched, 1e-9), (searched, 2e-4)):
                np.testing.assert_allclose(
                    values[rows], wanted[rows], rtol=share, atol=1e-12, err_msg=f"{name}, {column}"
                )


def test_tasks_on_the_same_rows_have_one_geometry_and_others_their_own(study) -> None:
    designs = {frame.labels["task"]: frame.design for frame in task_frames(study, CHOICE)}
    assert designs["a"].geometry is designs["c"].geometry is designs["e"].geometry
    assert len({id(designs[task].geometry) for task in "abd"}) == 3


@pytest.mark.parametrize("method", ["ols", "hc3", "cluster"])
def test_least_squares_is_that_of_statsmodels(study, method) -> None:
    of = {"ols": {}, "hc3": {"cov_type": "HC3"}, "cluster": {"cov_type": "cluster"}}[method]
    effects = fit_interactions(study, CHOICE)
    for frame in task_frames(study, CHOICE):
        if method == "cluster":
            of["cov_kwds"] = {"groups": frame.design.groups}
        fit = OLS(frame.design.y, frame.design.x).fit(**of)
        own = effects[(effects["task"] == frame.labels["task"]) & (effects["method"] == method)]
        np.testing.assert_allclose(own["estimate"], fit.params[1:], rtol=1e-11)
        np.testing.assert_allclose(own["stderr"], fit.bse[1:], rtol=1e-11)


def test_a_model_left_out_is_a_fit_of_the_others(study) -> None:
    table = sensitivity(study, CHOICE)
    own = table[table["variant"] == "m-160m"].reset_index(drop=True)
    alone = fit_interactions(study[study["model"] != "m-160m"], CHOICE)
    alone = alone[alone["method"] == own["method"].iloc[0]].reset_index(drop=True)
    np.testing.assert_allclose(own[["estimate", "t", "p"]], alone[["estimate", "t", "p"]], rtol=1e-12)


def test_diagnostics_and_predictions_are_those_of_statsmodels(study) -> None:
    looked = diagnose(study, CHOICE).set_index("task")
    for frame in task_frames(study, CHOICE):
        fit, row = OLS(frame.design.y, frame.design.x).fit(), looked.loc[frame.labels["task"]]
        squares = np.column_stack([frame.design.x, frame.design.x[:, [1, 2]] ** 2])
        cooks = fit.get_influence().cooks_distance[0]
        np.testing.assert_allclose(row["influence"], cooks.max(), rtol=1e-10)
        assert f"step {frame.rows['step'].iloc[cooks.argmax()]}" in row["influence_at"]
        aics = fit.aic, OLS(frame.design.y, squares).fit().aic
        np.testing.assert_allclose(row[["aic_linear", "aic_quadratic"]].astype("float64"), aics, rtol=1e-10)
        new = np.array([[1.0, 2.0, -1.0, -2.0], [1.0, 0.3, 0.1, 0.03]])
        there = fit.get_prediction(new)
        found = predict_ols(frame.design, new)
        np.testing.assert_allclose([one.value for one in found], there.predicted_mean, rtol=1e-10)
        np.testing.assert_allclose([one.stderr for one in found], there.se_obs, rtol=1e-10)
        assert {one.df for one in found} == {fit.df_resid}
