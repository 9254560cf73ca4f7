"""Parts of the variance of a mean: those of the definition, unbiased, and found again in a report's table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from evalrun.core.asked_words import asked_how, asked_word, without_asked
from evalrun.statistics.items.sample_variance import sample_variance, split_variance
from evalrun.statistics.ways_of_scoring import asked_notes, studies_of


def test_the_parts_are_those_of_the_definition() -> None:
    values = [np.array(one, dtype=float) for one in ([0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 1])]
    found = split_variance(values)
    assert found is not None
    means, within = [0.5, 1.0, 0.25], np.mean([1 / 3, 0, 0.25])
    assert found.variance == pytest.approx(np.var(means, ddof=1) / 3)
    assert found.by_samples == pytest.approx(within / (4 * 3))
    assert found.by_items == pytest.approx(found.variance - found.by_samples)
    assert found.samples_share == pytest.approx(found.by_samples / found.variance)
    assert split_variance(values[:1]) is None
    assert split_variance([one[:1] for one in values]) is None
    same = split_variance([np.ones(4)] * 3)
    assert same is not None
    assert np.isnan(same.samples_share)


def drawn(rng: np.random.Generator, items: int, samples: int, spread: float) -> list[np.ndarray]:
    """Answers to items whose probability of a right one is a beta variable; its variance is known."""
    chance = rng.beta(spread, spread, items)
    return list((rng.random((items, samples)) < chance[:, None]).astype(float))


@pytest.mark.parametrize("runs", [400, pytest.param(20_000, marks=pytest.mark.simulation)])
@pytest.mark.parametrize(("items", "samples", "spread"), [(30, 4, 1.0), (60, 2, 0.4)])
def test_the_parts_are_unbiased(runs: int, items: int, samples: int, spread: float) -> None:
    rng = np.random.default_rng(5)
    found = [split_variance(drawn(rng, items, samples, spread)) for _ in range(runs)]
    splits = [one for one in found if one is not None]
    between = 1 / (4 * (2 * spread + 1))  # variance of a symmetric beta variable
    within = 1 / 4 - between  # of a coin whose chance it is
    by_samples = np.array([one.by_samples for one in splits])
    variance = np.array([one.variance for one in splits])
    within_error = 4 / np.sqrt(runs)
    assert abs(by_samples.mean() - within / (samples * items)) < within_error * by_samples.std()
    assert abs(variance.mean() - between / items - within / (samples * items)) < within_error * variance.std()


def table_of(values: np.ndarray, settings: str = "lm_eval auto samples=4 temperature=1.0") -> pd.DataFrame:
    steps = np.arange(1, len(values) + 1)
    return pd.DataFrame(
        {"task": "sums", "title": "Sums", "model": "m", "seed": np.nan, "step": steps, "tokens": steps * 1000.0,
         "run_id": [f"run{step}" for step in steps], "metric": "exact_match_first", "value": values,
         "settings": settings}
    )  # fmt: skip


def test_results_of_a_table_and_the_noise_of_checkpoints() -> None:
    rng = np.random.default_rng(2)
    chance = np.full(600, 0.5)
    answers: dict[str, list[np.ndarray]] = {}
    jumps = rng.normal(0, 0.05, 40)
    for step in range(1, 41):
        level = np.clip(chance + jumps[step - 1], 0, 1)
        answers[f"run{step}"] = list((rng.random((600, 4)) < level[:, None]).astype(float))
    values = np.array([np.mean(answers[f"run{step}"]) for step in range(1, 41)])

    def items(run_id: str, task: str, wanted: Sequence[str]) -> pd.DataFrame:
        assert "sample_exact_match" in wanted
        own = pd.DataFrame({"doc_id": range(600), "filter": "first", "sample_exact_match": answers[run_id]})
        return pd.concat([own, own.assign(filter="other", sample_exact_match=[np.zeros(4)] * 600)])

    found = sample_variance(table_of(values), items)
    assert len(found) == 40
    split = split_variance(answers["run7"])
    assert split is not None
    assert found.loc[6, "by_samples"] == split.by_samples
    assert found["samples_share"].mean() > 0.8  # items are alike: nearly all is which answers were drawn
    assert np.sqrt(found["by_checkpoints"].iloc[0]) == pytest.approx(0.05, rel=0.5)
    assert sample_variance(table_of(values, "lm_eval auto"), items).empty
    assert sample_variance(table_of(values), None).empty
    assert sample_variance(table_of(values[:5]), items)["by_checkpoints"].isna().all()


def test_results_that_differ_in_how_they_were_asked_are_one_study_and_it_says_so() -> None:
    chat = {"chat": {"template": "auto"}, "chat_template_sha256": "abc"}
    word = asked_word(chat)
    assert word is not None
    assert word.startswith("chat:")
    assert word == asked_word({"chat": {"template": True}, "chat_template_sha256": "abc"})
    assert word != asked_word({"chat": {"template": True, "system": "x"}, "chat_template_sha256": "abc"})
    assert asked_word({"chat": {"template": "auto"}, "chat_template_sha256": None}) is asked_word({}) is None
    label = f"shared_prefix auto {word} options of x"
    assert without_asked(label) == "shared_prefix auto options of x"
    assert asked_how(label) == f"by a chat template ({word[5:]})"
    base, tuned = table_of(np.zeros(3), "lm_eval auto"), table_of(np.ones(3), f"lm_eval auto {word}").assign(model="t")
    for table in (base, tuned):
        table["suite"] = "s"
    both = pd.concat([base, tuned], ignore_index=True)
    assert {name: len(rows) for name, rows in studies_of(both).items()} == {"lm_eval auto": 6}
    (note,) = asked_notes(both)
    assert f"as plain text: m; by a chat template ({word[5:]}): t" in note
    assert asked_notes(base) == []
    again = pd.concat([both, base.assign(settings=f"lm_eval auto {word}")], ignore_index=True)
    assert {name: len(rows) for name, rows in studies_of(again).items()} == {
        "lm_eval auto": 3, f"lm_eval auto {word}": 6,
    }  # fmt: skip
    other = pd.concat([both, base.assign(settings="lm_eval float16")], ignore_index=True)
    assert {name: len(rows) for name, rows in studies_of(other).items()} == {"lm_eval auto": 6, "lm_eval float16": 3}
