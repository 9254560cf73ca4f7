"""Words over training, from tokens as a scorer writes them, and what lists of words say of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.test_word_map import KINDS, token_table
from evalrun.core.errors import AnalysisError, ConfigError
from evalrun.statistics.words.age_table import ages_of_words
from evalrun.statistics.words.reading_table import reading_gains
from evalrun.statistics.words.word_curves import correlate_words, read_words, words_table
from evalrun.statistics.words.word_map import word_map
from evalrun.statistics.words.word_values import bare, word_values

TEXTS = [
    "The old man walks home, and talks to the dog.\n\nThe dog (old) walks.",
    "he talked to the old dog and walked home in 1999 ",
    "walks and talks and walked and talked; the man, the dog!",
]
FREQUENCY = pd.DataFrame({
    "word": ["the", "old", "man", "walks", "home", "and", "talks", "to", "dog", "he", "talked", "walked"],
    "frequency": [1000, 50, 40, 5, 30, 800, 6, 700, 20, 300, 12, 0],
})  # fmt: skip
STEPS = (1, 8, 64)


def tokens_of(run_id: str, task: str) -> pd.DataFrame | None:
    assert task == "story"
    return token_table(KINDS["bytes"], TEXTS, seed=int(run_id[3:])) if run_id != "run9" else None


@pytest.fixture
def table(tidy) -> pd.DataFrame:
    rows = [{"task": "story", "step": step, "tokens": 100 * step, "run_id": f"run{step}"} for step in STEPS]
    return tidy.table(rows)


def texts(task: str, run_id: str) -> dict[int, str]:
    return dict(enumerate(TEXTS))


def test_every_checkpoint_has_every_word_once(table: pd.DataFrame) -> None:
    found = words_table(table, tokens_of, texts)
    assert found["step"].unique().tolist() == list(STEPS)
    for step, own in found.groupby("step"):
        tokens = tokens_of(f"run{step}", "story")
        assert own["nats"].sum() == pytest.approx(tokens["nats"].sum(), rel=1e-12)
        spelt = [word for text in TEXTS for word in text.split()]
        assert own.loc[own["word"] != "", "word"].tolist() == spelt
        assert (own["tokens"] == 100 * step).all()
    maps = [id(one.map) for one in read_words(table, tokens_of, texts)]
    assert len(set(maps)) == 1  # worked out once for all of them


def test_what_cannot_be_told_is_said(table: pd.DataFrame, tidy) -> None:
    nothing = tidy.table([{"task": "story", "step": 9, "run_id": "run9"}])
    with pytest.raises(AnalysisError, match=r"step 9 has no tokens of task 'story': write surprisal: true"):
        words_table(nothing, tokens_of, texts)
    with pytest.raises(AnalysisError, match="no mass of words' boundaries"):
        words_table(table, tokens_of, texts, correct=True)
    unplaced: Callable[[str, str], pd.DataFrame] = lambda *of: tokens_of(*of).assign(start=-1, end=-1)  # noqa: E731
    with pytest.raises(AnalysisError, match="does not say where in a text its tokens stand"):
        words_table(table, unplaced, texts)


def test_correlations_are_scipys_at_each_checkpoint(table: pd.DataFrame) -> None:
    found = correlate_words(table, tokens_of, texts, {"list.tsv": FREQUENCY}, 0.05).set_index(["step", "predictor"])
    words = words_table(table, tokens_of, texts)
    own = {row.word: np.log10(row.frequency) for row in FREQUENCY.itertuples() if row.frequency > 0}
    for step in STEPS:
        some = words[(words["step"] == step) & (words["word"] != "")]
        known = some.assign(log=[own.get(bare(word).lower(), np.nan) for word in some["word"]]).dropna(subset="log")
        row = found.loc[(step, "log_frequency")].set_index("measure")
        assert row.loc["pearson", "value"] == pytest.approx(stats.pearsonr(-known["nats"], known["log"]).statistic)
        assert row.loc["spearman", "value"] == pytest.approx(stats.spearmanr(-known["nats"], known["log"]).statistic)
        assert row.loc["pearson", "n"] == len(known)
        length = some["word"].str.len()
        lengths = found.loc[(step, "length")].set_index("measure")
        assert lengths.loc["pearson", "value"] == pytest.approx(stats.pearsonr(-some["nats"], length).statistic)
    assert found.loc[(STEPS[0], "all"), "measure"] == "r2"


def test_words_are_found_in_lists_by_their_letters() -> None:
    text = 'The "dog" (THE) don\'t US us ... 1999, dog'
    words = word_map(token_table(KINDS["bytes"], [text]), {0: text}).words
    listed = pd.DataFrame(
        {"word": ["the", "dog", "don't", "US", "...", "1999"], "rank": [1, 2, 3, 4, 5, 6], "note": "x"}
    )
    found = word_values(words, {"a.tsv": listed})
    np.testing.assert_array_equal(found["rank"], [1, 2, 1, 3, 4, np.nan, 5, 6, 2])
    assert set(found) == {"length", "rank"}
    placed = pd.DataFrame({"doc_id": [0, 0], "word_id": [8, 2], "word": ["dog", "(THE)"], "ngram": [-1.5, -2.5]})
    np.testing.assert_array_equal(word_values(words, {"b.tsv": placed})["ngram"][[2, 8]], [-2.5, -1.5])
    assert np.isnan(word_values(words, {"b.tsv": placed})["ngram"]).sum() == 7


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ({"words": ["the"], "frequency": [1]}, "'a.tsv' has no column 'word'"),
        ({"word": ["the", "old", "the"], "frequency": [1, 2, 3]}, "'a.tsv' has 'the' twice, again in row 3"),
        ({"word": ["the", "old"], "kind": ["x", "1"]}, "'a.tsv' has no column of numbers"),
        ({"word": ["the"], "length": [1]}, "'length' is a column of two tables"),
    ],
)
def test_lists_that_say_nothing_are_refused(listed: dict[str, list[object]], said: str) -> None:
    words = word_map(token_table(KINDS["bytes"], ["the old"]), {0: "the old"}).words
    with pytest.raises(ConfigError, match=said):
        word_values(words, {"a.tsv": pd.DataFrame(listed)})


MANY = [
    " ".join(rng.choice(["The", "dog", "walks", "home.", "old", "man"], 30))
    for rng in map(np.random.default_rng, range(12))
]
FALLS = {"the": 6, "dog": 9, "walks": 12, "home": 14, "old": 16, "man": 40}


def learnt(run_id: str, task: str) -> pd.DataFrame:
    """Tokens whose nats fall at an age of their word's own, from 8 to 1, in doublings of the first checkpoint."""
    tokens = token_table(KINDS["bytes"], MANY)
    found = word_map(tokens, dict(enumerate(MANY)))
    at = np.array([FALLS.get(bare(word).lower(), 0) for word in found.words["word"]])
    share = 1 / (1 + np.exp(-1.5 * (at - int(run_id[3:]))))
    noise = np.random.default_rng(int(run_id[3:])).normal(0, 0.1, len(at))
    nats = (1 + 7 * share + noise) / found.words["n_tokens"].to_numpy()
    return tokens.assign(nats=nats[found.row])


def every_text(task: str, run_id: str) -> dict[int, str]:
    return dict(enumerate(MANY))


@pytest.fixture
def long_table(tidy) -> pd.DataFrame:
    steps = [{"task": "story", "step": k, "tokens": 1000 * 2**k, "run_id": f"run{k}"} for k in range(20)]
    return tidy.table(steps)


def test_ages_of_words_are_those_that_were_put_in(long_table: pd.DataFrame) -> None:
    given = pd.DataFrame({"word": ["The", "dog", "walks", "home", "old", "cat"], "age": [10, 14, 20, 22, 30, 9]})
    found = ages_of_words(long_table, learnt, every_text, 10, 0.05, given)
    ages = found.set_index("word")
    assert set(ages.index) == set(FALLS)
    for word, at in FALLS.items():
        if word == "man":  # after the last checkpoint: its surprisal only wavers
            continue
        assert np.log2(ages.loc[word, "age"] / 1000) == pytest.approx(at, abs=0.3)
        assert ages.loc[word, "low"] <= ages.loc[word, "age"] <= ages.loc[word, "high"]
    assert ages.loc["man", "fall"] < 1
    assert ages["occurrences"].sum() == 12 * 30
    correlation = found.attrs["correlations"].iloc[0]
    assert (correlation["n"], correlation["rho"]) == (5, pytest.approx(1.0))
    with pytest.raises(AnalysisError, match="no word occurs 1000 times"):
        ages_of_words(long_table, learnt, every_text, 1000, 0.05)
    with pytest.raises(AnalysisError, match="no model has 4 checkpoints"):
        ages_of_words(long_table[:3], learnt, every_text, 10, 0.05)
    with pytest.raises(ConfigError, match="'word' and 'age'"):
        ages_of_words(long_table, learnt, every_text, 10, 0.05, given.rename(columns={"age": "months"}))


def test_reading_times_are_predicted_where_they_follow_surprisal(table: pd.DataFrame) -> None:
    def own(run_id: str, task: str) -> pd.DataFrame:
        return token_table(KINDS["bytes"], MANY, seed=int(run_id[3:]))

    step8 = next(one for one in read_words(table[table["step"] == 8], own, every_text))
    words, rng = step8.map.words, np.random.default_rng(0)
    times = words.loc[words["word"] != "", ["doc_id", "word_id"]]
    mean = 200 + 30 * step8.nats[times.index]
    readers = pd.concat([times.assign(time=mean + rng.normal(0, 20, len(times))) for _ in range(3)])
    found = reading_gains(table, own, every_text, readers, {}, 0.05).set_index("step")
    assert found.loc[8, "low"] > 1
    assert (found.loc[[1, 64], "low"] < 0).all()  # surprisals of their own
    assert found.loc[8, "n"] == 12 * 29
    with pytest.raises(ConfigError, match="'time' is not there"):
        reading_gains(table, own, every_text, times, {}, 0.05)
    with pytest.raises(AnalysisError, match="too few"):
        reading_gains(table, own, every_text, readers[readers["doc_id"] == 0], {}, 0.05)
