"""Checkpoints that llama.cpp serves from GGUF files: this process' own texts, and other weights are refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import transformers as hf

from helpers import Run, write_rows
from made_tokenizers import byte_level, save

from . import gguf_files

pytestmark = pytest.mark.engines
TOLD = """task: told
data: data/told.jsonl
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["e"], max_gen_toks: 12, do_sample: false}
metric_list: [{metric: exact_match}]
metadata: {version: 1.0}
"""
PROMPTS = ("the old man walks", "the dog", "she walked , he", "def f(x):", "talking to the", "café", "(walk) [walk]")
STEPS = (1, 2, 3, 4)
SERVER = f"{sys.executable} {Path(__file__).with_name('llama_server.py')}"
GRID = ("-m", "model=local", "path=models/q", "tokens_per_step=1", "step=" + ",".join(map(str, STEPS)))


@pytest.fixture
def served(workspace: Path) -> None:
    """Four checkpoints of random weights, which write bytes that are no characters by themselves, and a task."""
    for step in STEPS:
        folder = save(byte_level(size=320), workspace / "models" / "q" / f"step{step}", None)
        torch.manual_seed(step)
        shape = hf.Qwen2Config(
            vocab_size=320, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
            intermediate_size=128, max_position_embeddings=256, bos_token_id=0, eos_token_id=0, initializer_range=0.2,
            tie_word_embeddings=False,
        )  # fmt: skip
        hf.Qwen2ForCausalLM(shape).save_pretrained(folder)
        gguf_files.write(folder, folder / "model.gguf")
    (workspace / "conf" / "task" / "told.yaml").write_text(TOLD)
    write_rows(workspace / "data" / "told.jsonl", [{"question": prompt, "answer": "mat"} for prompt in PROMPTS])


def texts(workspace: Path, scorer: str) -> list[list[str]]:
    """What each checkpoint wrote by a scorer, in order of steps."""
    found: dict[Path, list[str]] = {}
    for path in (workspace / "multirun").rglob("told-*.json"):
        if json.loads(path.read_text())["settings"]["scorer"] == scorer:
            found[path.parent.parent] = pq.read_table(path.with_suffix(".parquet"))["response"].to_pylist()
    return [found[folder] for folder in sorted(found)]


@pytest.mark.usefixtures("served")
def test_llama_cpp_gives_what_this_process_computes(workspace: Path, evalrun: Run) -> None:
    own = evalrun(*GRID, "task=told")
    assert own.returncode == 0, own.stderr
    serve = f"scorer.serve='{SERVER} {{path}}/model.gguf {{port}}'"
    done = evalrun(*GRID, "task=told", "scorer=server", serve)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("weights checked: ") == len(STEPS)
    assert "nats a token from transformers'" in done.stderr
    mine = texts(workspace, "shared_prefix")
    assert len(mine) == len(STEPS)
    assert texts(workspace, "server") == mine
    drawn = evalrun(*GRID, "task=told", "scorer=server", serve, "samples=3", "temperature=1")
    assert drawn.returncode == 0, drawn.stderr
    chosen = evalrun(*GRID, "task=alpha", "scorer=server", serve)
    assert chosen.returncode == 1
    assert "task 'alpha' asks for log-likelihoods of given answers" in chosen.stderr


@pytest.mark.usefixtures("served")
def test_one_file_for_all_steps_is_refused(workspace: Path, evalrun: Run) -> None:
    serve = f"scorer.serve='{SERVER} {{path}}/../step1/model.gguf {{port}}'"
    done = evalrun(*GRID, "task=told", "scorer=server", serve)
    assert done.returncode == 1
    assert len(texts(workspace, "server")) == 1  # of step 1, whose weights they are
    assert done.stderr.count("one of the two was answered with the other's weights") == len(STEPS) - 1
