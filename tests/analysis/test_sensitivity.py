"""Effects under other choices, and their size with intervals."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_run import conf

from evalrun.reporting.build import run_analysis
from evalrun.reporting.effect_sections import per_ten, sensitivity_sentences
from evalrun.reporting.sections import sections
from evalrun.statistics.findings import analyze_table
from evalrun.statistics.regression.interactions import fit_interactions
from evalrun.statistics.regression.model_frame import RegressionSettings
from evalrun.statistics.regression.sensitivity import COLUMNS, sensitivity

CHOICE = RegressionSettings("nominal", "tokens", ["cr2", "ols"], ["fdr_bh"], 0.05, 99, 0)


@pytest.fixture
def table(tidy):
    """Five models, whose exact counts are no fixed multiples of the nominal ones; in one task the largest is low."""
    generator = np.random.default_rng(4)
    rows = tidy.grid(tasks=["rises", "one"], models=["m0", "m1", "m2", "m3", "m4"])
    rank = rows["model"].str[1:].astype(int)
    rows["n_params_nominal"] = 1e6 * 3.0**rank
    rows["n_params"] = rows["n_params_nominal"] * (1.3 + 0.1 * rank)
    rows["n_params_nonembedding"] = rows["n_params_nominal"] * (0.5 + 0.1 * rank)
    rows["value"] = (
        0.4 + 0.04 * np.log2(rows["step"]) * (rows["task"] == "rises") + generator.normal(0, 0.01, len(rows))
    )
    fall = (rows["task"] == "one") & (rank == 4)
    rows.loc[fall, "value"] -= 0.3
    return rows


def test_each_variant_is_the_analysis_with_one_thing_changed(table):
    found = sensitivity(table, CHOICE)
    assert list(found.columns) == COLUMNS
    kinds = found.groupby("kind", sort=False)["variant"].unique()
    assert list(kinds["as chosen"]) == ["nominal"]
    assert list(kinds["parameters"]) == ["total", "nonembedding"]
    assert list(kinds["scale"]) == ["logit"]
    assert list(kinds["without"]) == ["m0", "m1", "m2", "m3", "m4"]
    own = replace(CHOICE, methods=["cr2"])
    logit = table.assign(value=np.log((table["value"] * 600 + 0.5) / (600 - table["value"] * 600 + 0.5)))
    for variant, rows, choice in (
        ("nominal", table, own),
        ("total", table, replace(own, params="total")),
        ("logit", logit, own),
        ("m4", table[table["model"] != "m4"], own),
    ):
        expected = fit_interactions(rows, choice)
        part = found[found["variant"] == variant].reset_index(drop=True)
        pd.testing.assert_frame_equal(part[["task", "effect", "t", "q"]], expected[["task", "effect", "t", "q"]])
    assert found["task"].tolist() == sorted(found["task"], key=["rises", "one"].index)


def test_what_is_no_share_has_no_logit_and_equal_counts_are_one(table):
    found = sensitivity(table.assign(value=3 * table["value"], n_params=table["n_params_nominal"]), CHOICE)
    assert set(found["variant"]) == {"nominal", "nonembedding", "m0", "m1", "m2", "m3", "m4"}
    lacking = sensitivity(table.assign(n_params_nonembedding=np.nan), replace(CHOICE, methods=["wild"]))
    assert "nonembedding" not in set(lacking["variant"])
    assert set(lacking["method"]) == {"cr2"}
    assert "total" not in set(sensitivity(table.assign(n_params=8e4), CHOICE)["variant"])


def test_an_effect_that_rests_on_one_model_is_told(table):
    study = analyze_table(table, conf(methods=["ols", "cr2"], sensitivity=True), "x")
    chosen = study.sensitivity[study.sensitivity["kind"] == "as chosen"].set_index(["task", "effect"])
    assert chosen.loc[("one", "parameters"), "significant"]
    (told,) = sensitivity_sentences(study)
    assert "one (parameters: without m4)" in told
    assert "rises" not in told
    assert "1 stays so with every parameter count, on the logit scale and without any one model" in told
    rising = study.sensitivity["task"] == "rises"
    (told,) = sensitivity_sentences(replace(study, sensitivity=study.sensitivity[~rising]))
    assert "none stays so with every parameter count" in told
    section = next(section for section in sections(study) if section.title == "Does it hang on a choice?")
    rows = {(row[0].text, row[1].text): row for row in section.rows}
    assert rows["one", "parameters"][-1].text == "m4"
    assert len(section.heads) == len(section.rows[0])
    quiet = analyze_table(table, conf(methods=["ols"], sensitivity=False), "x")
    assert quiet.sensitivity.empty
    assert list(sensitivity_sentences(quiet)) == []


def test_effects_per_factor_of_ten_are_in_every_table_with_their_intervals(table, tmp_path):
    made = run_analysis(table, conf(methods=["cr2", "ols"]), "x", tmp_path, {})
    effects = pd.read_csv(made.files["effects.csv"]).set_index(["task", "effect"])
    row = effects.loc[("rises", "tokens")]
    assert row["raw_estimate"] == pytest.approx(0.04 * np.log2(10), rel=0.03)
    said = f"+{row['raw_estimate']:.3f} (+{row['raw_low']:.3f} to +{row['raw_high']:.3f})"
    assert said in made.files["report.html"].read_text()
    assert said in made.files["effects.md"].read_text()
    assert f"{row['raw_estimate']:.3f}" in made.files["tables/per_ten.tex"].read_text()
    assert re.search(r"per factor of ten", made.files["effects.md"].read_text())
    down = table.assign(value=30 - 20 * table["value"], higher_is_better=False)
    study = analyze_table(down, conf(methods=["cr2"]), "x")
    rows = {row[0].text: row for row in per_ten(study).rows}
    assert rows["rises ↓"][2].text.startswith("+2.")  # falls by 20 times as much, which is better
