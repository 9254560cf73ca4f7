"""Runs against runs: what the numbers are, how often bands err about one recipe, that a damaged one is found."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from analysis.made_runs import Array, Recipe, answers, made_curves
from evalrun.reporting import runs_drawing
from evalrun.statistics.training_runs import curve_bands, run_differences
from evalrun.statistics.training_runs.curve_bands import by_exchanged_runs, by_few_seeds, item_deviations, item_signs
from evalrun.statistics.training_runs.matched_points import common_points, on_points
from evalrun.statistics.training_runs.run_differences import ITEMS, OTHER_SEEDS, SEEDS, WOBBLE, BandSettings, bands_of
from evalrun.statistics.training_runs.run_tables import decided_at, look_rows, point_rows, task_rows
from evalrun.statistics.training_runs.seed_noise import between_seeds, steadied

QUICK = BandSettings(draws=499)


@pytest.fixture(autouse=True)
def known_quantiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of comparisons of one design draw the quantile of their band once."""
    monkeypatch.setattr(run_differences, "by_few_seeds", cache(curve_bands.by_few_seeds))


def test_points_are_those_of_the_run_that_has_fewest_within_the_common_range() -> None:
    dense, sparse = np.log10([1.0, 2, 4, 8, 16, 32]), np.log10([2.0, 6, 32, 64])
    points = common_points([dense, sparse])
    assert 10**points == pytest.approx([2, 6, 32])
    place = on_points(dense, points)
    assert place.is_between.tolist() == [False, True, False]
    share = np.log(6 / 4) / np.log(2)
    assert place.of(np.array([0.0, 1, 2, 3, 4, 5])) == pytest.approx([1, 2 + share, 5])
    assert not on_points(sparse, points).is_between.any()


def test_a_run_that_does_not_reach_a_point_has_no_value_there() -> None:
    values = on_points(np.log10([2.0, 4, 8]), np.log10([1.0, 2, 3, 8, 16])).of(np.array([5.0, 6, 7]))
    assert np.isnan(values).tolist() == [True, False, False, False, True]


def test_runs_without_a_common_range_have_no_points() -> None:
    assert len(common_points([np.log10([1.0, 2, 4]), np.log10([8.0, 16])])) == 0


def test_the_variance_between_seeds_is_pooled_over_recipes_and_steadied_by_neighbours() -> None:
    a, b = np.array([[1.0, 2, 2, 2], [3.0, 2, 2, 2]]), np.array([[0.0, 0, 0, 4], [0.0, 0, 0, 4], [3.0, 0, 0, 4]])
    found = between_seeds([a, b, a[:1]])
    assert found is not None
    assert found.df == 3
    raw = (2 + 6) / 3
    assert found.variance == pytest.approx([raw, raw / 3, 0, 0])
    assert between_seeds([a[:1], b[:1]]) is None
    assert steadied(np.array([0.0, 3.0, 0.0])) == pytest.approx([1, 3, 1])


def test_one_point_and_one_task_is_students_t() -> None:
    found = by_few_seeds(1, 1, 4, 0.05, 99_999, 0)
    assert found.critical(0.05) == pytest.approx(student.isf(0.025, 4), rel=0.03)
    assert found.p(float(student.isf(0.025, 4))) == pytest.approx(0.05, rel=0.1)


def test_more_tasks_make_a_band_wider() -> None:
    one, ten = (by_few_seeds(3, tasks, 4, 0.05, 9999, 0).critical(0.05) for tasks in (1, 10))
    assert ten > one * 1.5


def test_exchanged_runs_count_every_way_once() -> None:
    values = np.array([0.0, 1, 2, 10, 11, 12, 13, 14])

    def largest(way: list[int]) -> float:
        side = np.isin(np.arange(8), way)
        return float(abs(values[side].mean() - values[~side].mean()))

    found = by_exchanged_runs(8, 4, largest, 9999, 0)  # type: ignore[arg-type]
    order = np.sort([largest(list(way)) for way in itertools.combinations(range(8), 4)])
    assert found.p(order[-1]) == pytest.approx(2 / 70)
    assert found.critical(0.05) < order[-1]
    assert found.critical(0.01) == np.inf


def test_items_are_drawn_together_over_checkpoints() -> None:
    rng = np.random.default_rng(0)
    once = rng.choice([-1.0, 0, 1], (400, 1), p=[0.2, 0.6, 0.2])
    alike, apart = np.repeat(once, 10, axis=1), rng.choice([-1.0, 0, 1], (400, 10), p=[0.2, 0.6, 0.2])
    quantiles = []
    for change in (alike, apart):
        sums, errors = item_deviations(change, None)
        assert errors == pytest.approx(change.std(axis=0, ddof=1) / 20)
        quantiles.append(np.quantile(item_signs(sums, errors, 1999, 0), 0.95))
    assert quantiles[0] == pytest.approx(1.96, abs=0.15)  # ten copies of one checkpoint are one
    assert quantiles[1] == pytest.approx(2.8, abs=0.2)


def test_clusters_of_items_are_one_draw() -> None:
    change = np.repeat(np.random.default_rng(1).normal(size=(30, 2)), 10, axis=0)
    _, alone = item_deviations(change, None)
    sums, together = item_deviations(change, np.repeat(np.arange(30), 10))
    assert len(sums) == 30
    assert together == pytest.approx(alone * np.sqrt(10), rel=0.05)


def test_that_nothing_changed_is_not_known_without_error() -> None:
    _, errors = item_deviations(np.zeros((200, 2)), None)
    assert errors == pytest.approx(1 / 200)


def test_decided_is_from_where_the_band_stays_on_the_last_side() -> None:
    assert decided_at(np.array([0.0, 1, 0, -1, -1])) == 3
    assert decided_at(np.array([-1.0, -1])) == 0
    assert decided_at(np.array([1.0, 0])) is None


def test_looks_tell_which_share_of_tasks_an_earlier_one_would_have_decided_alike() -> None:
    rows = [
        ("x", 0, 0.1, 0.0), ("x", 1, 0.2, 1.0), ("x", 2, 0.3, 1.0),
        ("y", 0, -0.1, 0.0), ("y", 1, 0.1, 0.0), ("y", 2, -0.1, 0.0),
    ]  # fmt: skip
    points = pd.DataFrame(rows, columns=["task", "point", "difference", "side"])
    points["step_b"] = points["x"] = 2.0 ** points["point"]
    looks = look_rows(points)
    assert looks[["step_b", "same_sign", "same_verdict", "decided"]].to_numpy().tolist() == [
        [1.0, 1.0, 0.5, 0],
        [2.0, 0.5, 1.0, 1],
    ]


def groups(
    recipe: Recipe, sizes: tuple[int, int, int], draw: int, other: Recipe | None = None
) -> list[list[list[Array]]]:
    """Runs of A, B and others; B is of the other recipe if there is one."""
    rng = np.random.default_rng(draw)
    recipes = (recipe, other or recipe, recipe)
    return [[answers(one, rng) for _ in range(size)] for one, size in zip(recipes, sizes, strict=True)]


def test_what_a_band_allows_for_is_what_is_known_of_seeds() -> None:
    small = Recipe(tasks=2, items=60)
    kinds = {(1, 1, 0): WOBBLE, (1, 1, 3): OTHER_SEEDS, (2, 1, 0): SEEDS, (4, 4, 0): SEEDS}
    for sizes, kind in kinds.items():
        bands = bands_of(made_curves(*groups(small, sizes, 0)), QUICK)
        assert bands.kind == kind
        assert bands.exchanged == (70 if sizes == (4, 4, 0) else 0)
    two = bands_of(made_curves(*groups(replace(small, points=2), (1, 1, 0), 0)), QUICK)
    assert two.kind == ITEMS
    assert two.critical == two.item_critical


def test_the_numbers_of_a_task_are_those_of_its_items() -> None:
    a, b, _ = groups(Recipe(tasks=1, items=80), (1, 1, 0), 3)
    bands = bands_of(made_curves(a, b), QUICK)
    points = point_rows(bands)
    row = task_rows(bands, points).iloc[0]
    change = b[0][0] - a[0][0]
    assert points["difference"].to_numpy() == pytest.approx(change.mean(axis=0))
    assert row["mean_difference"] == pytest.approx(change.mean())
    last = change[:, -1]
    assert row["effect"] == pytest.approx(last.mean() / last.std(ddof=1))
    assert row["odds_ratio"] == pytest.approx((last > 0).sum() / (last < 0).sum())
    assert row["odds_low"] < row["odds_ratio"] < row["odds_high"]
    assert row["low"] < row["difference"] < row["high"]


def test_a_band_of_shares_ends_where_shares_do() -> None:
    a, b, _ = groups(Recipe(tasks=1, items=5), (2, 1, 0), 1)
    bands = bands_of(made_curves(a, b), replace(QUICK, alpha=1e-4))
    points = point_rows(bands)
    assert (bands.critical * bands.tasks[0].error > 2).any()  # wider than anything that can be
    assert points[["low", "item_low"]].to_numpy().min() == -1
    assert points[["high", "item_high"]].to_numpy().max() == 1
    assert points["difference"].abs().max() > 0.1  # the band's two sides are not as wide
    for _, scale in runs_drawing._sheet(points, "tokens", ["B - A"], "Difference")[1]:
        low, high = scale.ranges.up
        assert -1.15 < low < high < 1.15  # the edge and the panel's margin
    row = task_rows(bands, points).iloc[0]
    assert -1 <= row["mean_low"] <= row["mean_high"] <= 1
    nats = replace(bands, tasks=tuple(replace(one, curves=replace(one.curves, is_share=False)) for one in bands.tasks))
    assert point_rows(nats)["high"].max() > 1


def share_of_false_bands(recipe: Recipe, sizes: tuple[int, int, int], pairs: int) -> tuple[float, float]:
    """Of pairs of groups of one recipe, those whose band excludes 0 anywhere; and those by items alone."""
    bands, items = 0, 0
    for draw in range(pairs):
        points = point_rows(bands_of(made_curves(*groups(recipe, sizes, draw)), QUICK))
        bands, items = bands + bool((points["side"] != 0).any()), items + bool((points["item_side"] != 0).any())
    return bands / pairs, items / pairs


def test_seeds_of_one_recipe_are_not_called_different_though_their_items_are() -> None:
    recipe = Recipe(tasks=2, items=150)
    bands, items = share_of_false_bands(recipe, (3, 3, 0), 20)
    assert bands <= 0.1
    assert items >= 0.5


def test_a_damaged_recipe_is_found_within_a_checkpoint() -> None:
    recipe = Recipe(tasks=2, items=150)
    damaged = replace(recipe, damaged_from=6, damage=2.0)
    found = []
    for draw in range(5):
        bands = bands_of(made_curves(*groups(recipe, (3, 3, 0), draw, damaged)), QUICK)
        tasks = task_rows(bands, point_rows(bands))
        assert not (tasks["verdict"] == "better").any()
        found += tasks.loc[tasks["verdict"] == "worse", "decided_point"].tolist()
    assert len(found) >= 9
    assert np.mean(np.abs(np.array(found, dtype=float) - 6) <= 1) >= 0.9


NOISES = {
    "as usual": Recipe(),
    "timing": Recipe(timing=0.4),
    "level": Recipe(level=0.3),
    "checkpoints": Recipe(passing=0.3),
    "items": Recipe(timing=0.0, level=0.0, passing=0.05, taste=0.3),
}


@pytest.mark.simulation
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("sizes", [(1, 1, 4), (2, 2, 0), (3, 3, 0), (4, 4, 0), (3, 1, 0)])
def test_bands_that_know_seeds_are_false_in_five_percent_of_comparisons(
    noise: str, sizes: tuple[int, int, int]
) -> None:
    bands, _ = share_of_false_bands(NOISES[noise], sizes, 300)
    assert bands <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 300)


@pytest.mark.simulation
@pytest.mark.parametrize("noise", ["as usual", "timing", "checkpoints", "items"])
def test_bands_of_single_runs_hold_where_seeds_are_as_assumed(noise: str) -> None:
    bands, items = share_of_false_bands(NOISES[noise], (1, 1, 0), 300)
    assert bands <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 300)
    assert items > 0.2 or noise == "items"


def tiny_runs() -> tuple[list[list[Array]], list[list[Array]]]:
    """Answers of tiny-s: seven seeds, and three of a recipe with 70 % of the sequences shuffled after step 128.

    Right or wrong, of 300 items of tiny_recall, tiny_obey_quote and tiny_obey_new at steps 1, 2, 4, ..., 1024.
    """
    held = np.load(Path(__file__).parent / "tiny_seeds.npz")
    shape = tuple(held["shape"])
    sides = []
    for name, runs in (("base", 7), ("damaged", 3)):
        bits = np.unpackbits(held[name], count=runs * int(np.prod(shape)))
        sides.append([list(run) for run in bits.reshape(runs, *shape).astype("float64")])
    return sides[0], sides[1]


def differ(bands: run_differences.Bands) -> tuple[bool, bool]:
    """Whether a band excludes 0 anywhere, and whether one by items does."""
    points = point_rows(bands)
    return bool((points["side"] != 0).any()), bool((points["item_side"] != 0).any())


@pytest.mark.release
def test_seeds_of_the_embedded_suite_are_one_recipe_whatever_is_known_of_them() -> None:
    base, _ = tiny_runs()
    found: dict[str, list[bool]] = {"none": [], "others": [], "items": []}
    for a, b in itertools.combinations(range(7), 2):
        rest = [base[other] for other in range(7) if other not in (a, b)]
        alone, by_items = differ(bands_of(made_curves([base[a]], [base[b]]), QUICK))
        found["none"].append(alone)
        found["items"].append(by_items)
        found["others"].append(differ(bands_of(made_curves([base[a]], [base[b]], rest), QUICK))[0])
    assert sum(found["none"]) <= 1  # of 21
    assert sum(found["others"]) <= 1
    assert sum(found["items"]) >= 15


@pytest.mark.release
def test_groups_of_seeds_of_the_embedded_suite_are_one_recipe() -> None:
    base, _ = tiny_runs()
    false = []
    for some in itertools.combinations(range(7), 3):
        rest = [base[other] for other in range(7) if other not in some][:3]
        false.append(differ(bands_of(made_curves([base[one] for one in some], rest), QUICK))[0])
    assert len(false) == 35
    assert sum(false) <= 2


def test_the_damaged_recipe_of_the_embedded_suite_is_found_at_its_step() -> None:
    base, damaged = tiny_runs()
    groups = {
        "three of each": ([*base[:3]], damaged, []),
        "seven and three": (base, damaged, []),
        "one and one, with other seeds": (base[:1], damaged[:1], base[1:]),
    }
    for name, (a, b, others) in groups.items():
        bands = bands_of(made_curves(a, b, others), QUICK)
        recall = task_rows(bands, point_rows(bands)).iloc[0]
        assert recall["verdict"] == "worse", name
        assert recall["decided_step"] in (128, 256, 512), name  # points are 2 ** 0, ...: damaged after 128
