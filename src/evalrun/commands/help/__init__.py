"""What `python -m evalrun` can do: one table of its commands, and a page of text for each beside this file.

Help, completion, the refusal of unknown flags and the start of a command all read this table. Nothing here imports
more than the standard library, because a shell asks it at every press of the tab key.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evalrun.core.errors import ConfigError, suggest

PAGES = Path(__file__).parent
MULTIRUN_FLAGS = ("-m", "--multirun")  # what a sweep is typed with; commands about a grid take it and need it not


@dataclass(frozen=True)
class Command:
    """A command: where its function is, and what it takes."""

    where: str  # module of evalrun.commands whose `command`, or :other, is given the words and returns the exit code
    group: str  # heading on the main page
    words: str  # what it takes, in short
    line: str  # what it does
    flags: tuple[str, ...] = ()
    keys: bool = True  # whether it takes the keys of a run


BEFORE, RUNS, RESULTS, SHELL = GROUPS = ("before a run", "runs", "results", "shell")
JSON, TIMINGS = ("--json",), "--timings"
WITH_VALUE = ("--port",)  # flags of commands that a word follows
COMMANDS: dict[str, Command] = {
    "new-task": Command("new_task", BEFORE, "NAME DATA", "write a task file for your data", ("--force",)),
    "show": Command("show", BEFORE, "task=NAME", "prompts, choices and tokens of a task", JSON),
    "plan": Command(
        "plan.command", BEFORE, "GRID", "what is done, downloads, disk, memory, time", (*JSON, *MULTIRUN_FLAGS)
    ),
    "prefetch": Command(
        "plan.command:prefetch", BEFORE, "GRID", "download it, so that offline=true needs nothing", MULTIRUN_FLAGS
    ),
    "audit": Command("audit", BEFORE, "GRID", "weights that are missing or another step's", (*JSON, *MULTIRUN_FLAGS)),
    "suites": Command("suites", BEFORE, "", "the models that can be named", JSON, keys=False),
    "steps": Command("suites:steps_command", BEFORE, "model=NAME", "its checkpoints", (*JSON, "--refresh")),
    "doctor": Command("doctor", BEFORE, "", "check versions, GPU, store, disk, hub and data", JSON),
    "tiny": Command("tiny", RUNS, "", "train the embedded suite of small models", keys=False),
    "watch": Command("watch.command", RUNS, "path=RUN", "evaluate checkpoints as they are saved", ("--once",)),
    "status": Command("status", RUNS, "[GRID]", "done, running, failed and why, missing", (*JSON, *MULTIRUN_FLAGS)),
    "sync": Command("sync", RUNS, "[GRID]", "deliver to MLflow what is only in the journal", MULTIRUN_FLAGS),
    "analyze": Command(
        "analyze", RESULTS, "[GRID]", "tables, figures and report, from the store", (*MULTIRUN_FLAGS, TIMINGS)
    ),
    "compare": Command("compare", RESULTS, "A B", "is B better than A: checkpoints, or runs over training", JSON),
    "gate": Command("gate.command", RESULTS, "CHECKPOINT", "may it go on? Verdict by task, exit code, JUnit XML", JSON),
    "items": Command("items", RESULTS, "task=NAME", "which items are learned, lost, regained; to which answer", JSON),
    "export": Command("export.command", RESULTS, "FORMAT [TO]", "for TensorBoard, W&B, pandas, lm-eval, a model card"),
    "bundle": Command(
        "bundle.make",
        RESULTS,
        "PLACE [GRID]",
        "reports, results and items in one folder or zip, for others",
        ("--without-items", *MULTIRUN_FLAGS),
    ),
    "verify": Command("bundle.verify", RESULTS, "BUNDLE", "is a bundle whole, and what its items say", keys=False),
    "ui": Command("ui", RESULTS, "", "open the MLflow UI on the curves", ("--port",)),
    "ingest": Command("ingest.command", RESULTS, "PATH...", "file results that others computed, or a bundle"),
    "completion": Command("help.completion", SHELL, "SHELL", "completion for bash, zsh or fish", keys=False),
}
RUN = "run"  # the page about evaluating itself, which no command is named for
RUN_FLAGS = (
    *MULTIRUN_FLAGS, "--cfg", "-c", "--resolve", "--package", "-p", "--info", "-i", "--hydra-help",
    "--shell-completion", "-sc", "--run", "-r",
)  # fmt: skip
HELP = ("-h", "--help")
_SHOWS = ("--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc")
_OTHERS = {  # flags of Hydra's, and what does here what they are for
    **dict.fromkeys(("--config-dir", "-cd"), "files of yours are found in ./conf, beside the shipped ones"),
    **dict.fromkeys(("--config-path", "-cp"), "files of yours are found in ./conf, beside the shipped ones"),
    **dict.fromkeys(("--config-name", "-cn"), "a study of yours is a file of conf/experiment: experiment=NAME"),
    "--experimental-rerun": "the same command goes on from what is there",
}

_HEAD = """\
evalrun: evaluate every checkpoint on every task, track it, find where capabilities rise, fall and return.

  python -m evalrun model=tiny/s step=final task=tiny_recall   evaluate one checkpoint
  python -m evalrun -m 'model=glob(tiny/*)' step=all           evaluate a grid, then analyse it
"""
_TAIL = """\
GRID is model=... step=... task=...: these and all other keys  python -m evalrun help run
a command, with an example that works when pasted            python -m evalrun COMMAND --help

The same command computes only what is missing. Results: multirun/ (files) and mlruns/ (MLflow).
"""


def main_page() -> str:
    """What `--help` prints: one screen."""
    parts = [_HEAD]
    for group in GROUPS:
        named = {name: command for name, command in COMMANDS.items() if command.group == group}
        lines = [f"  {f'{name} {command.words}':<21} {command.line}" for name, command in named.items()]
        parts.append("\n".join([group, *lines, ""]))
    return "\n".join([*parts, _TAIL])


def page(name: str) -> str:
    """The page of a command, or of `run`.

    Raises:
        ConfigError: no such command.
    """
    if name not in (*COMMANDS, RUN):
        raise ConfigError(f"there is no help on '{name}': {suggest(name, (*COMMANDS, RUN), show=30)}")
    return (PAGES / f"{name}.txt").read_text(encoding="utf-8")


def help_asked(words: Sequence[str]) -> str | None:
    """The page that words ask for, or None: `--help`, `help COMMAND`, `COMMAND ... --help`, `model=... -h`.

    Raises:
        ConfigError: help on a command that there is not.
    """
    if not words or list(words) == ["help"]:
        return main_page()
    if words[0] == "help":
        return page(words[1])
    if words[0] in HELP:
        return page(words[1]) if words[1:2] and words[1] in COMMANDS else main_page()
    if set(HELP) & set(words):
        if words[0] in COMMANDS:
            return page(words[0])
        is_key = words[0].startswith("-") or "=" in words[0]
        return main_page() if is_key else None  # what is no command is answered as such, not with the page of all
    return None


def check_flags(name: str, words: Sequence[str]) -> None:
    """Refuse a flag that a command, or a run, does not take, or that a command takes in another form.

    Raises:
        ConfigError: with the nearest flag and the page to read, or the form.
    """
    known = RUN_FLAGS if name == RUN else COMMANDS[name].flags
    given = [word.partition("=")[0] for word in words if word.startswith("-") and not word.lstrip("-.").isdigit()]
    wrong = [flag for flag in given if flag not in known]
    if wrong:
        asked = "a run" if name == RUN else name
        every = (*known, "--help", *(["--version"] if name == RUN else []))
        close = difflib.get_close_matches(wrong[0], every, n=1, cutoff=0.6)
        also = suggest(wrong[0], every) if known or close else "it takes none."
        shown = f"`python -m evalrun help {name}` lists what it takes."
        raise ConfigError(f"{asked} does not know '{wrong[0]}': {also} {shown}")
    valued = next((word for word in words if name != RUN and word.startswith("-") and "=" in word), None)
    if valued is not None:
        flag, _, value = valued.partition("=")
        said = f"write {flag} {value}, with a space" if flag in WITH_VALUE else f"{flag} takes no value: write it alone"
        raise ConfigError(f"'{valued}' is not understood: {said}.")


def check_hydra_flags(words: Sequence[str]) -> None:
    """Refuse flags of Hydra's that a run cannot follow, or not together.

    Raises:
        ConfigError: with what to write.
    """
    given = [word.partition("=")[0] for word in words if word.startswith("-")]
    problems = [f"a run takes no '{flag}': {_OTHERS[flag]}." for flag in given if flag in _OTHERS]
    shown = [flag for flag in given if flag in _SHOWS]
    if len(shown) > 1:
        problems.append(f"'{shown[0]}' and '{shown[1]}' do not go together: ask one at a time.")
    problems += [f"'{flag}' goes with --cfg job." for flag in given
                 if flag in ("--resolve", "--package", "-p") and not {"--cfg", "-c"} & set(given)]  # fmt: skip
    if {"--run", "-r"} & set(given) and {*MULTIRUN_FLAGS, *_SHOWS} & set(given):
        problems.append("'--run' is what a run does without flags: leave it out.")
    if problems:
        raise ConfigError(problems)
