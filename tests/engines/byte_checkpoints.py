"""Checkpoints of random weights, which write bytes that are no characters by themselves, and a task of texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
import transformers as hf

from helpers import write_told
from made_tokenizers import byte_level, save

PROMPTS = ("the old man walks", "the dog", "she walked , he", "def f(x):", "talking to the", "café", "(walk) [walk]")
STEPS = (1, 2, 3, 4)
GRID = ("-m", "model=local", "path=models/q", "tokens_per_step=1", "step=" + ",".join(map(str, STEPS)))


def make(workspace: Path) -> list[Path]:
    """Write the checkpoints and the task; returns the folder of each step."""
    folders = []
    for step in STEPS:
        folder = save(byte_level(size=320), workspace / "models" / "q" / f"step{step}", None)
        torch.manual_seed(step)
        shape = hf.Qwen2Config(
            vocab_size=320, hidden_size=256, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
            intermediate_size=128, max_position_embeddings=256, bos_token_id=0, eos_token_id=0, initializer_range=0.2,
            tie_word_embeddings=False,
        )  # fmt: skip
        hf.Qwen2ForCausalLM(shape).save_pretrained(folder)
        folders.append(folder)
    write_told(workspace, PROMPTS, "e", 12)
    return folders


def items(workspace: Path, task: str, scorer: str) -> list[list[dict[str, Any]]]:
    """The items of a task at each checkpoint by a scorer, in order of steps."""
    found: dict[Path, list[dict[str, Any]]] = {}
    for path in (workspace / "multirun").rglob(f"{task}-*.json"):
        if json.loads(path.read_text())["settings"]["scorer"] == scorer:
            found[path.parent.parent] = pq.read_table(path.with_suffix(".parquet")).to_pylist()
    return [found[folder] for folder in sorted(found)]


def texts(workspace: Path, scorer: str) -> list[list[str]]:
    """What each checkpoint wrote by a scorer."""
    return [[item["response"] for item in one] for one in items(workspace, "told", scorer)]
