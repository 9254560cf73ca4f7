"""`evalrun.words` and what follows from words: correlations with lists, ages of acquisition, reading times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from evalrun.commands.run import inprocess
from evalrun.commands.run.inprocess import Value
from evalrun.commands.table_input import config_of, prepared_rows
from evalrun.core.errors import AnalysisError, ConfigError, suggest
from evalrun.reporting.word_sources import texts_of, tokens_of, word_list, word_lists
from evalrun.tracking import Store

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.config.schema import Config
    from evalrun.statistics.words.word_curves import Texts, Tokens


def words(
    table: pd.DataFrame,
    task: str | None = None,
    corrected: bool = False,
    *,
    root: Path | str | None = None,
    **settings: Value,
) -> pd.DataFrame:
    """The surprisal of every word of a task's texts at every checkpoint; the task's file says `surprisal: true`.

    A word is what stands between white space, its marks included; white space belongs to the word after it. What
    follows the last word of a text has a row with the empty word, so that nats add up to the text's.

    Args:
        table: Rows of `evaluate` or `results`, of one suite, scored in one way.
        task: Which task, where the table has several.
        corrected: Add `corrected_nats`, for the mass of words' boundaries (Pimentel & Meister 2024); the task's file
            then says `surprisal: corrected`.
        root: The folder whose store has the tokens, and whose tasks the texts; None for the current one.
        **settings: Keys of conf/analysis, and the store.

    Returns:
        One row a checkpoint and word: model, n_params, seed, step, tokens (seen in training), doc_id, word_id (from 0
        in its text), word, start and end (characters of the text), n_tokens, whole (no token of it holds parts of
        another word), nats.

    Raises:
        ConfigError: a setting that cannot be right, or no such task.
        AnalysisError: results without tokens, or texts that have changed since.
        TrackingError: the store cannot be read.
    """
    from evalrun.statistics.words.word_curves import words_table

    with _sources(table, task, root, settings) as (rows, tokens, texts, _):
        return words_table(rows, tokens, texts, corrected)


def word_correlations(
    table: pd.DataFrame,
    lists: str | Path | Sequence[str | Path] = (),
    task: str | None = None,
    corrected: bool = False,
    *,
    root: Path | str | None = None,
    **settings: Value,
) -> pd.DataFrame:
    """Correlate words' log-probabilities with their length and with lists of words, at every checkpoint.

    This is the figure of Michaelov, Levy & Bergen (2025, arXiv:2510.24963). Words without a number in a list are left
    out of its correlation, and those of which a token holds parts of another word of all.

    Args:
        table: As for `words`.
        lists: Files (.tsv, .csv, .jsonl, .parquet) with a column `word`, or with `doc_id` and `word_id`, and columns
            of numbers; `frequency` and `count` are taken as log10.
        task: As for `words`.
        corrected: Take the corrected nats.
        root: As for `words`.
        **settings: As for `words`: `alpha=0.01`.

    Returns:
        One row a checkpoint, predictor and measure (pearson, spearman; coefficient in standard deviations and r2 of
        all predictors together): value, stderr, low and high, clustered by text; fisher_low and fisher_high, of words
        drawn one by one; n words.

    Raises:
        ConfigError, AnalysisError, TrackingError: as `words`; or a list that says nothing of words.
    """
    from evalrun.statistics.words.word_curves import correlate_words

    with _sources(table, task, root, settings) as (rows, tokens, texts, config):
        return correlate_words(rows, tokens, texts, word_lists(lists), config.analysis.alpha, corrected)


def word_ages(
    table: pd.DataFrame,
    task: str | None = None,
    least: int = 10,
    given: str | Path | None = None,
    *,
    root: Path | str | None = None,
    **settings: Value,
) -> pd.DataFrame:
    """The age of acquisition of each word, in tokens: where a sigmoid of its surprisal is halfway down.

    As Chang & Bergen (2022, TACL 10:1-16): between the largest mean surprisal of the word and its least. A word is one
    of its spellings in lower case, without the marks at its ends.

    Args:
        table: As for `words`; four checkpoints or more of a model.
        task: As for `words`.
        least: Times that a word must occur in the texts.
        given: A file with the columns `word` and `age`, such as children's ages: then `given_age` stands beside each
            age, and `attrs["correlations"]` of what is returned has Spearman's correlation for each model.
        root: As for `words`.
        **settings: As for `words`.

    Returns:
        One row a model and word: occurrences, age with low and high (texts drawn anew; 0: before the first checkpoint,
        inf: after the last), fall (nats), explained (share of the curve's variance that the sigmoid has).

    Raises:
        ConfigError, AnalysisError, TrackingError: as `words`.
    """
    from evalrun.statistics.words.age_table import ages_of_words

    with _sources(table, task, root, settings) as (rows, tokens, texts, config):
        ages = None if given is None else word_list(Path(given))
        return ages_of_words(rows, tokens, texts, least, config.analysis.alpha, ages)


def reading_times(
    table: pd.DataFrame,
    times: str | Path,
    lists: str | Path | Sequence[str | Path] = (),
    task: str | None = None,
    corrected: bool = False,
    *,
    root: Path | str | None = None,
    **settings: Value,
) -> pd.DataFrame:
    """Say how much surprisal helps to predict people's reading times, at every checkpoint.

    The measure is the gain in log-likelihood of a regression on surprisal, of a word and the one before it, over
    controls alone, in texts that it has not seen (Goodkind & Bicknell 2018; Wilcox et al. 2020).

    Args:
        table: As for `words`.
        times: A file with the columns `doc_id`, `word_id` and `time`; several rows of a word are averaged.
        lists: Controls beside length, such as frequency; as for `word_correlations`.
        task: As for `words`.
        corrected: Take the corrected nats.
        root: As for `words`.
        **settings: As for `words`.

    Returns:
        One row a checkpoint: gain in nats a word (above 0: surprisal helps), stderr, low and high, clustered by text; n
        words.

    Raises:
        ConfigError, AnalysisError, TrackingError: as `words`; or too few words have a time.
    """
    from evalrun.statistics.words.reading_table import reading_gains

    with _sources(table, task, root, settings) as (rows, tokens, texts, config):
        alpha = config.analysis.alpha
        return reading_gains(rows, tokens, texts, word_list(Path(times)), word_lists(lists), alpha, corrected)


@contextmanager
def _sources(
    table: pd.DataFrame, task: str | None, root: Path | str | None, settings: Mapping[str, Value]
) -> Iterator[tuple[pd.DataFrame, Tokens, Texts, Config]]:
    """The rows of one task, where its tokens and texts are read, and the settings.

    Args:
        table: Of results.
        task: Which task; None where it has one.
        root: The folder to work in; None for the current one.
        settings: Keys of conf/analysis and the store.

    Raises:
        ConfigError, AnalysisError, TrackingError: as `words`.
    """
    from evalrun.statistics.table import check

    check(table)
    there = sorted(map(str, table["task"].unique()))
    if task is not None and task not in there:
        raise ConfigError(f"there are no results of task '{task}': {suggest(str(task), there)}")
    if task is None and len(there) > 1:
        raise AnalysisError(f"the table has results of {len(there)} tasks: name one, task='{there[0]}'.")
    with inprocess.session(root):
        config = config_of(settings)
        rows = prepared_rows(table[table["task"] == (task or there[0])], config)
        wanted = rows[["run_id", "task"]].drop_duplicates()
        with Store(config.tracking).items(wanted.itertuples(index=False, name=None)) as items:
            yield rows, tokens_of(items), texts_of(config, items), config
