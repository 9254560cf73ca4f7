"""The command line: `python -m evalrun`. Evaluates unless a subcommand is named."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalrun.commands import help
from evalrun.core.errors import ConfigError, EvalrunError, suggest
from evalrun.core.secrets import command_line, masked

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from evalrun.grid.planning import Job, Plan

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A job that failed, as its launcher brought it home."""

    job: str
    message: str
    mistake: bool = False  # the request cannot be right


_failures: list[Failure] = []
_typed: list[str] = []  # the words of the command that is being run


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 a job or the analysis failed, 2 the request cannot be right."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _answer(words)
    except EvalrunError as error:
        _complain(error)
        return 2 if isinstance(error, ConfigError) else 1
    except BrokenPipeError:  # `evalrun plan ... | head`: the reader has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("evalrun: interrupted; the same command goes on from here.", file=sys.stderr)
        return 130


def _answer(words: list[str]) -> int:
    """Do what the words of a command line ask for.

    Args:
        words: Without the program's name; none at all asks for the help.

    Returns:
        The exit code.

    Raises:
        ConfigError: neither a command nor overrides that can be right.
    """
    if words[:1] == ["__complete"]:  # a shell asks, at every press of the tab key
        from evalrun.commands.help.completion import candidates

        print("\n".join(candidates(words[1:])))
        return 0
    asked = help.help_asked(words)
    if asked is not None:
        print(asked, end="")
        return 0
    if "--version" in words and words[0] not in help.COMMANDS:
        from evalrun.core.version import __version__

        print(f"evalrun {__version__}")
        return 0
    name = words[0]
    if name in help.COMMANDS:
        help.check_flags(name, words[1:])
        module, _, function = help.COMMANDS[name].where.partition(":")
        return int(getattr(import_module(f"evalrun.commands.{module}"), function or "command")(words[1:]))
    if not name.startswith("-") and "=" not in name:
        from evalrun.commands.help.completion import keys

        if name in keys():
            raise ConfigError(f"'{name}' is a key and no command: write {name}=VALUE, with no spaces around the =.")
        raise ConfigError(f"unknown command '{name}': {suggest(name, help.COMMANDS, show=20)}")
    _refuse_dashes(words)
    help.check_hydra_flags(words)
    help.check_flags(help.RUN, words)
    return run(words)


def _refuse_dashes(words: Sequence[str]) -> None:
    """Keys that are written as flags, the way of most other commands."""
    from evalrun.commands.help.completion import keys

    dashed = [(word, word[2:].partition("=")) for word in words if word.startswith("--")]
    kinds = keys() if dashed else {}
    problems = []
    for word, (name, _, value) in dashed:
        if (key := name.replace("-", "_")) in kinds:
            meant = value or ("true" if kinds[key] == "bool" else "VALUE")
            problems.append(f"'{word}' is a key and no flag: write {key}={meant}, without dashes.")
    if problems:
        raise ConfigError(problems)


def run(words: Sequence[str]) -> int:
    """Evaluate: check and show the grid, then let Hydra run it.

    Raises:
        ConfigError: overrides that cannot be right, or a grid of several jobs without -m.
    """
    import hydra

    from evalrun.commands import plan as supply
    from evalrun.commands.run import signals
    from evalrun.config.compose import CONFIG_NAME, hydra_session
    from evalrun.config.own_yaml import conf_dir
    from evalrun.grid import overrides as ov
    from evalrun.grid import planning
    from evalrun.tasks import task_file
    from evalrun.tracking import Store

    flags, overrides = ov.split_flags(words)
    _failures.clear()
    _typed[:] = words
    many = bool({"-m", "--multirun"} & set(flags))
    only_asks = bool({"--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc"} & set(flags))
    with hydra_session():
        given = ov.parse(overrides)
        plan, sayable = planning.planned(given)
        if not many and not only_asks and len(plan.jobs) > 1:
            raise ConfigError(f"this is a grid of {len(plan.jobs)} jobs: add -m to run them all.")
        task_file.resolve_for(plan.config)
        if not many or only_asks:  # one job, composed as it would be
            sayable = [*plan.jobs[0].overrides, *(word for word in sayable if word.startswith("hydra"))]
    sys.argv = ["evalrun", *(flag for flag in flags if not only_asks or flag not in ("-m", "--multirun")), *sayable]
    composed = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=CONFIG_NAME)(job)
    if only_asks:
        composed()
        return 0
    Store(plan.config.tracking).check()  # before the first hour of computing, not after it
    print(plan.describe(), flush=True)
    supply.refuse_missing([job.config for job in plan.jobs])
    with signals.graceful_signals():
        try:
            composed()
        except KeyboardInterrupt as error:
            return signals.say(words, plan, error)
    return 2 if any(failure.mistake for failure in _failures) else 1 if _failures else 0


def job(cfg: DictConfig) -> str:
    """What Hydra runs for each job, in whatever process a launcher chose.

    Raises:
        CompactHydraException: with the sentence of an EvalrunError, which Hydra prints without a traceback.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import CompactHydraException
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    from evalrun import pipeline
    from evalrun.config.compose import to_config

    hydra = HydraConfig.get()
    try:
        folder = Path(hydra.runtime.output_dir)
        return str(pipeline.evaluate(to_config(cfg), folder, masked(OmegaConf.to_yaml(cfg, resolve=True))))
    except EvalrunError as error:
        if hydra.mode == RunMode.RUN:  # a single run: say it and set the exit code, as for any command
            print(f"evalrun: {error}", file=sys.stderr)
            _failures.append(Failure(hydra.job.name, str(error), isinstance(error, ConfigError)))
            return "failed"
        raise CompactHydraException(str(error)) from None
    except Exception:
        log.exception("this job failed in a way that evalrun did not foresee")
        raise


def start_sweep(plan: Plan, here: bool) -> list[Job] | None:
    """Before the first job: leave out those that are done or refused; None when nothing can be started.

    Args:
        plan: The sweep.
        here: Whether its jobs run on this machine.
    """
    from evalrun import progress
    from evalrun.checkpoints import devices, downloads, read_ahead

    try:
        done, refused = progress.find_done([job.config for job in plan.jobs], plan.sweep)
    except EvalrunError as error:
        _complain(error)
        _failures.append(Failure("sweep", str(error), isinstance(error, ConfigError)))
        return None
    if done:
        rest = len(plan.jobs) - len(done) - len(refused)
        print(f"{len(done)} of {len(plan.jobs)} jobs found done" + (f", {rest} to do" if rest else ""), flush=True)
    _failures.extend(Failure(plan.jobs[position].cell.label, str(error)) for position, error in refused.items())
    todo = [job for position, job in enumerate(plan.jobs) if position not in done and position not in refused]
    if here:
        try:
            devices.check([job.config for job in todo])
        except ConfigError as error:
            stop_sweep(error)
            return None
    read_ahead.jobs.expect([job.cell for job in todo])
    downloads.Ledger(replace(plan.config, sweep=plan.sweep)).expect([job.cell for job in todo])
    return todo


def stop_sweep(error: EvalrunError) -> None:
    """When the launcher itself cannot do what it is asked to: say why; what is journalled stays."""
    _complain(error)
    _failures.append(Failure("sweep", str(error), isinstance(error, ConfigError)))


def finish_sweep(plan: Plan, todo: Sequence[Job], returns: Sequence[Any], hydra: Sequence[str]) -> None:
    """After the last job: say what failed, was not started or is still queued; show and analyse what is there."""
    from evalrun import progress, study
    from evalrun.checkpoints import downloads
    from evalrun.commands import summary
    from evalrun.launch import outcome

    verdict = outcome.judge([job.config for job in todo], returns, plan.sweep)
    _failures.extend(Failure(todo[position].cell.label, said) for position, said in verdict.failed.items())
    failed = [f.message if f.job in f.message else f"{f.job}: {f.message}" for f in _failures]
    if failed:
        print(f"\n{len(failed)} of {len(plan.jobs)} jobs failed:", *failed, sep="\n  ", file=sys.stderr)
        some_left = len(_failures) == len(plan.jobs) or verdict.skipped or verdict.queued
        rest = "What was computed is kept" if some_left else "The others are done"
        print(f"{rest}; the same command tries these again.", file=sys.stderr)
    for line in verdict.not_ended([job.cell.label for job in todo]):
        print(line, file=sys.stderr)
    if verdict.queued:
        return
    downloads.Ledger(replace(plan.config, sweep=plan.sweep)).finish()
    summary.show(plan, list(progress.folders_of(plan, hydra)))
    if len(_failures) == len(plan.jobs) or not plan.config.analysis.after_sweep:
        return
    try:
        folder = Path("multirun") / "analysis" / plan.sweep
        selection = study.Selection(sweep=plan.sweep, tasks=plan.tasks)
        study.analyse(plan.config, folder, selection, plan.final_steps, command_line(_typed), failed)
    except EvalrunError as error:
        _complain(error)
        _failures.append(Failure("analysis", str(error)))


def _complain(error: EvalrunError) -> None:
    for problem in error.problems:
        print(f"evalrun: {problem}", file=sys.stderr)
