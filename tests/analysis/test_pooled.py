"""The regression over several tasks at once."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
from designs import design, z

from evalrun.statistics.regression.clustered import fit_cr2
from evalrun.statistics.regression.interactions import fit_interactions
from evalrun.statistics.regression.model_frame import RegressionSettings
from evalrun.statistics.regression.pooled import ALL, fit_pooled, pooled_columns

CHOICE = RegressionSettings("nominal", "tokens", ["cr2"], ["fdr_bh", "holm"], 0.05, 99, 0)


@pytest.fixture
def table(tidy):
    rows = tidy.grid(tasks=["a", "b", "c"], models=["tiny-s", "tiny-m", "tiny-l"])
    more = tidy.grid(tasks=["a", "b", "c"], models=["tiny-xs", "tiny-xl"])
    more["n_params_nominal"] = more["model"].map({"tiny-xs": 40_000, "tiny-xl": 2_000_000})
    rows = pd.concat([rows, more], ignore_index=True)
    rows["value"] += np.random.default_rng(5).normal(0, 0.05, len(rows))
    rows["cause"] = rows["task"].map({"a": "strong prior", "b": "distractor task", "c": "strong prior"})
    return rows


def numbers(frame):
    return frame[["estimate", "stderr", "t", "df", "p", "low", "high"]].to_numpy(dtype=float)


def test_causes_in_order_then_all(table):
    found = fit_pooled(table, CHOICE)
    assert list(found.columns) == pooled_columns(["fdr_bh", "holm"])
    assert found["cause"].tolist() == ["strong prior"] * 3 + ["distractor task"] * 3 + [ALL] * 3
    assert found["tasks"].tolist() == [2] * 3 + [1] * 3 + [3] * 3
    assert set(found["clusters"]) == {5}
    assert set(found["note"]) == {""}
    assert (found["q"] == found["q_fdr_bh"]).all()


def test_one_task_is_its_own_fit(table):
    found = fit_pooled(table, CHOICE)
    alone = fit_interactions(table[table["task"] == "b"], CHOICE)
    np.testing.assert_allclose(numbers(found[found["cause"] == "distractor task"]), numbers(alone))


def test_several_tasks_by_stacking_their_z_scores_with_an_intercept_for_each(table):
    rows = table[table["task"] != "b"].drop(index=[3, 17]).reset_index(drop=True)
    p, t = z(np.log10(rows["n_params_nominal"])), z(np.log10(rows["tokens"]))
    y = rows.groupby("task")["value"].transform(z)
    x = np.column_stack([np.ones(len(y)), p, t, p * t, rows["task"] == "c"])
    expected = fit_cr2(design(y.to_numpy(), x, pd.factorize(rows["model"])[0]), 0.05)
    found = fit_pooled(rows, CHOICE)
    np.testing.assert_allclose(found["estimate"], expected.estimate)
    np.testing.assert_allclose(found["p"], expected.p)
    assert found["n"].tolist() == [len(rows)] * 3


def test_tasks_where_lower_is_better_are_turned_round(table):
    turned = table.copy()
    lower = turned["task"] == "c"
    turned.loc[lower, "value"] *= -1
    turned.loc[lower, "higher_is_better"] = False
    np.testing.assert_allclose(numbers(fit_pooled(turned, CHOICE)), numbers(fit_pooled(table, CHOICE)))


def test_controls_and_constant_tasks_are_left_out(table, tidy):
    control = tidy.grid(tasks=["d"], role="control", cause="")
    flat = tidy.grid(tasks=["e"], value=0.5, cause="strong prior")
    found = fit_pooled(pd.concat([table, control, flat], ignore_index=True), CHOICE)
    np.testing.assert_allclose(numbers(found), numbers(fit_pooled(table, CHOICE)))
    assert set(found.loc[found["cause"] == "strong prior", "note"]) == {"1 task with a constant value left out"}
    assert found["tasks"].tolist() == [2] * 3 + [1] * 3 + [3] * 3


def test_without_causes_all_tasks_are_one_pool(table):
    assert fit_pooled(table.assign(cause=""), CHOICE)["cause"].tolist() == [ALL] * 3
    assert set(fit_pooled(table.assign(cause="one"), CHOICE)["cause"]) == {"one"}


@pytest.mark.parametrize(
    ("given", "note"),
    [
        ({"models": ["tiny-s", "tiny-m"]}, "2 models: too few for errors clustered by model"),
        ({"models": ["tiny-s"], "steps": [1]}, "no usable rows; 2 tasks with a constant value left out"),
        ({"models": ["tiny-s"]}, "only one model size: tokens fitted alone"),
        ({"steps": [4]}, "only one training step: parameters fitted alone"),
        ({"value": 0.25}, "no usable rows; 2 tasks with a constant value left out"),
        ({"models": ["tiny-s", "tiny-m"], "steps": [1]}, "only one training step: parameters fitted alone"),
    ],
)
def test_what_cannot_be_fitted_says_why(tidy, given, note):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fit_pooled(tidy.grid(**given), CHOICE)
    assert len(found) == 3
    assert found["note"].str.contains(note, regex=False).any()
    assert (found["p"].notna() | (found["note"] != "")).all()


def test_nothing_but_controls(tidy):
    assert fit_pooled(tidy.grid(role="control"), CHOICE).empty


def test_an_intercept_for_each_task_is_no_column_of_every_row(tidy):
    """Else a million results of a hundred tasks are a gigabyte."""
    names = [f"t{number}" for number in range(120)]
    rows = tidy.grid(tasks=names, models=["tiny-s", "tiny-m", "tiny-l"])
    rows["value"] += np.random.default_rng(5).normal(0, 0.05, len(rows))
    rows = rows.assign(cause="strong prior")
    fit_pooled(rows, CHOICE)  # what is imported on the way
    before = rows.memory_usage(deep=True).sum()
    tracemalloc.start()
    fit_pooled(rows, CHOICE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < len(rows) * len(names) * 8 / 2 + before
