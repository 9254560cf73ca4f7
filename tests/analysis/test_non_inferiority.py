"""Intervals with an error for each end: against all tables, by simulation, and what could have been seen."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import gammaln
from scipy.stats import norm

from evalrun.statistics.items.clusters import TaskClusters
from evalrun.statistics.items.non_inferiority import change_bounds, value_bounds
from evalrun.statistics.items.score_interval import score_interval
from evalrun.statistics.power import smallest_margin, smallest_shown


def tables(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts of items that fell and that rose: all that there can be."""
    fell, rose = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    inside = fell + rose <= n
    return fell[inside], rose[inside]


def probability(n: int, fell: np.ndarray, rose: np.ndarray, p_fell: float, p_rose: float) -> np.ndarray:
    log = gammaln(n + 1) - gammaln(fell + 1) - gammaln(rose + 1) - gammaln(n - fell - rose + 1)
    return np.exp(log + fell * np.log(p_fell) + rose * np.log(p_rose) + (n - fell - rose) * np.log(1 - p_fell - p_rose))


def worst_errors(n: int, levels: tuple[float, float]) -> tuple[float, float]:
    """The largest probabilities of a wrong pass and of a wrong breach at a true fall of the margin."""
    fell, rose = tables(n)
    ends = np.array([score_interval(int(f), int(r), n, *levels) for f, r in zip(fell, rose, strict=True)])
    errors = [
        (chance[ends[:, 0] > -margin].sum(), chance[ends[:, 1] < -margin].sum())
        for margin in (0.01, 0.02, 0.05, 0.1)
        for more in (1e-9, 0.01, 0.05, 0.2, 0.4)
        for chance in [probability(n, fell, rose, margin + more / 2, more / 2)]
    ]
    return tuple(np.max(errors, axis=0))


@pytest.mark.parametrize("n", [20, 45])
def test_a_wrong_pass_and_a_wrong_breach_are_at_most_as_likely_as_their_levels(n: int) -> None:
    passed, breached = worst_errors(n, (0.05, 0.01))
    assert 0.01 < passed <= 0.05
    assert breached <= 0.0101


@pytest.mark.simulation
@pytest.mark.parametrize("n", [75, 150, 300, 400])
def test_they_are_with_more_items_too(n: int) -> None:
    for level in (0.05, 0.025, 0.005, 0.0005):
        passed, breached = worst_errors(n, (level, level))
        assert passed <= level
        assert breached <= 1.01 * level


def test_the_interval_is_that_of_the_other_order_turned_round() -> None:
    low, high = score_interval(9, 4, 100, 0.05, 0.01)
    turned = score_interval(4, 9, 100, 0.01, 0.05)
    assert (low, high) == pytest.approx((-turned[1], -turned[0]))
    assert low < -0.05 < high
    assert score_interval(0, 0, 300, 0.05, 0.05)[0] == pytest.approx(-3.2 / 303.2, abs=0.003)  # about three in n
    assert score_interval(100, 0, 100, 0.05, 0.05)[1] < -0.9


@pytest.mark.parametrize(("fell", "rose", "n"), [(40, 25, 150), (9, 4, 100), (3, 4, 60), (30, 31, 400)])
def test_the_ends_are_where_the_score_by_its_definition_has_the_level(fell: int, rose: int, n: int) -> None:
    def score(down: int, up: int, delta: float) -> float:
        def unlikely(only_before: float) -> float:
            shares = (only_before + delta, only_before, 1 - 2 * only_before - delta)
            return -sum(count * np.log(share) for count, share in zip((up, down, n - up - down), shares, strict=True))

        most_likely = minimize_scalar(unlikely, bounds=(max(0, -delta), (1 - delta) / 2), method="bounded").x
        spread = np.sqrt(n * (2 * most_likely + delta * (1 - delta)))
        return float((up - down - n * delta - 0.5) / spread)  # half an item for continuity

    low, high = score_interval(fell, rose, n, 0.05, 0.01)
    assert low < 0 < high
    assert norm.sf(score(fell, rose, low)) == pytest.approx(0.05, abs=1e-4)
    assert norm.sf(score(rose, fell, -high)) == pytest.approx(0.01, abs=1e-4)


def test_what_could_be_shown_is_shown_four_times_in_five() -> None:
    n, discordant, margin, level = 300, 0.12, 0.03, 0.01
    fall = smallest_shown(n, level, discordant, margin)
    needed = smallest_margin(n, 0.05, discordant)
    rng = np.random.default_rng(0)
    counts = rng.multinomial(n, [(discordant + fall) / 2, (discordant - fall) / 2, 1 - discordant], 1500)
    shown = np.mean([score_interval(f, r, n, 0.05, level)[1] < -margin for f, r, _ in counts.tolist()])
    assert shown == pytest.approx(0.8, abs=0.06)
    counts = rng.multinomial(n, [discordant / 2, discordant / 2, 1 - discordant], 1500)
    passed = np.mean([score_interval(f, r, n, 0.05, level)[0] > -needed for f, r, _ in counts.tolist()])
    assert passed == pytest.approx(0.8, abs=0.06)
    assert math.isnan(smallest_shown(0, level, discordant, margin))


class Pair:
    """Two results of a task with values for each item."""

    def __init__(self, before: np.ndarray, after: np.ndarray, **columns: np.ndarray) -> None:
        self.values = {"a": before, "b": after}
        self.columns = columns
        self.rows = [
            {"run_id": run, "task": "t", "metric": "acc", "value": float(values.mean()), "stderr": 0.05,
             "n": len(values), "model": run, "seed": None, "step": 1}
            for run, values in self.values.items()
        ]  # fmt: skip

    def items(self, run: str, task: str, columns: object = None) -> pd.DataFrame:
        values = self.values[run]
        return pd.DataFrame({"doc_id": range(len(values)), "doc_hash": "h", "acc": values, **self.columns})


def test_values_that_are_no_counts_have_t_intervals() -> None:
    rng = np.random.default_rng(1)
    before = rng.random(50)
    after = before - 0.1 + 0.05 * rng.standard_normal(50)
    pair = Pair(before, after)
    found = change_bounds(*pair.rows, pair.items, None, 0.05, 0.01)
    from scipy.stats import t

    change = after - before
    error = change.std(ddof=1) / np.sqrt(50)
    assert found.low == pytest.approx(change.mean() - t.ppf(0.95, 49) * error)
    assert found.high == pytest.approx(change.mean() + t.ppf(0.99, 49) * error)
    templates = pd.DataFrame({"doc_id": range(50), "doc_hash": "h", "cluster": np.repeat(np.arange(5), 10)})
    clustered = change_bounds(*pair.rows, pair.items, TaskClusters("template", templates), 0.05, 0.01)
    assert "5 clusters" in clustered.method
    assert clustered.high - clustered.low != pytest.approx(found.high - found.low)


def test_nothing_changed_and_nothing_known() -> None:
    same = np.linspace(0, 1, 20)
    pair = Pair(same, same)
    found = change_bounds(*pair.rows, pair.items, None, 0.05, 0.01)
    assert (found.low, found.high, found.note) == (0.0, 0.0, "no item changed")
    one = Pair(np.array([0.3]), np.array([0.2]))
    assert math.isnan(change_bounds(*one.rows, one.items, None, 0.05, 0.01).low)
    bare = change_bounds(*pair.rows, None, None, 0.05, 0.01)
    assert bare.low == pytest.approx(-1.6449 * 0.05 * np.sqrt(2), abs=1e-4)
    assert "conservative" in bare.note


def test_the_interval_of_one_result() -> None:
    right = (np.arange(100) < 70).astype(float)
    pair = Pair(right, right)
    found = value_bounds(pair.rows[0], pair.items, None, 0.05, 0.05)
    from scipy.stats import binom

    assert binom.sf(69, 100, found.low) == pytest.approx(0.05, abs=1e-6)
    assert binom.cdf(70, 100, found.high) == pytest.approx(0.05, abs=1e-6)
    assert value_bounds(pair.rows[0], None, None, 0.05, 0.05).low == pytest.approx(0.7 - 1.6449 * 0.05, abs=1e-4)
