import numpy as np
import pandas as pd

from evalrun.statistics.shapes.curves import over_size, over_training
from evalrun.statistics.shapes.noise import FEWEST_RESIDUALS


def made(tidy, values, **given):
    return pd.concat([tidy.curve(own, model=f"m{i:02d}", **given) for i, own in enumerate(values)])


def test_item_errors_are_as_given_or_plus_four(tidy):
    noise = over_training(tidy.curve([0.2, 1.0, 0.5], stderr=0.03)).noise
    np.testing.assert_allclose(noise.items, 0.03**2)
    zero = over_training(tidy.curve([0.2, 1.0, 0.5], stderr=0.0, n=96)).noise
    p = (np.array([0.2, 1.0, 0.5]) * 96 + 2) / 100
    np.testing.assert_allclose(zero.items, p * (1 - p) / 100)


def test_without_items_the_roughness_stands_in(tidy):
    values = np.array([-9.0, -7.0, -6.5, -3.0])
    noise = over_training(tidy.curve(values, stderr=np.nan, n=np.nan)).noise
    np.testing.assert_allclose(noise.items, np.diff(values).var(ddof=1) / 2)
    assert noise.rough.all()
    assert np.isinf(over_training(tidy.curve([-9.0, -7.0], stderr=np.nan, n=np.nan)).noise.items).all()


def test_without_errors_noise_is_what_departs_from_the_bends(tidy):
    """A curve that rises steeply and falls back is smooth: its rise is not its noise."""
    x = np.linspace(0, 1, 19)
    curve = 0.95 / (1 + np.exp(-25 * (x - 0.25))) - 0.6 * np.clip(x - 0.45, 0, 1)
    rng = np.random.default_rng(0)
    values = [curve + rng.normal(0, 0.02, 19) for _ in range(6)]
    noise = over_training(made(tidy, values, stderr=np.nan, n=np.nan)).noise
    assert (np.sqrt(noise.items) < 0.04).all()  # of neighbours: 0.1
    assert (np.sqrt(noise.items) > 0.018).all()
    np.testing.assert_allclose(noise.total, noise.items)
    assert np.isfinite(noise.df).all()
    level = [0.5 + rng.normal(0, 0.02, 19) for _ in range(40)]
    found = over_training(made(tidy, level, stderr=np.nan, n=np.nan)).noise
    np.testing.assert_allclose(np.sqrt(found.items), 0.02, rtol=0.1)


def test_residuals_are_from_the_line_between_neighbours(tidy):
    """On uneven steps, against the definition written out; the pooled scale against it too."""
    rng = np.random.default_rng(0)
    steps = [1, 2, 4, 16, 17, 64, 100, 1000]
    values = rng.uniform(0.2, 0.8, (4, 8))
    rows = [
        {"model": f"m{i}", "step": step, "tokens": step * 10, "value": values[i, j], "stderr": 0.001}
        for i in range(4)
        for j, step in enumerate(steps)
    ]
    found = []
    x = np.log10(np.array(steps) * 10.0)
    for own in values:
        for j in range(1, 7):
            w = (x[j + 1] - x[j]) / (x[j + 1] - x[j - 1])
            found.append((own[j] - w * own[j - 1] - (1 - w) * own[j + 1]) / np.sqrt(1 + w**2 + (1 - w) ** 2))
    found = np.abs(found)
    kept = found[found <= 2.5 * np.median(found) / 0.6744897501960817]
    z = np.random.default_rng(1).normal(size=2_000_000)
    cut = (z[np.abs(z) <= 2.5] ** 2).mean()
    noise = over_training(tidy.table(rows)).noise
    np.testing.assert_allclose(noise.total - noise.items, (kept**2).mean() / cut - 0.001**2, rtol=3e-3)
    np.testing.assert_allclose(noise.df, len(kept) / 2)


def test_training_noise_is_recovered(tidy):
    rng = np.random.default_rng(5)
    trend = np.linspace(0.2, 0.8, 20)
    noise = over_training(made(tidy, trend + rng.normal(0, 0.05, (40, 20)), stderr=0.03)).noise
    np.testing.assert_allclose(np.sqrt(noise.total), 0.05, rtol=0.1)
    np.testing.assert_allclose(np.sqrt(noise.items), 0.03)


def test_sharp_bends_are_not_noise(tidy):
    rng = np.random.default_rng(5)
    jump = np.where(np.arange(10) < 6, 0.2, 0.9)
    noise = over_training(made(tidy, jump + rng.normal(0, 0.01, (8, 10)), stderr=0.01)).noise
    assert np.sqrt(noise.total).max() < 0.02


def test_smooth_curves_take_nothing_off(tidy):
    noise = over_training(made(tidy, [np.linspace(0.2, 0.8, 8)] * 8, stderr=0.03)).noise
    np.testing.assert_array_equal(noise.total, noise.items)
    assert np.isinf(noise.df).all()
    assert noise.sought.all()


def test_few_points_say_nothing(tidy):
    rng = np.random.default_rng(0)
    for points, enough in ((FEWEST_RESIDUALS + 1, False), (FEWEST_RESIDUALS + 2, True)):
        noise = over_training(tidy.curve(rng.uniform(0, 1, points), stderr=0.001)).noise
        assert (noise.sought == enough).all()
        assert ((noise.total > noise.items) == enough).all()


def test_tasks_have_their_own_noise(tidy):
    rng = np.random.default_rng(0)
    quiet = made(tidy, rng.normal(0.5, 0.001, (8, 8)), stderr=0.01)
    wild = made(tidy, rng.normal(0.5, 0.1, (8, 8)), stderr=0.01, task="wild")
    curves = over_training(pd.concat([quiet, wild]))
    is_wild = (curves.rows["task"] == "wild").to_numpy()
    assert (curves.noise.total[is_wild] > 0.05**2).all()
    np.testing.assert_array_equal(curves.noise.total[~is_wild], curves.noise.items[~is_wild])


def test_models_have_levels_of_their_own_and_steps_tell_no_more_of_them(tidy):
    """Over size: the noise is that between models; eight steps of eight models are eight levels, not sixty-four."""
    rng = np.random.default_rng(4)
    levels = rng.normal(0.5, 0.05, 8)

    def noise_of(values):
        rows = [
            {"model": f"m{m}", "n_params_nominal": 10.0**m, "step": 2**s, "value": values[s][m], "stderr": 0.005}
            for s in range(8)
            for m in range(8)
        ]
        return over_size(tidy.table(rows), "n_params_nominal").noise

    shared = noise_of([levels + rng.normal(0, 0.002, 8) for _ in range(8)])
    assert shared.training.min() > 0.025**2
    assert (shared.df <= 4).all()
    apart = noise_of(rng.normal(0.5, 0.05, (8, 8)))
    assert (apart.df > 10).all()
