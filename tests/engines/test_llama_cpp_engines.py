"""Checkpoints that llama.cpp serves from GGUF files: this process' own texts, and other weights are refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from helpers import Run

from . import byte_checkpoints
from .byte_checkpoints import GRID, STEPS, texts

pytestmark = pytest.mark.engines
SERVER = f"{sys.executable} {Path(__file__).with_name('llama_server.py')}"


@pytest.fixture(autouse=True)
def served(workspace: Path) -> None:
    from . import gguf_files  # its library is installed by `make test-engines` alone; `make test` collects this too

    for folder in byte_checkpoints.make(workspace):
        gguf_files.write(folder, folder / "model.gguf")


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


def test_one_file_for_all_steps_is_refused(workspace: Path, evalrun: Run) -> None:
    serve = f"scorer.serve='{SERVER} {{path}}/../step1/model.gguf {{port}}'"
    done = evalrun(*GRID, "task=told", "scorer=server", serve)
    assert done.returncode == 1
    assert len(texts(workspace, "server")) == 1  # of step 1, whose weights they are
    assert done.stderr.count("one of the two was answered with the other's weights") == len(STEPS) - 1
