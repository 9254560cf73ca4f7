"""Words over training, from tokens as a scorer writes them, and what lists of words say of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.test_word_map import KINDS, token_table
from evalrun.core.errors import AnalysisError, ConfigError
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
