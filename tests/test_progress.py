"""One answer: what is done, undelivered and missing is the same to every command, wherever the results are."""

from __future__ import annotations

import math
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import evalrun
from evalrun import pipeline, progress
from evalrun.commands import status, sync
from evalrun.commands.plan import refuse_missing, render, take_inventory
from evalrun.commands.run import signals
from evalrun.commands.summary.curve_values import values
from evalrun.commands.watch.watch_request import configured
from evalrun.config.compose import compose, hydra_session
from evalrun.config.schema import TrackingConf
from evalrun.core.errors import CheckpointError
from evalrun.grid.job_folders import FolderTemplate
from evalrun.grid.job_spec import JobSpec
from evalrun.grid.sweep_plan import Plan
from evalrun.launch import outcome
from evalrun.progress import sweep_start
from evalrun.tracking import Store
from helpers import make_workspace

GRID = ("model=glob(toy/*)", "step=1,2", "task=alpha,beta")
TASKS = ["alpha", "beta"]


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory, toy_models: Path) -> Path:
    """A folder in which a grid of two models, two steps and two tasks is evaluated."""
    folder = make_workspace(tmp_path_factory.mktemp("progress") / "user", toy_models)
    evalrun.evaluate("glob(toy/*)", step=[1, 2], task=TASKS, root=folder)
    return folder


@pytest.fixture
def work(once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, times included; the current folder."""
    folder = tmp_path / "work"
    shutil.copytree(once, folder)
    monkeypatch.chdir(folder)
    return folder


@dataclass(frozen=True)
class Answer:
    """What one command says of each job."""

    missing: list[list[str]]
    undelivered: list[list[str]]


def asked_of_all(words: tuple[str, ...] = GRID) -> Iterator[tuple[str, object, object]]:
    """Each command by name, what it answers, and what `status` makes that."""
    scope = progress.parse_scope(words)
    assert scope.plan is not None
    plan, store = scope.plan, Store(scope.tracking)
    said = progress.collect_progress(scope)
    assert said.store_fault is None
    truth = Answer([e.missing for e in said.entries], [list(e.undelivered or ()) for e in said.entries])
    done = {at for at, entry in enumerate(said.entries) if entry.state == "done"}
    with hydra_session():
        needs = take_inventory(plan)
        yield "plan", Answer([list(n.todo) for n in needs.jobs], [list(n.undelivered) for n in needs.jobs]), truth
        whole = sum(not names for names in truth.missing)
        yield "plan, in words", f"{whole} of 4 done" in render.describe(needs), True
        yield "the start of a sweep", sweep_start.start(plan.jobs, plan.sweep).done, done
        verdict = outcome.judge(plan.jobs, [_ended()] * len(plan.jobs), plan.sweep)
        yield "the verdict of a launcher", set(range(4)) - set(verdict.failed), done
        there = [[task for task in TASKS if task not in names] for names in truth.missing]
        yield "the table at the end", _shown(plan), there
        yield "sync", len(sync.undelivered(scope, store)[1]), sum(map(len, truth.undelivered))
        yield "offline=true", *_offline(scope, plan)
    text = signals.interrupt_message(words, plan)
    yield "Ctrl-C", ("all 4 jobs are done" if whole == 4 else f"{whole} of 4 jobs done") in text, True
    yield "status", f"{len(done)} of 4 jobs done" in status.text(scope, said), True


def _ended() -> object:
    return SimpleNamespace(status=SimpleNamespace(name="COMPLETED"), _return_value="done")


def _shown(plan: Plan) -> list[list[str]]:
    """The tasks with a number at each job, in the order of the plan."""
    curves = {(curve.model, curve.task): curve.values for curve in values(plan.jobs, plan.jobs)}

    def has(job: JobSpec, task: str) -> bool:
        curve = curves.get((job.cell.model, task))
        return curve is not None and math.isfinite(curve[(1, 2).index(job.cell.step)])

    return [[task for task in TASKS if has(job, task)] for job in plan.jobs]


def _offline(scope: progress.Scope, plan: Plan) -> tuple[bool, bool]:
    """Whether offline=true refuses the grid when no checkpoint is here, and whether `status` then lacks anything."""
    asked = tuple(replace(job, config=replace(job.config, offline=True)) for job in plan.jobs)
    Path("models").rename("away")
    try:
        lacks = any(entry.missing for entry in progress.collect_progress(scope).entries)
        refuse_missing(replace(plan, jobs=asked))
    except CheckpointError:
        return True, lacks
    finally:
        Path("away").rename("models")
    return False, lacks


@pytest.mark.parametrize("store", ["there", "away"])
@pytest.mark.parametrize("journal", ["there", "half", "emptied"])
def test_all_commands_agree_wherever_the_results_are(work: Path, store: str, journal: str) -> None:
    if store == "away":
        (work / "mlruns").rename(work / "elsewhere")
    if journal == "emptied":
        shutil.rmtree(work / "multirun")
    if journal == "half":  # one job without a journal, and one task of another
        shutil.rmtree(work / "multirun" / "toy" / "toy-s" / "step1")
        for file in (work / "multirun" / "toy" / "toy-m" / "step2" / "results").glob("beta-*"):
            file.unlink()
    answers = list(asked_of_all())
    assert {name: said for name, said, _ in answers} == {name: truth for name, _, truth in answers}
    entries = progress.collect_progress(progress.parse_scope(GRID)).entries
    computed = 8 if store == "there" else {"there": 8, "half": 5, "emptied": 0}[journal]
    assert sum(len(entry.tasks) - len(entry.missing) for entry in entries) == computed
    waiting = 0 if store == "there" else computed
    assert sum(len(entry.undelivered or ()) for entry in entries) == waiting


def test_a_checkpoint_that_changed_is_missing_to_all(work: Path) -> None:
    other = (work / "models" / "toy-s" / "step8" / "model.safetensors").read_bytes()
    (work / "models" / "toy-s" / "step1" / "model.safetensors").write_bytes(other)
    answers = list(asked_of_all())
    assert {name: said for name, said, _ in answers} == {name: truth for name, _, truth in answers}
    (plan_said, *_) = [said for name, said, _ in answers if name == "plan"]
    assert isinstance(plan_said, Answer)
    assert plan_said.missing == [TASKS, [], [], []]


def test_another_folder_for_the_jobs_is_obeyed_by_all(work: Path) -> None:
    (work / "multirun").rename(work / "elsewhere")
    shutil.rmtree(work / "mlruns")
    words = (*GRID, "hydra.sweep.dir=elsewhere")
    answers = list(asked_of_all(words))
    assert {name: said for name, said, _ in answers} == {name: truth for name, _, truth in answers}
    for asked in (words, ("hydra.sweep.dir=elsewhere",)):
        entries = progress.collect_progress(progress.parse_scope(asked)).entries
        assert sum(len(entry.undelivered or ()) for entry in entries) == 8
    _, _, folders = configured(["path=models/toy-s", "tokens_per_step=1", "task=alpha", "hydra.sweep.dir=elsewhere"])
    assert folders.folder(4) == Path("elsewhere/local/toy-s/step4")
    with hydra_session():
        composed = compose(["model=toy/toy-s", "step=4", "hydra.sweep.subdir='${step}/${evalrun.seeded:x,${step}}'"])
        assert FolderTemplate(composed).folder(12) == Path("multirun/12/x-seed12")
        assert composed.hydra.run.dir == "multirun/4/x-seed4"


def test_what_a_sweep_found_out_goes_with_its_jobs_unless_a_checkpoint_changed(work: Path) -> None:
    shutil.rmtree(work / "mlruns")
    shutil.rmtree(work / "multirun")
    scope = progress.parse_scope(GRID)
    assert scope.plan is not None
    with hydra_session():
        sent = [pickle.loads(pickle.dumps(job)) for job in sweep_start.start(scope.plan.jobs, "name").todo]
        assert [job.config.sweep for job in sent] == ["name"] * 4
        assert [pipeline._results(job) for job in sent] == [job.results for job in sent]
        other = (work / "models" / "toy-s" / "step8" / "model.safetensors").read_bytes()
        (work / "models" / "toy-s" / "step1" / "model.safetensors").write_bytes(other)
        changed, *same = (pipeline._results(job) for job in sent)
    assert same == [job.results for job in sent[1:]]
    assert set(changed.keys.values()).isdisjoint(sent[0].results.keys.values())


def test_thousands_of_jobs_are_counted_in_groups_of_digits() -> None:
    scope = progress.Scope((), TrackingConf(uri=None, root="mlruns"), Path("multirun"))
    entries = [
        progress.JobProgress("suite", "many", None, at, f"many step {at}", Path(str(at)), ["a"], [], [])
        for at in range(1200)
    ]
    said = status.text(scope, progress.Progress(entries, None))
    assert "1,200 of 1,200 jobs done" in said
    assert said.splitlines()[-1].split() == ["many", "1,200", "1,200"]
