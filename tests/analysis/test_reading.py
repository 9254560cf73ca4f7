"""Reading times: the gain by surprisal is statsmodels' on folds, none of noise, and that of what was put in."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from evalrun.statistics.words.reading import reading_gain


def corpus(
    seed: int, effect: float = 20.0, spill: float = 15.0, texts: int = 30, each: int = 60
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    n = texts * each
    text, place = np.repeat(np.arange(texts), each), np.tile(np.arange(each), texts)
    frequency = rng.normal(size=n)
    length = np.ceil(5 - frequency + rng.exponential(size=n))
    nats = 4 - 1.5 * frequency + 0.2 * length + rng.normal(size=n)
    times = 200 + 8 * length - 6 * frequency + effect * nats + spill * np.roll(nats, 1)
    times += (rng.normal(size=texts) * 15)[text] + rng.normal(size=n) * 40
    return {"times": times, "nats": nats, "length": length, "frequency": frequency, "texts": text, "places": place}


def gain(data: dict[str, np.ndarray], **changed: np.ndarray):
    data = {**data, **changed}
    controls = [data["length"], data["frequency"]]
    return reading_gain(data["times"], data["nats"], controls, data["texts"], data["places"])


def test_the_gain_is_that_of_statsmodels_on_folds() -> None:
    data = corpus(0)
    data["times"][::13] = np.nan
    found = gain(data)
    rows = [i for i in range(1, len(data["times"])) if data["places"][i] > 0 and not np.isnan(data["times"][i])]
    now, then = np.array(rows), np.array(rows) - 1
    length, frequency, nats = data["length"], data["frequency"], data["nats"]
    plain = np.column_stack([v[at] for v in (length, frequency, length * frequency) for at in (now, then)])
    both = np.column_stack([plain, nats[now], nats[then]])
    text = data["texts"][now]
    each = []
    for design in (both, plain):
        whole, logs = sm.add_constant(design), np.empty(len(now))
        for fold in range(10):
            out = text % 10 == fold
            fit = sm.OLS(data["times"][now][~out], whole[~out]).fit()
            scale = np.sqrt(fit.ssr / fit.nobs)
            error = data["times"][now][out] - fit.predict(whole[out])
            logs[out] = -0.5 * np.log(2 * np.pi * scale**2) - error**2 / (2 * scale**2)
        each.append(logs)
    difference = each[0] - each[1]
    assert found.n == len(now)
    assert found.gain == pytest.approx(difference.mean(), rel=1e-6)
    robust = sm.OLS(difference, np.ones(len(now))).fit(cov_type="cluster", cov_kwds={"groups": text})
    assert found.stderr == pytest.approx(robust.bse[0], rel=1e-3)
    assert found.gain > 5 * found.stderr


def test_what_spills_over_counts_and_noise_does_not_help() -> None:
    spilled = corpus(1, effect=0.0)
    assert gain(spilled).gain > 3 * gain(spilled).stderr
    noise = [gain(corpus(seed, effect=0.0, spill=0.0)) for seed in range(40)]
    assert np.mean([one.gain for one in noise]) < 0
    assert sum(one.gain > 2 * one.stderr for one in noise) <= 4


def test_words_that_do_not_follow_each_other_are_left_out() -> None:
    data = corpus(2)
    every = gain(data).n
    gap = data["places"] != 30
    assert gain({name: values[gap] for name, values in data.items()}).n == every - 60
    unknown = data["nats"].copy()
    unknown[data["places"] == 30] = np.nan
    assert gain(data, nats=unknown).n == every - 60


def test_too_few_words_or_one_text_give_no_number() -> None:
    assert np.isnan(gain(corpus(3, texts=2, each=20)).gain)
    assert np.isnan(gain(corpus(3), texts=np.zeros(1800, int), places=np.arange(1800)).gain)
