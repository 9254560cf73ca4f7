"""The command's work inside somebody's program: keywords as overrides, a folder to work in, jobs one after the other.

Nothing is left behind: the current folder and Hydra are as they were, no signal handler is set, logging is untouched.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from evalrun import pipeline
from evalrun.commands.run.round_by_round import not_computed
from evalrun.commands.run.session import SweepSession
from evalrun.config.as_typed import quoted
from evalrun.config.compose import own_hydra_session
from evalrun.core import console, memory
from evalrun.core.errors import ConfigError, EvalrunError
from evalrun.core.secrets import masked
from evalrun.grid import overrides as ov
from evalrun.grid import planning
from evalrun.grid.job_spec import JobSpec
from evalrun.grid.sweep_plan import Plan

Value = str | int | float | bool | Path | Sequence[Any] | Mapping[Any, Any] | None

log = logging.getLogger(__name__)
_AXES = ("model", "stage", "step", "task")  # a list of these is a list of jobs' models, stages, steps, tasks
_alone = threading.RLock()  # the current folder and Hydra are the process's


@contextlib.contextmanager
def session(root: Path | str | None) -> Iterator[None]:
    """Work as if the command had been started now in a folder; one thread at a time.

    Args:
        root: The folder; None for the current one.

    Raises:
        ConfigError: there is no such folder.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_alone)
        if root is not None:
            try:
                stack.enter_context(contextlib.chdir(Path(root).expanduser()))
            except OSError as error:
                raise ConfigError(f"root is '{root}', which is no folder to work in ({error.strerror}).") from None
        stack.enter_context(memory.fresh())  # files and the network may have changed since the last time
        stack.enter_context(own_hydra_session())
        yield


def words(given: Mapping[str, Value]) -> list[str]:
    """Keywords as overrides: {"limit": 5, "scorer": {"dtype": "float32"}} is limit=5 scorer.dtype=float32.

    Strings are left as they are, as on the command line; paths are quoted.

    Raises:
        ConfigError: a key of Hydra's own, which the command alone can follow; an empty list of jobs.
    """
    own = [key for key in given if key.startswith("hydra")]
    if own:
        raise ConfigError(f"'{own[0]}' is for `python -m evalrun`: here jobs run in this process.")
    said = []
    for key, value in given.items():
        if isinstance(value, Mapping) and key not in ov.free_mappings():
            said += [f"{key}.{name}={_spelt(inner)}" for name, inner in value.items()]
        elif key in _AXES and isinstance(value, Sequence) and not isinstance(value, str):
            if not value:
                raise ConfigError(f"{key} is an empty list: name one at least, or leave it out.")
            said.append(f"{key}={','.join(map(str, value))}")
        elif isinstance(value, Path):  # its full name, so that what is in quotes is for no one else to read
            said.append(f"{ov.ALIASES.get(key, key)}={_spelt(value)}")
        else:
            said.append(f"{key}={_spelt(value)}")
    return said


def _spelt(value: Value) -> str:
    """A value in Hydra's grammar."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Path):
        return quoted(str(value))
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_spelt(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(map(_spelt, value)) + "]"
    return str(value)


def model_words(model: str | Path | Sequence[str]) -> dict[str, Value]:
    """The keywords that a model is named by; a folder is a training run of the user's (inside a `session`)."""
    if isinstance(model, Path):
        return {"model": ov.LOCAL, "path": model}
    if not isinstance(model, str) or model in (*ov.models(), ov.LOCAL):
        return {"model": model}
    if model.startswith(("/", "./", "../", "~")) or Path(model).is_dir():
        return {"model": ov.LOCAL, "path": Path(model)}
    return {"model": model}


def run(overrides: Sequence[str]) -> Plan:
    """Evaluate a grid in this process: the journal, MLflow and what is found done are the command's.

    Args:
        overrides: As for a multirun, without flags (inside a `session`).

    Raises:
        ConfigError: overrides that cannot be right, before anything runs.
        EvalrunError: jobs failed; the others are done, unless `fail_fast=true`.
    """
    plan, _ = planning.planned(ov.parse(overrides))
    plan.check_tasks()
    evaluation = SweepSession(plan)
    evaluation.check_store()
    evaluation.check_offline()
    for note in plan.notes:
        log.warning(note)
    if len(plan.jobs) == 1:
        _evaluate(plan.jobs[0], plan, pipeline.JobProcess())
    else:
        _run_all(evaluation)
    return plan


def _run_all(evaluation: SweepSession) -> None:
    """Run the jobs of a plan one after the other in this process.

    Raises:
        EvalrunError: some failed: at the first with `fail_fast`, else after all.
    """
    plan, process = evaluation.plan, pipeline.JobProcess()
    try:
        for began in evaluation.begun():
            log.info("%d of %d jobs found done", len(began.done), len(evaluation.jobs))
            _run_some(evaluation, began.todo, process)
    finally:
        process.ahead.wait()
    evaluation.end_downloads()
    evaluation.note_groups()
    for line in not_computed(evaluation.rounds.left_out()) if evaluation.rounds is not None else ():
        log.info(line)
    if evaluation.failures:
        said = " ".join(failure.sentence for failure in evaluation.failures)
        kept = "What was computed is kept; the same call tries these again."
        raise EvalrunError(f"{len(evaluation.failures):,} of {len(plan.jobs):,} jobs failed: {said} {kept}")


def _run_some(evaluation: SweepSession, todo: Sequence[JobSpec], process: pipeline.JobProcess) -> None:
    """Run jobs; one that fails is noted, or with `fail_fast` raised."""
    process.ahead.expect([job.cell for job in todo])
    with console.bar(len(todo), "sweep", "job") as bar:
        for job in todo:
            try:
                _evaluate(job, evaluation.plan, process)
            except EvalrunError as error:
                if evaluation.plan.config.fail_fast:
                    raise
                evaluation.fail(job.cell.label, error)
                log.warning("%s failed: %s", job.cell.label, error)
            bar.update()


def _evaluate(job: JobSpec, plan: Plan, process: pipeline.JobProcess) -> None:
    whole = plan.composed[job.group]
    plain = OmegaConf.masked_copy(whole, [str(key) for key in whole if key != "hydra"])
    plain.step, plain.sweep = job.config.step, job.config.sweep
    log.info(pipeline.evaluate(job, masked(OmegaConf.to_yaml(plain, resolve=True)), process))
