"""What the tests make: small real checkpoints, tasks, data; and where published data is found."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]
WORDS = "the cat dog sat ran on under mat tree a b c d yes no which answer is question : . ?".split()


def shared_dir() -> Path:
    """The folder of published data, or a skip that says where it was looked for."""
    folder = Path(os.environ.get("EVALRUN_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"published data not at hand: set EVALRUN_SHARED (looked in {folder})")
    return folder


def make_checkpoint(folder: Path, seed: int, hidden: int = 16, tokenizer_file: Path | None = None) -> Path:
    """Save a random GPT-NeoX with a whole-word tokenizer (or a given one) as Hugging Face lays it out."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

    if tokenizer_file is None:
        vocabulary = {word: i for i, word in enumerate(["<eos>", "<unk>", *WORDS])}
        raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
        raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=raw, eos_token="<eos>", bos_token="<eos>", unk_token="<unk>"
        )
        size = len(vocabulary)
    else:
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(tokenizer_file), eos_token="<|endoftext|>", bos_token="<|endoftext|>"
        )
        size = 50304
    torch.manual_seed(seed)
    config = GPTNeoXConfig(
        vocab_size=size, hidden_size=hidden, num_hidden_layers=2, num_attention_heads=2, intermediate_size=2 * hidden,
        max_position_embeddings=512, bos_token_id=0, eos_token_id=0, use_cache=False,
    )  # fmt: skip
    model = GPTNeoXForCausalLM(config)
    with torch.no_grad():  # a fresh model is nearly uniform: spread it, so that choices differ
        for parameter in model.parameters():
            parameter.mul_(3.0)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def whole_word_tokenizer(size: int) -> Any:
    """A tokenizer of the words w0, w1, ... with `size` tokens in all."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<eos>", "<unk>", *(f"w{i}" for i in range(size - 2))]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<eos>", bos_token="<eos>", unk_token="<unk>")


MODEL = """\
defaults:
  - /checkpoint@_global_.checkpoint: toy
  - _self_
name: {name}
path: models/{name}
n_params: {n}
n_params_nonembedding: {n}
n_params_nominal: {n}
"""
CHECKPOINT = "suite: toy\nfolder: step{step}\nrevision: null\nseed: null\ntokens_per_step: 1000\nsteps: [1, 2, 4, 8]\n"
TASK = """\
task: {name}
data: data/{name}.jsonl
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.0, title: "{title}"}}
"""


def make_rows(n: int, shift: int = 0) -> list[dict[str, object]]:
    """Questions over the toy vocabulary, with two to four choices."""
    rows = []
    for i in range(n):
        words = [WORDS[(i * 7 + k * 3 + shift) % 15] for k in range(4 + i % 5)]
        choices = [WORDS[(i + k + shift) % len(WORDS)] for k in range(2 + i % 3)]
        rows.append({"question": " ".join(words), "choices": choices, "answer": i % len(choices)})
    return rows


def write_rows(path: Path, rows: Sequence[object]) -> Path:
    """JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the session's workers share: the first that asks for it makes it."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    done = folder.with_suffix(".done")
    with FileLock(folder.with_suffix(".lock")):
        if not done.exists():
            make(folder)
            done.touch()
    return folder


def make_workspace(folder: Path, models: Path) -> Path:
    """A user's folder: ./conf with a suite and two tasks of their own, their models and data."""
    for group in ("model/toy", "checkpoint", "task"):
        (folder / "conf" / group).mkdir(parents=True)
    for name, n in (("toy-s", 1000), ("toy-m", 3000)):
        (folder / "conf" / "model" / "toy" / f"{name}.yaml").write_text(MODEL.format(name=name, n=n))
    (folder / "conf" / "checkpoint" / "toy.yaml").write_text(CHECKPOINT)
    for name, shift in (("alpha", 0), ("beta", 5)):
        (folder / "conf" / "task" / f"{name}.yaml").write_text(TASK.format(name=name, title=name.title()))
        write_rows(folder / "data" / f"{name}.jsonl", make_rows(12, shift))
    shutil.copytree(models, folder / "models")
    return folder


# The sweep of the `evaluated` workspace.
EVALUATED = ("-m", "model=glob(toy/*)", "step=1,2,...,8", "task=alpha,beta", "analysis.after_sweep=false")


def move_results(source: Path, target: Path) -> None:
    """Copy journal and store of one workspace to another like it, as if they had been made there."""
    for name in ("multirun", "mlruns"):
        shutil.copytree(source / name, target / name)
        for path in (target / name).rglob("*"):
            if path.suffix in (".json", ".yaml") and str(source) in (text := path.read_text()):
                path.write_text(text.replace(str(source), str(target)))
    with sqlite3.connect(target / "mlruns" / "mlflow.db") as database:
        for table, column in (("runs", "artifact_uri"), ("experiments", "artifact_location"), ("tags", "value")):
            database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(source), str(target)))
    database.close()


Run = Callable[..., "subprocess.CompletedProcess[str]"]


def made_job(index: int, words: Sequence[str], n_params: int = 1) -> Any:
    """A job of no plan, for what hands jobs out."""
    from evalrun.checkpoints.suites import ReleasedStep
    from evalrun.config.schema import Config
    from evalrun.core.records import Checkpoint
    from evalrun.grid.job_spec import JobSpec, JobTasks

    cell = Checkpoint(
        suite="s", model=f"m{n_params}", n_params=n_params, n_params_nonembedding=1, n_params_nominal=1, step=index,
        tokens=1, seed=None, location="x", revision=None,
    )  # fmt: skip
    config = Config()
    return JobSpec(cell, config, tuple(words), Path("x"), JobTasks(config), ReleasedStep(index, "x"), index=index)


def write_told(workspace: Path, prompts: Sequence[str], until: str, most: int) -> None:
    """A task `told` in a user's folder: texts of up to so many tokens after each prompt, which end at a stop string."""
    (workspace / "conf" / "task" / "told.yaml").write_text(
        "task: told\ndata: data/told.jsonl\noutput_type: generate_until\n"
        'doc_to_text: "{{question}}"\ndoc_to_target: "{{answer}}"\n'
        f'generation_kwargs: {{until: ["{until}"], max_gen_toks: {most}, do_sample: false}}\n'
        "metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]\nmetadata: {version: 1.0}\n"
    )
    write_rows(workspace / "data" / "told.jsonl", [{"question": prompt, "answer": "mat"} for prompt in prompts])
