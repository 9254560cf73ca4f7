import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from scipy.interpolate import CubicSpline

from evalrun.statistics.shapes.curve_tests import KnownVariance, quadratic, two_lines

INF = np.array([np.inf])


def one(found):
    return {name: float(getattr(found, name)[0]) for name in found.__annotations__}


def made(seed, k=9, bend=2.0):
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(1, 4, (1, k)), axis=1)
    return x, 0.5 + bend * (x - 2.5) ** 2 + rng.normal(0, 0.3, (1, k)), rng.uniform(0.01, 0.3, (1, k))


@pytest.mark.parametrize("seed", range(4))
def test_the_quadratic_is_least_squares(seed):
    x, y, _ = made(seed)
    fit = sm.OLS(y[0], np.stack([np.ones(9), x[0], x[0] ** 2], axis=1)).fit()
    found = one(quadratic(x, y, None, 0.05))
    assert found["coefficient"] == pytest.approx(fit.params[2])
    assert found["stderr"] == pytest.approx(fit.bse[2])
    assert found["p"] == pytest.approx(fit.pvalues[2])
    assert found["turn"] == pytest.approx(-fit.params[1] / 2 / fit.params[2])
    ends = [fit.t_test([0, 1, 2 * at]) for at in (x[0, 0], x[0, -1])]
    assert found["slope_first"] == pytest.approx(ends[0].effect[0])
    assert found["slope_last"] == pytest.approx(ends[1].effect[0])
    one_sided = [stats.t.cdf(ends[0].tvalue.item(), 6), stats.t.sf(ends[1].tvalue.item(), 6)]
    assert found["p_u"] == pytest.approx(max(one_sided))
    middle = fit.t_test([0, 1, x[0, 0] + x[0, -1]])
    assert found["p_middle"] == pytest.approx(float(middle.pvalue), abs=1e-12)


@pytest.mark.parametrize(("scale", "birge"), [(0.05, True), (10.0, False)])
def test_known_variances_are_never_beaten_by_the_scatter(scale, birge):
    x, y, variance = made(1)
    variance = variance * scale
    fit = sm.WLS(y[0], np.stack([np.ones(9), x[0], x[0] ** 2], axis=1), weights=1 / variance[0]).fit()
    known = np.sqrt(fit.normalized_cov_params[2, 2])
    found = one(quadratic(x, y, KnownVariance(variance, INF), 0.05))
    assert found["coefficient"] == pytest.approx(fit.params[2])
    assert (fit.scale > 1) == birge
    assert found["stderr"] == pytest.approx(known * np.sqrt(max(fit.scale, 1)))
    assert found["p"] == pytest.approx(2 * stats.norm.sf(abs(fit.params[2]) / found["stderr"]))


def test_fieller_is_where_the_slope_may_be_zero():
    x, y, variance = made(2)
    known = KnownVariance(variance, INF)
    found = one(quadratic(x, y, known, 0.05))
    design = np.stack([np.ones(9), x[0], x[0] ** 2], axis=1)
    fit = sm.WLS(y[0], design, weights=1 / variance[0]).fit()
    covariance = fit.normalized_cov_params * max(fit.scale, 1)
    for end in ("turn_low", "turn_high"):
        gradient = np.array([0, 1, 2 * found[end]])
        z = gradient @ fit.params / np.sqrt(gradient @ covariance @ gradient)
        assert abs(z) == pytest.approx(stats.norm.isf(0.025))
    assert found["turn_low"] < found["turn"] < found["turn_high"]


def test_fieller_without_a_bend_is_unbounded():
    x = np.linspace(0, 1, 8)[None]
    found = one(quadratic(x, x.copy(), KnownVariance(np.full((1, 8), 0.01), INF), 0.05))
    assert (found["turn_low"], found["turn_high"]) == (-np.inf, np.inf)


@pytest.mark.parametrize("seed", range(3))
def test_two_lines_without_variances_is_the_interrupted_regression_with_hc3(seed):
    x, y, _ = made(seed, k=24)
    found = one(two_lines(x, y, None))
    turn = found["turn"]
    for side, slope, p in ((x[0] <= turn, "slope_before", "p_before"), (x[0] < turn, "slope_after", "p_after")):
        low, high = np.where(side, x[0] - turn, 0), np.where(side, 0, x[0] - turn)
        design = np.stack([np.ones(24), low, high, (~side).astype(float)], axis=1)
        fit = sm.OLS(y[0], design).fit(cov_type="HC3", use_t=True)
        column = 1 if slope == "slope_before" else 2
        assert found[slope] == pytest.approx(fit.params[column])
        assert found[p] == pytest.approx(fit.pvalues[column])


def test_two_lines_with_known_variances():
    x, y, variance = made(0, k=12)
    found = one(two_lines(x, y, KnownVariance(variance, INF)))
    for member, slope, p in (
        (x[0] <= found["turn"], "slope_before", "p_before"),
        (x[0] >= found["turn"], "slope_after", "p_after"),
    ):
        fit = sm.WLS(y[0, member], sm.add_constant(x[0, member]), weights=1 / variance[0, member]).fit()
        error = np.sqrt(fit.normalized_cov_params[1, 1] * max(fit.scale, 1))
        assert found[slope] == pytest.approx(fit.params[1])
        assert found[p] == pytest.approx(2 * stats.norm.sf(abs(fit.params[1]) / error))


def slope_z(x, y, w):
    fit = sm.WLS(y, sm.add_constant(x), weights=w).fit()
    return fit.params[1] / np.sqrt(fit.normalized_cov_params[1, 1] * max(fit.scale, 1))


@pytest.mark.parametrize("k", [12, 40])
@pytest.mark.parametrize("steep", [-6.0, -1.0])
def test_the_break_is_robin_hoods(k, steep):
    """The procedure written out; the smooth curve from scipy's natural cubic splines."""
    rng = np.random.default_rng(k)
    x = np.sort(rng.uniform(0, 1, k))
    y = steep * np.minimum(x - 0.5, 0) + 0.8 * np.maximum(x - 0.7, 0) + rng.normal(0, 0.05, k)
    w = 1 / rng.uniform(0.03, 0.06, k) ** 2
    knots = np.quantile(x, np.linspace(0, 1, 4))
    basis = CubicSpline(knots, np.eye(4), bc_type="natural")(x)
    fit = sm.WLS(y, basis, weights=w).fit()
    error = np.sqrt(np.einsum("ip,pq,iq->i", basis, fit.normalized_cov_params * max(fit.scale, 1), basis))
    fitted = fit.fittedvalues
    middle = (x > np.quantile(x, 0.1)) & (x < np.quantile(x, 0.9))
    flat = x[middle & (fitted - error <= fitted[middle].min())]
    first = np.median(flat)
    z_before, z_after = (abs(slope_z(x[m], y[m], w[m])) for m in (x <= first, x >= first))
    expected = np.quantile(flat, z_after / (z_before + z_after))
    assert one(two_lines(x[None], y[None], KnownVariance(1 / w[None], INF)))["turn"] == pytest.approx(expected)
    assert expected == first or (expected < first) == (z_before > z_after)


def test_two_lines_of_a_plain_v():
    x = np.linspace(0, 1, 40)[None]
    found = one(two_lines(x, np.abs(x - 0.5), KnownVariance(np.full((1, 40), 0.02**2), INF)))
    assert found["turn"] == pytest.approx(0.5, abs=0.06)
    assert found["slope_before"] == pytest.approx(-1, abs=0.1)
    assert found["slope_after"] == pytest.approx(1, abs=0.1)
    assert max(found["p_before"], found["p_after"]) < 1e-6


def test_eight_points_need_the_variances():
    x = np.linspace(0, 2, 8)[None]
    y = 0.5 + 0.2 * (x - 1) ** 2 + 0.01 * np.array([[1, -1, 1, -1, -1, 1, 1, -1]])
    with_them = two_lines(x, y, KnownVariance(np.full((1, 8), 0.015**2), INF))
    assert max(with_them.p_before[0], with_them.p_after[0]) < 0.01


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 8])
def test_degenerate_curves_are_nan_not_errors(k, known, recwarn):
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(0, 1, (4, k)), axis=1)
    x[0] = 0.5  # all at one place
    y = rng.uniform(0, 1, (4, k))
    y[1] = 0.0
    y[2] = 1.0
    given = KnownVariance(np.full((4, k), 0.01), np.full(4, np.inf)) if known else None
    bent, two = quadratic(x, y, given, 0.05), two_lines(x, y, given)
    assert not recwarn.list
    assert np.isnan(bent.coefficient[0])
    assert np.isnan(bent.p[0])
    for p in (bent.p, bent.p_u, two.p_before, two.p_after):
        assert p.shape == (4,)
        assert (np.isnan(p) | ((p >= 0) & (p <= 1))).all()
    if k < 3:
        assert np.isnan(bent.coefficient).all()


def test_curves_do_not_touch_one_another():
    rng = np.random.default_rng(0)
    x, y = np.sort(rng.uniform(0, 3, (6, 10)), axis=1), rng.normal(size=(6, 10))
    known = KnownVariance(rng.uniform(0.1, 1, (6, 10)), np.full(6, np.inf))
    together = quadratic(x, y, known, 0.05), two_lines(x, y, known)
    for i in range(6):
        own = KnownVariance(known.variance[i : i + 1], INF)
        alone = quadratic(x[i : i + 1], y[i : i + 1], own, 0.05), two_lines(x[i : i + 1], y[i : i + 1], own)
        for many, single in zip(together, alone, strict=True):
            for name in many.__annotations__:
                assert getattr(many, name)[i] == pytest.approx(getattr(single, name)[0], nan_ok=True)


@pytest.mark.slow
@pytest.mark.parametrize("k", [8, 16, 50])
def test_false_positives_and_power(k):
    """Rising lines are no U more often than the level; fair bends are found by both tests, by the second less often."""
    rng = np.random.default_rng(k)
    m = 4000
    x = np.tile(np.linspace(0, 2, k), (m, 1))
    noise = rng.normal(0, 1, (m, k))
    known = KnownVariance(np.ones((m, k)), np.full(m, np.inf))
    for y in (noise, 2 * x + noise):
        two = two_lines(x, y, known)
        both = (two.p_before < 0.05) & (two.p_after < 0.05) & (two.slope_before * two.slope_after < 0)
        assert both.mean() < 0.05
        assert (quadratic(x, y, known, 0.05).p_u < 0.05).mean() < 0.055
    y = 6 * (x - 1) ** 2 + noise
    bent, two = quadratic(x, y, known, 0.05), two_lines(x, y, known)
    covered = (bent.turn_low <= 1) & (bent.turn_high >= 1)
    assert covered.mean() > 0.93
    assert (bent.p_u < 0.05).mean() > 0.9
    assert ((two.p_before < 0.05) & (two.p_after < 0.05)).mean() > 0.6
