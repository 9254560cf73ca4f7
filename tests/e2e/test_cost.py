"""What a sweep must not cost: heavy imports where nothing is scored, an index nobody needs, a config composed twice."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf, open_dict

from evalrun.config.compose import hydra_session
from evalrun.launch.job_configs import Composer
from evalrun.tasks import groups, lm_eval_names, task_file
from helpers import ROOT, Run

SWEEP = ["-m", "model=toy/toy-s", "step=1,2", "task=alpha,beta"]
HEAVY = ("torch", "transformers", "lm_eval", "datasets")


def last_line(workspace: Path, code: str) -> Any:
    """What a fresh process prints last, as JSON."""
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=workspace, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    return json.loads(found.stdout.splitlines()[-1])


@pytest.mark.slow
def test_resuming_a_finished_sweep_imports_nothing_that_scores(evaluated: Path) -> None:
    code = (
        "import json, sys; from evalrun.cli import main; "
        f"code = main({SWEEP!r}); "
        f"print(json.dumps([code, [name for name in {HEAVY!r} if name in sys.modules]]))"
    )
    assert last_line(evaluated, code) == [0, []]


@pytest.mark.slow
def test_the_second_checkpoint_of_a_process_uses_what_the_first_made(evalrun: Run, evaluated: Path) -> None:
    """Its results are those of a process of its own."""
    (record,) = (evaluated / "multirun" / "toy" / "toy-s").rglob("step2/results/alpha-*.json")
    together = record.with_suffix(".parquet").read_bytes()
    alone = evalrun("model=toy/toy-s", "step=2", "task=alpha,beta", "force=true")
    assert alone.returncode == 0, alone.stderr
    assert record.with_suffix(".parquet").read_bytes() == together
    assert json.loads(record.read_text())["settings"]["scored_by"]


def test_lm_evals_index_is_built_for_its_names_alone(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(groups, "lm_eval_index", lambda: asked.append("index") or {})
    task_file.resolve(["alpha", "beta", "memo_trap", "arc_challenge"])  # the last has a file of its name
    assert asked == []
    assert task_file.problems(["no_such_task_anywhere"])
    assert asked == ["index"]


def test_lm_evals_keys_are_read_without_it() -> None:
    from lm_eval.config.task import TaskConfig

    assert lm_eval_names.task_keys() == {field.name for field in dataclasses.fields(TaskConfig)}


def test_a_config_of_the_next_step_is_the_one_that_hydra_composes(workspace: Path) -> None:
    with hydra_session():
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", ["model=toy/toy-s", "step=1"], _run_mode())
        composer = Composer(loader, master)
        for overrides in (
            ["model=toy/toy-s", "tasks=[alpha,beta]", "step=1", "sweep=abc"],
            ["model=toy/toy-s", "tasks=[alpha,beta]", "step=8", "sweep=abc"],
            ["model=toy/toy-s", "tasks=[alpha,beta]", "step=2", "sweep=abc"],
            ["model=toy/toy-m", "tasks=[alpha,beta]", "step=2", "sweep=abc"],
            ["model=toy/toy-m", "tasks=[alpha,beta]", "limit=3", "step=2", "sweep=abc"],
        ):
            ours = composer.compose(overrides, 3)
            theirs = loader.load_sweep_config(master, overrides)
            with open_dict(theirs):
                theirs.hydra.job.id, theirs.hydra.job.num = "3", 3
            assert OmegaConf.to_container(ours) == OmegaConf.to_container(theirs)
            before = copy.deepcopy(ours)
            ours.limit = 7  # what a job does to its config is its own
            assert composer.compose(overrides, 3) == before


def _run_mode() -> Any:
    from hydra.types import RunMode

    return RunMode.MULTIRUN
