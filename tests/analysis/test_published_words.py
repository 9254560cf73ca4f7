"""The published study's report, sentence by sentence: true of its tables, and of one mind."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from made_study import summary
from test_run import conf

from evalrun.reporting.curve_sections import falls
from evalrun.reporting.effect_sections import per_ten, sensitivity_sentences
from evalrun.reporting.effect_words import meaning
from evalrun.reporting.regression_sentences import assumptions
from evalrun.reporting.sections import sections
from evalrun.statistics.findings import analyze_table
from evalrun.statistics.regression.equivalence import NONE, SMALL, UNDECIDED
from evalrun.statistics.regression.orientation import turned
from evalrun.statistics.regression.sensitivity import CHOSEN, WITHOUT


@pytest.fixture(scope="module")
def study(published):
    return analyze_table(published, conf(methods=["cr2", "ols"], sensitivity=True), "pythia")


def test_what_rests_on_one_model_is_told_by_one_decision(study):
    """By the corrected q of every model in turn; not once more by the uncorrected p of one model."""
    told = " ".join(summary(study))
    assert "crosses 0.05" not in told
    found = study.sensitivity
    chosen = found[found["kind"] == CHOSEN].set_index(["task", "effect"])["significant"]
    lost, gained = sensitivity_sentences(study)
    left = found[(found["kind"] == WITHOUT) & found["p"].notna()]
    for row in left.to_dict("records"):
        stars = chosen[(row["task"], row["effect"])]
        where = lost if stars else gained
        if row["significant"] != stars:
            assert re.search(rf"{row['title']} \({row['effect']}: [^)]*{row['variant']}", where), row
    assert gained == (
        "2 effects without a star get one by another choice: isp_hindsight_neglect (parameters: without pythia-6.9b) "
        "and isp_hindsight_neglect (tokens: without pythia-6.9b)."
    )


def test_without_the_sensitivity_table_one_model_is_told_by_its_p(published):
    plain = analyze_table(published, conf(methods=["ols"], sensitivity=False), "pythia")
    moved = plain.diagnostics[plain.diagnostics["influence_flips"].astype(bool)]
    told = " ".join(assumptions(plain))
    assert f"In {len(moved)} tasks the uncorrected p of an effect crosses 0.05 when one model is left out" in told


@pytest.mark.parametrize(("method", "said"), [("cr2", "allowed for by CR2 errors"), ("ols", "not allowed for by OLS")])
def test_dependent_checkpoints_are_told_with_what_the_headline_makes_of_them(published, method, said):
    found = analyze_table(published, conf(methods=[method], sensitivity=False), "pythia")
    own = found.diagnostics
    count = ((own["autocorrelation_p"] < 0.05) & (own["autocorrelation"] > 0)).sum()
    (told,) = (sentence for sentence in assumptions(found) if "miss the plane" in sentence)
    assert told.startswith(f"In {count} of 12 tasks")
    assert told.endswith(f"each beyond chance, p < 0.05): they are not independent, which is {said}.")


def test_labels_falls_and_counts_agree(study):
    named = ["inverse", "late drop", "inverted-U", "U-shaped", "non-monotonic"]
    assert study.falls["falls"].sum() == 26
    assert study.shapes["label"].isin(named).sum() == 26
    told = " ".join(summary(study))
    assert "26 of 96 curves fall after a peak" in told
    assert f"{study.shapes.loc[study.shapes['label'].isin(named), 'task'].nunique()} tasks fall in some model" in told
    section = falls(study)
    assert len(section.rows) == 26
    assert "-" not in "".join(row[4].text for row in section.rows)  # a true minus


def test_moves_are_told_in_the_order_in_which_they_happen(study):
    shapes = study.shapes.set_index(["task", "model"])
    assert shapes.loc[("isp_sig_figs", "pythia-160m"), "sentence"].endswith(
        "falls from 0.39 (step 2000) to 0.31 (step 4000), then rises to 0.39 (step 32000): non-monotonic"
    )


def test_a_task_with_a_small_effect_and_an_undecided_one_is_told_as_both(study):
    rows = turned(study.headline)
    own = rows[rows["task"] == "isp_redefine"].set_index("effect").to_dict("index")
    assert meaning(own, 0.05, "tokens") == (
        "Regression: no effect of more than 0.05 per tenfold of tokens; undecided for parameters and the interaction."
    )


def test_marks_say_what_they_are(study):
    """An effect of which a star says that it is there is not marked as if it were none."""
    cells = {row[0].text: [cell.text for cell in row[1:]] for row in per_ten(study).rows}
    small = study.headline[study.headline["verdict"].isin([NONE, SMALL])]
    assert sum("(small)" in cell for row in cells.values() for cell in row) == len(small)
    assert "≈ 0" not in str(cells)
    pooled = next(section for section in sections(study) if section.title == "Pooled over tasks")
    assert "bold and ✱: q < 0.05 by the same correction" in pooled.about


def test_every_number_of_the_findings_is_in_the_frames(study):
    """Whatever a sentence counts: from the frames once more, by other code."""
    told = " ".join(summary(study))
    own, plain = study.headline, study.beside
    assert f"By CR2 errors {(own['q'] < 0.05).sum()} of 36 effects are significant" in told
    assert f"would star {(plain['q'] < 0.05).sum()} instead of {(own['q'] < 0.05).sum()}" in told
    without = own[own["q"] >= 0.05]
    smaller, undecided = (int((without["verdict"] == verdict).sum()) for verdict in (NONE, UNDECIDED))
    assert f"Of {len(without)} effects without a star {smaller} are shown to be smaller" in told
    assert f"{undecided} are undecided" in told
    assert f"{(own['verdict'] == SMALL).sum()} effects with a star are shown to be smaller than that" in told
    gain = study.diagnostics["aic_linear"] - study.diagnostics["aic_quadratic"]
    assert f"{(gain > 10).sum()} tasks want a curve rather than a plane" in told
    last = study.size_shapes[study.size_shapes["step"] == study.size_shapes["step"].max()]
    assert f"{last['falls'].sum()} tasks of 12 fall" in told
    assert isinstance(study.predictions, pd.DataFrame)
    assert study.predictions.empty  # the mixed model is not among the methods
