"""Metrics that are ratios of sums: bits per byte of documents that differ in length."""

from __future__ import annotations

import base64
import io
import math

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_study import summary
from scipy import stats
from shaping import conf_of, find_falls

from evalrun.core.ratios import RATIOS, ratio_of
from evalrun.reporting.metric_names import panel_titles, value_name
from evalrun.reporting.sections import sections
from evalrun.statistics.dynamics.document_maps import document_maps
from evalrun.statistics.findings import analyze_table
from evalrun.statistics.items.clustered_errors import clustered_errors
from evalrun.statistics.items.clusters import TaskClusters, clustered_means
from evalrun.statistics.items.pair_tests import RATIO_TEST, pair_tests
from evalrun.statistics.items.paired import compare_checkpoints, paired
from evalrun.statistics.items.values import item_values
from evalrun.statistics.reliability.intervals import with_intervals
from evalrun.statistics.shapes.thresholds import smallest_changes

BITS = 1 / math.log(2)


def documents(sizes, nats, ids=None):
    """Per-item results of a text, as scoring writes them."""
    sizes, nats = np.asarray(sizes, dtype=np.int64), np.asarray(nats, dtype=float)
    ids = np.arange(len(sizes)) if ids is None else ids
    tokens, words = np.maximum(sizes // 4, 1), np.maximum(sizes // 6, 1)
    frame = pd.DataFrame({"doc_id": ids, "doc_hash": [f"h{one}" for one in ids], "nats": nats, "bytes": sizes})
    return frame.assign(tokens=tokens, words=words, bits_per_byte=nats / sizes * BITS, filter="none")


def made(n, seed=0, shift=0.0, sigma=1.0, checkpoints=2):
    """Documents of lognormal lengths, the longer ones easier; each checkpoint is `shift` nats a byte worse."""
    random = np.random.default_rng(seed)
    sizes = np.maximum(random.lognormal(6, sigma, n), 20).astype(np.int64)
    level = 0.8 - 0.05 * (np.log(sizes) - 6) + random.normal(0, 0.1, n)
    own = random.normal(0, 0.02, (checkpoints, n)) + shift * np.arange(checkpoints)[:, None]
    return sizes, (level + own) * sizes


@pytest.mark.parametrize("metric", ["bits_per_byte", "nats_per_token", "word_perplexity", "byte_perplexity"])
def test_the_value_is_the_corpus_ratio_and_its_error_the_linearised_one(metric):
    sizes, (nats, _) = made(40)
    items = documents(sizes, nats)
    found = item_values(items, metric)
    below = items[RATIOS[metric].denominator].to_numpy(float)
    ratio = nats.sum() / below.sum()
    error = math.sqrt(40 / 39 * np.sum((nats - ratio * below) ** 2)) / below.sum()
    if metric in ("bits_per_byte", "nats_per_token"):
        scale = BITS if metric == "bits_per_byte" else 1.0
        value, error = scale * ratio, scale * error
    else:
        value, error = math.exp(ratio), math.exp(ratio) * error
    assert found.values.mean() == pytest.approx(value, rel=1e-12)
    assert found.values.std(ddof=1) / math.sqrt(40) == pytest.approx(error, rel=1e-12)
    assert found.sums.value == pytest.approx(value, rel=1e-12)
    assert found.average_to(value)


def test_the_linearised_error_is_near_the_jackknife():
    sizes, (nats, _) = made(400, sigma=0.7)
    whole, weight = nats.sum() - nats, sizes.sum() - sizes
    left_out = whole / weight * BITS
    jackknife = math.sqrt(399 / 400 * np.sum((left_out - left_out.mean()) ** 2))
    values = item_values(documents(sizes, nats), "bits_per_byte").values
    assert values.std(ddof=1) / 20 == pytest.approx(jackknife, rel=0.03)


def test_lm_evals_own_pairs_of_a_log_likelihood_and_a_count_are_read():
    items = pd.DataFrame({"doc_id": [0, 1], "bits_per_byte": ["[-10.0, 20]", "[-30.5, 40]"], "filter": "none"})
    items["word_perplexity"] = ["[-10.0, 4]", "[-30.5, 8]"]
    assert item_values(items, "bits_per_byte").sums.value == pytest.approx(40.5 / 60 * BITS)
    assert item_values(items, "word_perplexity").sums.value == pytest.approx(math.exp(40.5 / 12))
    assert item_values(items.assign(bits_per_byte=[0.5, 0.6]), "bits_per_byte") is None  # no sums: not guessed


def test_a_filter_may_end_the_name():
    assert ratio_of("bits_per_byte_first") is RATIOS["bits_per_byte"]
    assert ratio_of("bits") is None
    items = pd.concat([documents([10, 20], [5.0, 6.0]).assign(filter=name) for name in ("none", "first")])
    items.loc[items["filter"] == "first", "nats"] *= 2
    assert item_values(items, "bits_per_byte_first").sums.value == pytest.approx(22 / 30 * BITS)


def test_documents_without_bytes_or_with_no_finite_loss_are_left_out():
    items = documents([10, 20, 30, 40], [5.0, np.inf, np.nan, 8.0])
    items.loc[3, "bytes"] = 0
    found = item_values(items, "bits_per_byte")
    assert found.sums.value == pytest.approx(0.5 * BITS)
    assert found.keys["doc_id"].tolist() == [0]


@given(st.lists(st.tuples(st.floats(10, 500), st.floats(-50, 50)), min_size=3, max_size=30), st.integers(1, 4000))
def test_equally_long_documents_give_the_plain_paired_t_test(rows, size):
    nats = np.array([row[0] for row in rows])
    other = nats + np.array([row[1] for row in rows])
    if np.std(other - nats) < 1e-3:
        return
    found = paired(documents([size] * len(rows), nats), documents([size] * len(rows), other), "bits_per_byte")
    plain = stats.ttest_rel(other / size * BITS, nats / size * BITS)
    interval = plain.confidence_interval(0.95)
    assert found.method == RATIO_TEST
    assert (found.p, found.low, found.high) == pytest.approx((plain.pvalue, *interval), rel=1e-5, abs=1e-9)


@given(st.integers(0, 10_000), st.floats(1e-3, 1e3), st.integers(2, 7))
def test_neither_order_nor_units_matter(seed, unit, factor):
    sizes, (nats, other) = made(25, seed)
    found = paired(documents(sizes, nats), documents(sizes, other), "bits_per_byte")
    order = np.random.default_rng(seed).permutation(25)
    mixed = documents(sizes[order], other[order], order)
    again = paired(documents(sizes, nats), mixed, "bits_per_byte")
    assert (again.p, again.low, again.n) == pytest.approx((found.p, found.low, 25), rel=1e-9)
    scaled = paired(documents(sizes, nats * unit), documents(sizes, other * unit), "bits_per_byte")
    assert (scaled.p, scaled.difference) == pytest.approx((found.p, found.difference * unit), rel=1e-6)
    longer = paired(documents(sizes * factor, nats), documents(sizes * factor, other), "bits_per_byte")
    assert (longer.p, longer.low * factor) == pytest.approx((found.p, found.low), rel=1e-6)


def test_a_document_is_a_cluster_of_its_bytes():
    """The error is clubSandwich's (CR2) of a mean over bytes, each with its document's nats a byte, by document."""
    sizes, nats = made(12)
    sizes = np.minimum(sizes, 300)
    nats = nats * sizes / made(12)[0]
    found = paired(documents(sizes, nats[0]), documents(sizes, nats[1]), "bits_per_byte")
    of_byte = np.column_stack([np.repeat(one / sizes * BITS, sizes) for one in nats])
    means = clustered_means(of_byte, np.repeat(np.arange(12), sizes))
    t = (means.mean[1] - means.mean[0]) / math.sqrt(means.variance_of_difference(0, 1))
    assert found.difference == pytest.approx(means.mean[1] - means.mean[0], rel=1e-9)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(t), means.df), rel=1e-9)


def test_changes_are_counted_by_the_documents_own_bits_per_byte():
    sizes = np.array([10, 10, 1000])
    found = paired(documents(sizes, [5.0, 5.0, 500.0]), documents(sizes, [4.0, 4.0, 600.0]), "bits_per_byte")
    assert (found.fell, found.rose) == (2, 1)  # two get likelier; the corpus gets less likely
    assert found.difference > 0


def test_the_ratio_is_taken_over_the_documents_in_common():
    sizes, (nats, other) = made(30)
    found = paired(documents(sizes, nats), documents(sizes[:20], other[:20]), "bits_per_byte")
    assert found.before == pytest.approx(nats[:20].sum() / sizes[:20].sum() * BITS)
    assert found.note == "20 items in common, of 20 to 30"


def test_tokens_may_differ_between_two_tokenizers():
    sizes, (nats, other) = made(30)
    after = documents(sizes, other)
    after["tokens"] = np.maximum(sizes // 3, 1)
    found = paired(documents(sizes, nats), after, "nats_per_token")
    assert found.after - found.before == pytest.approx(found.difference)
    assert found.after == pytest.approx(other.sum() / after["tokens"].sum())


@pytest.mark.parametrize(
    ("sizes", "before", "after", "p", "note"),
    [
        ([10], [5.0], [6.0], None, "one item, or all changed alike: no error can be had"),
        ([10, 20], [5.0, 9.0], [5.0, 9.0], 1.0, "no item changed"),
    ],
)
def test_degenerate_texts(sizes, before, after, p, note):
    found = paired(documents(sizes, before), documents(sizes, after), "bits_per_byte")
    assert found.note == note
    assert found.p == p if p else math.isnan(found.p)


@pytest.fixture
def text_suite(tidy):
    """Two curves of one text: one falls (its loss rises) at the third of six checkpoints, the other gets better."""
    random = np.random.default_rng(1)
    sizes = np.maximum(random.lognormal(6, 0.8, 200), 20).astype(np.int64)
    level = random.normal(0.8, 0.1, 200)
    courses = {"worse": [0.3, 0.1, 0.25, 0.24, 0.24, 0.24], "better": [0.3, 0.25, 0.2, 0.15, 0.1, 0.05]}
    items, rows = {}, []
    for model, course in courses.items():
        for step, loss in enumerate(course):
            nats = (level + loss + random.normal(0, 0.02, 200)) * sizes
            run = f"{model}{step}"
            items[run] = documents(sizes, nats)
            values = item_values(items[run], "bits_per_byte").values
            about = {"model": model, "n_params": len(model) * 1_000_000, "step": 2**step, "tokens": 1000 * 2**step}
            about |= {"task": "text", "title": "Text", "metric": "bits_per_byte", "run_id": run, "n": 200}
            about |= {"value": values.mean(), "stderr": values.std(ddof=1) / math.sqrt(200), "chance": np.nan}
            rows.append({**about, "higher_is_better": False})

    def read(run_id, task, columns):
        return items[run_id][[name for name in columns if name in items[run_id]]]

    return tidy.table(rows), read


def test_a_rising_loss_is_a_fall(text_suite):
    table, read = text_suite
    found = find_falls(table, items=read).set_index("model")
    assert found["falls"].to_dict() == {"worse": True, "better": False}
    worse = found.loc["worse"]
    assert (worse["peak_step"], worse["trough_step"], worse["method"]) == (2, 4, RATIO_TEST)
    assert worse["trough_value"] > worse["peak_value"]
    assert worse["fall"] == pytest.approx(worse["trough_value"] - worse["peak_value"])
    assert worse["low"] < worse["fall"] < worse["high"]


def test_pairs_of_a_curve_are_those_of_two_checkpoints(text_suite):
    table, read = text_suite
    curve = table[table["model"] == "worse"]
    found = pair_tests(curve, read)
    alone = paired(read("worse1", "", list(_columns())), read("worse2", "", list(_columns())), "bits_per_byte")
    assert found.p[5] == pytest.approx(alone.p)  # of 0-1, ..., 0-5, then 1-2
    assert found.interval(5, 0.05) == pytest.approx((alone.low, alone.high))


def _columns():
    return documents([1], [1.0]).columns


def test_compare_says_which_is_worse_and_may_cluster(text_suite):
    table, read = text_suite
    sides = [table[(table["model"] == "worse") & (table["step"] == step)] for step in (2, 4)]
    (plain,) = compare_checkpoints(*sides, read).to_dict("records")
    assert (plain["verdict"], plain["method"]) == ("worse", RATIO_TEST)
    keys = read("worse0", "", ["doc_id", "doc_hash"])
    alone = TaskClusters("site", keys.assign(cluster=[f"c{i}" for i in range(200)]))
    (single,) = compare_checkpoints(*sides, read, clusters=lambda task: alone).to_dict("records")
    assert (single["p"], single["low"]) == pytest.approx((plain["p"], plain["low"]))  # each document its own cluster
    by_site = TaskClusters("site", keys.assign(cluster=[f"c{i % 10}" for i in range(200)]))
    (grouped,) = compare_checkpoints(*sides, read, clusters=lambda task: by_site).to_dict("records")
    assert grouped["clusters"] == 10
    assert "clustered by site" in grouped["method"]
    errors = clustered_errors(table, read, lambda task: by_site, 0.05)
    assert (errors["note"] == "").all()
    assert (errors["low"] < errors["value"]).all()


def test_a_report_says_which_way_is_better_and_in_which_unit(text_suite, tidy):
    table, read = text_suite
    study = analyze_table(table, conf_of(items=True), "made", items=read)
    made = {section.title: section for section in sections(study)}
    rows = {row[1].text: [cell.text for cell in row] for row in made["Texts"].rows}
    assert set(rows) == {"worse", "better"}
    assert rows["worse"][0] == "Text ↓"
    assert rows["worse"][2] == "bits per byte"
    assert rows["worse"][4].endswith("(step 2)")  # the best is the smallest
    assert rows["worse"][6].startswith("+0.2")
    assert rows["better"][6] == "–"
    assert "Where lower is better the values rise" in made["Did it get worse?"].about
    said = " ".join(summary(study))
    assert "(lower is better), by 0.2" in said
    assert not len(study.artefacts)  # a loss counts no right answers
    assert not [note for note in study.notes if "documents" in note or "followed" in note]
    assert value_name(table) == "Bits per byte (lower is better)"
    both = pd.concat([table, tidy.curve([0.5, 0.6])])
    titles = panel_titles(both, [(str(task), rows) for task, rows in both.groupby("task", sort=False)])
    assert titles == ["Text: bits per byte", "Obey"]


def test_a_report_pictures_documents_over_training(text_suite):
    table, read = text_suite
    study = analyze_table(table, conf_of(items=True), "made", items=read)
    (section,) = [one for one in sections(study) if one.title == "Texts"]
    assert [one.title for one in section.pictures] == ["Text", ""]
    assert {one.name.split(",")[0] for one in section.pictures} == {"worse", "better"}
    (maps,) = study.dynamics.documents
    for picture, curve in zip(section.pictures, maps.curves, strict=True):
        own = table[table["model"] == curve.label].sort_values("tokens")
        last = read(own["run_id"].iloc[-1], "", list(_columns()))
        costs = (last["nats"] / last["bytes"] / np.log(2)).to_numpy()
        np.testing.assert_allclose(curve.costs[:, -1], np.sort(costs)[::-1])  # the dearest at the top
        first = read(own["run_id"].iloc[0], "", list(_columns()))
        order = np.argsort(-costs, kind="stable")
        np.testing.assert_allclose(curve.costs[:, 0], (first["nats"] / first["bytes"] / np.log(2)).to_numpy()[order])
        drawn = mpl.image.imread(io.BytesIO(base64.b64decode(picture.address.split(",")[1])))[..., :3].sum(axis=2)
        assert drawn.shape == curve.costs.shape == (200, len(own))
        assert drawn[0, -1] > drawn[-1, -1]  # what costs much is pale
        assert "bits per byte of" in picture.alt
    missing = analyze_table(table, conf_of(items=True), "made", items=lambda run, task, columns: None)
    assert [note for note in missing.notes if "cannot be shown one by one: no items are in the store." in note]


def test_many_documents_share_rows(text_suite):
    table, _ = text_suite
    curve = table[table["model"] == "worse"]
    costs = np.arange(1.0, 501.0)
    maps = document_maps(curve, lambda run, task, columns: documents(np.full(500, 10), costs * 10 * np.log(2)))
    assert maps.curves[0].documents == 500
    assert maps.curves[0].costs.shape == (240, len(curve))
    assert maps.curves[0].costs[0, 0] == pytest.approx(np.mean([500, 499]))


def test_bits_per_byte_below_one_are_no_shares(text_suite):
    """Of good models they lie between 0 and 1, as accuracies do; a document is then no answer, right or wrong."""
    table, _ = text_suite
    scaled = table.assign(value=table["value"] / 2, stderr=table["stderr"] / 2)
    assert scaled["value"].between(0, 1).all()
    margins = smallest_changes(scaled, 0.05)
    np.testing.assert_allclose(margins, 0.05 * scaled["value"].median())
    assert smallest_changes(scaled.assign(metric="acc"), 0.05).tolist() == [0.05] * len(scaled)
    bare = with_intervals(scaled.assign(stderr=np.nan), 0.05)
    assert bare["low"].isna().all()
    assert set(with_intervals(scaled, 0.05)["interval"]) == {"normal"}
    sides = [scaled[(scaled["model"] == "worse") & (scaled["step"] == step)] for step in (2, 4)]
    (found,) = compare_checkpoints(*(side.assign(stderr=np.nan) for side in sides), None).to_dict("records")
    assert found["note"] == "no per-item results, and no standard errors"
    study = analyze_table(scaled, conf_of(methods=["quasibinomial", "ols"]), "made")
    logistic = study.effects[study.effects["method"] == "quasibinomial"]
    assert logistic["note"].str.contains("no proportions").any()
    assert logistic["p"].isna().all()


def test_the_level_and_the_coverage_of_one_size():
    assert _coverage(200, 0.7, 0.0, 400) == pytest.approx(0.95, abs=0.03)


@pytest.mark.simulation
@pytest.mark.parametrize(
    ("n", "sigma", "slope", "least"),
    [
        (20, 0.5, 0.0, 0.935),
        (20, 1.0, 0.0, 0.92),
        (200, 1.0, 0.0, 0.935),
        (20, 1.0, 0.02, 0.87),
        (200, 0.5, 0.02, 0.935),
        (200, 1.0, 0.02, 0.915),
    ],
)
def test_intervals_cover_and_tests_hold_their_level(n, sigma, slope, least):
    """Lengths are lognormal. Where the change hangs on the length too, a few long documents cost some coverage."""
    assert least <= _coverage(n, sigma, slope, 2000) <= 0.97


def _coverage(n, sigma, slope, draws):
    """How often the interval of a difference holds the true one: `slope` nats a byte for each sd of log length.

    With b = exp(6 + sigma z) the true ratio of sums of (slope z + noise) b is slope sigma: E[z b] = sigma E[b].
    """
    random = np.random.default_rng(n)
    covered = 0
    for _ in range(draws):
        z = random.standard_normal(n)
        sizes = np.exp(6 + sigma * z).astype(np.int64) + 1
        nats = (0.8 - 0.05 * z + random.normal(0, 0.1, n)) * sizes
        change = (slope * z + random.normal(0, 0.03, n)) * sizes
        found = paired(documents(sizes, nats), documents(sizes, nats + change), "bits_per_byte")
        covered += found.low <= slope * sigma * BITS <= found.high
    return covered / draws
