import re
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evalrun.errors import AnalysisError
from evalrun.statistics.regression.interactions import (
    CORRECTIONS,
    METHODS,
    RegressionSettings,
    columns,
    fit_interactions,
)

PLAIN = {
    "params": "nominal",
    "axis": "tokens",
    "methods": ["ols"],
    "corrections": ["fdr_bh", "fdr_by", "holm"],
    "alpha": 0.05,
    "draws": 199,
    "seed": 0,
}


def fit(table, **given):
    return fit_interactions(table, RegressionSettings(**{**PLAIN, **given}))


def naive(rows, column="n_params_nominal"):
    """The definition: z-scores, normal equations, t = b / se; two-sided p."""

    def z(values):
        values = np.asarray(values, dtype=float)
        return (values - values.mean()) / np.sqrt(((values - values.mean()) ** 2).sum() / (len(values) - 1))

    y, p, t = z(rows["value"]), z(np.log10(rows[column])), z(np.log10(rows["tokens"]))
    x = np.column_stack([np.ones(len(y)), p, t, p * t])
    inverse = np.linalg.inv(x.T @ x)
    b = inverse @ x.T @ y
    df = len(y) - 4
    se = np.sqrt(((y - x @ b) ** 2).sum() / df * np.diag(inverse))
    return b[1:], se[1:], b[1:] / se[1:], 2 * stats.t.sf(np.abs(b[1:] / se[1:]), df)


def benjamini_hochberg(p):
    """By hand: p times m over rank, then the running minimum from the largest."""
    order = np.argsort(p)
    q = np.empty(len(p))
    lowest = 1.0
    for rank in range(len(p), 0, -1):
        lowest = min(lowest, p[order[rank - 1]] * len(p) / rank)
        q[order[rank - 1]] = lowest
    return q


@pytest.mark.parametrize(
    ("params", "column"),
    [("nominal", "n_params_nominal"), ("total", "n_params"), ("nonembedding", "n_params_nonembedding")],
)
def test_agrees_with_the_definition(tidy, params, column):
    table = tidy.grid()
    table["n_params"] += 5_000  # so that the counts are no multiples of each other, which z-scores of logs do not see
    table["n_params_nonembedding"] -= 7_000
    effects = fit(table, params=params)
    assert list(effects.columns) == columns(["fdr_bh", "fdr_by", "holm"])
    assert effects["effect"].tolist() == ["parameters", "tokens", "interaction"] * 2
    for task, rows in table.groupby("task"):
        own = effects[effects["task"] == task]
        for name, expected in zip(["estimate", "stderr", "t", "p"], naive(rows, column), strict=True):
            np.testing.assert_allclose(own[name], expected, rtol=1e-9)
        assert set(own["df"]) == {len(rows) - 4}
        assert set(own["n"]) == {len(rows)}
    np.testing.assert_allclose(effects["q"], benjamini_hochberg(effects["p"].to_numpy()), rtol=1e-12)
    assert set(effects["note"]) == {""}


def test_raw_units_are_those_of_a_fit_to_centred_logs(tidy):
    table = tidy.grid(tasks=["a"])
    raw = fit(table)
    size = np.log10(table["n_params_nominal"]) - np.log10(table["n_params_nominal"]).mean()
    tokens = np.log10(table["tokens"]) - np.log10(table["tokens"]).mean()
    x = np.column_stack([np.ones(len(table)), size, tokens, size * tokens])
    expected = np.linalg.lstsq(x, table["value"], rcond=None)[0][1:]
    np.testing.assert_allclose(raw["raw_estimate"], expected)
    scale = raw["raw_estimate"] / raw["estimate"]
    np.testing.assert_allclose(raw["raw_low"], raw["low"] * scale)
    np.testing.assert_allclose(raw["raw_high"], raw["high"] * scale)


@pytest.mark.parametrize("method", METHODS)
def test_interval_and_test_agree_at_the_level(tidy, method):
    table = tidy.grid(models=["tiny-s", "tiny-m", "tiny-l"], seeds=[1.0, 2.0])
    table["model"] += table["seed"].astype(str)  # six models
    for alpha in (0.05, 0.5):
        effects = fit(table, methods=[method], alpha=alpha)
        assert ((effects["low"] < effects["estimate"]) & (effects["estimate"] < effects["high"])).all()
        excludes = (effects["low"] > 0) | (effects["high"] < 0)
        assert (excludes == (effects["p"] < alpha)).all()


def test_flops_take_the_place_of_tokens(tidy):
    table = tidy.grid(tasks=["a"])
    effects = fit(table, axis="flops", params="nonembedding")
    same = table.assign(tokens=table["flops"], n_params_nominal=table["n_params_nonembedding"])
    np.testing.assert_allclose(effects["t"], fit(same)["t"])
    assert effects["effect"].tolist() == ["parameters", "tokens", "interaction"]
    assert not np.allclose(effects["t"], fit(table)["t"])


def test_methods_in_the_order_asked_for_with_corrections_of_their_own(tidy):
    table = tidy.grid()
    both = fit(table, methods=["hc3", "ols"])
    assert both["method"].tolist() == (["hc3"] * 3 + ["ols"] * 3) * 2
    for method in ("ols", "hc3"):
        alone, own = fit(table, methods=[method]), both[both["method"] == method]
        for column in ("estimate", "p", "q", "q_fdr_by", "q_holm"):
            np.testing.assert_array_equal(own[column], alone[column])
    np.testing.assert_array_equal(both["q"], both["q_fdr_bh"])
    first = fit(table, corrections=["holm", "fdr_bh"])
    np.testing.assert_array_equal(first["q"], first["q_holm"])


def test_clusters_are_models_whatever_their_seeds(tidy):
    effects = fit(tidy.grid(tasks=["a"], seeds=[1.0, 2.0]), methods=["cluster"])
    assert set(effects["clusters"]) == {3}
    assert set(effects["df"]) == {2}


@pytest.mark.parametrize(
    ("method", "found"),
    [
        ("ols", 18),
        ("hc3", 17),
        ("cluster", 12),
        ("cr2", 11),
        ("wild", 11),
        ("quasibinomial", 18),
        ("gee", 12),
        ("mixed", 12),
    ],
)
def test_how_many_published_effects_survive(published, method, found):
    effects = fit(published, methods=[method], draws=9999)
    assert (effects["q"] < 0.05).sum() == found
    assert effects["p"].notna().all()


def test_all_published_cells(published, published_folder):
    names = {
        "truthfulqa_mc1": "TruthfulQA-MC1",
        "truthfulqa_mc2": "TruthfulQA-MC2",
        "isp_neqa": "NeQA",
        "isp_pattern_matching_suppression": "Pattern Match Suppression",
        "isp_into_the_unknown": "Into the Unknown",
    }
    table1 = pd.read_csv(published_folder / "table1.tsv", sep="\t").set_index("task_name")
    columns = {"parameters": "Parameters", "tokens": "Tokens", "interaction": "Interaction"}
    checked = 0
    for row in fit(published).to_dict("records"):
        title = names.get(row["task"]) or row["task"].removeprefix("isp_").replace("_", " ").title()
        cell = table1.loc[title, columns[row["effect"]]]
        df, t, relation, p = re.fullmatch(r"t\((\d+)\)=([-\d.]+), p([<=])([\d.]+)", cell).groups()
        assert row["df"] == int(df)
        assert round(row["t"], 2) == float(t), cell
        assert row["q"] < float(p) if relation == "<" else round(row["q"], 3) == float(p), cell
        checked += 1
    assert checked == 36


@settings(max_examples=settings.default.max_examples // 4)
@given(scale=st.floats(0.01, 100), shift=st.floats(-100, 100), order=st.randoms(use_true_random=False))
def test_t_does_not_depend_on_units_or_order(tidy, scale, shift, order):
    table = tidy.grid(tasks=["a"])
    positions = list(range(len(table)))
    order.shuffle(positions)
    changed = table.iloc[positions].assign(value=lambda rows: rows["value"] * scale + shift)
    changed["tokens"] *= 1000.0
    np.testing.assert_allclose(fit(changed)["t"], fit(table)["t"], rtol=1e-6)


@settings(max_examples=settings.default.max_examples // 4)
@given(data=st.data())
def test_never_fails_and_never_leaves_a_number_out_silently(tidy, data):
    grid = tidy.grid(tasks=["a"], models=["tiny-s", "tiny-m", "tiny-l", "tiny-x"], steps=[1, 2, 8], seeds=[1.0, 2.0])
    size = data.draw(st.integers(1, len(grid)))
    keep = data.draw(st.lists(st.sampled_from(range(len(grid))), min_size=size, max_size=size, unique=True))
    allowed = data.draw(st.sampled_from([[0.0, 1.0], [0.0, 0.25, 0.5, 1.0], [-1.0, 0.1, 7.0]]))
    values = data.draw(st.lists(st.sampled_from(allowed), min_size=len(keep), max_size=len(keep)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        effects = fit(grid.iloc[keep].assign(value=values), methods=list(METHODS), draws=19)
    assert len(effects) == 3 * len(METHODS)
    numbers = effects[["estimate", "stderr", "t", "p", "q", "low", "high", "raw_estimate", "raw_low", "raw_high"]]
    assert (numbers.notna().all(axis=1) | (effects["note"] != "")).all()
    assert (effects["df"].notna() | (effects["note"] != "") | (effects["method"] == "wild")).all()
    assert not np.isinf(effects.select_dtypes("number").to_numpy(dtype=float)).any()


def notes(effects):
    return effects["note"].tolist()


def missing(effects):
    return effects[["t", "df", "p", "q"]].isna().all(axis=None)


def test_one_model_size_fits_tokens_alone(tidy):
    table = tidy.grid(models=["tiny-s"], tasks=["a"])
    effects = fit(table).set_index("effect")
    expected = stats.linregress(np.log10(table["tokens"]), table["value"])
    assert effects.loc["tokens", "t"] == pytest.approx(expected.slope / expected.stderr)
    assert effects.loc["tokens", "df"] == len(table) - 2
    assert effects.loc["tokens", "note"] == "only one model size: tokens fitted alone"
    assert missing(effects.loc[["parameters", "interaction"]])
    assert set(effects.loc[["parameters", "interaction"], "note"]) == {"only one model size: not fitted"}


def test_one_step_fits_parameters_alone(tidy):
    effects = fit(tidy.grid(steps=[8], tasks=["a"])).set_index("effect")
    assert effects.loc["parameters", "df"] == 1
    assert np.isfinite(effects.loc["parameters", "t"])
    assert effects.loc["parameters", "note"] == "only one training step: parameters fitted alone"
    assert set(effects.loc[["tokens", "interaction"], "note"]) == {"only one training step: not fitted"}


def test_one_checkpoint(tidy):
    effects = fit(tidy.table([{}]))
    assert missing(effects)
    assert set(notes(effects)) == {"only one model size and only one training step"}


def test_too_few_points(tidy):
    effects = fit(tidy.grid(models=["tiny-s", "tiny-m"], steps=[1, 2], tasks=["a"]))
    assert missing(effects)
    assert set(notes(effects)) == {"too few points: 4 rows for 4 coefficients"}


def test_one_model_and_two_steps_are_too_few(tidy):
    effects = fit(tidy.grid(models=["tiny-s"], steps=[1, 2], tasks=["a"]))
    assert missing(effects)
    assert set(notes(effects)) == {"too few points: 2 rows for 2 coefficients"}


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_constant_values(tidy, value):
    effects = fit(tidy.grid(tasks=["a"], value=value))
    assert missing(effects)
    assert set(notes(effects)) == {f"the value is constant ({value:g} in all 18 rows)"}


def test_sizes_and_steps_that_vary_together(tidy):
    rows = [
        {"model": model, "step": step, "value": value, "seed": seed}
        for seed in (1, 2, 3)
        for model, step, value in (("tiny-s", 1, 0.1 * seed), ("tiny-m", 2, 0.3), ("tiny-l", 4, 0.2))
    ]
    effects = fit(tidy.table(rows))
    assert missing(effects)
    assert "vary together" in notes(effects)[0]


def test_an_exact_fit_has_estimates_but_no_t(tidy):
    table = tidy.grid(tasks=["a"])
    table["value"] = 0.1 * np.log10(table["tokens"]) + 0.05 * np.log10(table["n_params_nominal"])
    effects = fit(table)
    assert missing(effects)
    assert effects["estimate"].notna().all()
    assert effects["estimate"].iloc[2] == pytest.approx(0, abs=1e-9)
    assert "the fit is exact" in notes(effects)[0]


def test_an_exact_fit_with_one_model(tidy):
    table = tidy.grid(tasks=["a"], models=["tiny-s"])
    table["value"] = np.log10(table["tokens"])
    effects = fit(table).set_index("effect")
    assert effects.loc["tokens", "estimate"] == pytest.approx(1)
    assert effects.loc["tokens", "note"].startswith("only one model size: tokens fitted alone; the fit is exact")


def test_rows_that_cannot_be_used_are_counted(tidy):
    table = tidy.grid(tasks=["a"])
    table.loc[0, "value"] = np.nan
    table.loc[1, "tokens"] = 0
    effects = fit(table)
    assert set(effects["n"]) == {16}
    assert set(notes(effects)) == {"2 rows without a value, a parameter count or tokens left out"}
    assert effects["t"].notna().all()


def test_no_usable_rows(tidy):
    effects = fit(tidy.grid(tasks=["a"], n_params_nominal=np.nan))
    assert missing(effects)
    assert notes(effects)[0].startswith("no usable rows; 18 rows without")


def test_tasks_that_cannot_be_tested_do_not_count_in_the_correction(tidy):
    good = tidy.grid(tasks=["a"])
    both = pd.concat([good, tidy.grid(tasks=["b"], value=0.5)], ignore_index=True)
    np.testing.assert_allclose(fit(both)["q"].iloc[:3], fit(good)["q"])


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_every_correction_works(tidy, correction):
    effects = fit(tidy.grid(), corrections=[correction])
    assert ((effects["q"] >= 0) & (effects["q"] <= 1)).all()


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"params": "nominl"}, "did you mean 'nominal'"),
        ({"corrections": ["fdr_bh", "bonferoni"]}, "did you mean 'bonferroni'"),
        ({"methods": ["ols", "mixd"]}, "did you mean 'mixed'"),
        ({"methods": []}, "at least one"),
        ({"corrections": []}, "at least one"),
        ({"axis": "flop"}, "did you mean 'flops'"),
        ({"alpha": 0.0}, "between 0 and 1"),
        ({"alpha": 1.5}, "between 0 and 1"),
    ],
)
def test_wrong_settings(tidy, wrong, match):
    with pytest.raises(AnalysisError, match=match):
        fit(tidy.grid(), **wrong)
