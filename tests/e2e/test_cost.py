"""What a sweep must not cost: heavy imports where nothing is scored, an index nobody needs, a config composed twice."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf, open_dict

from evalrun.config.compose import hydra_session, to_config
from evalrun.grid import overrides as ov
from evalrun.grid import planning
from evalrun.launch.job_configs import JobComposer
from evalrun.tasks import groups, lm_eval_names, task_file
from helpers import ROOT, Run

SWEEP = ["-m", "model=toy/toy-s", "step=1,2", "task=alpha,beta"]
HEAVY = ("torch", "transformers", "lm_eval", "datasets")


def last_line(workspace: Path, code: str, *words: str) -> Any:
    """What a fresh process prints last, as JSON."""
    found = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=workspace, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    return json.loads(found.stdout.splitlines()[-1])


@pytest.mark.slow
def test_resuming_a_finished_sweep_imports_nothing_that_scores(evaluated: Path) -> None:
    """Nor does it once its report is there; making that reads the texts of items by lm-eval."""

    def resumed(*words: str) -> Any:
        code = (
            "import json, sys; from evalrun.cli import main; "
            f"code = main({[*SWEEP, *words]!r}); "
            f"print(json.dumps([code, [name for name in {HEAVY!r} if name in sys.modules]]))"
        )
        return last_line(evaluated, code)

    assert resumed("analysis.after_sweep=false") == [0, []]
    assert "torch" not in resumed()[1]
    assert resumed() == [0, []]


@pytest.mark.slow
def test_the_second_checkpoint_of_a_process_uses_what_the_first_made(evalrun: Run, evaluated: Path) -> None:
    """Its results are those of a process of its own."""
    (record,) = (evaluated / "multirun" / "toy" / "toy-s").rglob("step2/results/alpha-*.json")
    together = record.with_suffix(".parquet").read_bytes()
    alone = evalrun("model=toy/toy-s", "step=2", "task=alpha,beta", "force=true")
    assert alone.returncode == 0, alone.stderr
    assert record.with_suffix(".parquet").read_bytes() == together
    assert json.loads(record.read_text())["settings"]["scored_by"]


COUNTING = """
import json, sys
from collections import Counter
import evalrun.pipeline
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from evalrun import cli
from evalrun.checkpoints import suites
from evalrun.checkpoints.suites import allowed
from evalrun.grid import job_keys
from evalrun.tasks import task_file

count = Counter()
def counted(function, name):
    def wrapped(*words, **keys):
        count[name] += 1
        return function(*words, **keys)
    for module in [m for n, m in sys.modules.items() if n.startswith("evalrun")]:
        for place in [p for p, value in vars(module).items() if value is function]:
            setattr(module, place, wrapped)
    return wrapped

counted(suites.checkpoint_of, "checkpoint_of")
counted(allowed.locate, "locate")
counted(job_keys.keys_by_identity, "keys")
counted(task_file.resolve, "tasks")
ConfigLoaderImpl._load_configuration_impl = counted(ConfigLoaderImpl._load_configuration_impl, "compose")
code = cli.main(sys.argv[1:])
print(json.dumps([code, count]))
"""


@pytest.mark.slow
def test_a_sweep_finds_out_once_what_it_hands_to_its_jobs(workspace: Path) -> None:
    """Before jobs were handed over as records: 78 look-ups, 36 keys and 14 compositions for these six jobs."""
    words = ["-m", "model=toy/toy-s,toy/toy-m", "step=1,2,4", "task=alpha,beta", "analysis.after_sweep=false"]
    expected = {
        "checkpoint_of": 6,  # one a job, by the plan
        "locate": 6,  # one a job, when the sweep starts
        "keys": 6,  # one a job, when the sweep starts
        "compose": 2 + 3,  # one a model; what experiments sweep, what Hydra's main composes, its launcher's settings
        "tasks": 1,  # before Hydra starts
    }
    first = last_line(workspace, COUNTING, *words)
    assert first == [0, expected]
    again = expected | {"compose": 1 + 3}  # of a finished sweep the first model's, for all
    assert last_line(workspace, COUNTING, *words) == [0, again]


def test_lm_evals_index_is_built_for_its_names_alone(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(groups, "lm_eval_index", lambda: asked.append("index") or {})
    task_file.resolve(["alpha", "beta", "memo_trap", "arc_challenge"])  # the last has a file of its name
    assert asked == []
    assert task_file.problems(["no_such_task_anywhere"])
    assert asked == ["index"]
    said = "unknown task 'memo_trp', neither in conf/task nor in lm-eval: did you mean 'memo_trap'?"
    assert task_file.problems(["memo_trp"]) == [said]
    assert asked == ["index"], "no file of lm-eval has this name in it, and one of conf/task is nearly called so"
    own = (workspace / "conf/task/alpha.yaml").read_text().replace("task: alpha", "task: acp_bunch")
    (workspace / "conf/task/acp_bunch.yaml").write_text(own)
    task_file.problems(["acp_bench"])  # a tag in a file that others include, whose name does not end in .yaml
    assert asked == ["index", "index"]


def test_lm_evals_keys_are_read_without_it() -> None:
    from lm_eval.config.task import TaskConfig

    assert lm_eval_names.task_keys() == {field.name for field in dataclasses.fields(TaskConfig)}


def test_a_config_of_the_next_step_is_the_one_that_hydra_composes(workspace: Path) -> None:
    with hydra_session():
        loader = GlobalHydra.instance().config_loader()
        hydra = ("hydra.job.name=mine", "hydra.sweep.dir=elsewhere")
        words = ("model=toy/toy-s,toy/toy-m", "task=alpha,beta", "step=1,8,2", "limit=3,4", "num_fewshot=0", *hydra)
        master = loader.load_configuration("config", [*hydra, "hydra.mode=MULTIRUN"], _run_mode())
        plan = planning.plan(tuple(ov.for_hydra(ov.parse(words))))
        composer = JobComposer(master, plan.composed)
        assert (len(plan.jobs), len(plan.composed)) == (12, 4)
        for job in plan.jobs:
            job = replace(job.of_sweep("63e8210975"), number=3)
            ours, task, *_ = composer.compose(job)
            theirs = loader.load_sweep_config(master, list(job.words))
            with open_dict(theirs):
                theirs.hydra.job.id, theirs.hydra.job.num = "3", 3
            assert OmegaConf.to_container(ours) == OmegaConf.to_container(theirs)
            assert str(job.folder) == f"{theirs.hydra.sweep.dir}/{theirs.hydra.sweep.subdir}"
            assert to_config(theirs) == job.config
            assert {"hydra": ours.hydra, **task} == dict(ours)


def _run_mode() -> Any:
    from hydra.types import RunMode

    return RunMode.MULTIRUN
