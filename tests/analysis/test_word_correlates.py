"""Correlations of words' log-probabilities: the numbers of scipy and statsmodels, and intervals that hold."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from evalrun.statistics.words.correlates import ALL, COEFFICIENT, PEARSON, R2, SPEARMAN, Estimate, Predictors

ALPHA = 0.05


def words(seed: int, texts: int = 40, each: int = 25, share: float = 0.5) -> tuple[np.ndarray, ...]:
    """Log-probabilities, frequencies and lengths of words whose texts differ, and the texts."""
    rng = np.random.default_rng(seed)
    text = np.repeat(np.arange(texts), each)
    of_text = rng.normal(size=(2, texts))[:, text] * np.sqrt(share)
    frequency = of_text[0] + rng.normal(size=len(text)) * np.sqrt(1 - share)
    length = np.ceil(np.exp(0.4 * rng.normal(size=len(text)) - 0.3 * frequency + 1))
    noise = of_text[1] + rng.normal(size=len(text)) * np.sqrt(1 - share)
    return 0.5 * frequency + noise, frequency, length, text


def named(predictors: Predictors, logprobs: np.ndarray) -> dict[tuple[str, str], Estimate]:
    return {(one.predictor, one.measure): one for one in predictors.estimates(logprobs, ALPHA)}


def test_the_numbers_are_scipys_and_statsmodels() -> None:
    logprobs, frequency, length, text = words(0)
    usable = np.arange(len(text)) % 7 > 0
    frequency = np.where(np.arange(len(text)) % 5 == 1, np.nan, frequency)
    found = named(Predictors({"frequency": frequency, "length": length}, text, usable), logprobs)
    both = usable & np.isfinite(frequency)
    for name, values, own in (("frequency", frequency, both), ("length", length, usable)):
        x, y = values[own], logprobs[own]
        pearson, spearman = found[name, PEARSON], found[name, SPEARMAN]
        assert pearson.value == pytest.approx(stats.pearsonr(x, y).statistic)
        assert (pearson.fisher_low, pearson.fisher_high) == pytest.approx(stats.pearsonr(x, y).confidence_interval())
        assert spearman.value == pytest.approx(stats.spearmanr(x, y).statistic)
        assert pearson.n == spearman.n == own.sum()
    scaled = [stats.zscore(values[both]) for values in (frequency, length)]
    fit = sm.OLS(stats.zscore(logprobs[both]), sm.add_constant(np.column_stack(scaled)))
    robust = fit.fit(cov_type="cluster", cov_kwds={"groups": text[both], "df_correction": True}, use_t=True)
    assert found[ALL, R2].value == pytest.approx(robust.rsquared)
    slopes = [found[name, COEFFICIENT] for name in ("frequency", "length")]
    assert [one.value for one in slopes] == pytest.approx(robust.params[1:])
    n = both.sum()  # statsmodels' own factor for the parameters
    assert [one.stderr for one in slopes] == pytest.approx(robust.bse[1:] / np.sqrt((n - 1) / (n - 3)), rel=1e-6)


@pytest.mark.parametrize("measure", [PEARSON, SPEARMAN, R2])
def test_each_words_influence_is_what_leaving_a_text_out_changes(measure: str) -> None:
    """The clustered error is the jackknife's over texts, ties and all."""
    logprobs, frequency, length, text = words(1, texts=200, each=6)
    values = {"length": length, "frequency": frequency} if measure == R2 else {"length": length}
    name = ALL if measure == R2 else "length"
    whole = named(Predictors(values, text, np.ones(len(text), bool)), logprobs)[name, measure]
    without = [named(Predictors(values, text, text != one), logprobs)[name, measure].value for one in range(200)]
    jackknife = np.sqrt(199 / 200 * np.sum((without - np.mean(without)) ** 2))
    assert whole.stderr == pytest.approx(jackknife, rel=0.03)


def test_what_does_not_vary_or_is_hardly_there_says_nothing() -> None:
    logprobs, frequency, _, text = words(2, texts=2, each=10)
    every = np.ones(len(text), bool)
    assert list(Predictors({"flat": np.ones(len(text))}, text, every).estimates(logprobs, ALPHA)) == []
    few = np.where(np.arange(len(text)) < 9, frequency, np.nan)
    assert list(Predictors({"few": few}, text, every).estimates(logprobs, ALPHA)) == []
    assert list(Predictors({"frequency": frequency}, text, every).estimates(np.zeros(len(text)), ALPHA)) == []
    twice = named(Predictors({"one": frequency, "other": 2 * frequency}, text, every), logprobs)
    assert (ALL, R2) not in twice  # which of the two explains cannot be told
    alone = named(Predictors({"frequency": frequency}, np.zeros_like(text), every), logprobs)["frequency", PEARSON]
    assert np.isnan(alone.low)  # one text
    assert alone.fisher_low < alone.value < alone.fisher_high


@pytest.mark.simulation
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_intervals_cover_with_texts_that_differ(share: float) -> None:
    """95 % of 2,000 corpora; Fisher's fall short where texts differ."""
    _, frequency, length, _ = words(12345, texts=40_000, share=share)
    logprobs, *_ = words(12345, texts=40_000, share=share)
    truth = {
        PEARSON: stats.pearsonr(frequency, logprobs).statistic,
        SPEARMAN: stats.spearmanr(length, logprobs).statistic,
    }
    names = {PEARSON: "frequency", SPEARMAN: "length"}
    inside, plain = (dict.fromkeys(truth, 0) for _ in range(2))
    for seed in range(2000):
        y, frequency, length, text = words(seed, share=share)
        found = named(Predictors({"frequency": frequency, "length": length}, text, np.ones(len(text), bool)), y)
        for measure, true in truth.items():
            one = found[names[measure], measure]
            inside[measure] += one.low <= true <= one.high
            plain[measure] += one.fisher_low <= true <= one.fisher_high
    for measure in truth:
        assert 0.93 < inside[measure] / 2000 < 0.97, (measure, inside, plain)
        assert plain[measure] / 2000 < 0.9 or share == 0
