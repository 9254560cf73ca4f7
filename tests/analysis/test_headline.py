"""Whose stars a reader sees first, what plain least squares beside them says, and where a slope misleads."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from designs import SIZES, STEPS, design, z
from statsmodels.stats.multitest import multipletests
from test_run import conf

from evalrun.config.compose import compose, hydra_session, to_config
from evalrun.reporting.build import _text
from evalrun.reporting.effect_words import which_stars
from evalrun.reporting.html_page import render
from evalrun.reporting.regression_sentences import _standing, assumptions, regression, stories
from evalrun.reporting.regression_table import t_text
from evalrun.reporting.table_files import table_files
from evalrun.statistics.findings import analyze_table
from evalrun.statistics.regression.comparison import error_ratios, reach_of
from evalrun.statistics.regression.interactions import fit_design, fit_interactions
from evalrun.statistics.regression.model_frame import RegressionSettings
from evalrun.statistics.regression.wild import fit_wild, smallest_p

BOTH = RegressionSettings("nominal", "tokens", ["cr2", "ols"], ["fdr_bh"], 0.05, 999, 0)


def displayed(table, width=100, **given):
    """What an analysis shows and writes, without its figures."""
    study = analyze_table(table, conf(sensitivity=False, **given), "tiny")
    files = {name: io.StringIO(text) for name, text in table_files(study, table).items()}
    return SimpleNamespace(text=_text(study, width), page=render(study, {}), files=files)


def settings_of(*words):
    with hydra_session():
        return to_config(compose(["model=pythia-70m", "step=2000", *words])).analysis


def test_stars_are_those_of_a_method_for_few_models_and_the_papers_are_the_papers():
    default = settings_of()
    assert (default.name, default.methods[0]) == ("referee", "cr2")
    assert "ols" in default.methods[1:]
    for words in (["experiment=paper"], ["experiment=paper_v1"], ["analysis=interaction"]):
        assert settings_of(*words).methods[0] == "ols"


@pytest.mark.parametrize("models", [3, 4, 8])
def test_flat_studies_of_models_with_levels_of_their_own_seldom_get_a_star(models):
    """OLS stars an effect in half of such studies; the headline method in one of twenty."""
    generator = np.random.default_rng(models)
    size = SIZES[np.round(np.linspace(0, 7, models)).astype(int)]
    p, t = z(np.repeat(size, 8)), z(np.tile(STEPS, models))
    x, groups = np.column_stack([np.ones(len(p)), p, t, p * t]), np.repeat(np.arange(models), 8)
    starred = dict.fromkeys(("cr2", "ols"), 0)
    studies = 300
    for _ in range(studies):
        y = z(generator.normal(0, 0.3, len(p)) + generator.normal(0, 1, models)[groups])
        for method in starred:
            tested = fit_design(design(y, x, groups), False, method, BOTH).p
            starred[method] += multipletests(tested, method="fdr_bh")[0].any()
    assert starred["cr2"] / studies <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / studies)
    assert starred["ols"] / studies > 0.4


def test_the_table_shows_both_and_says_whose_the_stars_are(tidy):
    made = displayed(tidy.grid(), methods=["cr2", "ols"])
    head = made.text.splitlines()[0]
    assert " ".join(head.split()) == "task parameters t (q) tokens t (q) interaction t (q) OLS t shape"
    row = made.text.splitlines()[2]
    assert row.startswith("tiny_obey")
    effects = pd.read_csv(made.files["tables/methods.csv"])
    for row in effects[effects["method"] == "ols"].to_dict("records"):
        line = next(line for line in made.text.splitlines() if line.startswith(row["task"]))
        assert f"{row['t']:.1f}{'+' if row['q'] < 0.05 else ''}" in line
    starred = (effects.loc[effects["method"] == "cr2", "q"] < 0.05).sum()
    assert sum(line.count(")*") for line in made.text.splitlines()) == starred
    text = " ".join(made.page.split())
    for said in (" ".join(made.text.split()), text):
        assert "Stars are by CR2 errors: checkpoints of one model may depend on each other" in said
        assert "OLS, beside it, takes checkpoints as independent and would star" in said
    assert "OLS t; bold" in text
    assert set(pd.read_csv(made.files["effects.csv"])["method"]) == {"cr2"}
    none = displayed(tidy.grid(models=["tiny-l"], steps=(1, 2)), methods=["cr2", "ols"])
    assert "Nothing is starred: no effect could be tested by CR2 errors, nor by OLS." in " ".join(none.text.split())
    assert "over 0 tests" not in none.text + " ".join(none.page.split())
    alone = displayed(tidy.grid(models=["tiny-l"]), methods=["cr2", "ols"]).text
    assert re.search(r"^\+ q < 0\.05, corrected over \d tests \([^)]*\), by OLS\. Shape: in tiny-l\.", alone, re.M)
    narrow = displayed(tidy.grid(), 80, methods=["cr2", "ols"]).text
    assert max(map(len, narrow.splitlines())) <= 80
    assert sum(line.startswith("  by OLS ") for line in narrow.splitlines()) == 2


def test_plain_least_squares_alone_says_what_it_takes_for_granted(tidy):
    alone = analyze_table(tidy.grid(), conf(methods=["ols"]), "tiny")
    assert "Stars are by OLS, which takes the checkpoints of one model as independent" in which_stars(alone)
    two = analyze_table(tidy.grid(models=["tiny-s", "tiny-l"]), conf(methods=["cr2", "ols"]), "tiny")
    told = " ".join(regression(two))
    assert "Nothing is starred: no effect could be tested by CR2 errors. OLS, beside it," in told


def turning(tidy, lower=False):
    """Six models that rise by .1 for each doubling up to step 32 and fall by .04 from there on."""
    generator = np.random.default_rng(3)
    rows = []
    for k in range(6):
        for step in range(9):
            value = 0.2 + 0.1 * min(step, 5) - 0.04 * max(step - 5, 0) + 0.004 * k * (step - 4) / 8
            value += 0.01 * k + generator.normal(0, 0.004)
            given = {"n_params_nominal": 1e5 * 3**k, "n_params": 1e5 * 3**k, "stderr": 0.004}
            row = {"model": f"m{k}", "step": 2**step, "value": 1 - value if lower else value, **given}
            rows.append({**row, "higher_is_better": not lower})
    return tidy.table(rows)


@pytest.mark.parametrize("lower", [False, True])
def test_a_slope_through_curves_that_turn_is_marked_with_the_slopes_of_both_sides(tidy, lower):
    made = displayed(turning(tidy, lower), methods=["cr2", "ols"])
    (row,) = pd.read_csv(made.files["tables/two_stories.csv"]).to_dict("records")
    assert row["q"] < 0.05
    assert (row["label"], row["curves"], row["of"], row["models"]) == ("inverted-U", 6, 6, 6)
    up = -1 if lower else 1
    assert up * row["before"] == pytest.approx(0.1 / np.log10(2), rel=0.05)
    assert up * row["after"] == pytest.approx(-0.04 / np.log10(2), rel=0.1)
    assert row["before_low"] < row["before"] < row["before_high"]
    line = next(line for line in made.text.splitlines() if line.startswith("tiny_obey"))
    assert ")*~" in line
    said = " ".join(made.text.split())
    assert "~ Obey: shape and slope tell two stories. The slope over tokens is significant (t = +" in said
    assert "but 6 of 6 curves are inverted-U: +0.33" in said
    assert "from it on" in said
    assert "shape and slope tell two stories" in made.page


def test_a_slope_that_its_curves_follow_is_not_marked(tidy):
    study = analyze_table(tidy.grid(), conf(methods=["ols"]), "tiny")
    assert (study.headline["q"] < 0.05).any()
    assert stories(study) == []


def test_ratios_of_errors_are_printed_and_what_is_lost_with_them_is_named(published):
    study = analyze_table(published, conf(methods=["cr2", "ols"], sensitivity=False), "pythia")
    found = error_ratios(study.effects, 0.05).set_index(["task", "effect"])
    assert len(found) == 36
    assert found.loc[("truthfulqa_mc1", "interaction"), "ratio"] == pytest.approx(1.86, abs=0.005)
    assert found.loc[("truthfulqa_mc1", "interaction"), "lost"]
    told = " ".join(assumptions(study))
    low, high, middle = found["ratio"].min(), found["ratio"].max(), found["ratio"].median()
    assert f"are {low:.2f} to {high:.2f} times those of OLS (median {middle:.2f}, 36 effects)" in told
    larger = (found["ratio"] > 1).sum()
    assert f"larger for {larger}, where OLS is too sure, and smaller for {36 - larger}" in told
    assert "Of 18 effects that are significant by OLS, 7 are not by CR2 errors" in told
    assert "truthfulqa_mc1 (interaction, 1.86)" in told
    assert "too small" not in told


def test_smaller_clustered_errors_are_not_called_larger(tidy):
    """Models that share a curve which is no line: errors by model are smaller than those of OLS."""
    study = analyze_table(turning(tidy), conf(methods=["cr2", "ols"]), "tiny")
    assert (error_ratios(study.effects, 0.05)["ratio"] < 1).all()
    told = " ".join(assumptions(study))
    assert "not independent" in told
    assert "all smaller: OLS is too cautious, or the models are too few to tell" in told


def test_a_method_that_could_not_have_found_an_effect_is_not_asked_for_it(tidy):
    """With four models no p of the wild bootstrap is below .004, and 36 tests ask a lone effect for .0014."""
    generator = np.random.default_rng(0)
    flat = tidy.grid(tasks=[f"t{k}" for k in range(11)], models=["a", "b", "c", "d"])
    flat["value"] = 0.5 + generator.normal(0, 0.02, len(flat))
    strong = tidy.grid(tasks=["strong"], models=["a", "b", "c", "d"])
    sizes = {"a": 1e5, "b": 3e5, "c": 1e6, "d": 5e6}
    strong["value"] = 0.1 + 0.15 * np.log2(strong["step"]) + generator.normal(0, 1e-3, len(strong))
    table = pd.concat([strong, flat])
    table["n_params_nominal"] = table["n_params"] = table["model"].map(sizes)
    study = analyze_table(table, conf(methods=["cr2", "ols", "wild", "gee"], draws=999), "x")
    assert (study.headline["q"] < 0.05).sum() == 1
    reach = reach_of(study.effects, "wild", 1, study.choice)
    assert reach.least_p == smallest_p(4, 999, 0) > 0.05 / 36
    assert reach.least_q > 0.05
    told = " ".join(regression(study))
    assert "It is significant by every method that could find it so: strong (tokens)." in told
    assert "The wild cluster bootstrap is not among them: however strong an effect is, with 4 models no p of it" in told
    assert "4 models are few: to be significant alone among all tests, |t| must exceed up to" in told


@pytest.mark.parametrize("models", [3, 4, 6])
def test_no_p_of_the_wild_bootstrap_is_below_the_smallest(models):
    size = SIZES[np.round(np.linspace(0, 7, models)).astype(int)]
    p, t = z(np.repeat(size, 8)), z(np.tile(STEPS, models))
    x, groups = np.column_stack([np.ones(len(p)), p, t, p * t]), np.repeat(np.arange(models), 8)
    y = z(1000 * x[:, 1] + np.random.default_rng(0).normal(0, 0.01, len(p)))
    least = smallest_p(models, 1999, 0)
    assert fit_wild(design(y, x, groups), 0.05, 1999, 0).p[0] == pytest.approx(least)
    assert least == pytest.approx(6.0 ** (1 - models), abs=0.006)


def test_signs_of_a_metric_of_which_less_is_better_are_turned_for_people_alone(tidy):
    up, down = tidy.grid(tasks=["up"]), tidy.grid(tasks=["down"])
    down["value"], down["higher_is_better"] = 30 - 20 * up["value"].to_numpy(), False
    made = displayed(pd.concat([up, down]), methods=["ols"], corrections=["fdr_bh"])
    lines = {line.split()[0]: line for line in made.text.splitlines() if line.startswith(("up", "down"))}
    assert lines["up"].split()[1:] == [word for word in lines["down"].split()[1:] if word != "↓"]
    assert "↓ less is better of the metric: signs are turned" in " ".join(made.text.split())
    effects = pd.read_csv(made.files["effects.csv"])
    own = effects.set_index(["task", "effect"])
    assert own.loc[("up", "tokens"), "t"] == pytest.approx(-own.loc[("down", "tokens"), "t"])
    assert own.loc["up", "higher_is_better"].all()
    assert not own.loc["down", "higher_is_better"].any()
    for name in ("effects.md", "effects.tex"):
        text = made.files[name].getvalue()
        shown = [line for line in text.splitlines() if "down" in line and "t(" in line]
        assert shown, name
        assert f"t(14) = {own.loc[('up', 'tokens'), 't']:.2f}" in shown[0]
    page = " ".join(made.page.split())
    assert "Regression: lower (better) with training" in page
    assert "Regression: higher with training" in page


def test_along_flops_the_words_are_those_of_compute(tidy):
    table = tidy.grid()
    made = displayed(table, methods=["cr2", "ols"], axis="flops")
    assert made.text.splitlines()[0].split()[4:6] == ["FLOPs", "t"]
    said = " ".join(made.text.split())
    assert "Along FLOPs the effect of parameters is that of size at equal compute." in said
    page = " ".join(made.page.split())
    assert "Tokens</th>" not in page
    assert "larger models do better at equal compute" in page
    plain = displayed(table, methods=["ols"], axis="flops")
    page = " ".join(plain.page.split())
    assert "with size at equal compute" in page
    assert "with compute" in page
    assert set(pd.read_csv(plain.files["effects.csv"])["axis"]) == {"flops"}
    assert "FLOPs" in plain.files["effects.tex"].getvalue()


def test_degrees_of_freedom_are_written_as_they_are(tidy):
    assert t_text({"t": -2.876, "df": 60.0}) == "t(60) = -2.88"
    assert t_text({"t": 2.0, "df": 4.31}) == "t(4.3) = 2.00"
    assert t_text({"t": 2.0, "df": np.nan}) == "t = 2.00"
    made = displayed(tidy.grid(), methods=["wild"], draws=99)
    assert "nan" not in made.files["effects.md"].getvalue() + made.files["effects.tex"].getvalue()
    assert "nan" not in made.text
    assert fit_interactions(tidy.grid(), BOTH)["axis"].eq("tokens").all()


def test_what_the_headline_could_not_test_is_none_of_its_stars():
    rows = [
        ("parameters", "cr2", 0.001),
        ("parameters", "ols", 0.001),
        ("tokens", "cr2", np.nan),
        ("tokens", "ols", 0.001),
    ]
    effects = pd.DataFrame(
        [{"task": "t", "title": "T", "effect": e, "method": m, "p": q, "q": q, "estimate": 1.0} for e, m, q in rows]
    )
    choice = SimpleNamespace(methods=["cr2", "ols"], alpha=0.05, axis="tokens")
    assert _standing(SimpleNamespace(effects=effects, choice=choice), ["cr2", "ols"]) == {"T": ["parameters"]}
