"""What surprisal adds to the prediction of people's reading times, at every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from evalrun.core.errors import AnalysisError, ConfigError
from evalrun.statistics.items.values import Floats
from evalrun.statistics.words.reading import reading_gain
from evalrun.statistics.words.word_curves import Texts, Tokens, read_words
from evalrun.statistics.words.word_values import LENGTH, word_values

TIME = "time"
GAINS = ["task", "model", "n_params", "seed", "step", "tokens", "gain", "stderr", "low", "high", "n"]
_PLACE = ["doc_id", "word_id"]


def reading_gains(
    table: pd.DataFrame,
    tokens: Tokens,
    texts: Texts,
    times: pd.DataFrame,
    tables: Mapping[str, pd.DataFrame],
    alpha: float,
    correct: bool = False,
) -> pd.DataFrame:
    """Compare regressions of reading times with and without surprisal; see `reading`.

    Args:
        table: As for `read_words`.
        tokens: As there.
        texts: As there.
        times: Columns doc_id, word_id and time; rows of one word, such as those of several readers, are averaged.
        tables: Numbers of words that are controls beside their length, by the file's name.
        alpha: One minus the level of intervals.
        correct: Take the corrected nats.

    Returns:
        One row a checkpoint with the columns of `GAINS`: gain in nats a word, above 0 where surprisal helps.

    Raises:
        ConfigError: no times, or tables that say nothing of words.
        AnalysisError: as `read_words`; or too few words or texts with a time.
    """
    averaged = _averaged(times)
    rows, known = [], dict[int, tuple[Floats, list[Floats]]]()
    for one in read_words(table, tokens, texts, correct):
        words = one.map.words
        if id(words) not in known:
            place = pd.MultiIndex.from_frame(words[_PLACE])
            values = word_values(words, tables)
            own = averaged.reindex(place).to_numpy(np.float64)
            known[id(words)] = own, [values.pop(LENGTH), *values.values()]
        own, controls = known[id(words)]
        nats = np.where(words["whole"], one.asked, np.nan)
        found = reading_gain(own, nats, controls, words["doc_id"].to_numpy(), words["word_id"].to_numpy())
        if np.isnan(found.gain):
            raise AnalysisError(
                f"reading times say nothing of {one.row['model']} step {one.row['step']}: {found.n} words of texts "
                "have a time, known controls and a word before them, which is too few, or all stand in one text."
            )
        reach = -float(stdtrit(found.df, alpha / 2)) * found.stderr
        run = {name: one.row[name] for name in GAINS[:6]}
        ends = {"low": found.gain - reach, "high": found.gain + reach}
        rows.append({**run, "gain": found.gain, "stderr": found.stderr, **ends, "n": found.n})
    return pd.DataFrame(rows, columns=GAINS)


def _averaged(times: pd.DataFrame) -> pd.Series:
    """The mean time of each word, by its text and place.

    Raises:
        ConfigError: a column is missing, or holds no numbers.
    """
    if lacking := [name for name in (*_PLACE, TIME) if name not in times]:
        raise ConfigError(f"reading times need the columns doc_id, word_id and time, and '{lacking[0]}' is not there.")
    numbers = times[[*_PLACE, TIME]].replace("", None).apply(pd.to_numeric, errors="coerce").dropna()
    if numbers.empty:
        raise ConfigError("reading times have no row with numbers in doc_id, word_id and time.")
    mean: pd.Series = numbers.astype({"doc_id": np.int64, "word_id": np.int64}).groupby(_PLACE)[TIME].mean()
    return mean
