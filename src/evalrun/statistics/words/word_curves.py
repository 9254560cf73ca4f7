"""Words over training: the nats of each at every checkpoint, and how they go with what is known of words."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.errors import AnalysisError
from evalrun.statistics.items.values import Floats
from evalrun.statistics.naming import checkpoint_name
from evalrun.statistics.words.correlates import Predictors
from evalrun.statistics.words.word_map import CLOSING, WordMap, word_map
from evalrun.statistics.words.word_values import LENGTH, word_values

Tokens = Callable[[str, str], "pd.DataFrame | None"]
"""MLflow run id and task -> one row a token, with the columns of `word_map.TOKEN_COLUMNS`; None: it has none."""
Texts = Callable[[str, str], Mapping[int, str]]
"""Task and MLflow run id -> the texts that were scored there, by doc_id."""

_RUN = ["model", "n_params", "seed", "step", "tokens"]
CORRELATES = [
    *(
        "task",
        "title",
        *_RUN,
        "flops",
        "predictor",
        "measure",
        "value",
        "stderr",
        "low",
        "high",
        "fisher_low",
        "fisher_high",
    ),
    "n",
]
WORDS = [*_RUN, "doc_id", "word_id", "word", "start", "end", "n_tokens", "whole", "nats"]
CORRECTED = "corrected_nats"


@dataclass(frozen=True)
class CheckpointWords:
    """The words of one task's texts at one checkpoint."""

    row: Mapping[Any, Any]  # of the tidy table
    map: WordMap
    nats: Floats  # (words,)
    corrected: Floats | None  # (words,) by `WordMap.corrected`; None where it was not asked for

    @property
    def asked(self) -> Floats:
        """(words,) the corrected nats where these were asked for, else the plain ones."""
        return self.nats if self.corrected is None else self.corrected


def read_words(table: pd.DataFrame, tokens: Tokens, texts: Texts, correct: bool = False) -> Iterator[CheckpointWords]:
    """The words of every checkpoint, one after the other; checkpoints that part texts alike share a map.

    Args:
        table: Rows of the tidy table of one task.
        tokens: Gives the tokens of a result.
        texts: Gives the texts.
        correct: For the mass of words' boundaries too.

    Raises:
        AnalysisError: no tokens, no boundaries where they are asked for, or other texts than were scored.
    """
    known: dict[bytes, WordMap] = {}
    rows = table.drop_duplicates("run_id").sort_values(["n_params", "model", "seed", "step"])
    for row in rows.to_dict("records"):
        label = checkpoint_name(row)
        found = tokens(str(row["run_id"]), str(row["task"]))
        if found is None:
            raise AnalysisError(
                f"{label} has no tokens of task '{row['task']}': write surprisal: true in the task's file and evaluate "
                "it again."
            )
        key = _key(found)
        if key not in known:
            known[key] = word_map(found, texts(str(row["task"]), str(row["run_id"])))
            _check_places(known[key], found, label)
        nats = found["nats"].to_numpy(np.float64)
        corrected = None
        if correct:
            if "boundary_nats" not in found:
                raise AnalysisError(
                    f"{label} has no mass of words' boundaries for task '{row['task']}': write surprisal: corrected in "
                    "the task's file and evaluate it again."
                )
            corrected = known[key].corrected(nats, found["boundary_nats"].to_numpy(np.float64))
        yield CheckpointWords(row, known[key], known[key].sums(nats), corrected)


def _key(tokens: pd.DataFrame) -> bytes:
    """What a map is made from."""
    columns = [np.ascontiguousarray(tokens[name].to_numpy(np.int64)) for name in ("doc_id", "token", "start", "end")]
    return hashlib.sha256(b"".join(column.tobytes() for column in columns)).digest()


def _check_places(found: WordMap, tokens: pd.DataFrame, label: str) -> None:
    """See that a tokenizer says where its tokens stand.

    Raises:
        AnalysisError: it does not.
    """
    real = tokens["token"].to_numpy() != CLOSING
    if real.any() and (tokens["start"].to_numpy()[real] < 0).all():
        raise AnalysisError(
            f"the tokenizer of {label} does not say where in a text its tokens stand, so that they make no words: use "
            "one with a tokenizer.json."
        )


def words_table(table: pd.DataFrame, tokens: Tokens, texts: Texts, correct: bool = False) -> pd.DataFrame:
    """All words of a task at all checkpoints, a row each, with the columns of `WORDS`, and of `CORRECTED` if asked.

    Args:
        table: As for `read_words`.
        tokens: As there.
        texts: As there.
        correct: As there.

    Raises:
        AnalysisError: as there.
    """
    frames, spelt = [], dict[int, pd.Categorical]()
    for one in read_words(table, tokens, texts, correct):
        words = one.map.words
        if id(words) not in spelt:
            spelt[id(words)] = pd.Categorical(words["word"])
        run = {name: one.row[name] for name in _RUN}
        frame = words.assign(**run, word=spelt[id(words)], nats=one.nats)[WORDS]
        frames.append(frame if one.corrected is None else frame.assign(**{CORRECTED: one.corrected}))
    if not frames:
        raise AnalysisError("there are no results to take words from.")
    found = pd.concat(frames, ignore_index=True)
    found["model"] = found["model"].astype("category")
    return found


def correlate_words(
    table: pd.DataFrame,
    tokens: Tokens,
    texts: Texts,
    tables: Mapping[str, pd.DataFrame],
    alpha: float,
    correct: bool = False,
    with_length: bool = True,
) -> pd.DataFrame:
    """How log-probabilities of words go with each predictor at each checkpoint; see `correlates`.

    Args:
        table: As for `read_words`.
        tokens: As there.
        texts: As there.
        tables: Of what is known of words, by the file's name.
        alpha: One minus the level of intervals.
        correct: Take the corrected nats.
        with_length: Length is a predictor too.

    Returns:
        One row a checkpoint, predictor and measure, with the columns of `CORRELATES`; `low` and `high` are clustered by
        text.

    Raises:
        AnalysisError: as there.
        ConfigError: a table that says nothing of words.
    """
    rows, known = [], dict[int, Predictors]()
    for one in read_words(table, tokens, texts, correct):
        words = one.map.words
        if id(words) not in known:
            usable = words["whole"].to_numpy() & (words["word"] != "").to_numpy()
            if one.corrected is not None:
                usable = usable & np.isfinite(one.corrected)
            values = word_values(words, tables)
            predictors = {name: own for name, own in values.items() if with_length or name != LENGTH}
            known[id(words)] = Predictors(predictors, words["doc_id"].to_numpy(), usable)
        run = {name: one.row[name] for name in ("task", "title", *_RUN, "flops")}
        rows += [{**run, **asdict(estimate)} for estimate in known[id(words)].estimates(-one.asked, alpha)]
    return pd.DataFrame(rows, columns=CORRELATES)
