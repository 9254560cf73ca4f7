"""Every token of a text has its log-probability, and the mass of words' beginnings, by the definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as hf
from lm_eval.utils import get_rolling_token_windows

from evalrun.checkpoints.word_beginnings import word_beginnings
from evalrun.core.errors import TaskError
from evalrun.scoring import evaluate, lm_eval_model, open_lm
from evalrun.statistics.words.word_map import CLOSING, word_map
from evalrun.tasks import builder, task_file
from helpers import write_rows
from made_tokenizers import END, byte_level
from random_models import CONF, spread

WINDOW = 24
TEXTS = ["the old man walks home ", "he talked to the dog ; it cost 350 . " * 4, "walk\n\n  talks", "x", "  a 🙂"]
TASK = """task: story
data: data/story.jsonl
surprisal: {kept}
output_type: {kind}
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list:
  - {{metric: {metric}, aggregation: {metric}, higher_is_better: false}}
"""


@pytest.fixture(scope="module")
def lm() -> object:
    made = hf.PreTrainedTokenizerFast(tokenizer_object=byte_level(), eos_token=END, bos_token=END)
    shape = hf.GPTNeoXConfig(
        vocab_size=len(made) + 8, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=WINDOW,
    )  # fmt: skip
    return open_lm(spread(lambda: hf.GPTNeoXForCausalLM(shape)), made, CONF, lambda number: None)


def story(
    folder: Path, kept: str = "true", kind: str = "loglikelihood_rolling", metric: str = "bits_per_byte"
) -> object:
    write_rows(folder / "data" / "story.jsonl", [{"text": text} for text in TEXTS])
    (folder / "conf" / "task").mkdir(parents=True, exist_ok=True)
    (folder / "conf" / "task" / "story.yaml").write_text(TASK.format(kept=kept, kind=kind, metric=metric))
    return builder.build(task_file.resolve(["story"]), None)["story"]


def chances(model: object, ids: list[int]) -> np.ndarray:
    """What comes after each of some tokens."""
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].double().softmax(-1).numpy()


@pytest.mark.parametrize("at_once", [1, 64, 2048])
def test_tokens_and_boundaries_by_the_definition(
    at_once: int, lm: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lm_eval_model, "AT_ONCE", at_once)
    task = story(tmp_path, "corrected")
    found = evaluate.score(lm, {"story": task}, None, 0)["story"].table.to_pylist()
    tokenizer, words = lm.tokenizer, word_beginnings(lm.tokenizer, len(lm.tokenizer) + 8)
    for text, row in zip(TEXTS, found, strict=True):
        coded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        ids = coded["input_ids"]
        assert row["token_ids"] == [*ids, CLOSING]
        places = [*coded["offset_mapping"], (len(text), len(text))]
        assert list(zip(row["token_starts"], row["token_ends"], strict=True)) == places
        before = [0.0] * len(ids)
        place = 0
        for inputs, scored in get_rolling_token_windows(ids, tokenizer.eos_token_id, WINDOW, 1):
            after = chances(lm.model, inputs)[-len(scored) :]
            for each, token in zip(after, scored, strict=True):
                begins = words.begins[token] and not (place and words.trails[ids[place - 1]])
                mass = each[words.ends].sum() if begins else each[words.goes_on].sum() if place == 0 else np.nan
                assert row["token_nats"][place] == pytest.approx(-np.log(each[token]), abs=1e-4)
                assert row["token_boundaries"][place] == pytest.approx(-np.log(mass), abs=1e-4, nan_ok=True)
                before[place] = float(each[token])
                place += 1
        last = chances(lm.model, [tokenizer.eos_token_id, *ids][-WINDOW:])[-1]
        mass = np.nan if words.trails[ids[-1]] else last[words.ends].sum()
        assert row["token_nats"][-1] == 0
        assert row["token_boundaries"][-1] == pytest.approx(-np.log(mass), abs=1e-4, nan_ok=True)
        tokens = {name: row[f"token_{name}s"] for name in ("start", "end")}

        table = pd.DataFrame({**tokens, "token": row["token_ids"], "doc_id": 0})
        assert word_map(table, {0: text}).sums(np.array(row["token_nats"])).sum() == pytest.approx(
            sum(row["token_nats"])
        )


def test_the_metrics_are_those_without_tokens(lm: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept = evaluate.score(lm, {"story": story(tmp_path)}, None, 0)["story"]
    plain = evaluate.score(lm, {"story": story(tmp_path, "false")}, None, 0)["story"]
    assert kept.metrics == pytest.approx(plain.metrics, rel=1e-5)
    assert "token_nats" in kept.table.column_names
    assert "token_boundaries" not in kept.table.column_names
    assert "token_nats" not in plain.table.column_names
    both = evaluate.score(lm, {"story": story(tmp_path)}, 2, 0)["story"]
    assert both.table.num_rows == 2


def test_where_there_are_no_texts_it_is_refused(lm: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TaskError, match="which is of tasks that score whole texts"):
        story(tmp_path, kind="loglikelihood", metric="perplexity")
    with pytest.raises(TaskError, match="which must be true, false or corrected"):
        story(tmp_path, kept="some")
