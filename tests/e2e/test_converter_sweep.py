"""A sweep over checkpoints that must be converted: said before, done once, and known by what was converted."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from evalrun.checkpoints.conversion_check import TEXT
from helpers import Run
from trained_run import CONVERTER, save_run

WORDS = ("model=local", "path=runs/mega", "task=alpha", "tokens_per_step=1")


def test_a_run_is_converted_once_and_found_done(evalrun: Run, workspace: Path) -> None:
    save_run(workspace / "runs" / "mega", TEXT, (10, 20))
    (workspace / "to_hf.py").write_text(CONVERTER)
    command = f"{sys.executable} to_hf.py {{input}} {{output}}"
    given = (*WORDS, f'checkpoint.convert="{command}"')
    listed = evalrun("steps", *given)
    assert f"2 checkpoints of 'runs/mega' are converted by `{command}`, each once" in listed.stdout
    planned = evalrun("plan", *given, "step=all")
    assert "convert  2 checkpoints, " in planned.stdout
    sweep = ("-m", *given, "step=all", "analysis.after_sweep=false", "keep_checkpoints=false", "disk_budget=10MB")
    done = evalrun(*sweep)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (workspace / "converted.txt").read_text().split() == ["iter_0000010", "iter_0000020"]
    assert not list(workspace.glob("multirun/.cache/converted/*/model"))
    kept = [json.loads(file.read_text()) for file in workspace.glob("multirun/local/mega/step*/results/*.json")]
    assert {one["settings"]["converted_by"] for one in kept} == {command}
    assert {one["cell"]["n_params"] for one in kept} == {26_784}
    shutil.rmtree(workspace / "multirun" / ".cache")
    again = evalrun(*sweep)
    assert again.returncode == 0, again.stdout + again.stderr
    status = evalrun("status", *given, "step=all")
    assert "2 of 2 jobs done" in status.stdout
    assert len((workspace / "converted.txt").read_text().split()) == 2
    looked = evalrun("audit", *given, "step=all")
    assert "it is not converted yet" in looked.stdout
    wrong = evalrun(
        "-m", *given[:-1], f'checkpoint.convert="{command} drops"', "step=all", "analysis.after_sweep=false"
    )
    assert wrong.returncode == 1
    assert "what was converted of mega step 10 in " in wrong.stderr
    assert "lacks the weight model.layers.0.self_attn.k_proj.weight" in wrong.stderr
