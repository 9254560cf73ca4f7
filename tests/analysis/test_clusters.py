"""Errors clustered by template: against the definition and R, and in the comparison of two checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from shaping import conf_of, find_falls

from evalrun.statistics.findings import analyze_table
from evalrun.statistics.items.clustered_errors import clustered_errors
from evalrun.statistics.items.clusters import TaskClusters, clustered_means, clusters_of_items, t_test
from evalrun.statistics.items.pair_tests import pair_tests
from evalrun.statistics.items.paired import MCNEMAR, compare_checkpoints

FOLDER = Path(__file__).resolve().parents[1] / "reference"
EXPECTED = json.loads((FOLDER / "expected_items.json").read_text())["clustered"]


@pytest.fixture(scope="module")
def reference():
    """Right answers of three checkpoints, and the template of each item."""
    answers = pd.read_csv(FOLDER / "answers.csv")
    wide = answers.pivot(index=["item", "template"], columns=["model", "step"], values="right")
    values = wide[[("m2", 1), ("m2", 16), ("m2", 256)]].to_numpy(dtype="float64")
    return values, pd.factorize(wide.index.get_level_values("template"))[0]


def test_as_clubsandwich_has_them(reference):
    found = clustered_means(*reference)
    accuracy, difference = EXPECTED["accuracy"], EXPECTED["difference"]
    assert found.mean[1] == pytest.approx(accuracy["estimate"], rel=1e-12)
    assert np.sqrt(found.variance[1]) == pytest.approx(accuracy["stderr"], rel=1e-10)
    assert found.df == pytest.approx(accuracy["df"], rel=1e-10)
    assert found.mean[2] - found.mean[0] == pytest.approx(difference["estimate"], rel=1e-12)
    assert np.sqrt(found.variance_of_difference(0, 2)) == pytest.approx(difference["stderr"], rel=1e-10)
    assert found.clusters == 9


@given(seed=st.integers(0, 10**6), n=st.integers(4, 40), count=st.integers(2, 4))
def test_by_definition(seed, n, count):
    """Miller's sum over pairs of a cluster, each cluster scaled by 1 / (1 - its share of the items)."""
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 2, (n, 2)).astype(float)
    codes = np.concatenate([np.arange(count), generator.integers(0, count, n - count)])
    found = clustered_means(values, codes)
    for one in (0, 1):
        e = values[:, one] - values[:, one].mean()
        pairs = [
            e[i] * e[j] / (1 - np.mean(codes == codes[i])) for i in range(n) for j in range(n) if codes[i] == codes[j]
        ]
        assert found.variance[one] == pytest.approx(sum(pairs) / n**2, abs=1e-12)
    change = clustered_means(values[:, 1:] - values[:, :1], codes)
    assert found.variance_of_difference(0, 1) == pytest.approx(change.variance[0], abs=1e-12)


def test_items_that_are_their_own_clusters_have_the_plain_error():
    values = np.random.default_rng(1).normal(0, 1, (30, 1))
    found = clustered_means(values, np.arange(30))
    assert found.variance[0] == pytest.approx(values.var(ddof=1) / 30)
    assert found.df == pytest.approx(29)


def test_t_test():
    p, low, high = t_test(0.1, 0.0025, 7.5, 0.1)
    assert p == pytest.approx(2 * stats.t.sf(2, 7.5))
    assert (low, high) == pytest.approx((0.1 - 0.05 * stats.t.ppf(0.95, 7.5), 0.1 + 0.05 * stats.t.ppf(0.95, 7.5)))
    assert t_test(0.0, 0.0, 3, 0.05)[0] == 1
    assert np.isnan(t_test(0.1, 0.0, 3, 0.05)).all()


def clusters(labels, hashes=None):
    n = len(labels)
    hashes = [f"h{i}" for i in range(n)] if hashes is None else hashes
    return TaskClusters("template", pd.DataFrame({"doc_id": range(n), "doc_hash": hashes, "cluster": labels}))


KEYS = pd.DataFrame({"doc_id": [0, 1, 3], "doc_hash": ["h0", "h1", "h3"]})


def test_clusters_are_found_by_document():
    codes, why = clusters_of_items(clusters(["a", "b", "b", "a"]), KEYS)
    assert (codes.tolist(), why) == ([0, 1, 0], "")
    codes, _ = clusters_of_items(clusters(["a", "b", "b", "a"], ["x"] * 4), KEYS[["doc_id"]])
    assert codes.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("known", "why"),
    [
        (TaskClusters("template", None, "no such column"), "not clustered: no such column"),
        (clusters(["a", "b"]), "not clustered: 1 of 3 items are not those of the task's file here"),
        (clusters(["a", "b", "b", "a"], ["h0", "x", "h2", "y"]), "not clustered: 2 of 3 items are not those of"),
        (clusters(["a", None, "b", "a"]), "not clustered: 1 item without 'template'"),
        (clusters(["a", "a", "b", "a"]), "not clustered: all items have one 'template'"),
    ],
)
def test_why_items_are_not_clustered(known, why):
    codes, said = clusters_of_items(known, KEYS)
    assert codes is None
    assert said.startswith(why)


def compared(tidy, values, known):
    def read(run_id, task, columns):
        ids = range(len(values))
        return pd.DataFrame({"doc_id": ids, "doc_hash": [f"h{i}" for i in ids], "acc": values[:, int(run_id)]})

    rows = tidy.table([{"run_id": str(i), "value": values[:, i].mean(), "step": i + 1} for i in (0, 1)])
    found = compare_checkpoints(rows.iloc[[0]], rows.iloc[[1]], read, clusters=lambda task: known)
    return found.iloc[0]


def test_two_checkpoints_compared_by_template(tidy, reference):
    values, codes = reference[0][:, [0, 2]], reference[1]
    found = compared(tidy, values, clusters(list(codes)))
    expected = EXPECTED["difference"]
    t = expected["estimate"] / expected["stderr"]
    reach = stats.t.ppf(0.975, expected["df"]) * expected["stderr"]
    assert found["p"] == pytest.approx(2 * stats.t.sf(abs(t), expected["df"]))
    assert (found["low"], found["high"]) == pytest.approx((expected["estimate"] - reach, expected["estimate"] + reach))
    assert found["method"] == "t test with errors clustered by template (9 clusters, df 6.9)"
    assert (found["clusters"], found["note"]) == (9, "")
    assert found["fell"] == (values[:, 1] < values[:, 0]).sum()


def test_what_cannot_be_clustered_is_compared_as_before_and_said(tidy, reference):
    values = reference[0][:, [0, 2]]
    found = compared(tidy, values, TaskClusters("template", None, "no such column"))
    assert (found["method"], found["note"]) == (MCNEMAR, "not clustered: no such column")
    assert np.isnan(found["clusters"])


def test_pairs_of_a_curve_are_tested_by_template(tidy, reference):
    """What labels and falls are decided by."""
    values, codes = reference

    def read(run_id, task, columns):
        ids = range(60)
        return pd.DataFrame({"doc_id": ids, "doc_hash": [f"h{i}" for i in ids], "acc": values[:, int(run_id)]})

    rows = tidy.table([{"run_id": str(i), "value": values[:, i].mean(), "step": i + 1} for i in range(3)])
    found = pair_tests(rows, read, lambda task: clusters(list(codes)))
    expected = clustered_means(values, codes)
    assert found.method == "paired t test with errors clustered by template"
    np.testing.assert_allclose(found.variance, [expected.variance_of_difference(*p) for p in [(0, 1), (0, 2), (1, 2)]])
    t = EXPECTED["difference"]["estimate"] / EXPECTED["difference"]["stderr"]
    assert found.p[1] == pytest.approx(2 * stats.t.sf(abs(t), EXPECTED["difference"]["df"]))
    low, high = found.interval(1, 0.05)
    assert (low + high) / 2 == pytest.approx(EXPECTED["difference"]["estimate"])
    plain = pair_tests(rows, read, lambda task: TaskClusters("template", None, "no such column"))
    assert (plain.method, plain.note) == (MCNEMAR, "not clustered: no such column")
    falls = find_falls(rows, read, clusters=lambda task: clusters(list(codes)))
    assert set(falls["method"]) == {"paired t test with errors clustered by template"}


@pytest.mark.slow
@pytest.mark.simulation
def test_templates_that_move_together_make_no_false_alarms(tidy):
    """20 templates of 25 items; in truth nothing changed on average, but templates were learnt and forgotten whole."""
    generator, draws, alarms = np.random.default_rng(3), 400, np.zeros(2)
    codes = np.repeat(np.arange(20), 25)
    for _ in range(draws):
        level = generator.normal(0, 1, 500)
        move = generator.normal(0, 0.8, 20)[codes] / 2
        values = np.column_stack([level - move, level + move]) + generator.normal(0, 1, (500, 2)) > 0
        found = clustered_means(values.astype(float), codes)
        difference = found.mean[1] - found.mean[0]
        clustered = t_test(difference, found.variance_of_difference(0, 1), found.df, 0.05)[0]
        fell, rose = (values[:, 0] & ~values[:, 1]).sum(), (~values[:, 0] & values[:, 1]).sum()
        alarms += [clustered < 0.05, stats.binomtest(int(fell), int(fell + rose)).pvalue < 0.05]
    by_template, mcnemar = alarms / draws
    assert by_template < 0.05 + 3 * np.sqrt(0.05 * 0.95 / draws)
    assert mcnemar > 0.2


def test_the_report_says_which_tasks_are_not_clustered(tidy):
    conf = conf_of(methods=["ols"], draws=99, items=True)
    found = analyze_table(tidy.grid(), conf, "tiny", clusters=lambda task: TaskClusters("x", None, f"{task} has no x"))
    assert {"Items not clustered: tiny_obey has no x.", "Items not clustered: tiny_recall has no x."} <= set(
        found.notes
    )


def test_each_accuracy_has_its_clustered_error(tidy, reference):
    values, codes = reference

    def read(run_id, task, columns):
        ids = range(60)
        return pd.DataFrame({"doc_id": ids, "doc_hash": [f"h{i}" for i in ids], "acc": values[:, int(run_id)]})

    rows = tidy.table([{"run_id": str(i), "value": values[:, i].mean(), "step": i + 1} for i in range(3)])
    rows.loc[2, "value"] = 0.9
    found = clustered_errors(rows, read, lambda task: clusters(list(codes)), 0.05)
    assert found.loc[1, "clustered_stderr"] == pytest.approx(EXPECTED["accuracy"]["stderr"])
    reach = stats.t.ppf(0.975, EXPECTED["accuracy"]["df"]) * EXPECTED["accuracy"]["stderr"]
    assert found.loc[1, "high"] - found.loc[1, "value"] == pytest.approx(reach)
    assert found["clusters"].tolist()[:2] == [9, 9]
    assert found["note"].tolist() == ["", "", "'acc' is not the mean over items"]
    none = clustered_errors(rows, read, lambda task: TaskClusters("x", None, "no x"), 0.05)
    assert (none["clustered_stderr"].isna().all(), none.loc[0, "note"]) == (True, "not clustered: no x")
    assert clustered_errors(rows, read, None, 0.05).empty
