"""Words of results in a store: their tokens beside the items, the texts in the task's file, and the report of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import evalrun
from evalrun.cli import main
from evalrun.core.errors import AnalysisError, ConfigError
from helpers import WORDS, write_rows

TASK = """task: story
data: data/story.jsonl
surprisal: corrected
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - {metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}
metadata: {version: 1.0, title: Story}
"""
TEXTS = [" ".join(np.random.default_rng(seed).choice(WORDS, 20)) for seed in range(5)]


@pytest.fixture
def results(workspace: Path) -> pd.DataFrame:
    """A task of texts at four steps of a model."""
    (workspace / "conf" / "task" / "story.yaml").write_text(TASK)
    write_rows(workspace / "data" / "story.jsonl", [{"text": text} for text in TEXTS])
    return evalrun.evaluate("toy/toy-s", step="1,2,4,8", task="story", root=workspace)


def test_words_come_from_the_store_and_go_into_the_report(
    results: pd.DataFrame, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = evalrun.words(results)
    assert words["word"].astype(str).tolist() == " ".join(TEXTS).split() * 4
    assert words["step"].unique().tolist() == [1, 2, 4, 8]
    size = sum(len(text.encode()) for text in TEXTS)
    for step, own in words.groupby("step"):
        told = results[(results["step"] == step) & (results["metric"] == "bits_per_byte")]["value"].item()
        assert own["nats"].sum() / size / np.log(2) == pytest.approx(told, rel=1e-6)
    corrected = evalrun.words(results, corrected=True)
    assert corrected["nats"].tolist() == words["nats"].tolist()
    assert np.isfinite(corrected["corrected_nats"]).all()

    counts = {word: 10 + len(word) * place for place, word in enumerate(WORDS)}
    write_rows(workspace / "list.jsonl", [{"word": word, "frequency": count} for word, count in counts.items()])
    found = evalrun.word_correlations(results, "list.jsonl")
    assert set(found["predictor"]) == {"length", "log_frequency", "all"}
    own = words[words["step"] == 8]
    logs = own["word"].astype(str).map(counts).map(np.log10)
    pearson = found[(found["step"] == 8) & (found["predictor"] == "log_frequency") & (found["measure"] == "pearson")]
    assert pearson["value"].item() == pytest.approx(np.corrcoef(-own["nats"], logs)[0, 1])

    asked = ["analyze", "analysis=interaction", "analysis.figures=none", "analysis.word_predictors=[length,list.jsonl]"]
    assert main(asked) == 0
    (table,) = (workspace / "multirun").rglob("tables/words.csv")
    assert pd.read_csv(table)["value"].tolist() == pytest.approx(found["value"].tolist())
    assert "Words and what is known of them" in (table.parents[1] / "report.html").read_text()
    assert main(asked) == 0
    assert "up to date" in capsys.readouterr().out
    write_rows(workspace / "list.jsonl", [{"word": word, "frequency": 5 + i} for i, word in enumerate(WORDS)])
    assert main(asked) == 0  # of another list it is made again
    assert pd.read_csv(table)["value"].tolist() != pytest.approx(found["value"].tolist())
    assert main(["analyze", "analysis.word_predictors=[nothing.tsv]"]) == 2
    assert "'nothing.tsv' is no file with a list of words" in capsys.readouterr().err


def test_words_are_of_the_texts_that_were_scored(results: pd.DataFrame, workspace: Path) -> None:
    with pytest.raises(ConfigError, match="no results of task 'stry'"):
        evalrun.words(results, "stry")
    write_rows(workspace / "data" / "story.jsonl", [{"text": text.upper()} for text in TEXTS])
    with pytest.raises(AnalysisError, match="5 of 5 texts of task 'story' are not those of its data as it is now"):
        evalrun.words(results)
