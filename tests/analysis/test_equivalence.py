"""Effects that are not significant: shown to be small, or undecided."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from shaping import conf_of

from evalrun.reporting.build import run_analysis
from evalrun.reporting.effect_words import meaning
from evalrun.statistics.regression.equivalence import EFFECT, NONE, SMALL, UNDECIDED, with_equivalence
from evalrun.statistics.regression.interactions import fit_interactions
from evalrun.statistics.regression.model_frame import RegressionSettings

FOLDER = Path(__file__).resolve().parents[1] / "reference"
CHOICE = RegressionSettings("nominal", "tokens", ["cr2", "ols", "quasibinomial", "wild"], ["fdr_bh"], 0.05, 99, 0)


@pytest.fixture(scope="module")
def reference(tidy):
    rows = pd.read_csv(FOLDER / "data.csv").rename(columns={"parameters": "n_params_nominal"})
    rows["title"] = rows["task"]
    return tidy.table(rows.to_dict("records"))


def against(table, margin=0.05, choice=CHOICE):
    return with_equivalence(fit_interactions(table, choice), table, choice, margin)


def test_two_one_sided_tests_with_the_errors_and_df_of_clubsandwich(reference):
    """Standard errors and df are R's; the rest is the definition, in the metric's units."""
    expected = json.loads((FOLDER / "expected.json").read_text())["tasks"]
    own = against(reference).query("method == 'cr2'")
    for task, rows in own.groupby("task", sort=False):
        values = reference[reference["task"] == task]
        per_size = 1 / np.log10(values["n_params_nominal"]).std()
        per_token = 1 / np.log10(values["tokens"]).std()
        unit = values["value"].std() * np.array([per_size, per_token, per_size * per_token])
        found = expected[task]["cr2"]
        estimate, error = np.array(found["estimate"]) * unit, np.array(found["stderr"]) * unit
        above = stats.t.sf((estimate + 0.05) / error, found["df"])
        below = stats.t.cdf((estimate - 0.05) / error, found["df"])
        np.testing.assert_allclose(rows["p_equivalence"], np.maximum(above, below), rtol=1e-7)


def test_by_least_squares_as_one_sided_tests_of_statsmodels(reference):
    rows = reference[reference["task"] == reference["task"].iloc[0]]
    size, tokens = (np.log10(rows[name]) - np.log10(rows[name]).mean() for name in ("n_params_nominal", "tokens"))
    fit = sm.OLS(rows["value"], np.column_stack([np.ones(len(rows)), size, tokens, size * tokens])).fit()
    own = against(rows).query("method == 'ols'")
    for k, p in enumerate(own["p_equivalence"], start=1):
        sides = []
        for margin, sign in ((-0.05, 1), (0.05, -1)):
            test = fit.t_test((np.eye(4)[k], margin))
            sides.append(float(stats.t.sf(sign * float(test.tvalue.item()), fit.df_resid)))
        assert p == pytest.approx(max(sides), rel=1e-8)


def test_p_is_below_the_level_where_the_interval_of_twice_the_level_is_within_the_margin(reference):
    wide = RegressionSettings("nominal", "tokens", ["cr2"], ["fdr_bh"], 0.1, 99, 0)
    fitted = fit_interactions(reference, wide)
    for margin in (0.01, 0.03, 0.05, 0.1, 0.3):
        within = (fitted["raw_low"] > -margin) & (fitted["raw_high"] < margin)
        assert ((with_equivalence(fitted, reference, wide, margin)["p_equivalence"] < 0.05) == within).all()


def test_verdicts_and_their_correction(reference):
    found = against(reference).query("method == 'cr2'")
    corrected = stats.false_discovery_control(found["p_equivalence"])
    np.testing.assert_allclose(found["q_equivalence"], corrected)
    within, star = found["q_equivalence"] < 0.05, found["q"] < 0.05
    expected = np.select([star & within, star, within], [SMALL, EFFECT, NONE], UNDECIDED)
    assert found["verdict"].tolist() == expected.tolist()
    huge = against(reference, margin=5.0).query("method == 'cr2'")
    assert set(huge["verdict"]) <= {SMALL, NONE}
    assert set(against(reference, margin=1e-6).query("method == 'cr2'")["verdict"]) <= {EFFECT, UNDECIDED}


def test_what_has_no_t_in_the_units_of_the_margin_has_no_verdict(reference):
    found = against(reference).query("method in ('quasibinomial', 'wild')")
    assert set(found["verdict"]) == {""}
    assert found[["margin", "p_equivalence", "q_equivalence"]].isna().all(axis=None)


def test_the_margin_of_a_metric_that_is_no_share_is_a_share_of_its_size(tidy):
    values = 20 + np.random.default_rng(0).normal(0, 0.5, 24)
    steps = (1, 2, 4, 8, 16, 32, 64, 128)
    rows = [
        {"model": model, "step": step, "value": values[8 * m + s], "metric": "ppl", "higher_is_better": False}
        for m, model in enumerate(("tiny-s", "tiny-m", "tiny-l"))
        for s, step in enumerate(steps)
    ]
    found = against(tidy.table(rows))
    assert found["margin"].dropna().unique().tolist() == pytest.approx([0.05 * np.median(values)])


def rows_of(verdicts):
    return {
        effect: {"p": 0.5, "q": 0.6, "estimate": 0.1, "higher_is_better": True, "verdict": verdict, "margin": 0.05}
        for effect, verdict in zip(("parameters", "tokens", "interaction"), verdicts, strict=True)
    }


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ((NONE, NONE, NONE), "Regression: no effect of more than 0.05 per tenfold."),
        (
            (NONE, UNDECIDED, NONE),
            "Regression: no effect of more than 0.05 per tenfold of parameters and the interaction; "
            "undecided for tokens.",
        ),
        ((UNDECIDED,) * 3, "Regression: no effect at q < 0.05, and whether there is one is undecided."),
        (("", "", ""), "Regression: no effect at q < 0.05."),
    ],
)
def test_words_of_a_task_without_a_star(verdicts, said):
    assert meaning(rows_of(verdicts), 0.05, "tokens") == said


def test_report_and_tables_say_what_is_undecided(tidy, tmp_path):
    conf = conf_of(methods=["cr2", "ols"], items=False, draws=99)
    made = run_analysis(tidy.grid(), conf, "tiny", tmp_path, {})
    page = made.files["report.html"].read_text()
    assert "than the smallest effect of interest (0.05 of a share such as accuracy" in page
    effects = pd.read_csv(made.files["effects.csv"])
    assert set(effects["verdict"]) <= {EFFECT, SMALL, NONE, UNDECIDED}
    assert effects["margin"].eq(0.05).all()


@pytest.mark.simulation
def test_an_effect_as_large_as_the_margin_is_called_small_in_at_most_5_per_cent(tidy):
    """Levels differ between models; by CR2, uncorrected, of the effect of tokens."""
    generator, models, steps = np.random.default_rng(1), 6, 8
    choice = RegressionSettings("nominal", "tokens", ["cr2"], ["fdr_bh"], 0.05, 99, 0)
    claimed = []
    for _ in range(400):
        slopes, levels = generator.normal(0.05, 0.01, models), generator.normal(0, 0.05, models)
        rows = [
            {
                "model": f"m{m}",
                "n_params_nominal": 10.0 ** (7 + m / 2),
                "step": 10**s,
                "value": 0.3 + levels[m] + slopes[m] * (s - 3.5) + generator.normal(0, 0.01),
            }
            for m in range(models)
            for s in range(steps)
        ]
        found = against(tidy.table(rows), choice=choice).set_index("effect")
        claimed.append(found.loc["tokens", "p_equivalence"] < 0.05)
    assert np.mean(claimed) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
