"""The command line: `python -m evalrun`. Evaluates unless a subcommand is named."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalrun.errors import ConfigError, EvalrunError, nearest
from evalrun.masking import masked

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from evalrun.sweep import Job, Plan

log = logging.getLogger(__name__)

HELP = """\
evalrun: evaluate every checkpoint on every task, track it, find where capabilities rise, fall and return.

  python -m evalrun -m 'model=glob(*)' step=2,4,...,143000       evaluate a grid, then analyse it
  python -m evalrun model=pythia-70m step=final task=memo_trap   evaluate one checkpoint
  python -m evalrun suites         list the models that can be named; steps model=NAME: its checkpoints   (--json)
  python -m evalrun plan ARGS      show the grid, what is done, downloads, disk, memory, time; run nothing   (--json)
  python -m evalrun prefetch ARGS  download what a grid needs, so that offline=true needs nothing
  python -m evalrun status [ARGS]  what of a grid, or of all, is done, running, failed; exit code 0: all done   (--json)
  python -m evalrun sync [ARGS]    deliver to MLflow what is in the journal only
  python -m evalrun audit ARGS     find steps whose published weights are missing or another step's   (--json)
  python -m evalrun ingest PATH... file others' lm-eval results and tables in MLflow   (tracking.root=...)
  python -m evalrun analyze        analyse what is in the store   (suite= sweep= experiment= model= step= task=)
  python -m evalrun compare A B    did B get worse than A? MODEL@STEP or MODEL@final, item by item   (task= --json)
  python -m evalrun watch path=RUN task=...   evaluate each checkpoint as training saves it, warn when a task falls
                                   (--once: what is there; exit code 3: it fell; watch.command= watch.webhook=)
  python -m evalrun tiny           train the embedded suite of small models   (seeds=3)
  python -m evalrun ui             open the MLflow UI on the store   (--port 5000)

what to set (key=value; lists and globs need -m; quote 'glob(...)': shells take the brackets)
  model=     a config of conf/model, a,b,c, 'glob(*)' (the top level), 'glob(tiny/*)'
             local with path=runs/my-model: a training run of yours   (tokens_per_step= if it does not say)
  step=      a released step, 1000,2000, 2,4,...,143000 (two numbers: a ratio), 1000,2000,3000,...,143000
             (three: read from them), 'range(1000,5001,1000)', all, final
  task=      files of conf/task, sets of them (paper), any lm-eval name; several with commas. Own: ./conf/task/NAME.yaml
  data_dir=  folder with local data files in the release format, in place of the hub
  scorer.dtype=  scorer.device=  scorer.batch_size=  num_fewshot=  limit=  force=true
  profile=       corrected|as_published: how tasks are rendered         tracking=local|server  tracking.uri=URI
  experiment=    a whole study of conf/experiment: demo, paper, paper_v1, inverse_scaling_prize
  checkpoint.seed=0,1,2   where a suite has several training seeds
  hydra/launcher=   local, processes (the GPUs or cores of this machine), ray, slurm      fail_fast=true
  offline=true   never ask Hugging Face      keep_checkpoints=false disk_budget=200GB   delete downloads after use

evalrun resumes: the same command computes only what is missing. Results are in multirun/ (files) and mlruns/ (MLflow).
--cfg job prints a composed config; --info defaults where it comes from.
"""


@dataclass(frozen=True)
class Failure:
    """A job that failed, as its launcher brought it home."""

    job: str
    message: str


_failures: list[Failure] = []
_typed: list[str] = []  # the command that is being run, as a shell takes it


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 a job or the analysis failed, 2 the request cannot be right."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if words[0] == "--version":
        from evalrun import __version__

        print(f"evalrun {__version__}")
        return 0
    try:
        command = COMMANDS.get(words[0])
        if command is not None:
            return command(words[1:])
        if not words[0].startswith("-") and "=" not in words[0]:
            raise ConfigError(f"unknown command '{words[0]}': {nearest(words[0], COMMANDS)}")
        return run(words)
    except ConfigError as error:
        for problem in error.problems:
            print(f"evalrun: {problem}", file=sys.stderr)
        return 2
    except EvalrunError as error:
        print(f"evalrun: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `evalrun plan ... | head`: the reader has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("evalrun: interrupted; the same command goes on from here.", file=sys.stderr)
        return 130


def run(words: Sequence[str]) -> int:
    """Evaluate: check and show the grid, then let Hydra run it."""
    import hydra

    from evalrun import overrides as ov
    from evalrun import supply, sweep, task_files
    from evalrun.config import CONFIG_NAME, conf_dir, hydra_session
    from evalrun.tracking import Store

    flags, overrides = ov.split_flags(words)
    _failures.clear()
    _typed[:] = ["python", "-m", "evalrun", *words]
    many = bool({"-m", "--multirun"} & set(flags))
    only_asks = bool({"--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc"} & set(flags))
    with hydra_session():
        given = ov.parse(overrides)
        ov.check(given)
        plan, sayable = sweep.planned(given)
        if not many and not only_asks and len(plan.jobs) > 1:
            raise ConfigError(f"this is a grid of {len(plan.jobs)} jobs: add -m to run them all.")
        task_files.resolve_for(plan.config)
        if not many or only_asks:  # one job, composed as it would be
            sayable = [*plan.jobs[0].overrides, *(word for word in sayable if word.startswith("hydra"))]
    if not only_asks:
        Store(plan.config.tracking).check()  # before the first hour of computing, not after it
        print(plan.describe(), flush=True)
        supply.refuse_missing([job.config for job in plan.jobs])
    sys.argv = ["evalrun", *(flag for flag in flags if not only_asks or flag not in ("-m", "--multirun")), *sayable]
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=CONFIG_NAME)(job)()
    return 1 if _failures else 0


def job(cfg: DictConfig) -> str:
    """What Hydra runs for each job, in whatever process a launcher chose.

    Raises:
        CompactHydraException: with the sentence of an EvalrunError, which Hydra prints without a traceback.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import CompactHydraException
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    from evalrun import config, pipeline

    hydra = HydraConfig.get()
    try:
        folder = Path(hydra.runtime.output_dir)
        return str(pipeline.evaluate(config.typed(cfg), folder, masked(OmegaConf.to_yaml(cfg, resolve=True))))
    except EvalrunError as error:
        if hydra.mode == RunMode.RUN:  # a single run: say it and set the exit code, as for any command
            print(f"evalrun: {error}", file=sys.stderr)
            _failures.append(Failure(hydra.job.name, str(error)))
            return "failed"
        raise CompactHydraException(str(error)) from None
    except Exception:
        log.exception("this job failed in a way that evalrun did not foresee")
        raise


def start_sweep(plan: Plan) -> list[Job] | None:
    """Before the first job: leave out those that are done or refused; None when nothing can be started."""
    from evalrun import ahead, ledger, pipeline

    try:
        done, refused = pipeline.find_done([job.config for job in plan.jobs], plan.sweep)
    except EvalrunError as error:
        print(f"evalrun: {error}", file=sys.stderr)
        _failures.append(Failure("sweep", str(error)))
        return None
    if done:
        rest = len(plan.jobs) - len(done) - len(refused)
        print(f"{len(done)} of {len(plan.jobs)} jobs found done" + (f", {rest} to do" if rest else ""), flush=True)
    _failures.extend(Failure(plan.jobs[position].cell.label, str(error)) for position, error in refused.items())
    todo = [job for position, job in enumerate(plan.jobs) if position not in done and position not in refused]
    ahead.jobs.expect([job.cell for job in todo])
    ledger.Ledger(replace(plan.config, sweep=plan.sweep)).expect([job.cell for job in todo])
    return todo


def stop_sweep(error: EvalrunError) -> None:
    """When the launcher itself cannot do what it is asked to: say why; what is journalled stays."""
    for problem in error.problems if isinstance(error, ConfigError) else [str(error)]:
        print(f"evalrun: {problem}", file=sys.stderr)
    _failures.append(Failure("sweep", str(error)))


def finish_sweep(plan: Plan, todo: Sequence[Job], returns: Sequence[Any]) -> None:
    """After the last job: say what failed, was not started or is still queued; analyse what is there."""
    from evalrun import ledger, study
    from evalrun.launch import outcome

    verdict = outcome.judge([job.config for job in todo], returns, plan.sweep)
    _failures.extend(Failure(todo[position].cell.label, said) for position, said in verdict.failed.items())
    if _failures:
        print(f"\n{len(_failures)} of {len(plan.jobs)} jobs failed:", file=sys.stderr)
        for failure in _failures:
            named = failure.message if failure.job in failure.message else f"{failure.job}: {failure.message}"
            print(f"  {named}", file=sys.stderr)
        some_left = len(_failures) == len(plan.jobs) or verdict.skipped or verdict.queued
        rest = "What was computed is kept" if some_left else "The others are done"
        print(f"{rest}; the same command tries these again.", file=sys.stderr)
    for line in verdict.not_ended([job.cell.label for job in todo]):
        print(line, file=sys.stderr)
    if verdict.queued:
        return
    ledger.Ledger(replace(plan.config, sweep=plan.sweep)).finish()
    if len(_failures) == len(plan.jobs) or not plan.config.analysis.after_sweep:
        return
    try:
        folder = Path("multirun") / "analysis" / plan.sweep
        selection = study.Selection(sweep=plan.sweep, tasks=plan.tasks)
        study.analyse(plan.config, folder, selection, plan.final_steps, masked(shlex.join(_typed)))
    except EvalrunError as error:
        print(f"evalrun: {error}", file=sys.stderr)
        _failures.append(Failure("analysis", str(error)))


def _command(name: str, words: Sequence[str]) -> int:
    from evalrun import commands

    return commands.COMMANDS[name](words)


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    **{name: partial(_command, name) for name in ("plan", "prefetch", "audit", "ingest", "analyze", "tiny", "ui")},
    "status": lambda words: import_module("evalrun.status").command(words),
    "sync": lambda words: import_module("evalrun.sync").command(words),
    "compare": lambda words: import_module("evalrun.comparison").command(words),
    "watch": lambda words: import_module("evalrun.watch.command").command(words),
    "suites": lambda words: import_module("evalrun.catalogue").suites_command(words),
    "steps": lambda words: import_module("evalrun.catalogue").steps_command(words),
}
