"""Minimal pairs of one's own: asked as lm-eval asks BLiMP's, and what two sentences share runs once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers as hf

from evalrun.commands.new_task import preview, to_yaml
from evalrun.commands.new_task.guess import guess
from evalrun.scoring import evaluate, open_lm
from evalrun.scoring.requests import rendered
from evalrun.scoring.shared_prefix import SharedPrefixLM
from evalrun.tasks import builder, task_file
from helpers import write_rows
from made_tokenizers import END, byte_level
from random_models import CONF, spread

PAIRS = [
    {"sentence_good": "the old man walks home", "sentence_bad": "the old man walk home", "field": "agreement"},
    {"sentence_good": "she walked and talked", "sentence_bad": "she walked and talk", "field": "agreement"},
    {"sentence_good": "he talks to the dog", "sentence_bad": "he talks to dog the", "field": "order"},
    {"sentence_good": "walks", "sentence_bad": "walks", "field": "order"},
]
LM_EVALS = "include: blimp/_template_yaml\ntask: theirs\ndata: data/pairs.jsonl\n"


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """`mine` as `new-task` writes it, and `theirs`: lm-eval's own file for BLiMP over the same rows."""
    monkeypatch.chdir(tmp_path)
    found = preview.read(write_rows(tmp_path / "data" / "pairs.jsonl", PAIRS))
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / "mine.yaml").write_text(to_yaml.text("mine", "data/pairs.jsonl", guess(found)))
    (tmp_path / "conf" / "task" / "theirs.yaml").write_text(LM_EVALS)
    return builder.build(task_file.resolve(["mine", "theirs"]), None)


def test_they_are_asked_and_measured_as_lm_eval_does_blimp(tasks: dict[str, object]) -> None:
    mine, theirs = (rendered(task, None) for task in tasks.values())
    assert [request.args for request in mine] == [request.args for request in theirs]
    assert {context for context, _ in (request.args for request in mine)} == {""}
    keys = ("output_type", "metric_list", "target_delimiter", "doc_to_text")
    assert [getattr(tasks["mine"].config, key) for key in keys] == [
        getattr(tasks["theirs"].config, key) for key in keys
    ]


def test_what_two_sentences_share_runs_once(tasks: dict[str, object]) -> None:
    made = hf.PreTrainedTokenizerFast(tokenizer_object=byte_level(), eos_token=END, bos_token=END)
    shape = hf.GPTNeoXConfig(
        vocab_size=len(made), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip
    model = spread(lambda: hf.GPTNeoXForCausalLM(shape))
    lm = open_lm(model, made, replace(CONF, name="shared_prefix"), lambda number: None)
    assert isinstance(lm, SharedPrefixLM)
    found = evaluate.score(lm, tasks, None, 0)
    counts = lm.counts
    whole = [
        [made.eos_token_id, *made(f" {row[kind]}")["input_ids"]] for row in PAIRS for kind in row if kind != "field"
    ]
    prefixes = {tuple(ids[:length]) for ids in whole for length in range(1, len(ids))}
    assert counts.nodes == counts.body_tokens == len(prefixes) < sum(len(ids) - 1 for ids in whole) / 1.5
    with torch.no_grad():
        each = [model(torch.tensor([ids])).logits[0].double().log_softmax(-1) for ids in whole]
    sums = [float(chances[range(len(ids) - 1), ids[1:]].sum()) for chances, ids in zip(each, whole, strict=True)]
    right = [
        1.0 if good > bad else 0.5 if good == bad else 0.0 for good, bad in zip(sums[::2], sums[1::2], strict=True)
    ]
    for name in ("mine", "theirs"):
        assert found[name].metrics == {"acc": pytest.approx(sum(right) / 4)}
        assert [value for row in found[name].items["logprobs"] for value in row] == pytest.approx(sums, abs=1e-3)
    assert found["mine"].ties == {"acc": 1}
