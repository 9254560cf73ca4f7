"""The largest fall of each curve: which it is, what the search for it costs, and that nothing is found in noise."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats
from shaping import describe_shapes, find_falls
from statsmodels.stats.contingency_tables import mcnemar

from evalrun.statistics.items.pair_tests import T_TEST
from evalrun.statistics.items.paired import MCNEMAR, Z_TEST
from evalrun.statistics.items.score_interval import score_interval
from evalrun.statistics.shapes.falls import COLUMNS, TREND


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def items_of(values):
    """A reader of the items of run 0, 1, ...: values are (items, checkpoints)."""

    def read(run_id, task, columns):
        column = values[:, int(run_id)]
        ids = np.flatnonzero(~np.isnan(column))
        hashes = [f"h{i}" for i in ids]
        return pd.DataFrame({"doc_id": ids, "doc_hash": hashes, "filter": "none", "acc": column[ids]})

    return read


def curve_of(tidy, values, **given):
    steps = [{"step": 2**i, "run_id": str(i)} for i in range(values.shape[1])]
    rows = [{**step, "value": np.nanmean(values[:, i]), **given} for i, step in enumerate(steps)]
    return tidy.table(rows)


def only(table, items=None, **given):
    found = find_falls(table, items, **given)
    assert list(found.columns) == COLUMNS
    assert len(found) == 1
    return found.iloc[0]


def answers(generator, n, levels):
    """0/1 answers of checkpoints with these accuracies; hard items are hard for all."""
    hard = generator.normal(0, math.sqrt(0.7), (n, 1))
    noise = generator.normal(0, math.sqrt(0.3), (n, len(levels)))
    return (hard + noise < stats.norm.ppf(levels)).astype(float)


def test_a_late_drop_is_found_with_its_recovery(tidy):
    values = answers(np.random.default_rng(1), 1000, [0.3, 0.5, 0.8, 0.6, 0.4, 0.7])
    found = only(curve_of(tidy, values), items_of(values))
    mean = values.mean(axis=0)
    assert (found["peak_step"], found["trough_step"]) == (4, 16)
    assert (found["peak_value"], found["trough_value"]) == pytest.approx((mean[2], mean[4]))
    assert found["fall"] == pytest.approx(mean[2] - mean[4])
    assert found["final_fall"] == pytest.approx(mean[2] - mean[5])
    assert found["recovered"] is np.True_ or found["recovered"] is True
    assert found["method"] == MCNEMAR
    assert (found["n"], found["pairs"], found["note"]) == (1000, 15, "")


def test_what_stays_down_did_not_recover(tidy):
    values = answers(np.random.default_rng(1), 1000, [0.3, 0.8, 0.5, 0.51])
    assert not only(curve_of(tidy, values), items_of(values))["recovered"]


@example(seed=510511, n=5, k=5, higher=True)  # two falls of two items in five
@given(seed=st.integers(0, 10**6), n=st.integers(2, 60), k=st.integers(2, 6), higher=st.booleans())
def test_by_definition(tidy, seed, n, k, higher):
    """Every pair by the exact test and by z of the pair's own variance, the larger p of both."""
    generator = np.random.default_rng(seed)
    values = (generator.random((n, k)) < generator.random(k)).astype(float)
    found = only(curve_of(tidy, values, higher_is_better=higher), items_of(values), alpha=0.1)
    sign, pairs = (1 if higher else -1), list(itertools.combinations(range(k), 2))
    far = np.ptp(values.mean(axis=0))
    falls, p = {}, {}
    for i, j in pairs:
        table = [[np.sum((values[:, i] == a) & (values[:, j] == b)) for b in (1, 0)] for a in (1, 0)]
        falls[i, j] = sign * (table[0][1] - table[1][0]) / n
        change = values[:, j] - values[:, i]
        z = abs(change.mean()) / (change.std() / math.sqrt(n)) if change.any() and change.std() > 0 else math.inf
        exact = mcnemar(table, exact=True).pvalue
        p[i, j] = min(1.0, (len(pairs) + 1) * max(exact, 2 * stats.norm.sf(z)))
    down = [pair for pair in pairs if falls[pair] > 0]
    if not down:
        assert (found["fall"], found["p"], found["note"]) == (0, 1, "never falls")
        assert math.isnan(found["peak_step"])
        return
    shown = [pair for pair in down if p[pair] <= 0.1 and falls[pair] >= max(0.05, 0.2 * far) - 1e-12]
    if found["method"] == TREND:
        assert not shown
        return
    worst = max(falls[pair] for pair in shown or down)
    steps = found["peak_step"], found["trough_step"]  # of falls that are equal but for rounding, any
    peak, trough = next((i, j) for i, j in shown or down if falls[i, j] > worst - 1e-12 and (2**i, 2**j) == steps)
    assert found["falls"] == bool(shown)
    assert found["fall"] == pytest.approx(falls[peak, trough])
    assert found["p"] == pytest.approx(p[peak, trough])
    one, other = (int(np.sum(values[:, a] * (1 - values[:, b]))) for a, b in ((peak, trough), (trough, peak)))
    level = 0.1 / (len(pairs) + 1) / 2
    low, high = score_interval(one, other, n, level, level)
    expected = (-high, -low) if higher else (low, high)
    assert (found["low"], found["high"]) == pytest.approx(expected)
    if shown:
        rises = [j for i, j in pairs if i == trough and -falls[i, j] >= max(0.05, 0.2 * far) - 1e-12]
        again = [j for j in rises if p[trough, j] <= 0.1]
        assert found["recovered"] == bool(again)
    else:
        assert found["recovered"] is pd.NA


def test_other_values_are_tested_by_the_paired_t_test(tidy):
    generator = np.random.default_rng(2)
    values = generator.beta(2, 2, (200, 1)) + generator.normal(0, 0.05, (200, 4)) - [0, 0, 0.05, 0.02]
    found = only(curve_of(tidy, values), items_of(values), smallest_change=0.01)
    assert found["method"] == T_TEST
    peak, trough = int(math.log2(found["peak_step"])), int(math.log2(found["trough_step"]))
    known = stats.ttest_rel(values[:, peak], values[:, trough])
    assert found["p"] == pytest.approx(min(1, 7 * known.pvalue))  # six pairs and the trend
    interval = known.confidence_interval(1 - 0.05 / 7)
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high))


def test_without_items_it_is_a_z_test_and_says_so(tidy):
    found = only(tidy.curve([0.5, 0.7, 0.6], stderr=0.01))
    assert (found["method"], found["note"]) == (Z_TEST, "no per-item results; conservative")
    z = 0.1 / math.hypot(0.01, 0.01)
    assert found["p"] == pytest.approx(4 * 2 * stats.norm.sf(z))  # three pairs and the trend
    reach = stats.norm.isf(0.05 / 4 / 2) * math.hypot(0.01, 0.01)
    assert (found["low"], found["high"]) == pytest.approx((0.1 - reach, 0.1 + reach))


def test_lower_is_better_turns_it_round(tidy):
    found = only(tidy.curve([0.7, 0.5, 0.9], stderr=0.01, higher_is_better=False))
    assert (found["peak_step"], found["peak_value"], found["trough_value"]) == (2, 0.5, 0.9)
    assert found["fall"] == pytest.approx(0.4)
    assert found["final_fall"] == pytest.approx(0.4)


def test_order_is_that_of_tokens(tidy):
    table = tidy.curve([0.5, 0.9, 0.6])
    shuffled = table.sample(frac=1, random_state=1).set_index(pd.Index([7, 7, 7]))
    pd.testing.assert_frame_equal(find_falls(shuffled), find_falls(table))


def test_the_largest_significant_fall_is_told_before_a_larger_doubtful_one(tidy):
    table = tidy.curve([0.9, 0.5, 0.6, 0.3]).assign(stderr=[0.5, 0.01, 0.01, 0.01])
    found = only(table)
    assert (found["peak_step"], found["trough_step"]) == (4, 8)
    assert found["fall"] == pytest.approx(0.3)


def test_curves_are_corrected_together(tidy):
    parts = [
        tidy.curve([0.5, 0.5 - fall], stderr=0.013, task=f"t{i}") for i, fall in enumerate((0.032, 0.055, 0.2, -0.1))
    ]
    table = pd.concat(parts, ignore_index=True)
    found = find_falls(table)
    z = np.array([0.055, 0.2]) / math.hypot(0.013, 0.013)
    p = 2 * 2 * stats.norm.sf(z)  # one pair and the trend
    np.testing.assert_allclose(found["p"].iloc[1:3], p)
    assert found["falls"].tolist() == [False, True, True, False]
    np.testing.assert_allclose(found["q"].iloc[1:3], p * 4 / 3)  # three of four curves move, the last upwards
    holm = find_falls(table, correction="holm")
    np.testing.assert_allclose(holm["q"].iloc[1:3], p * 4)


def test_a_fall_must_beat_the_noise_between_checkpoints(tidy):
    """True accuracy flat, training noise .01, 7,000 items: four of five curves fell by items alone."""
    rng = np.random.default_rng(8)
    fell = []
    for _ in range(40):
        parts = [tidy.curve(0.5 + rng.normal(0, 0.012, 8), model=f"m{i}", stderr=0.006, n=7000) for i in range(8)]
        fell.append(find_falls(pd.concat(parts), smallest_change=0.001)["falls"].any())
    assert sum(fell) <= 5


def test_label_fall_and_sentence_are_one_decision(tidy):
    rng = np.random.default_rng(9)
    parts = [tidy.curve(rng.uniform(0, 1, 6), model=f"m{i:02d}", stderr=0.03) for i in range(40)]
    table = pd.concat(parts)
    shapes, falls = describe_shapes(table), find_falls(table)
    assert (shapes["falls"] == falls["falls"]).all()
    assert set(shapes.loc[falls["falls"], "label"]).isdisjoint({"flat", "undecided", "emergent"})
    rises = shapes[falls["falls"] & (shapes["label"] == "positive")]
    assert rises["sentence"].str.contains(", and falls from ").all()


def test_falls_of_different_metrics_are_ranked_in_smallest_changes(tidy):
    table = pd.concat([
        tidy.curve([0.9, 0.6], stderr=0.01, task="accuracy"),
        tidy.curve([6.69, 9.5], stderr=0.01, task="nats", higher_is_better=False),
    ])  # fmt: skip
    found = find_falls(table)
    assert found["changes"].tolist() == pytest.approx([6, (9.5 - 6.69) / (0.05 * (6.69 + 9.5) / 2)])


def test_seeds_and_models_are_curves_of_their_own(tidy):
    found = find_falls(tidy.grid(seeds=(0, 1)))
    assert len(found) == 2 * 3 * 2
    assert found[["task", "model", "seed"]].drop_duplicates().shape[0] == 12


@pytest.mark.parametrize(
    ("values", "given", "p", "note"),
    [
        ([0.5], {}, math.nan, "one checkpoint"),
        ([0.5, 0.5, 0.5], {}, 1, "never falls"),
        ([0.0, 0.0], {"stderr": 0.0}, 1, "never falls"),
        ([0.9, 0.5], {"stderr": math.nan, "n": math.nan}, math.nan, "fewer than 3 checkpoints"),
        ([-3.0, -5.0], {"stderr": math.nan}, math.nan, "no standard errors"),
    ],
)
def test_degenerate_curves(tidy, values, given, p, note):
    found = only(tidy.curve(values, **given))
    assert found["p"] == pytest.approx(p, nan_ok=True)
    assert note in found["note"]


def test_a_fall_without_errors_is_still_described(tidy):
    found = only(tidy.curve([-3.0, -5.0, -4.0], stderr=math.nan))
    assert (found["fall"], found["peak_step"], found["trough_step"]) == (2.0, 1, 2)
    assert "roughness" in found["note"]
    assert found["recovered"] is pd.NA


def test_items_that_all_change_alike_leave_no_doubt(tidy):
    values = np.column_stack([np.linspace(0.2, 0.8, 50), np.linspace(0.1, 0.7, 50)])
    found = only(curve_of(tidy, values), items_of(values))
    assert found["p"] < 1e-6
    assert found["fall"] == pytest.approx(0.1)


def test_items_that_do_not_fit_are_said(tidy):
    values = answers(np.random.default_rng(1), 200, [0.8, 0.5, 0.5])
    table, read = curve_of(tidy, values), items_of(values)

    def some(run, task, columns):
        return None if run == "1" else read(run, task, columns)

    lacking = only(table, some)
    without = only(table)
    pd.testing.assert_series_equal(lacking.drop("note"), without.drop("note"))  # all else is as if there were none
    pd.testing.assert_frame_equal(describe_shapes(table, some), describe_shapes(table))
    assert lacking["note"] == "1 of 3 checkpoints without per-item results; conservative"
    other = only(table.assign(value=table["value"] + 0.01), read)
    assert other["note"] == "'acc' is not the mean over items; conservative"
    fewer = values.copy()
    fewer[150:, 2] = np.nan
    some = only(curve_of(tidy, fewer), items_of(fewer))
    assert (some["method"], some["n"], some["note"]) == (MCNEMAR, 150, "150 items in common, of 150 to 200")
    assert some["peak_value"] == pytest.approx(fewer[:150, 0].mean())


@pytest.mark.simulation
@pytest.mark.slow
@pytest.mark.parametrize(("k", "n"), [(2, 300), (8, 1000), (40, 300)])
@pytest.mark.parametrize("kind", ["binary", "share"])
def test_nothing_is_found_where_nothing_changed(tidy, k, n, kind):
    generator = np.random.default_rng(k * n)
    falls, tried = 0, 300 if k < 40 else 150
    for _ in range(tried):
        values = answers(generator, n, [0.4] * k)
        if kind == "share":  # skewed, as shares of probability are
            values = stats.norm.cdf(2 * (generator.normal(-0.5, 0.8, (n, 1)) + generator.normal(0, 0.5, (n, k))))
        falls += only(curve_of(tidy, values), items_of(values))["p"] <= 0.05
    assert falls <= stats.binom.ppf(0.999, tried, 0.025)  # two-sided tests: half of their errors are rises


@pytest.mark.simulation
@pytest.mark.slow
def test_the_interval_holds_for_the_fall_that_was_picked(tidy):
    generator = np.random.default_rng(6)
    levels = np.array([0.5, 0.6, 0.62, 0.6, 0.57, 0.55, 0.56, 0.58])
    covered = 0
    for _ in range(300):
        values = answers(generator, 500, levels)
        found = only(curve_of(tidy, values), items_of(values))
        truth = levels[int(math.log2(found["peak_step"]))] - levels[int(math.log2(found["trough_step"]))]
        covered += found["low"] <= truth <= found["high"]
    assert covered / 300 >= 0.95


@pytest.mark.simulation
@pytest.mark.slow
def test_a_real_drop_is_found_sooner_on_the_same_items(tidy):
    generator = np.random.default_rng(7)
    found = {True: 0, False: 0}
    for _ in range(200):
        values = answers(generator, 1000, [0.6] * 5 + [0.56] * 3)
        table = curve_of(tidy, values)
        table["stderr"] = values.std(axis=0) / math.sqrt(1000)
        for paired in (True, False):
            found[paired] += only(table, items_of(values) if paired else None)["p"] <= 0.05
    assert found[True] > 1.5 * found[False] > 0
