"""A sweep over adapters files what a sweep over the merged models files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from adapters import save_adapter
from evalrun.config.schema import TrackingConf
from evalrun.tracking import Store
from helpers import Run, make_checkpoint


@pytest.mark.slow
def test_adapters_are_scored_as_their_merged_models(evalrun: Run, workspace: Path) -> None:
    base = make_checkpoint(workspace / "base", seed=1)
    for step in (10, 20, 30):
        merged = save_adapter(base, workspace / "runs" / "tuned" / f"checkpoint-{step}", seed=step)
        merged.save_pretrained(workspace / "runs" / "merged" / f"checkpoint-{step}")
    whole = ("-m", "model=local", "step=all", "task=alpha", "tokens_per_step=1", "analysis.after_sweep=false")
    done = evalrun(*whole, "path=runs/tuned")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "adapters (LoRA) on the base" in done.stdout
    done = evalrun(*whole, "path=runs/merged", f"model.tokenizer={base}")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = Store(TrackingConf(uri=None, root=str(workspace / "mlruns"))).table("local")
    tuned, merged = (rows[rows["model"] == name].sort_values(["step", "metric"]) for name in ("tuned", "merged"))
    assert len(tuned) == len(merged) >= 3
    np.testing.assert_allclose(tuned["value"], merged["value"], atol=1e-5)
    assert tuned["value"].nunique() > 1
    assert not set(tuned["weights"]) & set(merged["weights"])
    kept = [json.loads(file.read_text()) for file in workspace.glob("multirun/local/tuned/step*/results/*.json")]
    assert {one["settings"]["adapter"] for one in kept} == {f"LoRA on {base}"}
    assert {one["settings"]["scorer_used"] for one in kept if "scorer_used" in one["settings"]} <= {"shared_prefix"}
    again = evalrun(*whole, "path=runs/tuned")
    assert "found done" in again.stdout or "nothing" in again.stdout
