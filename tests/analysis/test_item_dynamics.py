"""What items do over training: classes, ages and losses of made items are found again, and none under guessing."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from made_items import MadeStore, items_frame, learned_at, made_course, made_curve, made_grid, table_rows
from scipy.special import ndtri
from scipy.stats import fisher_exact, spearmanr
from scipy.stats import t as student
from statsmodels.stats.inter_rater import cohens_kappa as reference_kappa

from evalrun.statistics.dynamics.ages import acquired, rank_correlation
from evalrun.statistics.dynamics.agreement import agreement, cohens_kappa
from evalrun.statistics.dynamics.distractors import ItemWords
from evalrun.statistics.dynamics.guessing import Chances, Pair, exact_loss, least_misled, transitions, whole_curve
from evalrun.statistics.dynamics.item_classes import CLASSES, LOSING, follow, prices, slips, states
from evalrun.statistics.dynamics.item_dynamics import ItemSettings, Turn, item_dynamics
from evalrun.statistics.dynamics.item_grid import ItemGrid, read_grid
from evalrun.statistics.dynamics.item_sheet import padded, read_sheet, tables_of
from evalrun.statistics.dynamics.returned import returned

SETTINGS = ItemSettings(guess=None, slip=0.05, alpha=0.05, correction="fdr_bh", seed=0)


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def courses_of(checkpoints, items, random):
    """Class -> known states (checkpoints, items) of made items of that class, each change at a random place."""
    third = max(2, checkpoints // 3)
    a, b = random.integers(third, checkpoints - 2 * third + 1, items), random.integers(1, 3, items)
    t = np.arange(checkpoints)[:, None]
    away = (t >= a) & (t < a + third)
    return {
        "never": np.zeros((checkpoints, items), bool),
        "always right": np.ones((checkpoints, items), bool),
        "learned for good": learned_at(a, checkpoints),
        "lost": ~learned_at(a + b, checkpoints),
        "lost and regained": ~away,
    }


def chances(curve, k, slip=0.05):
    guess = np.full(curve.right.shape[1], 1 / k)
    model = states(guess, slip, 0.05, len(curve.steps))
    return Chances(guess, slips(curve.right, follow(curve.right, model), slip), slip, least_misled(curve.right, guess))


def recovery(checkpoints, k, slip, items, seed):
    """Class -> share of made items of it that are found to be of it, of a task that has as many of each class."""
    made = courses_of(checkpoints, items, np.random.default_rng(seed))
    right, _ = made_course(np.concatenate(list(made.values()), axis=1), k, seed + 1, slip)
    model = states(np.full(right.shape[1], 1 / k), 0.05, 0.05, checkpoints)
    codes = follow(right, model).codes.reshape(len(made), items)
    return {name: np.mean(own == CLASSES.index(name)) for name, own in zip(made, codes, strict=True)}


def test_classes_of_made_items_are_found():
    found = recovery(60, 4, 0.03, 300, 1)
    assert min(found.values()) > 0.93, found
    unstable = (np.random.default_rng(0).random((60, 300)) < 0.65).astype(np.float32)
    counts = follow(unstable, states(np.full(300, 0.25), 0.05, 0.05, 60)).counts()
    assert counts["unstable"] > 280


def test_an_item_that_never_changes_is_seldom_given_a_change():
    for checkpoints, k in ((8, 2), (8, 4), (40, 4)):
        model = states(np.full(2000, 1 / k), 0.05, 0.05, checkpoints)
        for p in (1 / k, 0.95):
            right = (np.random.default_rng(3).random((checkpoints, 2000)) < p).astype(np.float32)
            counts = follow(right, model).counts()
            assert 2000 - counts["never"] - counts["always right"] < 0.05 * 2000, (checkpoints, k, p, counts)


def test_the_course_is_the_best_of_all_courses():
    random = np.random.default_rng(5)
    steps, items = 7, 40
    right = (random.random((steps, items)) < [[0.5], [0.5], [0.5], [1], [1], [0.1], [0.9]]).astype(np.float32)
    model = states(np.full(items, 0.5), 0.05, 0.3, steps)
    courses = follow(right, model)
    unknown, sure = model.likelihoods(right)

    cost = prices(right, model)

    def value(known):
        own = np.where(known[:, None], sure, unknown).sum(axis=0) - cost.start[int(known[0])]
        for t in range(1, steps):
            stay, change = (cost.stay_known, cost.loss) if known[t - 1] else (cost.stay_unknown, cost.gain)
            own = own - (stay if known[t] == known[t - 1] else change)[t]
        return own

    every = [value(np.array([code >> t & 1 for t in range(steps)], bool)) for code in range(2**steps)]
    mine = np.array([value(courses.known[:, i])[i] for i in range(items)])
    np.testing.assert_allclose(mine, np.max(every, axis=0), atol=1e-4)


def test_missing_answers_say_nothing():
    right, _ = made_course(learned_at(np.full(50, 10), 20), 4, 0)
    holes = right.copy()
    holes[::5] = np.nan
    model = states(np.full(50, 0.25), 0.05, 0.05, 20)
    same = follow(holes, model).codes == follow(right, model).codes
    assert same.mean() > 0.9
    assert (follow(np.full((20, 3), np.nan, np.float32), states(np.full(3, 0.25), 0.05, 0.05, 20)).gained == -1).all()


def age_coverage(checkpoints, k, slip, items, seed):
    random = np.random.default_rng(seed)
    at = random.integers(0, checkpoints + 1, items)
    right, margin = made_course(learned_at(at, checkpoints), k, seed, slip)
    curve = made_curve(right, margin)
    model = states(np.full(items, 1 / k), 0.05, 0.05, checkpoints)
    found = acquired(curve, follow(right, model), model, 0.05)
    ends = np.concatenate([[0], curve.tokens, [np.inf]])
    told = np.isfinite(found.low)
    return np.mean((found.low <= ends[at])[told] & (found.high >= ends[at + 1])[told]), at, found


def test_ages_of_made_items_are_covered():
    covered, at, found = age_coverage(40, 4, 0.02, 1500, 7)
    assert covered > 0.94
    seen = np.isfinite(found.age)
    assert seen.mean() > 0.7
    assert np.median(np.abs(found.age[seen] / 1e6 - at[seen])) < 1.5  # checkpoints, a million tokens apart
    assert ((found.low <= found.age) & (found.age <= found.high))[seen].mean() > 0.99


def test_an_age_is_where_the_margin_crosses_zero():
    margin = np.array([[-3.0], [-3], [-3], [-1], [1], [3], [3], [3], [3], [3]], np.float32)
    right = (margin > 0).astype(np.float32)
    curve = made_curve(right, margin)
    model = states(np.array([0.25]), 0.05, 0.05, 10)
    found = acquired(curve, follow(right, model), model, 0.05)
    assert found.age[0] == pytest.approx(np.sqrt(4e6 * 5e6))  # halfway in log tokens
    steep = margin.copy()
    steep[4] = 3
    nearer = acquired(made_curve(right, steep), follow(right, model), model, 0.05)
    assert nearer.age[0] == pytest.approx(np.exp(np.log(4e6) + 0.25 * np.log(5 / 4)))


def test_learned_and_lost_are_what_they_were_made_of():
    random = np.random.default_rng(2)
    n = 40_000
    before = random.random(n) < 0.6
    after = np.where(before, random.random(n) > 0.3, random.random(n) < 0.25)
    right, _ = made_course(np.stack([before, after]), 4, 3)
    row = transitions(made_curve(right), Chances(np.full(n, 0.25)), [Pair("x", 0, 1)], 0.05, "fdr_bh").iloc[0]
    assert row["lost"] == pytest.approx((before & ~after).mean(), abs=0.01)
    assert row["learned"] == pytest.approx((~before & after).mean(), abs=0.01)
    assert row["lost_low"] < (before & ~after).mean() < row["lost_high"]
    assert row["p"] < 1e-6
    assert row["wrong_to_right"] == ((right[0] == 0) & (right[1] == 1)).sum()
    # At the guess that is told, nothing would be lost.
    again = transitions(made_curve(right), Chances(np.full(n, row["tipping_guess"])), [Pair("x", 0, 1)], 0.05, "fdr_bh")
    assert again["lost"].iloc[0] == pytest.approx(0, abs=1e-9)
    slipped = Chances(np.full(n, 0.25), row["tipping_slip"], row["tipping_slip"])
    assert transitions(made_curve(right), slipped, [Pair("x", 0, 1)], 0.05, "fdr_bh")["lost"].iloc[0] == pytest.approx(
        0, abs=1e-9
    )


def test_the_exact_test_is_the_distribution_of_guesses():
    from scipy.stats import binom

    assert exact_loss(np.array([1.0] * 5 + [0] * 5), np.ones(10), np.full(10, 0.25)) == pytest.approx(
        binom.sf(4, 10, 0.25)
    )
    mixed = np.array([0.25] * 6 + [0.5] * 4)
    random = np.random.default_rng(0)
    simulated = ((random.random((200_000, 10)) < mixed).sum(axis=1) >= 5).mean()
    assert exact_loss(np.array([1.0] * 5 + [0] * 5), np.ones(10), mixed) == pytest.approx(simulated, abs=0.005)
    unlike = np.linspace(0.1, 0.6, 10)  # many guesses: nearly normal
    simulated = ((random.random((200_000, 10)) < unlike).sum(axis=1) >= 5).mean()
    assert exact_loss(np.array([1.0] * 5 + [0] * 5), np.ones(10), unlike) == pytest.approx(simulated, abs=0.02)


def false_losses(draws, checkpoints, k, items, slip=0.0):
    """Share of made curves, on which nothing is ever lost, of which loss is said; and how often 0 is covered."""
    said = covered = 0
    for seed in range(draws):
        random = np.random.default_rng(seed)
        known = learned_at(random.integers(0, checkpoints + 3, items), checkpoints)
        curve = made_curve(made_course(known, k, seed + 10_000, slip)[0])
        found = whole_curve(curve, chances(curve, k), 0.05)
        said += found["p"] < 0.05
        covered += found["lost_low"] <= 0 <= found["lost_high"]
    return said / draws, covered / draws


def test_under_guessing_nothing_is_said_to_be_lost():
    said, covered = false_losses(120, 8, 2, 60)
    assert said <= 0.09  # 5 %, and what 120 draws allow
    assert covered > 0.9
    forgotten = ~learned_at(np.random.default_rng(0).integers(3, 15, 300), 8)
    curve = made_curve(made_course(forgotten, 2, 1)[0])
    found = whole_curve(curve, chances(curve, 2), 0.05)
    assert found["p"] < 0.001
    assert found["lost_low"] > 0


@pytest.mark.simulation
@pytest.mark.parametrize(
    ("checkpoints", "k", "items", "slip"),
    [(8, 2, 50, 0.0), (10, 4, 100, 0.0), (30, 4, 500, 0.0), (8, 2, 500, 0.03), (30, 4, 300, 0.05), (154, 4, 200, 0.02)],
)
def test_loss_under_guessing_keeps_its_level(checkpoints, k, items, slip):
    said, covered = false_losses(1000, checkpoints, k, items, slip)
    assert said < 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / 1000)
    assert covered > 0.95 - 2.6 * np.sqrt(0.05 * 0.95 / 1000)


@pytest.mark.simulation
@pytest.mark.parametrize(("checkpoints", "k", "slip"), [(30, 4, 0.0), (30, 2, 0.0), (154, 4, 0.05), (154, 2, 0.03)])
def test_ages_and_classes_are_recovered(checkpoints, k, slip):
    assert age_coverage(checkpoints, k, slip, 20_000, 11)[0] > 0.945
    found = recovery(checkpoints, k, slip, 5000, 12)
    if (checkpoints, k) != (30, 2):  # ten answers of two choices are too few for one item
        assert min(found.values()) > 0.92, found
    assert found["never"] > 0.92
    assert found["always right"] > 0.95


@pytest.mark.simulation
def test_intervals_of_learned_and_lost_cover():
    inside = np.zeros(2)
    for seed in range(2000):
        random = np.random.default_rng(seed)
        before = random.random(200) < 0.6
        after = np.where(before, random.random(200) > 0.3, random.random(200) < 0.25)
        right, _ = made_course(np.stack([before, after]), 4, seed + 5000)
        row = transitions(made_curve(right), Chances(np.full(200, 0.25)), [Pair("x", 0, 1)], 0.05, "fdr_bh").iloc[0]
        inside += [row["lost_low"] < 0.18 < row["lost_high"], row["learned_low"] < 0.1 < row["learned_high"]]
    assert (inside / 2000 > 0.935).all(), inside


def test_kappa_is_cohens_and_independence_gives_none():
    random = np.random.default_rng(0)
    x, y = (random.random((2, 400)) < [[0.7], [0.6]]).astype(float)
    y[:200] = x[:200]
    observed, expected, (kappa, low, high) = cohens_kappa(x, y, 0.05)
    table = [[np.mean((x == a) & (y == b)) for b in (0, 1)] for a in (0, 1)]
    assert kappa == pytest.approx(reference_kappa(table).kappa)
    assert observed == (x == y).mean()
    assert expected == pytest.approx(np.outer(np.sum(table, 1), np.sum(table, 0)).trace())
    draws = [cohens_kappa(*np.stack([x, y])[:, random.integers(0, 400, 400)], 0.05)[2][0] for _ in range(500)]
    assert (high - low) / (2 * 1.96) == pytest.approx(np.std(draws), rel=0.15)
    known = random.random((1, 3000)) < 0.5
    apart = [made_curve(made_course(random.random((1, 3000)) < 0.5, 4, s)[0], model=f"m{s}") for s in (1, 2)]
    same = [made_curve(made_course(known, 4, s)[0], model=f"m{s}") for s in (3, 4)]
    nothing = [acquired(curve, None, None, 0.05) for curve in apart]
    guesses = [Chances(np.full(3000, 0.25))] * 2
    row = agreement(made_grid(apart, 4), guesses, nothing, 0.05).iloc[0]
    assert row["kappa_low"] < 0 < row["kappa_high"]
    row = agreement(made_grid(same, 4), guesses, nothing, 0.05).iloc[0]
    assert row["known_low"] < 1 < row["known_high"]  # the same items are known, and guesses made apart
    assert row["kappa"] < 0.8


def test_ages_of_two_models_are_ranked():
    random = np.random.default_rng(1)
    one = random.random(200)
    other = one + random.normal(0, 0.2, 200)
    one[:20], other[10:30] = np.nan, np.nan
    found = rank_correlation(one, other, 0.05)
    assert found.n == 170
    assert found.rho == pytest.approx(spearmanr(one[30:], other[30:]).statistic)
    assert found.low < found.rho < found.high
    assert np.isnan(rank_correlation(one[:22], other[:22], 0.05).rho)


def turned(share, n=400, seed=0):
    """A curve of three checkpoints: known, lost by most, then back for the lost ones (share 1) or for any (share 0)."""
    random = np.random.default_rng(seed)
    peak = random.random(n) < 0.5
    trough = peak & (random.random(n) < 0.2)
    back = trough | np.where(random.random(n) < share, peak, random.random(n) < 0.4)
    return made_curve(made_course(np.stack([peak, trough, back]), 2, seed + 1)[0])


def test_items_that_return_are_those_that_were_lost():
    grid = made_grid([turned(0.9), turned(0.0, seed=2)], 2)
    same, other = returned(grid, [(0, 1, 2, 3), (1, 1, 2, 3)], 0.05, "fdr_bh").to_dict("records")
    assert same["q"] < 0.001
    assert same["low"] > 0.3
    assert other["p"] > 0.05
    assert other["low"] < 0 < other["high"]
    cells = [
        [same["lost_returned"], same["lost"] - same["lost_returned"]],
        [same["other_returned"], same["other"] - same["other_returned"]],
    ]
    assert same["p"] == pytest.approx(fisher_exact(cells, "greater").pvalue)
    assert same["expected"] == pytest.approx(
        same["lost"] * (same["lost_returned"] + same["other_returned"]) / same["wrong"]
    )


@pytest.mark.simulation
def test_items_that_return_at_random_are_seldom_taken_for_the_lost_ones():
    found = [
        returned(made_grid([turned(0.0, 200, seed)], 2), [(0, 1, 2, 3)], 0.05, "fdr_bh").iloc[0] for seed in range(1000)
    ]
    assert np.mean([row["p"] < 0.05 for row in found]) < 0.068
    assert np.mean([row["low"] < 0 < row["high"] for row in found]) > 0.93


def store_of(steps=6, n=40, k=4, models=("a", "b"), seed=0):
    """Items in memory that fall from step 2 on to one wrong place, and rows of the table about them."""
    random = np.random.default_rng(seed)
    gold = random.integers(0, k, n)
    frames, runs, values = {}, [], []
    for model in models:
        for step in range(1, steps + 1):
            logprobs = random.normal(-5, 0.3, (n, k))
            logprobs[np.arange(n), gold] += 3 if step <= 2 else 0
            logprobs[:, 1] += 0 if step <= 2 else 4
            run = f"{model}{step}"
            frames[run, "made"] = items_frame(logprobs, gold)
            runs.append((run, model, step))
            values.append(float(frames[run, "made"]["acc"].mean()))
    return MadeStore(frames), table_rows(runs, values), gold


def found_in(store, rows, turns=(), words=None):
    tables = tables_of(store)
    grid = read_grid(rows, tables)
    assert isinstance(grid, ItemGrid), grid
    return item_dynamics(grid, list(turns), tables, words, SETTINGS)


def test_the_choice_that_took_over_is_named():
    store, rows, gold = store_of()
    texts = tuple(tuple(f" {w}" for w in ("red", "green", "blue", "grey")) for _ in gold)
    words = ItemWords(texts, {"trap": ("green",) * len(gold), "half": tuple("xy"[i % 2] for i in range(len(gold)))})
    turn = Turn("a", np.nan, 2, 6, np.nan, 15)
    found = found_in(store, rows, [turn], lambda task, keys: words).distractors
    assert set(found["model"]) == {"a"}
    by = {(row["by"], row["value"]): row for row in found.to_dict("records")}
    assert by["right choice", ""]["change"] < -0.5
    assert by["right choice", ""]["taken_before"] == 1
    for key in (("position", "2"), ("text", "green"), ("column", "trap")):
        assert by[key]["high"] > by[key]["change"] > by[key]["low"] > 0.8, key
        assert by[key]["taken_after"] == 1
    assert by["position", "2"]["choices"] == (gold != 1).sum()
    assert by["position", "1"]["change"] < 0.05
    assert by["part", "half=x"]["choices"] == len(gold) / 2
    # What the right choice lost is what the wrong ones won.
    wrong = [row for (kind, _), row in by.items() if kind == "position"]
    assert sum(row["change"] * row["choices"] for row in wrong) == pytest.approx(
        -by["right choice", ""]["change"] * len(gold)
    )


def test_a_fall_to_no_finite_number_has_no_answer_that_took_over():
    store, rows, _ = store_of()
    frame = store.frames["a6", "made"]
    store.frames["a6", "made"] = frame.assign(logprobs=list(np.full((len(frame), 4), np.nan)))
    found = found_in(store, rows, [Turn("a", np.nan, 2, 6, np.nan, 15)])
    assert found.distractors.empty


def test_items_that_share_a_source_have_clustered_errors():
    store, rows, _ = store_of(n=40)
    turn = Turn("a", np.nan, 2, 6, np.nan, 15)
    tables = tables_of(store)
    grid = read_grid(rows, tables)

    def found(clusters):
        return item_dynamics(replace(grid, clusters=clusters), [turn], tables, None, SETTINGS)

    # Each item five times over: with clusters as sure as the items themselves, one by one surer than they are.
    copies = {
        key: pd.concat([own.assign(doc_id=own["doc_id"] + 1000 * copy) for copy in range(5)], ignore_index=True)
        for key, own in store.frames.items()
    }
    wide = tables_of(MadeStore(copies))
    copied = read_grid(rows, wide)
    sources = copied.keys["doc_id"].to_numpy() % 1000
    many = item_dynamics(replace(copied, clusters=sources), [turn], wide, None, SETTINGS)
    bare = item_dynamics(copied, [turn], wide, None, SETTINGS)
    single = found(np.arange(40))
    plain = found(None)
    for frame, low, high in (
        ("transitions", "learned_low", "learned_high"),
        ("losses", "lost_low", "lost_high"),
        ("distractors", "low", "high"),
    ):
        frames = [getattr(one, frame) for one in (many, single, bare)]
        length = [(one[high] - one[low]).to_numpy(float) for one in frames]
        there = np.isfinite(length[1]) & (length[1] > 1e-9)
        assert there.any(), frame
        np.testing.assert_allclose(length[0][there], length[1][there], rtol=0.02, err_msg=frame)
        assert (length[2][there] <= length[1][there] + 1e-12).all(), frame
        assert (length[2][there] < 0.65 * length[1][there]).any(), frame
    # Clusters of one item each are items one by one, but for t in place of z.
    z, t = ndtri(0.975), student.ppf(0.975, 39)
    lost = [one.losses["lost_high"] - one.losses["lost_low"] for one in (single, plain)]
    assert (lost[0] / lost[1]).to_numpy() == pytest.approx(t / z, rel=0.01)  # its ends are of several slips
    assert (single.items["class"] == plain.items["class"]).all()


def test_agreement_on_copies_of_items_is_no_surer_than_on_the_items():
    random = np.random.default_rng(0)
    x = (random.random(100) < 0.6).astype(float)
    y = np.where(random.random(100) < 0.7, x, 1 - x)
    ends = [
        cohens_kappa(x, y, 0.05, np.arange(100))[2],
        cohens_kappa(np.tile(x, 5), np.tile(y, 5), 0.05, np.tile(np.arange(100), 5))[2],
        cohens_kappa(np.tile(x, 5), np.tile(y, 5), 0.05)[2],
    ]
    once, copied, bare = (high - low for _, low, high in ends)
    assert copied == pytest.approx(once, rel=0.02)
    assert bare < 0.5 * once


def test_returns_of_clusters_need_the_clustered_test():
    grid = made_grid([turned(0.9)], 2)
    (alone,) = returned(grid, [(0, 1, 2, 3)], 0.05, "fdr_bh").to_dict("records")
    few = replace(grid, clusters=np.arange(400) // 134)  # three sources
    (clustered,) = returned(few, [(0, 1, 2, 3)], 0.05, "fdr_bh").to_dict("records")
    assert clustered["difference"] == alone["difference"]
    assert clustered["p"] > alone["p"]
    ones = replace(grid, clusters=np.arange(400))
    (same,) = returned(ones, [(0, 1, 2, 3)], 0.05, "fdr_bh").to_dict("records")
    assert same["high"] - same["low"] == pytest.approx(alone["high"] - alone["low"], rel=0.02)


def test_clustered_ages_are_correlated_no_surer_than_sources():
    random = np.random.default_rng(3)
    one = np.repeat(random.random(30), 10)
    other = np.repeat(random.random(30), 10) + one
    plain = rank_correlation(one, other, 0.05)
    clustered = rank_correlation(one, other, 0.05, np.repeat(np.arange(30), 10))
    sources = rank_correlation(one[::10], other[::10], 0.05)
    assert clustered.rho == plain.rho
    assert clustered.high - clustered.low > 2 * (plain.high - plain.low)
    assert clustered.high - clustered.low == pytest.approx(sources.high - sources.low, rel=0.4)


def test_what_is_read_is_what_was_stored():
    store, rows, gold = store_of(steps=3)
    grid = read_grid(rows, tables_of(store))
    frame = store("a2", "made")
    logprobs = np.stack(frame["logprobs"])
    own = logprobs[np.arange(len(gold)), gold]
    others = np.where(np.arange(4) == gold[:, None], -np.inf, logprobs).max(axis=1)
    np.testing.assert_allclose(grid.curves[0].margin[1], own - others, rtol=1e-6)
    np.testing.assert_array_equal(grid.curves[0].right[1], frame["acc"])
    np.testing.assert_array_equal(grid.curves[0].chosen[1], frame["prediction"])
    assert (grid.gold == gold).all()
    assert (grid.guess == 0.25).all()
    assert [curve.label for curve in grid.curves] == ["a", "b"]


def test_ties_count_as_their_share_and_lists_may_be_of_unlike_lengths():
    frame = pd.DataFrame(
        {
            "doc_id": [0, 1, 2, 3],
            "target": ["0", "1", "0", "2"],
            "logprobs": [[-1.0, -1.0], [-2.0, -1.0, -3.0], [np.nan, -1.0], [-1.0, -1.0, -1.0]],
            "acc": [1.0, 1.0, 1.0, 0.0],  # of lm-eval, which takes the first
        }
    )
    sheet = read_sheet(tables_of(MadeStore({("r", "t"): frame})), "r", "t", "acc")
    np.testing.assert_allclose(sheet.right, [0.5, 1, np.nan, 1 / 3])
    np.testing.assert_allclose(sheet.margin, [0, 1, np.nan, 0])
    assert sheet.choices.tolist() == [2, 3, 2, 3]
    halves, counts = padded(pa.chunked_array([[[1.0, 2.0, 3.0, 4.0]], [[5.0, 6.0]]]), parts=2)
    np.testing.assert_array_equal(halves, [[1, 2], [5, -np.inf]])
    assert counts.tolist() == [2, 1]


def test_targets_between_quotes_are_places_where_acc_says_the_same():
    """lm-eval's samples hold every target as text, the place of a choice and a choice that is a number alike."""
    store, _, gold = store_of(steps=1, models=("a",))
    frame = store("a1", "made")
    quoted = frame.assign(target=[f'"{place}"' for place in gold])
    sheets = [
        read_sheet(tables_of(MadeStore({("r", "t"): one})), "r", "t", "acc")
        for one in (frame, quoted, quoted.assign(target=[f'"{place + 1}"' for place in gold]))
    ]
    assert (sheets[0].gold == gold).all()
    assert (sheets[1].gold == gold).all()
    np.testing.assert_array_equal(sheets[0].margin, sheets[1].margin)
    assert (sheets[2].gold == -1).all()  # texts of choices
    np.testing.assert_array_equal(sheets[0].right, sheets[2].right)


def test_items_that_differ_are_named_and_left_out():
    store, rows, _ = store_of(steps=4)
    store.frames["a2", "made"] = store("a2", "made").iloc[3:].reset_index(drop=True)
    store.frames["b1", "made"] = store("b1", "made").assign(prompt_hash="other")
    store.frames["b2", "made"] = store("b2", "made").assign(doc_hash="another")
    del store.frames["b3", "made"]
    grid = read_grid(rows, tables_of(store))
    assert len(grid.keys) == 37
    assert [len(curve.steps) for curve in grid.curves] == [4, 1]
    assert grid.notes == [
        "No items, and left out: b step 3.",
        "a step 2 lacks 3 items (doc_id 0, 1 and 2).",
        "b step 1 is left out: the prompts of 40 of 40 items are others.",
        "b step 2 is left out: it shares no item.",
        "What follows is about the 37 items that all have, of 40.",
    ]
    repeated = pd.concat([store("a1", "made")] * 2)
    assert read_grid(rows[:1], tables_of(MadeStore({("a1", "made"): repeated}))).startswith(
        "items cannot be told apart"
    )
    assert read_grid(rows, tables_of(MadeStore({}))) == "no items are in the store"


def test_graded_answers_are_refused_and_free_ones_are_not_guessed():
    frame = pd.DataFrame({"doc_id": range(30), "mc2": np.linspace(0.01, 0.99, 30), "exact_match": [0.0, 1.0] * 15})
    store = MadeStore({("r", "made"): frame})
    rows = table_rows([("r", "a", 1)], [0.5])
    assert "not right or wrong" in read_grid(rows.assign(metric="mc2"), tables_of(store))
    grid = read_grid(rows.assign(metric="exact_match", chance=np.nan), tables_of(store))
    assert (grid.guess == 0).all()
    assert grid.curves[0].right.mean() == 0.5


@pytest.mark.parametrize(("steps", "n"), [(1, 40), (6, 1), (1, 1), (2, 2)])
def test_one_step_and_one_item(steps, n):
    store, rows, _ = store_of(steps=steps, n=n)
    found = found_in(store, rows, [Turn("a", np.nan, 2, 6, np.nan, 15)] if steps == 6 else [])
    assert len(found.items) == 2 * n
    assert len(found.transitions) == 2 * (steps - 1 + (steps > 2)) + (steps == 6)
    assert found.classes.groupby("model")["items"].sum().to_dict() == ({} if steps == 1 else {"a": n, "b": n})
    assert found.items["class"].isna().all() if steps == 1 else found.items["class"].notna().all()
    (said,) = [note for note in found.notes if "one checkpoint" in note] if steps == 1 else [""]
    assert "classes need at least 2 of a model, so none is told" in said or steps > 1
    assert any("One item" in note for note in found.notes) == (n == 1)
    if steps == 1:
        assert found.losses["p"].isna().all()
        assert found.items["age"].isna().all()


def test_all_that_ties_is_a_guess():
    frame = items_frame(np.zeros((50, 4)), np.zeros(50, int))
    store = MadeStore({(f"a{step}", "made"): frame for step in range(1, 6)})
    rows = table_rows([(f"a{step}", "a", step) for step in range(1, 6)], [0.25] * 5)
    found = found_in(store, rows)
    assert found.classes.set_index("class").loc["never", "items"] == 50
    assert found.losses["p"].iloc[0] > 0.5
    assert found.transitions["lost"].abs().max() < 1e-9


def test_losses_by_chance_are_told_beside_the_losses():
    random = np.random.default_rng(0)
    right = (random.random((10, 1000)) < 0.25).astype(np.float32)
    from evalrun.statistics.dynamics.item_classes import by_chance

    model = states(np.full(1000, 0.25), 0.05, 0.05, 10)
    courses = follow(right, model)
    expected = by_chance(courses, model, 0)
    lost = sum(courses.counts()[name] for name in LOSING)
    assert sum(expected.values()) == pytest.approx(1000)
    assert sum(expected[name] for name in LOSING) == pytest.approx(lost, abs=15)
    assert set(expected) == set(CLASSES)


def of_the_embedded_suite(model):
    """The answers of a model of `evalrun tiny` (seed 0) to the 300 items of tiny_obey_quote, at its 11 steps."""
    kept = np.load(Path(__file__).with_name("tiny_obey_quote.npz"))
    right = np.unpackbits(kept[model], axis=1)[:, : int(kept["items"])].astype(np.float32)
    curve = made_curve(right, model=model)
    return replace(curve, steps=kept["steps"].astype(np.float64), tokens=kept["steps"] * 1536.0)


@pytest.mark.parametrize(("model", "peak", "trough"), [("tiny_m", 8, 256), ("tiny_l", 1, 256)])
def test_what_the_embedded_suite_loses_comes_back_and_so_does_the_rest(model, peak, trough):
    """Its U is no forgetting: at the peak it guesses, at the bottom it prefers the quote's word, then it knows all."""
    curve = of_the_embedded_suite(model)
    found = item_dynamics(
        made_grid([curve], 2), [Turn(model, np.nan, peak, trough, 1024, 55)], tables_of(MadeStore({})), None, SETTINGS
    )
    back = found.returned.iloc[0]
    assert back["lost"] > 100
    assert back["lost_returned"] / back["lost"] > 0.99  # those that were lost return
    assert back["other_returned"] / back["other"] > 0.95  # and those that were not
    assert back["p"] > 0.05
    fall = found.transitions[found.transitions["kind"] == "fall"].iloc[0]
    assert abs(fall["known"]) < 0.05
    assert fall["misled"] > 0.6
    assert fall["lost_low"] <= 0 <= fall["lost_high"]
    assert fall["p"] > 0.05
    classes = found.classes.set_index("class")["items"]
    assert classes["learned for good"] > 240
    assert classes["lost"] < 5


def test_guesses_that_stay_the_same_are_noted():
    notes = item_dynamics(
        made_grid([of_the_embedded_suite("tiny_xs")], 2), [], tables_of(MadeStore({})), None, SETTINGS
    ).notes
    assert any("its guesses stay the same from checkpoint to checkpoint" in note for note in notes)
