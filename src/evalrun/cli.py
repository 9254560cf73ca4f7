"""The command line: `python -m evalrun`. Evaluates unless a subcommand is named."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from evalrun.commands import help
from evalrun.core import garbage
from evalrun.core.errors import ConfigError, EvalrunError, suggest
from evalrun.core.secrets import masked

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 a job or the analysis failed, 2 the request cannot be right."""
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is None:  # this process is the command, and ends with it
        garbage.spare_the_last_search()
    try:
        return _answer(words)
    except EvalrunError as error:
        for problem in error.problems:
            print(f"evalrun: {problem}", file=sys.stderr)
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

    from evalrun.commands.run import session as sessions
    from evalrun.commands.run import signals
    from evalrun.config.compose import CONFIG_NAME, hydra_session
    from evalrun.config.own_yaml import conf_dir
    from evalrun.grid import overrides as ov
    from evalrun.grid import planning

    flags, overrides = ov.split_flags(words)
    many = bool({"-m", "--multirun"} & set(flags))
    only_asks = bool({"--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc"} & set(flags))
    with hydra_session():
        given = ov.parse(overrides)
        plan, sayable = planning.planned(given)
        if not many and not only_asks and len(plan.jobs) > 1:
            raise ConfigError(f"this is a grid of {len(plan.jobs):,} jobs: add -m to run them all.")
        plan.check_tasks()
        if not many or only_asks:  # one job, composed as it would be
            sayable = [*plan.jobs[0].overrides, *(word for word in sayable if word.startswith("hydra"))]
    sys.argv = ["evalrun", *(flag for flag in flags if not only_asks or flag not in ("-m", "--multirun")), *sayable]
    composed = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=CONFIG_NAME)(job)
    with sessions.registered(sessions.SweepSession(plan, words)) as session:
        if only_asks:
            composed()
            return 0
        session.check_store()
        print(plan.describe(), flush=True)
        session.check_offline()
        with signals.graceful_signals():
            try:
                composed()
            except KeyboardInterrupt as error:
                return signals.say(words, plan, error)
        return session.exit_code


def job(cfg: DictConfig) -> str:
    """What Hydra runs for the job of a single run; those of a sweep are run by its launcher's workers."""
    from hydra.core.hydra_config import HydraConfig

    from evalrun import pipeline
    from evalrun.commands.run import session as sessions
    from evalrun.config.omegaconf_private import to_yaml

    hydra = HydraConfig.get()  # which may have been given another folder
    spec = replace(sessions.current().plan.jobs[0], folder=Path(hydra.runtime.output_dir))
    try:
        return str(pipeline.evaluate(spec, masked(to_yaml(cfg, resolve=True))))
    except EvalrunError as error:
        print(f"evalrun: {error}", file=sys.stderr)  # and set the exit code, as for any command
        sessions.current().failures.append(
            sessions.JobFailure(hydra.job.name, str(error), isinstance(error, ConfigError))
        )
        return "failed"
    except Exception:
        log.exception("this job failed in a way that evalrun did not foresee")
        raise
