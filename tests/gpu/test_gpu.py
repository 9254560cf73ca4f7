"""On a CUDA device: lm-eval's answers, its memory given back, the command, its workers, and a training beside it."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pandas as pd
import pytest
import torch
import transformers as hf

from evalrun.scoring import shared_prefix
from evalrun.scoring.shared_prefix import SharedPrefixLM
from helpers import whole_word_tokenizer
from random_models import CONF, SHAPE, SHARED, assert_same, requests, spread

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
Run = Callable[..., CompletedProcess[str]]
GPU = torch.device("cuda:0")


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    shared_prefix._checked.clear()
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    gc.collect()
    torch.cuda.empty_cache()


def make(build: Callable[[], Any], dtype: torch.dtype = torch.float32, **conf: Any) -> SharedPrefixLM:
    """A random model on the GPU."""
    model = spread(build).to(GPU, dtype)
    size = int(model.config.get_text_config().vocab_size)
    return SharedPrefixLM(model, whole_word_tokenizer(size), replace(CONF, device="cuda:0", **conf), lambda count: None)


@pytest.mark.parametrize("name", SHARED)
def test_every_supported_architecture_gives_lm_evals_answers(name: str) -> None:
    lm = make(SHARED[name])
    found = lm.score_tokens(requests())
    assert lm.used == "shared_prefix"
    assert lm.counts.passes > 3  # so that keys and values were kept from pass to pass
    assert_same(found, lm._reference(requests()), 5e-4)


def large() -> Any:
    """A model wide and long enough for the GPU's own attention kernels."""
    return hf.GPTNeoXForCausalLM(
        hf.GPTNeoXConfig(
            **SHAPE | {"hidden_size": 512, "num_attention_heads": 8, "max_position_embeddings": 2048},
            intermediate_size=1024,
        )
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_no_further_from_the_exact_value_than_lm_eval(dtype: torch.dtype) -> None:
    asked = requests(items=60)
    exact = [value for value, _ in make(large)._reference(asked)]
    lm = make(large, dtype, token_budget_gpu=16384)
    found = [value for value, _ in lm.score_tokens(asked)]
    assert lm.used == "shared_prefix"
    theirs = [value for value, _ in lm._reference(asked)]

    def rms(values: list[float]) -> float:
        return float(torch.tensor([a - b for a, b in zip(values, exact, strict=True)]).square().mean().sqrt())

    assert rms(found) <= 1.25 * rms(theirs)


def test_memory_that_really_runs_out_halves_the_passes(caplog: pytest.LogCaptureFixture) -> None:
    asked = requests(items=3000)
    roomy = make(large, token_budget_gpu=16384)
    expected = roomy.score_tokens(asked)
    del roomy
    gc.collect()
    torch.cuda.empty_cache()
    lm = make(large, token_budget_gpu=16384)
    total = torch.cuda.get_device_properties(GPU).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(GPU) + 160 * 2**20) / total, GPU)
    assert_same(lm.score_tokens(asked), expected, 5e-4)
    assert "memory on cuda:0 ran out: going on with passes of 8192 tokens" in caplog.text
    assert lm.used == "shared_prefix"


def results(folder: Path) -> dict[tuple[str, int, str], tuple[Any, pd.DataFrame]]:
    """What the journal holds, by model, step and task: the result and its items."""
    found = {}
    for path in folder.glob("multirun/toy/*/*/results/*.json"):
        result = json.loads(path.read_text())
        cell = result["cell"]
        found[cell["model"], cell["step"], result["task"]] = (result, pd.read_parquet(path.with_suffix(".parquet")))
    return found


def test_the_command_on_the_gpu_gives_the_answers_of_the_cpu(evalrun: Run, workspace: Path) -> None:
    grid = ["-m", "model=toy/toy-s,toy/toy-m", "step=1,8", "task=alpha,beta", "analysis=interaction"]
    on_gpu = evalrun(*grid)
    assert on_gpu.returncode == 0, on_gpu.stderr
    gpu = results(workspace)
    (workspace / "multirun").rename(workspace / "of-the-gpu")
    on_cpu = evalrun(*grid, "scorer.device=cpu", "tracking.root=other")
    assert on_cpu.returncode == 0, on_cpu.stderr
    cpu = results(workspace)
    assert len(gpu) == len(cpu) == 8
    for key, (result, items) in gpu.items():
        assert result["settings"]["device"] == "cuda:0"
        assert result["settings"]["scored_by"] == "shared_prefix"
        assert result["environment"]["gpu"] == torch.cuda.get_device_name(GPU)
        assert result["environment"]["peak_memory"] > 0
        assert result["metrics"] == pytest.approx(cpu[key][0]["metrics"], abs=1e-5)
        assert list(items["prediction"]) == list(cpu[key][1]["prediction"])


def test_two_workers_share_the_gpu(evalrun: Run, workspace: Path) -> None:
    done = evalrun(
        "-m", "model=toy/toy-s,toy/toy-m", "step=all", "task=alpha", "hydra/launcher=processes",
        "hydra.launcher.workers_per_gpu=2", "analysis.after_sweep=false",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = results(workspace)
    assert len(found) == 8
    assert {result["settings"]["device"] for result, _ in found.values()} == {"cuda:0"}


def test_a_model_over_all_gpus(evalrun: Run, workspace: Path) -> None:
    done = evalrun("model=toy/toy-m", "step=8", "task=alpha", "scorer.device=all")
    assert done.returncode == 0, done.stderr
    assert [result["settings"]["device"] for result, _ in results(workspace).values()] == ["all"]


def test_training_on_the_gpu_goes_on_as_if_nobody_had_looked(workspace: Path) -> None:
    from safetensors.torch import load_file

    from evalrun.integrations import TrainerCallback
    from training_runs import train

    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(True)
    try:
        watched = train(workspace / "runs" / "mine", dropout=0.1, callbacks=[TrainerCallback(["alpha"])], use_cpu=False)
        alone = train(workspace / "runs" / "alone", dropout=0.1, use_cpu=False)
    finally:
        torch.use_deterministic_algorithms(False)
    ours, theirs = load_file(watched / "model.safetensors"), load_file(alone / "model.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    log = json.loads((watched / "trainer_state.json").read_text())["log_history"]
    assert [line["step"] for line in log if "evalrun/acc/alpha" in line] == [4, 8, 12]
