import numpy as np
import pytest
from scipy import optimize, stats

from evalrun.statistics.shapes.breaks import broken_line
from evalrun.statistics.shapes.curve_tests import KnownVariance


def squares(x, y, w, turn):
    design = np.stack([np.ones_like(x), x, np.maximum(x - turn, 0)], axis=1)
    b = np.linalg.lstsq(design * np.sqrt(w)[:, None], y * np.sqrt(w), rcond=None)[0]
    return float((w * (y - design @ b) ** 2).sum()), b


def naive(x, y, w):
    """Least squares over the break: a fine grid, then a search around its best."""
    grid = np.linspace(x[1], x[-2], 4001)
    values = [squares(x, y, w, turn)[0] for turn in grid]
    best = int(np.argmin(values))
    ends = grid[max(best - 1, 0)], grid[min(best + 1, 4000)]
    found = optimize.minimize_scalar(lambda turn: squares(x, y, w, turn)[0], bounds=ends, method="bounded")
    return (found.x, found.fun) if found.fun < values[best] else (grid[best], values[best])


def made(seed, k=10):
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0, 3, k))
    return x, 0.3 * x - 2 * np.maximum(x - 1.7, 0) + rng.normal(0, 0.2, k), rng.uniform(0.01, 0.1, k)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("known", [True, False])
def test_it_is_least_squares_over_the_break(seed, known):
    x, y, variance = made(seed)
    w = 1 / variance if known else np.ones(10)
    given = KnownVariance(variance[None], np.array([np.inf])) if known else None
    found = broken_line(x[None], y[None], given, 0.05)
    _, least = naive(x, y, w)
    turn = float(found.turn[0])
    own, b = squares(x, y, w, turn)
    assert own == pytest.approx(least, rel=1e-5)
    assert own <= least * (1 + 1e-9)
    assert found.slope_before[0] == pytest.approx(b[1])
    assert found.slope_after[0] == pytest.approx(b[1] + b[2])
    assert found.value[0] == pytest.approx(b[0] + b[1] * turn)
    line = float((w * (y - np.polyval(np.polyfit(x, y, 1, w=np.sqrt(w)), x)) ** 2).sum())
    if known:
        gain = (line - own) / max(own / 6, 1) - 4
        limit = own + stats.chi2.isf(0.05, 1) * max(own / 6, 1)
    else:
        gain = 10 * np.log(line / own) + (6 + 24 / 6) - (10 + 60 / 4)
        limit = own * (1 + stats.f.isf(0.05, 1, 6) / 6)
    assert found.gain[0] == pytest.approx(gain)
    if found.identified[0]:
        for end in (found.turn_low[0], found.turn_high[0]):
            inside = min(max(end, x[1]), x[-2])
            assert squares(x, y, w, inside)[0] <= limit * (1 + 1e-9)
        beyond = [found.turn_low[0] - 0.04, found.turn_high[0] + 0.04]
        for end in beyond:
            if x[1] < end < x[-2]:
                assert squares(x, y, w, end)[0] > limit


def test_a_perfect_broken_line():
    x = np.array([0.0, 1.0, 2.0, 2.7, 4.0, 5.0, 6.0])
    y = 0.5 + 0.1 * x - 0.4 * np.maximum(x - 3.1, 0)
    for known in (KnownVariance(np.full((1, 7), 1e-4), np.array([np.inf])), None):
        found = broken_line(x[None], y[None], known, 0.05)
        assert found.turn[0] == pytest.approx(3.1)
        assert found.slope_before[0] == pytest.approx(0.1)
        assert found.slope_after[0] == pytest.approx(-0.3)
        assert found.identified[0]
        assert found.gain[0] > 0


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_no_break_is_the_whole_range(known, slope):
    x = np.linspace(0, 2, 9)[None]
    given = KnownVariance(np.full((1, 9), 0.01), np.array([np.inf])) if known else None
    wiggle = 0.01 * np.array([[1, -1, -1, 1, 1, -1, 1, -1, 1]])
    found = broken_line(x, slope * x + wiggle, given, 0.05)
    assert not found.identified[0]
    assert (found.turn_low[0], found.turn_high[0]) == (x[0, 1], x[0, -2])
    assert found.gain[0] < 0


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("k", [1, 2, 4, 5, 6])
def test_degenerate_curves(k, known, recwarn):
    x = np.tile(np.linspace(0, 1, k), (4, 1))
    x[0] = 1.0
    y = np.stack([np.arange(k) / k, np.zeros(k), np.ones(k), np.random.default_rng(0).uniform(size=k)])
    given = KnownVariance(np.full((4, k), 0.01), np.full(4, np.inf)) if known else None
    found = broken_line(x, y, given, 0.05)
    assert not recwarn.list
    assert np.isnan(found.turn[0])
    assert np.isfinite(found.turn[1:]).all() == (k >= 5)
    assert not found.identified[:3].any()


@pytest.mark.slow
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("k", [8, 16, 50])
def test_level_and_coverage(k, known):
    rng = np.random.default_rng(k)
    m = 3000
    x = np.tile(np.linspace(0, 2, k), (m, 1))
    noise = rng.normal(0, 1, (m, k))
    given = KnownVariance(np.ones((m, k)), np.full(m, np.inf)) if known else None
    straight = broken_line(x, x + noise, given, 0.05)
    assert straight.identified.mean() < 0.05
    bent = broken_line(x, x - 8 * np.maximum(x - 1.1, 0) + noise, given, 0.05)
    assert ((bent.turn_low <= 1.1) & (bent.turn_high >= 1.1)).mean() > 0.91
    assert bent.identified.mean() > {8: 0.4, 16: 0.9, 50: 0.99}[k]
