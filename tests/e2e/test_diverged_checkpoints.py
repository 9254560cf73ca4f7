"""A run of good checkpoints with one of each bad kind among them: the good are scored, the bad are named everywhere."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from helpers import WORDS, Run, make_checkpoint, write_rows

WEIGHTS = "model.safetensors"
EMBEDDING, NORM = "gpt_neox.embed_in.weight", "gpt_neox.final_layer_norm.weight"
MADE = ("nan", "row", "inf", "dead")  # of steps 2, 4, 8 and 16; steps 1 and 32 are sound


def spoil(folder: Path, how: str) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / WEIGHTS)
    if how == "nan":
        tensors = {name: tensor.fill_(math.nan) for name, tensor in tensors.items()}
    elif how == "row":
        tensors[EMBEDDING][2 + WORDS.index("mat")] = math.nan
    elif how == "inf":
        tensors[NORM].fill_(math.inf)
    else:
        tensors["embed_out.weight"].zero_()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


@pytest.fixture
def run(workspace: Path) -> Path:
    for step in (1, 2, 4, 8, 16, 32):
        make_checkpoint(workspace / "runs" / "mine" / f"step{step}", seed=step)
    for step, how in zip((2, 4, 8, 16), MADE, strict=True):
        spoil(workspace / "runs" / "mine" / f"step{step}", how)
    rows = [{"question": f"the {word} is", "choices": ["cat", "dog"], "answer": 0} for word in WORDS[:8]]
    write_rows(workspace / "data" / "alpha.jsonl", rows)  # one of them asks about the mat; the right choice is first
    return workspace / "runs" / "mine"


GRID = ("model=local", "path=runs/mine", "step=all", "tokens_per_step=1", "task=alpha")


def results(workspace: Path) -> dict[int, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in workspace.glob("multirun/local/**/results/*.json")]
    return {record["cell"]["step"]: record for record in found}


@pytest.mark.slow
def test_the_good_are_scored_and_the_bad_are_named(run: Path, workspace: Path, evalrun: Run) -> None:
    swept = evalrun("-m", *GRID)
    assert swept.returncode == 1
    assert "3 of 6 jobs failed" in swept.stderr
    why = "of alpha: log-likelihoods are not finite, because"
    causes = [
        f"mine step 2 has no number for 8 of 8 items (100.0%) {why} 28 of its",
        f"mine step 4 has no number for 1 of 8 items (12.5%) {why} {EMBEDDING} holds NaN or infinity",
        f"mine step 8 has no number for 8 of 8 items (100.0%) {why} {NORM} holds NaN or infinity",
    ]
    found = results(workspace)
    assert sorted(found) == [1, 16, 32]
    assert found[16]["metrics"]["acc"] == 0.5  # and not 1.0: the model says the same of all choices
    assert found[16]["settings"]["ties"] == {"acc": 8}
    assert "alpha: acc 0.5000 +- 0.0000 on 8 items, 8 ties" in swept.stderr
    assert "the right choice is the first of every item, so lm-eval would count every tie as right" in swept.stderr
    (report,) = workspace.glob("multirun/analysis/*/local/report.html")
    status = evalrun("status", *GRID)
    for cause in causes:
        assert cause in swept.stderr
        assert cause in status.stdout
        assert cause in report.read_text()
    assert "in 1 of 3 results choices tie, at most in 8 of 8 items (mine step 16)" in report.read_text()
    assert "▁··" in swept.stdout or "· = no result" in swept.stdout

    audited = evalrun("audit", *GRID[:2], "tokens_per_step=1")
    assert audited.returncode == 1
    for step, tensor in (
        (2, "28 tensors hold"),
        (4, f"{EMBEDDING} holds"),
        (8, "gpt_neox.final_layer_norm.weight holds"),
    ):
        assert f"step {step}: {tensor} NaN or infinity" in audited.stdout
    assert "step 16: embed_out.weight holds zeros alone, so a save or the training went wrong." in audited.stdout

    watched = evalrun("watch", "path=runs/mine", "tokens_per_step=1", "task=alpha", "--once", "watch.poll_s=0.1")
    assert watched.returncode == 1
    for cause in causes:
        assert cause in watched.stderr
    assert "3 checkpoints found done" in watched.stdout


@pytest.mark.slow
def test_a_share_that_may_be_lost_is_kept_with_the_result(run: Path, workspace: Path, evalrun: Run) -> None:
    grid = ("model=local", "path=runs/mine", "step=4", "tokens_per_step=1", "task=alpha")
    scored = evalrun(*grid, "scorer.allow_not_finite=0.13")
    assert scored.returncode == 0, scored.stderr
    assert "1 with a log-likelihood that is not finite" in scored.stderr
    settings = results(workspace)[4]["settings"]
    assert (settings["not_finite"], settings["allow_not_finite"]) == (1, 0.13)
    (items,) = workspace.glob("multirun/local/**/step4/**/results/*.parquet")
    lost = [row for row in pd.read_parquet(items).to_dict("records") if not all(map(math.isfinite, row["logprobs"]))]
    assert [row["acc"] for row in lost] == [0.5]
    strict = evalrun(*grid)
    assert strict.returncode == 1  # another setting is another result
    assert "scorer.allow_not_finite=0.13 scores the rest" in strict.stderr


@pytest.mark.slow
def test_each_checkpoint_of_a_sweep_says_what_it_says_alone(run: Path, workspace: Path, evalrun: Run) -> None:
    """To the bit, in another order, where tokenizer, precision, vocabulary and rope change from step to step."""
    from safetensors.torch import load_file, save_file

    def edit(step: int, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
        config = json.loads((run / f"step{step}" / "config.json").read_text())
        tensors = load_file(run / f"step{step}" / WEIGHTS)
        change(config, tensors)
        (run / f"step{step}" / "config.json").write_text(json.dumps(config))
        save_file(tensors, run / f"step{step}" / WEIGHTS, metadata={"format": "pt"})

    def rope(config: dict[str, Any], tensors: dict[str, Any]) -> None:
        config["rope_parameters"] = {"rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 0.5}

    def half(config: dict[str, Any], tensors: dict[str, Any]) -> None:
        import torch

        config["dtype"] = "bfloat16"
        tensors.update({name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()})

    for step in (2, 4, 8, 16):
        shutil.rmtree(run / f"step{step}")
        make_checkpoint(run / f"step{step}", seed=step)
    edit(2, rope)
    edit(4, half)
    tokenizer = run / "step8" / "tokenizer.json"  # two words change places
    tokenizer.write_text(
        tokenizer.read_text().replace('"cat":', '"__":').replace('"dog":', '"cat":').replace('"__":', '"dog":')
    )
    (run / "step16" / "model.safetensors").write_bytes((run / "step8" / "model.safetensors").read_bytes())
    swept = evalrun("-m", *GRID, "allow_shared_weights=true", "analysis.after_sweep=false")
    assert swept.returncode == 0, swept.stderr
    sweep = {step: record["items_sha256"] for step, record in results(workspace).items()}
    assert len(set(sweep.values())) == 6  # the tokenizer alone makes steps 8 and 16 differ
    shutil.rmtree(workspace / "multirun")
    shutil.rmtree(workspace / "mlruns")
    for step in (32, 16, 8, 4, 2, 1):
        one = [word if word != "step=all" else f"step={step}" for word in GRID]
        alone = evalrun(*one, "allow_shared_weights=true")
        assert alone.returncode == 0, alone.stderr
    assert {step: record["items_sha256"] for step, record in results(workspace).items()} == sweep
