"""Two checkpoints on the same items: every estimator against its definition, and its error rates by simulation."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from evalrun.statistics.items import paired as module
from evalrun.statistics.items.paired import COLUMNS, compare_checkpoints, corrected, paired
from evalrun.statistics.items.paired_shares import mcnemar
from evalrun.statistics.items.score_interval import score_interval
from evalrun.statistics.reliability.intervals import standard_errors

COUNTS = st.tuples(*[st.integers(0, 60)] * 4).filter(lambda counts: sum(counts) > 0)


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def frame(values, ids=None):
    ids = range(len(values)) if ids is None else ids
    return pd.DataFrame({"doc_id": list(ids), "doc_hash": [f"h{i}" for i in ids], "filter": "none", "acc": values})


def of_counts(both, fell, rose, neither):
    before = [1.0] * both + [1.0] * fell + [0.0] * rose + [0.0] * neither
    after = [1.0] * both + [0.0] * fell + [1.0] * rose + [0.0] * neither
    return frame(before), frame(after)


@given(COUNTS)
def test_a_binary_metric_by_its_definitions(counts):
    both, fell, rose, neither = counts
    found = paired(*of_counts(*counts), "acc", alpha=0.1)
    n = sum(counts)
    assert (found.n, found.fell, found.rose) == (n, fell, rose)
    assert found.before == pytest.approx((both + fell) / n)
    assert found.after == pytest.approx((both + rose) / n)
    assert found.difference == pytest.approx((rose - fell) / n)
    assert found.p == pytest.approx(statsmodels_mcnemar([[both, fell], [rose, neither]], exact=True).pvalue)
    assert (found.low, found.high) == score_interval(fell, rose, n, 0.05, 0.05)
    assert found.low - 1e-12 <= found.difference <= found.high + 1e-12
    if fell:
        assert found.odds_ratio == rose / fell
    else:
        assert found.odds_ratio == math.inf if rose else math.isnan(found.odds_ratio)


def test_many_tables_at_once_are_each_alone():
    fell, rose = np.array([0.0, 3.0, 40.0]), np.array([0.0, 9.0, 10.0])
    alone = [mcnemar(np.array(b), np.array(c)) for b, c in zip(fell, rose, strict=True)]
    np.testing.assert_allclose(mcnemar(fell, rose), alone)


def test_turning_time_round_turns_the_result_round():
    before, after = of_counts(20, 14, 5, 11)
    forth, back = paired(before, after, "acc"), paired(after, before, "acc")
    assert back.difference == pytest.approx(-forth.difference)
    assert (back.low, back.high) == pytest.approx((-forth.high, -forth.low))
    assert (back.p, back.fell, back.rose) == pytest.approx((forth.p, forth.rose, forth.fell))


def test_a_few_continuous_values_are_tested_by_all_flips():
    change = np.array([0.3, -0.1, 0.25, 0.4, 0.05, -0.02, 0.11, 0.2])
    found = paired(frame(np.zeros(8) + 0.1), frame(change + 0.1), "acc", draws=9999)
    sums = [abs(np.dot(signs, change)) for signs in itertools.product((-1, 1), repeat=8)]
    assert found.p == pytest.approx(np.mean(np.array(sums) >= abs(change.sum()) - 1e-12))
    assert found.effect == pytest.approx(change.mean() / change.std(ddof=1))
    assert math.isnan(found.odds_ratio)
    assert (found.fell, found.rose) == (2, 6)


def test_many_continuous_values_agree_with_scipy():
    generator = np.random.default_rng(3)
    before = generator.beta(2, 2, 400)
    change = generator.normal(0.01, 0.1, 400)
    found = paired(frame(before), frame(before + change), "acc", draws=20_000, seed=1)
    known = stats.permutation_test(
        (change,), np.mean, permutation_type="samples", vectorized=True, n_resamples=20_000, rng=generator
    )
    assert found.p == pytest.approx(known.pvalue, abs=0.006)
    interval = stats.bootstrap((change,), np.mean, n_resamples=20_000, method="BCa", rng=generator).confidence_interval
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=6e-4)


def test_the_seed_decides():
    generator = np.random.default_rng(0)
    sides = frame(generator.random(100)), frame(generator.random(100))
    assert paired(*sides, "acc", seed=5) == paired(*sides, "acc", seed=5)
    assert paired(*sides, "acc", seed=5).low != paired(*sides, "acc", seed=6).low


@pytest.mark.parametrize(
    ("before", "after", "p", "note"),
    [
        ([1.0, 1.0], [1.0, 1.0], 1.0, "no item changed"),
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0], 1.0, "no item changed"),
        ([1.0], [0.0], 1.0, ""),
        ([0.2, 0.4, 0.1], [0.2, 0.4, 0.1], 1.0, "no item changed"),
        ([0.2, 0.4, 0.1], [0.3, 0.5, 0.2], 0.25, "all items changed alike"),
        ([0.2], [0.7], 1.0, "all items changed alike"),
    ],
)
def test_degenerate_items(before, after, p, note):
    found = paired(frame(before), frame(after), "acc")
    assert found.p == pytest.approx(p)
    assert found.note == note
    assert found.low <= found.difference + 1e-12
    assert found.high >= found.difference - 1e-12


def test_nothing_to_compare_is_said():
    assert paired(frame([1.0]), frame([1.0]), "f1").note == "no value of 'f1' for each item"
    nothing = paired(frame([1.0]), frame([1.0], ids=[9]), "acc")
    assert (nothing.n, nothing.note) == (0, "no item in common")
    assert math.isnan(nothing.p)


def test_corrections_leave_missing_values_out():
    q = corrected(np.array([0.01, np.nan, 0.04]), "holm")
    np.testing.assert_allclose(q, [0.02, np.nan, 0.04])
    assert np.isnan(corrected(np.array([np.nan]), "fdr_bh")).all()
    assert len(corrected(np.array([]), "fdr_bh")) == 0


def test_standard_errors_are_given_or_plus_four():
    value, stderr = np.array([0.5, 1.0, 1.0, -3.0, 0.5]), np.array([0.02, 0.0, np.nan, np.nan, np.nan])
    found = standard_errors(value, stderr, np.array([100.0, 100.0, 100.0, 100.0, np.nan]))
    plus_four = math.sqrt(102 / 104 * 2 / 104 / 104)
    np.testing.assert_allclose(found, [0.02, plus_four, plus_four, np.nan, np.nan])


class Two:
    """Two checkpoints' rows and items."""

    def __init__(self, tidy, tasks, **given):
        self.items = {("a", task): sides[0] for task, sides in tasks.items()}
        self.items |= {("b", task): sides[1] for task, sides in tasks.items()}
        self.sides = [
            tidy.table(
                [
                    {"task": t, "title": t, "run_id": run, "value": float(sides[i]["acc"].mean()), **given}
                    for t, sides in tasks.items()
                ]
            )
            for i, run in enumerate("ab")
        ]

    def read(self, run_id, task, columns):
        found = self.items.get((run_id, task))
        return None if found is None else found[[name for name in columns if name in found]]

    def compare(self, **given):
        found = compare_checkpoints(*self.sides, self.read, **given)
        assert list(found.columns) == COLUMNS
        return found.set_index("task")


@pytest.fixture
def two(tidy):
    return Two(
        tidy, {"down": of_counts(50, 40, 5, 5), "up": of_counts(50, 5, 40, 5), "same": of_counts(50, 20, 20, 10)}
    )


def test_the_verdicts_follow_q_and_the_direction(two):
    found = two.compare()
    assert found["verdict"].to_dict() == {"down": "worse", "up": "better", "same": "no difference shown"}
    assert (found["method"] == module.MCNEMAR).all()
    np.testing.assert_allclose(found["q"], corrected(found["p"].to_numpy(), "fdr_bh"))
    for side in two.sides:
        side["higher_is_better"] = False
    assert two.compare()["verdict"].to_dict() == {"down": "better", "up": "worse", "same": "no difference shown"}


def test_a_correction_can_take_a_verdict_away(tidy):
    tasks = {f"t{i}": of_counts(50, 20, 20, 10) for i in range(30)} | {"edge": of_counts(50, 25, 10, 15)}
    two = Two(tidy, tasks)
    assert paired(*tasks["edge"], "acc").p < 0.05
    assert two.compare(correction="holm").loc["edge", "verdict"] == "no difference shown"


def test_without_items_it_is_a_z_test_and_says_so(two):
    del two.items["b", "down"]
    found = two.compare()
    assert found.loc["down", "note"] == "no per-item results: conservative"
    assert found.loc["down", "method"] == module.Z_TEST
    assert found.loc["up", "method"] == module.MCNEMAR
    z = (0.55 - 0.9) / math.hypot(0.02, 0.02)
    assert found.loc["down", "p"] == pytest.approx(2 * stats.norm.cdf(z))
    reach = stats.norm.isf(0.025) * math.hypot(0.02, 0.02)
    assert (found.loc["down", "low"], found.loc["down", "high"]) == pytest.approx((-0.35 - reach, -0.35 + reach))
    assert math.isnan(found.loc["down", "fell"])
    alone = compare_checkpoints(*two.sides, None)
    assert (alone["method"] == module.Z_TEST).all()


def test_what_is_no_mean_over_items_is_not_taken_for_one(two):
    two.sides[0].loc[two.sides[0]["task"] == "down", "value"] = 0.77
    found = two.compare().loc["down"]
    assert (found["method"], found["note"]) == (module.Z_TEST, "'acc' is not the mean over items: conservative")
    assert found["before"] == 0.77


def test_what_cannot_be_compared_is_said(tidy, two):
    two.sides[0]["stderr"] = np.nan
    two.sides[0]["n"] = np.nan
    two.items.clear()
    found = two.compare()
    assert (found["verdict"] == "not comparable").all()
    assert (found["note"] == "no per-item results, and no standard errors").all()
    other = tidy.table([{"task": "down", "metric": "f1"}])
    assert "primary metrics differ" in compare_checkpoints(two.sides[0], other, None)["note"].iloc[0]
    assert compare_checkpoints(two.sides[0], tidy.table([{"task": "none"}]), None).empty


def latent(generator, n, count, correlation=0.7):
    """Answers (items, count) of checkpoints of one ability: items differ in how hard they are."""
    hard = generator.normal(0, 1, (n, 1)) * math.sqrt(correlation)
    return hard + generator.normal(0, math.sqrt(1 - correlation), (n, count))


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 300, 1000])
@pytest.mark.parametrize("shift", [0.0, -0.3, -1.0])
def test_the_interval_of_right_and_wrong_covers(n, shift):
    generator = np.random.default_rng(n)
    answers = np.stack([latent(generator, n, 2) > [0.0, -shift] for _ in range(4000)])
    before, after = answers[..., 0], answers[..., 1]
    truth = stats.norm.cdf(shift) - 0.5
    fell, rose = (before & ~after).sum(1), (~before & after).sum(1)
    ends = [score_interval(int(down), int(up), n, 0.025, 0.025) for down, up in zip(fell, rose, strict=True)]
    assert 0.95 <= np.mean([low <= truth <= high for low, high in ends]) <= 0.97
    if shift == 0:
        assert np.mean(mcnemar(fell.astype(float), rose.astype(float)) <= 0.05) <= 0.05


@pytest.mark.slow
def test_continuous_tests_hold_their_level():
    generator = np.random.default_rng(8)
    rejected = covered = 0
    for _ in range(600):
        before = generator.beta(0.5, 0.5, 200)
        after = np.clip(before + generator.normal(0, 0.2, 200), 0, 1)
        swap = generator.random(200) < 0.5  # exchangeable: no difference at all
        found = paired(
            frame(np.where(swap, before, after)), frame(np.where(swap, after, before)), "acc", draws=999, seed=1
        )
        rejected += found.p <= 0.05
        covered += found.low <= 0 <= found.high
    assert 0.03 <= rejected / 600 <= 0.07
    assert 0.93 <= covered / 600 <= 0.97


@pytest.mark.slow
def test_pairing_is_sharper_than_the_standard_errors():
    generator = np.random.default_rng(4)
    found = {"paired": 0, "unpaired": 0}
    for _ in range(400):
        before, after = (latent(generator, 1000, 2, 0.9) > [0.0, 0.1]).T.astype(float)
        found["paired"] += paired(frame(before), frame(after), "acc").p <= 0.05
        error = math.hypot(before.std(), after.std()) / math.sqrt(1000)
        found["unpaired"] += abs(after.mean() - before.mean()) / error >= 1.96
    assert found["paired"] > 1.8 * found["unpaired"]
