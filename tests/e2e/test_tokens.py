"""Tokens of a sweep as a user runs it: each checkpoint has those of its own tokenizer's file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, normalizers
from transformers import AutoModelForCausalLM, GPTNeoXConfig, GPTNeoXForCausalLM

from helpers import Run, write_rows
from made_tokenizers import byte_level, save

TASK = """task: code
data: data/code.jsonl
output_type: multiple_choice
doc_to_text: "{{prompt}}"
doc_to_choice: choices
doc_to_target: answer
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
"""
ROWS = [
    {"prompt": "if x:\n\n    ", "choices": ["walk()", "talk()"], "answer": 0},
    {"prompt": "The year was", "choices": ["2024", "1000 (cafe\u0301)"], "answer": 1},
]
WORDS = ("model=local", "path=runs/mine", "tokens_per_step=1", "task=code")
UNSEEN = "analysis.after_sweep=false"


def filed(workspace: Path, step: int, name: str = "mine") -> tuple[dict[str, Any], list[list[float]]]:
    """Settings and log-likelihoods of the newest result of a step."""
    folder = workspace / "multirun" / "local" / name / f"step{step}" / "results"
    newest = max(folder.glob("code-*.json"), key=lambda path: path.stat().st_mtime_ns)
    items = pd.read_parquet(newest.with_suffix(".parquet"))
    return json.loads(newest.read_text())["settings"], [list(map(float, row)) for row in items["logprobs"]]


@torch.no_grad()
def wanted(folder: Path) -> list[list[float]]:
    """The same by plain transformers, one text at a time, with the tokens of tokenizer.json."""
    model, raw = AutoModelForCausalLM.from_pretrained(folder), Tokenizer.from_file(str(folder / "tokenizer.json"))
    found = []
    for row in ROWS:
        context, answers = str(row["prompt"]).rstrip(), []
        before = str(row["prompt"])[len(context) :]
        for choice in row["choices"]:  # type: ignore[attr-defined]
            start, ids = len(raw.encode(context).ids), raw.encode(f"{context}{before} {choice}").ids
            logits = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
            answers.append(sum(float(logits[i - 1, ids[i]]) for i in range(start, len(ids))))
        found.append(answers)
    return found


@pytest.fixture
def run(workspace: Path) -> Path:
    """One model at four steps, whose tokenizers differ: two as their class has them, two not."""
    (workspace / "conf" / "task" / "code.yaml").write_text(TASK)
    write_rows(workspace / "data" / "code.jsonl", ROWS)
    raws = {
        1: byte_level("threes"),
        2: byte_level(),
        3: byte_level(normalizer=normalizers.Lowercase()),
        4: byte_level(normalizer=normalizers.NFC(), begin=True),
    }
    size = max(raw.get_vocab_size() for raw in raws.values())
    config = GPTNeoXConfig(
        vocab_size=size, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=256, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    for step, raw in raws.items():
        torch.manual_seed(step)
        model = GPTNeoXForCausalLM(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(3.0)
        folder = workspace / "runs" / "mine" / f"step{step}"
        model.save_pretrained(folder)
        save(raw, folder, "PreTrainedTokenizerFast" if step == 1 else "GPT2Tokenizer")
    return workspace / "runs" / "mine"


def test_each_checkpoint_of_a_sweep_has_the_tokens_of_its_own_file(evalrun: Run, workspace: Path, run: Path) -> None:
    swept = evalrun("-m", *WORDS, UNSEEN, "step=all")
    assert swept.returncode == 0, swept.stderr
    for step in (1, 2, 3, 4):
        settings, logprobs = filed(workspace, step)
        assert np.allclose(np.array(logprobs), np.array(wanted(run / f"step{step}")), atol=1e-4), step
        assert settings["tokens_by"] == "file"
        assert settings.get("tokens_differ") == {1: None, 2: None, 3: 2, 4: 1}[step]
    assert (
        "code: 2 of 4 texts have other tokens by tokenizer.json than by transformers' GPT2Tokenizer: " in swept.stderr
    )
    assert "scorer.tokens_by=class follows the class" in swept.stderr
    shutil.copytree(run / "step4", workspace / "runs" / "alone" / "step4")
    alone = evalrun(*(word.replace("mine", "alone") for word in WORDS), "step=4")
    assert alone.returncode == 0, alone.stderr
    assert filed(workspace, 4, "alone")[1] == filed(workspace, 4)[1]


def test_results_with_the_tokens_of_a_class_are_not_those_of_the_file(evalrun: Run, workspace: Path, run: Path) -> None:
    by_class = ("scorer.tokens_by=class", "step=2,3")
    before = evalrun("-m", *WORDS, UNSEEN, *by_class)
    assert before.returncode == 0, before.stderr
    assert "the class is followed (scorer.tokens_by=file follows the file)" in before.stderr
    old = filed(workspace, 3)
    after = evalrun("-m", *WORDS, UNSEEN, "step=2,3")
    assert "1 of 2 jobs found done, 1 to do" in after.stdout  # step 2's class and file agree
    settings, logprobs = filed(workspace, 3)
    assert logprobs != old[1]
    assert settings["identity"] == old[0]["identity"] + "+tokens:file"
    assert "2 of 2 jobs" in evalrun("status", *WORDS, "step=2,3").stdout
    assert "found done" in evalrun("-m", *WORDS, UNSEEN, *by_class).stdout
    wrong = evalrun(*WORDS, "step=2", "scorer.tokens_by=clas")
    assert (wrong.returncode, "did you mean 'class'?" in wrong.stderr) == (2, True)
