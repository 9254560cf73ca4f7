"""A task that names a column of people's numbers has correlations with them beside its other metrics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import transformers as hf
from scipy import stats

from evalrun.core.errors import TaskError
from evalrun.scoring import evaluate, open_lm
from evalrun.tasks import builder, task_file
from helpers import write_rows
from made_tokenizers import END, byte_level
from random_models import CONF, spread

WORDS = "the old man walks home and talks to dog she walked he talked in it cost".split()
CHOICES = """task: {name}
data: data/rated.jsonl
human: rating
output_type: multiple_choice
doc_to_text: ""
doc_to_choice: "{{{{[good, bad]}}}}"
doc_to_target: 0
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""
TEXTS = """task: {name}
data: data/rated.jsonl
human: rating
output_type: {kind}
doc_to_text: ""
doc_to_target: "{{{{good}}}}"
metric_list:
  - {{metric: {metric}, aggregation: {aggregation}, higher_is_better: false}}
"""


def rows(count: int = 40) -> list[dict[str, object]]:
    rng = np.random.default_rng(0)
    made = [
        {
            "good": " ".join(rng.choice(WORDS, 4)),
            "bad": " ".join(rng.choice(WORDS, 4)),
            "rating": round(float(rating), 2),
        }
        for rating in rng.normal(4, 1, count)
    ]
    made[3]["rating"], made[7]["rating"] = None, ""
    made[5]["rating"] = "4.5"
    return made


def task_of(folder: Path, text: str, data: list[dict[str, object]], **given: str) -> object:
    write_rows(folder / "data" / "rated.jsonl", data)
    (folder / "conf" / "task").mkdir(parents=True, exist_ok=True)
    (folder / "conf" / "task" / "rated.yaml").write_text(text.format(name="rated", **given))
    return builder.build(task_file.resolve(["rated"]), None)["rated"]


@pytest.fixture(scope="module")
def lm() -> object:
    made = hf.PreTrainedTokenizerFast(tokenizer_object=byte_level(), eos_token=END, bos_token=END)
    shape = hf.GPTNeoXConfig(
        vocab_size=len(made), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip
    return open_lm(spread(lambda: hf.GPTNeoXForCausalLM(shape)), made, CONF, lambda number: None)


KINDS = {
    "choices": (CHOICES, {}),
    "answers": (TEXTS, {"kind": "loglikelihood", "metric": "perplexity", "aggregation": "perplexity"}),
    "texts": (TEXTS, {"kind": "loglikelihood_rolling", "metric": "bits_per_byte", "aggregation": "bits_per_byte"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_correlations_are_scipys(kind: str, lm: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text, given = KINDS[kind]
    data = rows()
    found = evaluate.score(lm, {"rated": task_of(tmp_path, text, data, **given)}, None, 0)["rated"]
    said = np.array([float(row["rating"] or "nan") for row in data])
    if kind == "texts":
        values = -found.items["nats"].to_numpy()
    else:
        values = np.array([one[0] - (one[1] if len(one) > 1 else 0) for one in found.items["logprobs"]])
    both = np.isfinite(said)
    assert both.sum() == 38
    assert found.metrics["human_pearson"] == pytest.approx(stats.pearsonr(values[both], said[both]).statistic)
    assert found.metrics["human_spearman"] == pytest.approx(stats.spearmanr(values[both], said[both]).statistic)
    assert found.primary == {"choices": "acc", "answers": "perplexity", "texts": "bits_per_byte"}[kind]
    assert "human_pearson" not in found.lower
    plain = (1 - found.metrics["human_pearson"] ** 2) / np.sqrt(38)
    assert found.stderrs["human_pearson"] == pytest.approx(plain, rel=0.5)


def test_few_items_have_no_correlation(lm: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    task = task_of(tmp_path, CHOICES, rows(12))
    assert set(evaluate.score(lm, {"rated": task}, 3, 0)["rated"].metrics) == {"acc"}
    assert "human_spearman" in evaluate.score(lm, {"rated": task}, 12, 0)["rated"].metrics


@pytest.mark.parametrize(
    ("changed", "text", "said"),
    [
        ({"rating": "very"}, CHOICES, "row 1 has 'very' in 'rating', which human: names and which must be a number"),
        ({}, CHOICES.replace("human: rating", "human: ratng"), "human: ratng, which is no column of its data: did you"),
        ({}, CHOICES.replace("human: rating", "human: [rating]"), "which must be a column of the data"),
    ],
)
def test_a_column_without_numbers_is_named(
    changed: dict[str, str], text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = rows(12)
    data[0] |= changed
    with pytest.raises(TaskError, match=said.replace("[", r"\[")):
        task_of(tmp_path, text, data)
    alike = [{**row, "rating": 3} for row in data]
    with pytest.raises(TaskError, match="has 1 different number in 12 rows"):
        task_of(tmp_path, CHOICES, alike)


def test_another_column_is_another_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    task_of(tmp_path, CHOICES, rows(12))
    (file,) = task_file.resolve(["rated"])
    (tmp_path / "conf" / "task" / "rated.yaml").write_text(CHOICES.replace("human: rating\n", "").format(name="rated"))
    (other,) = task_file.resolve(["rated"])
    assert file.digest != other.digest
