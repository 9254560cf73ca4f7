"""The command line: `python -m evalrun`. Evaluates unless a subcommand is named."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from evalrun.errors import ConfigError, EvalrunError, nearest
from evalrun.masking import masked

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from evalrun.config import TrackingConf
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


def split_flags(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate Hydra's flags (with the value of those that take one) from overrides."""
    flags, overrides = [], []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("-"):
            flags.append(word)
            if word in ("--cfg", "-c", "--info", "-i", "--package", "-p", "--config-dir", "-cd") and rest:
                if word in ("--info", "-i") and "=" in rest[0]:
                    continue
                flags.append(rest.pop(0))
        else:
            overrides.append(word)
    return flags, overrides


def run(words: Sequence[str]) -> int:
    """Evaluate: check and show the grid, then let Hydra run it."""
    import hydra

    from evalrun import overrides as ov
    from evalrun import supply, sweep, task_files
    from evalrun.config import CONFIG_NAME, conf_dir, hydra_session
    from evalrun.masking import stow
    from evalrun.tracking import Store

    flags, overrides = split_flags(words)
    _failures.clear()
    many = bool({"-m", "--multirun"} & set(flags))
    only_asks = bool({"--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc"} & set(flags))
    with hydra_session():
        given = ov.parse(overrides)
        ov.check(given)
        sayable = ov.for_hydra(given)
        plan = sweep.plan(tuple(sayable))
        if (uri := plan.config.tracking.uri) is not None and stow(uri) != uri:  # Hydra saves the words it is given
            sayable = [*ov.for_hydra([o for o in given if o.key_or_group != "tracking.uri"])]
            sayable.append(f"tracking.uri='{stow(uri)}'")
            plan = sweep.plan(tuple(sayable))
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
        return pipeline.evaluate(
            config.typed(cfg), Path(hydra.runtime.output_dir), masked(OmegaConf.to_yaml(cfg, resolve=True))
        )
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
        study.analyse(plan.config, folder, study.Selection(sweep=plan.sweep, tasks=plan.tasks), plan.final_steps)
    except EvalrunError as error:
        print(f"evalrun: {error}", file=sys.stderr)
        _failures.append(Failure("analysis", str(error)))


def supply_command(name: str, words: Sequence[str]) -> int:
    """`plan`: print the grid and what it needs; `prefetch`: download that."""
    from evalrun.supply import command

    print(command.ANSWERS[name](*split_flags(words)))
    return 0


def audit_command(words: Sequence[str]) -> int:
    """`audit`: what is wrong in published checkpoints; exit code 0 nothing, 1 faults or nothing could be seen."""
    from evalrun import audit, sweep
    from evalrun import overrides as ov
    from evalrun.audit import report
    from evalrun.config import hydra_session

    flags, overrides = split_flags(words)
    wrong = [flag for flag in flags if flag not in ("--json", "-m", "--multirun")]
    if wrong:
        raise ConfigError(f"audit does not know '{wrong[0]}': it takes --json, model= and step= as a run takes them.")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with hydra_session():
        given = ov.parse(overrides)
        if not any(o.key_or_group == "step" for o in given):
            given += ov.parse(["step=all"])
        ov.check(given)
        found = audit.run([job.config for job in sweep.plan(tuple(ov.for_hydra(given))).jobs])
    print(json.dumps(report.to_json(found), indent=1) if "--json" in flags else report.text(found))
    return 1 if report.count(found) or any(audited.unreachable for audited in found) else 0


def analyze_command(words: Sequence[str]) -> int:
    """`analyze`: from the store to tables, figures and a report."""
    from evalrun import overrides as ov
    from evalrun import study, sweep
    from evalrun.config import hydra_session
    from evalrun.tracking.names import slug

    own = dict(word.split("=", 1) for word in words if word.startswith(("suite=", "sweep=")))
    rest = [word for word in words if word.partition("=")[0] not in own]
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with hydra_session():
        given = ov.parse(rest)
        ov.check(given)
        keys = {o.key_or_group for o in given}
        grid = bool(keys & {"model", "step", "experiment"})  # of a grid, or else of all that is there
        filler = [] if grid else ["model=pythia-70m"]
        filler += [] if keys & {"step", "experiment"} else ["step=all"]
        plan = sweep.plan((*filler, *ov.for_hydra(given)))
        finals = sweep.final_steps()
    selection = study.Selection(
        suite=own.get("suite"),
        sweep=own.get("sweep"),
        tasks=plan.tasks if keys & {"task", "tasks", "experiment"} else None,
        cells=[job.cell for job in plan.jobs] if grid else None,
    )
    folder = Path("multirun") / "analysis" / slug(own.get("sweep") or ("all" if not grid else plan.sweep))
    study.analyse(plan.config, folder, selection, finals)
    return 0


def _tracking(words: Sequence[str]) -> TrackingConf:
    """The store that overrides name, for commands that concern no model (inside a `config.hydra_session`)."""
    from evalrun import overrides as ov
    from evalrun.config import compose, typed

    ov.check(ov.parse(words))
    return typed(compose(["model=pythia-70m", "step=0", *words])).tracking


def ingest_command(words: Sequence[str]) -> int:
    """`ingest`: other people's result files into MLflow; exit code 0 all filed, 1 something left out."""
    from evalrun.config import hydra_session
    from evalrun.ingest import ingest

    rest = [word for word in words if word.startswith("tracking") and "=" in word and not Path(word).exists()]
    paths = [Path(word) for word in words if word not in rest]
    wrong = [word for word in words if word.startswith("-")]
    if wrong or not paths:
        given = f"does not know '{wrong[0]}'" if wrong else "needs something to read"
        raise ConfigError(f"ingest {given}: name result files or folders, and tracking.root=... if need be.")
    with hydra_session():
        return ingest(paths, _tracking(rest))


def tiny_command(words: Sequence[str]) -> int:
    """`tiny`: train the embedded suite."""
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from evalrun import overrides as ov
    from evalrun.config import compose, hydra_session, type_sentence, typed
    from evalrun.tiny.settings import TinyConf

    with hydra_session():
        given = ov.parse(words)
        keys = [str(key) for key in compose([], name="tiny") if key != "hydra"]
        unknown = [o.key_or_group for o in given if o.key_or_group.split(".")[0] not in keys]
        if unknown:
            raise ConfigError([f"tiny does not know '{key}': {nearest(key, keys)}" for key in unknown])
        try:
            values = OmegaConf.masked_copy(compose(list(words), name="tiny"), keys)
            merged = OmegaConf.merge(OmegaConf.structured(TinyConf), values)
            settings = cast(TinyConf, OmegaConf.to_object(merged))
        except (OmegaConfBaseException, HydraException) as error:
            raise ConfigError(type_sentence(error)) from None
        configs = {name: typed(compose([f"model={name}", "step=1"])) for name in ov.group_options("model", "tiny/")}
    from evalrun.tiny import train_suite

    ordered = sorted(configs.items(), key=lambda item: item[1].model.n_params or 0)
    sizes = {name.removeprefix("tiny/"): config.model for name, config in ordered}
    trained = train_suite(
        sizes, ordered[0][1].checkpoint, settings, Path(settings.root), say=print, progress=sys.stderr.isatty()
    )
    print(f"{trained} models trained" if trained else f"all models are in {settings.root} already")
    return 0


def ui_command(words: Sequence[str]) -> int:
    """`ui`: the MLflow UI on the configured store."""
    from evalrun.config import hydra_session
    from evalrun.tracking import Store

    rest = list(words)
    port = 5000
    if "--port" in rest:
        at = rest.index("--port")
        value = rest[at + 1] if at + 1 < len(rest) else ""
        if not value.isdigit():
            raise ConfigError(f"--port needs a number, not '{value}'.")
        port = int(value)
        del rest[at : at + 2]
    with hydra_session():
        store = Store(_tracking(rest))
    store.check()
    store.serve(port)
    return 0


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "plan": partial(supply_command, "plan"),
    "prefetch": partial(supply_command, "prefetch"),
    "audit": audit_command,
    "ingest": ingest_command,
    "analyze": analyze_command,
    "tiny": tiny_command,
    "ui": ui_command,
    "status": lambda words: import_module("evalrun.status").command(words),
    "sync": lambda words: import_module("evalrun.sync").command(words),
    "suites": lambda words: import_module("evalrun.catalogue").suites_command(words),
    "steps": lambda words: import_module("evalrun.catalogue").steps_command(words),
}
