"""vLLM on the CPU, in this process and as a server: lm-eval's answers, by the weights of each checkpoint."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from evalrun.scoring.engines import engine_processes
from helpers import ROOT, Run

from . import byte_checkpoints
from .byte_checkpoints import GRID, STEPS, items, texts
from .engines import wait_until

pytestmark = pytest.mark.engines
PYTHON = ROOT / "build" / "vllm" / "bin" / "python"  # of install.sh: vLLM wants another transformers than the lock
ENVIRONMENT = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
TASKS = ("task=told,alpha", "analysis.after_sweep=false")
SERVE = f"{PYTHON} -m vllm.entrypoints.openai.api_server --model {{path}} --dtype {{dtype}} --port {{port}}"


@pytest.fixture(autouse=True)
def own(workspace: Path, evalrun: Run) -> None:
    """What this process computes."""
    byte_checkpoints.make(workspace)
    done = evalrun(*GRID, *TASKS)
    assert done.returncode == 0, done.stderr


def same(workspace: Path, scorer: str, steps: int) -> None:
    """Whether a scorer gave what this process computes, of the first steps."""
    assert len(texts(workspace, scorer)) == steps
    for mine, theirs in zip(items(workspace, "told", "shared_prefix"), items(workspace, "told", scorer), strict=False):
        for key in ("response", "tokens", "finish"):
            assert [item[key] for item in theirs] == [item[key] for item in mine]
    pairs = list(zip(items(workspace, "alpha", "shared_prefix"), items(workspace, "alpha", scorer), strict=False))
    assert len(pairs) == steps
    for mine, theirs in pairs:
        assert [item["prediction"] for item in theirs] == [item["prediction"] for item in mine]
        for one, other in zip(mine, theirs, strict=True):
            assert other["logprobs"] == pytest.approx(one["logprobs"], abs=1e-3)


def test_one_engine_takes_the_weights_of_each_checkpoint(workspace: Path) -> None:
    words = [*GRID, *TASKS, "scorer=vllm", "scorer.engine.enforce_eager=true", "scorer.engine.max_model_len=256"]
    done = subprocess.run(
        [PYTHON, "-m", "evalrun", *words], cwd=workspace, env=ENVIRONMENT, capture_output=True, text=True, timeout=500
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert said.count("weights checked: ") == len(STEPS)
    assert said.count("Initializing a V1 LLM engine") == 1
    same(workspace, "vllm", len(STEPS))


def test_its_processes_end_with_a_job_that_is_killed(workspace: Path) -> None:
    words = [*GRID, *TASKS, "scorer=vllm", "scorer.engine.enforce_eager=true", "scorer.engine.max_model_len=256"]
    with (workspace / "said.txt").open("wb") as out:
        job = subprocess.Popen(
            [PYTHON, "-m", "evalrun", *words], cwd=workspace, env=ENVIRONMENT, stdout=out, stderr=out
        )
    wait_until(lambda: b"weights checked" in (workspace / "said.txt").read_bytes(), "an engine", timeout=300)
    own = engine_processes.below(job.pid)
    assert len(own) > 2  # the engine, its worker, and what ends them
    job.kill()
    job.wait()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in own), "their end", timeout=30)


def test_a_server_for_each_checkpoint(workspace: Path) -> None:
    serve = f"scorer.serve='{SERVE} --enforce-eager --max-model-len 256'"
    grid = [*GRID[:-1], "step=1,2"]
    words = [*grid, *TASKS, "scorer=server", "scorer.start_s=400", serve]
    done = subprocess.run(
        [PYTHON, "-m", "evalrun", *words], cwd=workspace, env=ENVIRONMENT, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    same(workspace, "server", 2)
