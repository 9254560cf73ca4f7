"""Ages of words: the sigmoid that scipy fits, ages that were put in, intervals that hold them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import curve_fit
from scipy.special import expit

from evalrun.statistics.words.word_ages import fit_sigmoids, word_ages

TOKENS = 2.0 ** np.arange(10, 34)
X = np.log10(TOKENS)


def curve(x: np.ndarray, low: float, high: float, centre: float, steep: float) -> np.ndarray:
    return low + (high - low) * expit(-steep * (x - centre))


def test_the_fit_is_scipys() -> None:
    rng = np.random.default_rng(0)
    true = [(rng.uniform(1, 4), rng.uniform(8, 12), rng.uniform(5, 9), rng.uniform(1.5, 6)) for _ in range(40)]
    curves = np.array([curve(X, *one) for one in true]) + rng.normal(scale=0.2, size=(40, len(X)))
    found = fit_sigmoids(X, curves)
    for i, values in enumerate(curves):
        best, _ = curve_fit(curve, X, values, p0=true[i], maxfev=10_000)
        ours = [found.low[i], found.high[i], found.centre[i], found.steep[i]]
        error = [((values - curve(X, *one)) ** 2).sum() for one in (ours, best)]
        assert error[0] <= error[1] * 1.001
        assert found.centre[i] == pytest.approx(best[2], abs=0.01)
        assert found.explained[i] == pytest.approx(1 - error[0] / ((values - values.mean()) ** 2).sum(), abs=1e-9)


def test_where_a_sigmoid_is_at_a_value() -> None:
    found = fit_sigmoids(X, curve(X, 2, 10, 6.5, 3)[None])
    assert found.where(np.array([6.0])) == pytest.approx(6.5, abs=1e-3)
    assert curve(found.where(np.array([4.0])), 2, 10, 6.5, 3) == pytest.approx(4.0, abs=1e-2)
    assert found.where(np.array([1.0])) == np.inf
    assert found.where(np.array([11.0])) == -np.inf
    rises = fit_sigmoids(X, curve(X, 2, 10, 6.5, -3)[None])
    assert np.isnan(rises.where(np.array([6.0])))


def occurrences(seed: int, centre: float, texts: int = 25, steps: int = len(X)) -> tuple[np.ndarray, ...]:
    """Three occurrences of one word in each text; texts and occurrences differ in the least and when it is reached."""
    rng = np.random.default_rng(seed)
    text = np.repeat(np.arange(texts), 3)
    shift = rng.normal(scale=0.4, size=texts)[text] + rng.normal(scale=0.2, size=len(text))
    low = 3 + rng.normal(scale=0.8, size=texts)[text]
    nats = np.stack([curve(X[:steps], least, 10.8, centre + late, 3) for late, least in zip(shift, low, strict=True)])
    return nats + rng.normal(scale=0.3, size=nats.shape), text


def test_ages_that_were_put_in_are_found() -> None:
    true = [5.0, 6.0, 7.0, 8.0]
    each = [occurrences(seed, centre) for seed, centre in enumerate(true)]
    words = np.repeat(np.arange(4), [len(text) for _, text in each])
    nats, texts = np.concatenate([one for one, _ in each]), np.concatenate([text for _, text in each])
    mixed = np.random.default_rng(9).permutation(len(words))
    for chance in (None, np.full(4, 10.8)):
        found = word_ages(TOKENS, nats[mixed], words[mixed], texts[mixed], 0.05, chance)
        assert np.log10(found.age) == pytest.approx(true, abs=0.25)
        assert ((found.low < found.age) & (found.age < found.high)).all()
        assert found.fall == pytest.approx(np.full(4, 7.8), abs=0.8)
        assert (found.explained > 0.98).all()
    half = word_ages(TOKENS, nats, words, texts, 0.05, np.full(4, 20.0))  # far above what is seen: known from the start
    assert np.isnan(half.age).all()
    assert (half.low == 0).all()
    assert (half.high == 0).all()


def test_a_word_whose_surprisal_does_not_fall_has_no_age() -> None:
    nats, text = occurrences(0, 7.0)
    found = word_ages(TOKENS, nats[:, ::-1], np.zeros(len(text), int), text, 0.05)
    assert np.isnan([found.age[0], found.low[0], found.high[0]]).all()
    nothing = word_ages(TOKENS, np.empty((0, len(X))), np.empty(0, int), np.empty(0, int), 0.05)
    assert len(nothing.age) == len(nothing.low) == 0


@pytest.mark.simulation
def test_intervals_of_ages_cover() -> None:
    """Against the age of the mean over very many texts; percentiles of few texts fall a little short."""
    many, text = occurrences(99, 7.0, texts=20_000)
    true = word_ages(TOKENS, many, np.zeros(len(text), int), text, 0.05, np.array([10.8]), draws=1).age[0]
    inside = 0
    for seed in range(400):
        nats, text = occurrences(seed, 7.0)
        found = word_ages(TOKENS, nats, np.zeros(len(text), int), text, 0.05, np.array([10.8]))
        inside += found.low[0] <= true <= found.high[0]
    assert 0.9 < inside / 400 < 0.98
