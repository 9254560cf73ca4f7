"""Ages of acquisition of all words of a task that occur often enough, model by model."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pandas as pd

from evalrun.core.errors import AnalysisError, ConfigError
from evalrun.statistics.dynamics.ages import rank_correlation
from evalrun.statistics.naming import run_name
from evalrun.statistics.words.word_ages import FEWEST, word_ages
from evalrun.statistics.words.word_curves import Texts, Tokens, read_words
from evalrun.statistics.words.word_map import WordMap
from evalrun.statistics.words.word_values import bare

AGES = ["model", "n_params", "seed", "word", "occurrences", "age", "low", "high", "fall", "explained"]
CORRELATIONS = ["model", "n_params", "seed", "n", "rho", "low", "high"]


def ages_of_words(
    table: pd.DataFrame, tokens: Tokens, texts: Texts, least: int, alpha: float, given: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The age of each word that occurs `least` times, in tokens seen in training.

    Args:
        table: As for `read_words`.
        tokens: As there.
        texts: As there.
        least: Occurrences, whole words alone.
        alpha: One minus the level of intervals.
        given: Ages from elsewhere, columns word and age.

    Returns:
        One row a model and word with the columns of `AGES`, and `given_age` where ages were given; `attrs` then has
        the rank correlations of ages, with the columns of `CORRELATIONS`.

    Raises:
        AnalysisError: as `read_words`; or no model has enough checkpoints, or no word occurs often enough.
        ConfigError: a table of ages without ages.
    """
    known = None if given is None else _given(given)
    frames, correlations = [], []
    for run, every in groupby(read_words(table[table["tokens"] > 0], tokens, texts), lambda one: run_name(one.row)):
        checkpoints = list(every)
        if len({id(one.map) for one in checkpoints}) > 1:
            raise AnalysisError(f"{run} was scored on other texts or tokens at some steps: ages need the same ones.")
        if len(checkpoints) < FEWEST:
            continue
        frame = _of_run(checkpoints[0].map, np.array([one.row["tokens"] for one in checkpoints], np.float64),
                        np.stack([one.nats for one in checkpoints], axis=1), least, alpha)  # fmt: skip
        model = {name: checkpoints[0].row[name] for name in ("model", "n_params", "seed")}
        frame = frame.assign(**model)[AGES]
        if known is not None:
            frame["given_age"] = frame["word"].map(known)
            found = rank_correlation(frame["age"].to_numpy(), frame["given_age"].to_numpy(np.float64), alpha)
            correlations.append({**model, "n": found.n, "rho": found.rho, "low": found.low, "high": found.high})
        frames.append(frame)
    if not frames:
        raise AnalysisError(f"no model has {FEWEST} checkpoints, which the age of a word needs.")
    ages = pd.concat(frames, ignore_index=True)
    if ages.empty:
        raise AnalysisError(f"no word occurs {least} times in these texts: lower least=.")
    if known is not None:
        ages.attrs["correlations"] = pd.DataFrame(correlations, columns=CORRELATIONS)
    return ages


def _of_run(found: WordMap, tokens: np.ndarray, nats: np.ndarray, least: int, alpha: float) -> pd.DataFrame:
    """The ages of one training run.

    Args:
        found: Its words.
        tokens: (checkpoints,) seen in training.
        nats: (words, checkpoints)
        least: Occurrences.
        alpha: One minus the level of intervals.
    """
    words = found.words
    usable = np.flatnonzero(
        words["whole"].to_numpy() & (words["word"] != "").to_numpy() & np.isfinite(nats).all(axis=1)
    )
    each = {word: bare(word).lower() for word in words["word"].iloc[usable].unique()}
    names = words["word"].iloc[usable].map(each)
    often = names.isin(names.value_counts().loc[lambda count: count >= least].index).to_numpy()
    code, spelt = pd.factorize(names[often], sort=True)
    own = usable[often]
    ages = word_ages(tokens, nats[own], code, words["doc_id"].to_numpy()[own], alpha)
    columns = {"age": ages.age, "low": ages.low, "high": ages.high, "fall": ages.fall, "explained": ages.explained}
    return pd.DataFrame({"word": spelt, "occurrences": np.bincount(code, minlength=len(spelt)), **columns})


def _given(table: pd.DataFrame) -> dict[str, float]:
    """Ages by word, in lower case.

    Raises:
        ConfigError: there are none.
    """
    if not {"word", "age"} <= set(table.columns):
        raise ConfigError(f"given ages need the columns 'word' and 'age', and these are {', '.join(table.columns)}.")
    ages = pd.to_numeric(table["age"].replace("", None), errors="coerce")
    return dict(zip(table["word"].astype(str).str.lower(), ages, strict=True))
