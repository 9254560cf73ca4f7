"""Wilson's interval for shares, the normal one for other means."""

import warnings

import numpy as np
import pytest
from scipy.stats import binom, norm

from evalrun.statistics.reliability.intervals import with_intervals


def row_of(tidy, **given):
    return with_intervals(tidy.table([given]), 0.05).iloc[0]


def binomial(p, n):
    return np.sqrt(p * (1 - p) / (n - 1))


@pytest.mark.parametrize(("right", "n"), [(0, 20), (3, 20), (20, 20), (7000, 20897), (1, 1)])
def test_a_share_has_wilsons_interval(tidy, right, n):
    """It holds the shares p for which the value lies within z standard errors of p: the roots of a quadratic."""
    p, z = right / n, norm.ppf(0.975)
    roots = np.roots([1 + z**2 / n, -(2 * p + z**2 / n), p**2])
    for stderr in (binomial(p, n) if n > 1 else np.nan, np.nan, 0.0):
        row = row_of(tidy, value=p, n=n, stderr=stderr)
        assert row["interval"] == "wilson"
        assert (row["low"], row["high"]) == pytest.approx((max(roots.min(), 0), roots.max()), abs=1e-12)


def test_a_mean_of_probabilities_has_the_normal_interval(tidy):
    """MC2 varies less over items than a share of the same size would."""
    row = row_of(tidy, value=0.4, n=817, stderr=0.6 * binomial(0.4, 817))
    assert row["interval"] == "normal"
    assert (row["low"], row["high"]) == pytest.approx(norm.interval(0.95, 0.4, row["stderr"]))
    row = row_of(tidy, value=-3.2, n=100, stderr=0.5)
    assert (row["low"], row["high"]) == pytest.approx(norm.interval(0.95, -3.2, 0.5))


NOTHING = [
    {"value": 12.0, "stderr": np.nan},
    {"value": 0.4, "stderr": np.nan, "n": np.nan},
    {"value": 0.4, "stderr": 0.0, "n": 0},
    {"value": np.nan, "stderr": 0.1},
]


@pytest.mark.parametrize("given", NOTHING)
def test_where_nothing_is_known_there_is_none(tidy, given):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = row_of(tidy, **given)
    assert np.isnan([row["low"], row["high"]]).all()
    assert row["interval"] == ""


def test_the_table_is_kept_and_its_coverage_is_nominal(tidy):
    table = tidy.table([{"value": right / 50, "n": 50, "stderr": binomial(right / 50, 50)} for right in range(51)])
    found = with_intervals(table, 0.05)
    assert found[table.columns].equals(table)
    assert "low" not in table
    shares = np.linspace(0.02, 0.98, 97)
    covered = [(binom.pmf(np.arange(51), 50, p) * ((found["low"] <= p) & (p <= found["high"]))).sum() for p in shares]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.01)
    assert min(covered) > 0.9
    wide = with_intervals(table, 0.01)
    assert (wide["high"] - wide["low"] > found["high"] - found["low"]).all()
