"""Single answers: the fit against lme4's glmer and its definition, the table, what cannot be fitted."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from designs import predictors
from scipy import stats
from scipy.special import expit
from shaping import conf_of

from evalrun.reporting.sections import references, sections
from evalrun.reporting.table_files import table_files
from evalrun.statistics.findings import analyze_table
from evalrun.statistics.items.clusters import TaskClusters, clustered_means
from evalrun.statistics.items.item_model import COLUMNS, average, fit_items
from evalrun.statistics.items.laplace import Crossed, Surface, fit_crossed
from evalrun.statistics.items.modes import Answers, find_mode
from evalrun.statistics.items.own_courses import unmodelled_variance
from evalrun.statistics.regression.model_frame import RegressionSettings

FOLDER = Path(__file__).resolve().parents[1] / "reference"
EXPECTED = json.loads((FOLDER / "expected_items.json").read_text())
CHOICE = RegressionSettings("nominal", "tokens", ["ols"], ["fdr_bh"], 0.05, 99, 0)
FORMS = {"levels": (False, False), "slopes": (True, False), "checkpoints": (True, True)}


def z(values):
    return (values - values.mean()) / values.std(ddof=1)


@pytest.fixture(scope="module")
def answers():
    return pd.read_csv(FOLDER / "answers.csv")


@pytest.fixture(scope="module")
def reference(answers):
    """The answers by item and checkpoint, and the fit of a form."""
    values = answers.pivot(index="item", columns=["model", "step"], values="right").to_numpy(dtype="float64")
    cells = answers.drop_duplicates(["model", "step"])
    p, t = (z(np.log10(cells[name].to_numpy(dtype="float64"))) for name in ("parameters", "tokens"))
    x, groups = np.column_stack([np.ones(len(p)), p, t, p * t]), pd.factorize(cells["model"])[0]

    def crossed(form):
        slope, own = FORMS[form]
        return Crossed(x, groups, 2 if slope else None, own)

    return values, crossed


def spreads(found):
    return [getattr(found.spreads, name) for name in ("items", "models", "slopes", "checkpoints")]


def expected_spreads(expected):
    return [expected["sd"][name] for name in ("item", "model", "slope", "checkpoint")]


@pytest.mark.parametrize("form", FORMS)
def test_likelihood_is_that_of_glmer(reference, form):
    """lme4 4 to 5 digits: it stops by its own rule; its optimum is never the better one."""
    values, crossed = reference
    found, expected = fit_crossed(Answers.of(values), crossed(form), restricted=False), EXPECTED["ml"][form]
    np.testing.assert_allclose(found.estimate, expected["estimate"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.stderr, expected["stderr"], rtol=1e-4)
    np.testing.assert_allclose(spreads(found), expected_spreads(expected), rtol=1e-4, atol=1e-5)
    assert found.deviance == pytest.approx(expected["deviance"], abs=1e-5)
    assert found.deviance <= expected["deviance"] + 1e-7


@pytest.mark.parametrize("form", FORMS)
def test_restricted_likelihood_is_that_of_glmmtmb(reference, form):
    values, crossed = reference
    found, expected = fit_crossed(Answers.of(values), crossed(form), restricted=True), EXPECTED["reml"][form]
    np.testing.assert_allclose(spreads(found), expected_spreads(expected), rtol=5e-4, atol=1e-5)
    assert found.deviance == pytest.approx(expected["deviance"], abs=1e-4)
    # glmmTMB's coefficients are the mode of all effects together, which draws them towards 0; here they are the most
    # likely ones given the variances, and the errors differ by as much.
    np.testing.assert_allclose(found.estimate, expected["estimate"], rtol=0.05)
    np.testing.assert_allclose(found.stderr, expected["stderr"], rtol=0.03)


@pytest.mark.parametrize("restricted", [False, True])
def test_objective_and_gradient_by_definition(restricted):
    """Item by item with the whole Hessian, and by differences: no sums, no elimination."""
    generator = np.random.default_rng(2)
    x, groups = predictors(4, 3)
    values = (generator.random((9, 12)) < expit(generator.normal(0, 1, (9, 1)) + x[:, 1])).astype(float)
    crossed = Crossed(x, groups, 2, True)
    theta, beta = np.array([0.9, 0.4, 0.1, 0.2, 0.3]), np.array([0.1, 0.5, 0.2, -0.1])
    surface = Surface(Answers.of(values), crossed)
    function, at = (surface.restricted, theta) if restricted else (surface.plain, np.r_[theta, beta])

    own = [(groups == m).astype(float) for m in range(4)]
    columns = [np.ravel(np.outer(np.arange(9) == i, np.ones(12))) * theta[0] for i in range(9)]
    columns += [np.tile(one * (theta[1] + theta[2] * x[:, 2]), 9) for one in own]
    columns += [np.tile(one * theta[3] * x[:, 2], 9) for one in own]
    columns += [np.tile(np.arange(12) == c, 9) * theta[4] for c in range(12)]
    penalty = np.ones(len(columns))
    design, offset = np.column_stack(columns), np.tile(x @ beta, 9)
    if restricted:
        design, penalty, offset = np.hstack([design, np.tile(x, (9, 1))]), np.r_[penalty, np.zeros(4)], 0 * offset
    u, y = np.zeros(design.shape[1]), values.ravel()
    for _ in range(30):
        p = expit(offset + design @ u)
        hessian = design.T @ (design * (p * (1 - p))[:, None]) + np.diag(penalty)
        u = u + np.linalg.solve(hessian, design.T @ (y - p) - penalty * u)
    logit = offset + design @ u
    by_hand = -2 * (y @ logit - np.logaddexp(0, logit).sum()) + penalty @ u**2 + np.linalg.slogdet(hessian)[1]
    assert function(at)[0] == pytest.approx(by_hand, abs=1e-8)
    moves = np.eye(len(at)) * 1e-4
    slopes = [(function(at + move)[0] - function(at - move)[0]) / 2e-4 for move in moves]
    np.testing.assert_allclose(function(at)[1], slopes, atol=1e-5)


def reader(values, places=None):
    """Of the items of run 0, 1, ...; values are (items, checkpoints)."""

    def read(run_id, task, columns):
        if places is not None and int(run_id) not in places:
            return None
        ids = np.arange(len(values))
        return pd.DataFrame({"doc_id": ids, "doc_hash": [f"h{i}" for i in ids], "acc": values[:, int(run_id)]})

    return read


@pytest.fixture(scope="module")
def table(tidy, answers):
    cells = answers.drop_duplicates(["model", "step"]).reset_index(drop=True)
    rows = cells.rename(columns={"parameters": "n_params_nominal"})[["model", "step", "tokens", "n_params_nominal"]]
    rows["value"] = answers.groupby(["model", "step"], sort=False)["right"].mean().to_numpy()
    return tidy.table(rows.assign(run_id=[str(i) for i in range(len(rows))]).to_dict("records"))


def test_table_of_effects(table, reference):
    found = fit_items(table, reader(reference[0]), CHOICE, "ml", 500)
    assert list(found.columns) == COLUMNS
    assert found["effect"].tolist() == ["parameters", "tokens", "interaction"]
    expected = EXPECTED["ml"]["checkpoints"]
    np.testing.assert_allclose(found["estimate"], expected["estimate"][1:], rtol=1e-4)
    wald = np.array(expected["estimate"][1:]) / expected["stderr"][1:]
    np.testing.assert_allclose(found["t"], wald, rtol=2e-4)
    np.testing.assert_allclose(found["p"], 2 * stats.norm.sf(np.abs(wald)), rtol=2e-3)
    np.testing.assert_allclose(found["low"], found["estimate"] - stats.norm.ppf(0.975) * found["stderr"], rtol=1e-9)
    assert set(found["n_items"]) == {60}
    assert (found["n_checkpoints"].iloc[0], found["n_models"].iloc[0]) == (30, 6)
    assert found["note"].tolist() == ["", "", ""]


def test_few_models_have_few_degrees_of_freedom(table, reference):
    found = fit_items(table, reader(reference[0]), CHOICE, "reml", 500)
    alone = found["from_items"] == 0
    assert set(found.loc[alone, "df"]) <= {4}  # 6 models less 2 coefficients of the level, or of the slope
    assert (found["df"] >= 4).all()
    np.testing.assert_allclose(found["p"], 2 * stats.t.sf(np.abs(found["t"]), found["df"]), rtol=1e-9)


def test_per_tenfold_and_as_accuracy(table, reference):
    found = fit_items(table, reader(reference[0]), CHOICE, "reml", 500).set_index("effect")
    tokens = found.loc["tokens"]
    ten = 1 / np.log10(table["tokens"].astype(float)).std(ddof=1)
    assert tokens["raw_estimate"] == pytest.approx(tokens["estimate"] * ten)
    middle = fit_crossed(Answers.of(reference[0]), reference[1]("checkpoints"), restricted=True)
    spread = np.sqrt(sum(getattr(middle.spreads, name) ** 2 for name in ("items", "models", "checkpoints")))
    drawn = middle.estimate[0] + spread * stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    change = expit(drawn + tokens["raw_estimate"] / 2).mean() - expit(drawn - tokens["raw_estimate"] / 2).mean()
    assert tokens["change"] == pytest.approx(change, abs=1e-5)
    assert tokens["accuracy"] == pytest.approx(reference[0].mean(), abs=0.02)
    assert tokens["change_low"] < tokens["change"] < tokens["change_high"]
    assert (tokens["change_low"] < 0) == (tokens["low"] < 0)
    assert np.isnan(found.loc["interaction", "change"])


def test_average_accuracy():
    assert average(0.7, 0.0) == pytest.approx(expit(0.7))
    assert average(0.0, 3.0) == pytest.approx(0.5)
    grid = stats.norm.ppf((np.arange(400_000) + 0.5) / 400_000)
    assert average(1.2, 2.5) == pytest.approx(expit(1.2 + 2.5 * grid).mean(), abs=1e-5)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda values: values + 0.3, "its items are not right or wrong: there are no answers to count"),
        (lambda values: np.ones_like(values), "all answers are alike (60 items)"),
    ],
)
def test_what_are_no_answers_is_said(table, reference, change, why):
    found = fit_items(table, reader(change(reference[0])), CHOICE, "reml", 500)
    assert found["p"].isna().all()
    assert set(found["note"]) == {why}


def test_without_items_and_with_too_many_checkpoints(table, reference):
    assert set(fit_items(table, reader(reference[0], {}), CHOICE, "reml", 500)["note"]) == {"no per-item results"}
    few = fit_items(table, reader(reference[0]), CHOICE, "reml", 29)
    assert set(few["note"]) == {"30 checkpoints: more than analysis.item_model_most (29)"}
    assert fit_items(table, reader(reference[0]), CHOICE, None, 500).empty
    assert fit_items(table, None, CHOICE, "reml", 500).empty


def test_checkpoints_without_items_are_left_out_and_ties_are_told(table, reference):
    values = reference[0].copy()
    values[3, 7] = 0.5
    found = fit_items(table, reader(values, set(range(30)) - {4, 9}), CHOICE, "reml", 500)
    assert found["p"].notna().all()
    assert found["n_checkpoints"].iloc[0] == 28
    assert found["note"].iloc[0] == (
        "2 checkpoints without per-item results left out; 1 answer of choices that tie, counted as their share"
    )


def test_one_model_speaks_for_itself(table, reference):
    one = table[table["model"] == "m3"]
    found = fit_items(one, reader(reference[0]), CHOICE, "reml", 500).set_index("effect")
    assert found.loc["tokens", "df"] >= 3
    assert np.isfinite(found.loc["tokens", "p"])
    assert found.loc["tokens", "note"].endswith("which says nothing of other models")
    assert np.isnan(found.loc["parameters", "p"])
    two = fit_items(table[table["model"].isin(["m1", "m3"])], reader(reference[0]), CHOICE, "reml", 500)
    assert set(two["note"]) == {"2 models: too few to see how much models differ"}


def test_models_at_one_step_each(table, reference):
    """Over size alone a model's level and its one checkpoint are the same: there is one effect for both."""
    final = table[table["step"] == 256]
    found = fit_items(final, reader(reference[0]), CHOICE, "reml", 500).set_index("effect")
    assert found.loc["parameters", "df"] >= 4
    assert found.loc["parameters", "sd_checkpoints"] == 0
    assert found.loc["parameters", "sd_models"] > 0


def drawn(generator, x, groups, items, beta, models=0.5, slopes=0.3, checkpoints=0.1):
    """0/1 answers with levels and slopes by model, noise of training, and items of a standard deviation of 1."""
    count = groups.max() + 1
    level, slope = generator.normal(0, models, count), generator.normal(0, slopes, count)
    common = x @ beta + level[groups] + slope[groups] * x[:, 2] + generator.normal(0, checkpoints, len(x))
    return (generator.random((items, len(x))) < expit(common + generator.normal(0, 1, (items, 1)))).astype(float)


def test_a_thousand_items_of_64_checkpoints_are_fast():
    x, groups = predictors()
    values = drawn(np.random.default_rng(1), x, groups, 1000, np.array([0.3, 0.6, 0.5, 0.3]))
    start = time.process_time()
    found = fit_crossed(Answers.of(values), Crossed(x, groups, 2, True), restricted=True)
    assert time.process_time() - start < 3  # 0.2 on one core
    assert found.spreads.items == pytest.approx(1, abs=0.1)


def test_unmodelled_variance_by_definition():
    """An item's influence is what its weight does to the coefficients; the sum over clusters is CR2's."""
    generator, codes = np.random.default_rng(4), np.repeat(np.arange(5), 6)
    x, groups = predictors(4, 3)
    slopes = generator.normal(0, 2, 5)[codes, None] * x[:, 2]
    values = (generator.random((30, 12)) < expit(generator.normal(0, 1, (30, 1)) + slopes)).astype(float)
    fit = fit_crossed(Answers.of(values), Crossed(x, groups, 2, True), restricted=True)
    posterior = fit.mode.posterior

    def coefficients(weights):
        weighted = Answers(weights @ values, values.sum(axis=1), weights)
        there = replace(posterior, answers=weighted)
        return find_mode(there, np.zeros(30), np.zeros(len(fit.mode.v))).v[-4:]

    moves = 1e-4 * np.eye(30)
    influence = np.array([(coefficients(1 + one) - coefficients(1 - one)) / 2e-4 for one in moves])
    inverse = np.linalg.inv(fit.mode.small)[-4:]
    expected = np.diag(inverse @ (fit.mode.small - np.diag(posterior.penalty)) @ inverse.T)
    centred = influence - influence.mean(axis=0)
    spread = sum(centred[codes == c].sum(axis=0) ** 2 / (1 - 6 / 30) for c in range(5))
    found, df = unmodelled_variance(values, fit.mode, 4, codes)
    np.testing.assert_allclose(found, np.maximum(spread - expected, 0), rtol=1e-4, atol=1e-8)
    assert found[2] > 0
    assert df == pytest.approx(4)


def test_clusters_widen_what_they_make_uncertain(table, reference, answers):
    labels = answers.drop_duplicates("item")["template"].tolist()
    rows = pd.DataFrame({"doc_id": range(60), "doc_hash": [f"h{i}" for i in range(60)], "cluster": labels})
    plain = fit_items(table, reader(reference[0]), CHOICE, "reml", 500)
    by = fit_items(table, reader(reference[0]), CHOICE, "reml", 500, lambda task: TaskClusters("template", rows))
    assert (by["n_clusters"].iloc[0], plain["n_clusters"].isna().all()) == (9, True)
    np.testing.assert_allclose(by["estimate"], plain["estimate"])
    one = clustered_means(reference[0], pd.factorize(np.array(labels))[0])
    ratios = one.variance / (reference[0].var(axis=0, ddof=1) / 60)
    assert by["error_ratio"].iloc[0] == pytest.approx(np.sqrt(np.median(ratios)))
    own = by["stderr"] * np.sqrt(1 - by["from_items"])
    np.testing.assert_allclose(own, plain["stderr"] * np.sqrt(1 - plain["from_items"]))
    without = fit_items(table, reader(reference[0]), CHOICE, "reml", 500, lambda task: TaskClusters("x", None, "no x"))
    assert set(without["note"]) == {"not clustered: no x"}
    assert without["stderr"].equals(plain["stderr"])


@pytest.mark.slow
@pytest.mark.simulation
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("slopes", [0.3, 0.0])
def test_intervals_hold_for_few_models(slopes):
    """Eight models: t on restricted variances holds, z as glmer prints it does not. False alarms are 1 - coverage."""
    generator, draws, beta = np.random.default_rng(20240611), 200, np.array([0.3, 0.6, 0.0, 0.3])
    x, groups = predictors()
    held = {True: np.zeros(3), False: np.zeros(3)}
    for _ in range(draws):
        answers = Answers.of(drawn(generator, x, groups, 300, beta, slopes=slopes))
        for restricted, count in held.items():
            found = fit_crossed(answers, Crossed(x, groups, 2, True), restricted)
            reach = stats.t.ppf(0.975, 6) if restricted else stats.norm.ppf(0.975)
            count += (np.abs(found.estimate - beta) < reach * found.stderr)[1:]
    margin = 3 * np.sqrt(0.05 * 0.95 / draws)
    assert (held[True] / draws > 0.95 - margin).all(), held
    assert (held[False][:1] / draws < 0.92).all(), held  # the effect of size, which rests on eight levels


def shown(section):
    return [[cell.text.replace("−", "-") for cell in row] for row in section.rows]


def test_the_report_has_its_section_and_table(table, reference):
    conf, read = conf_of(methods=["ols"], draws=99, item_model="reml"), reader(reference[0])
    study = analyze_table(table, conf, "tiny", items=read)
    written = pd.read_csv(io.StringIO(table_files(study, table)["tables/item_model.csv"]))
    assert list(written.columns) == COLUMNS
    row = written.set_index("effect").loc["parameters"]
    (section,) = [one for one in sections(study) if one.title == "By single items"]
    first = shown(section)[0]
    assert first[2] == f"{row['raw_estimate']:+.2f} ({row['raw_low']:+.2f} to {row['raw_high']:+.2f})"
    assert first[5] == f"{row['change']:+.3f} ({row['change_low']:+.3f} to {row['change_high']:+.3f})"
    assert section.rows[0][2].hint.startswith("60 items, 30 checkpoints, 6 models; ")
    assert "Noh & Lee 2007" in references(study)["Single items"]
    assert "clusters (errors)" not in section.heads
    text = {"task": "story", "title": "Story"}  # whose items are documents, which no answer of theirs is to be told of
    mixed = replace(
        study,
        table=pd.concat([study.table, study.table.assign(**text, metric="bits_per_byte")]),
        item_effects=pd.concat([study.item_effects, study.item_effects.assign(**text, p=np.nan)]),
    )
    assert [one.rows for one in sections(mixed) if one.title == "By single items"] == [section.rows]
    bare = analyze_table(table, conf, "tiny")
    assert "By single items" not in [one.title for one in sections(bare)]
    assert "Single items" not in references(bare)


def test_clusters_stand_in_the_section(table, reference):
    labels = pd.DataFrame({"doc_id": range(60), "doc_hash": [f"h{i}" for i in range(60)], "cluster": list("abc") * 20})
    conf = conf_of(methods=["ols"], draws=99)
    lower = table.assign(higher_is_better=False)
    read = reader(reference[0])
    study = analyze_table(lower, conf, "tiny", items=read, clusters=lambda task: TaskClusters("template", labels))
    (section,) = [one for one in sections(study) if one.title == "By single items"]
    assert section.heads[-1] == "clusters (errors)"
    assert shown(section)[0][-1] == f"3 (× {study.item_effects['error_ratio'].iloc[0]:.2f})"
    assert shown(section)[0][0] == "Obey (lower is better)"
    assert len(study.clustered) == len(table)


@pytest.mark.slow
@pytest.mark.simulation
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("clusters", "each", "least"), [(20, 15, 0.7), (60, 1, 0.85)])
def test_intervals_hold_where_templates_or_items_are_learnt_in_their_own_way(clusters, each, least):
    """No model differs in its slope here, so that only the items' own slopes make the effect of tokens uncertain."""
    generator, draws, beta = np.random.default_rng(5), 100, np.array([0.3, 0.6, 0.0, 0.3])
    x, groups = predictors()
    codes, held = np.repeat(np.arange(clusters), each), np.zeros(2)
    for _ in range(draws):
        own = generator.normal(0, 0.5 if each > 1 else 0.7, clusters)[codes, None] * x[:, 2]
        common = x @ beta + generator.normal(0, 0.5, 8)[groups] + generator.normal(0, 0.1, 64)
        logit = common + own + generator.normal(0, 1, (len(codes), 1))
        values = (generator.random(logit.shape) < expit(logit)).astype(float)
        found = fit_crossed(Answers.of(values), Crossed(x, groups, 2, True), restricted=True)
        added, of_items = unmodelled_variance(values, found.mode, 4, codes)
        plain, whole = found.stderr[2] ** 2, found.stderr[2] ** 2 + added[2]
        df = whole**2 / (plain**2 / 6 + added[2] ** 2 / of_items)
        miss = abs(found.estimate[2] - beta[2])
        held += [miss < stats.t.ppf(0.975, df) * np.sqrt(whole), miss < stats.t.ppf(0.975, 6) * np.sqrt(plain)]
    assert held[0] / draws > 0.95 - 3 * np.sqrt(0.05 * 0.95 / draws), held
    assert held[1] / draws < least, held
