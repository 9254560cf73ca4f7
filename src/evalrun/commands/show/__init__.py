"""`show`: what tasks ask of a model, exactly as it would be scored; no weights are read."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from evalrun import checkpoints
from evalrun.commands.show import render
from evalrun.commands.show.rendered_items import Shown, look
from evalrun.commands.show.vocabulary import Vocabulary, find
from evalrun.config.compose import compose, hydra_session, to_config
from evalrun.config.schema import Config
from evalrun.core.errors import ConfigError, EvalrunError, TaskError
from evalrun.grid import override_checks
from evalrun.grid import overrides as ov
from evalrun.tasks import generation_settings, task_file
from evalrun.tasks.needed_data import data_of
from evalrun.tasks.task_file import TaskFile

_PATIENCE_S = 5.0
ITEMS = 3  # of a task, unless limit= says otherwise


@dataclass(frozen=True)
class ShowRequest:
    """What was typed."""

    config: Config
    model: bool  # whether a model was named


def command(words: Sequence[str]) -> int:
    """Print some items of each task; 1 when one of them cannot be had.

    Raises:
        ConfigError: words that cannot be right.
    """
    flags, overrides = ov.split_flags(words)
    bare = [word for word in overrides if "=" not in word]
    if bare:
        raise ConfigError(f"show does not know what '{bare[0]}' is: if it is a task, write task={bare[0]}.")
    asked = ask(overrides)
    return show(asked, "--json" in flags)


def ask(words: Sequence[str], new: bool = False) -> ShowRequest:
    """Read the words of a run, of which those about a checkpoint's step do not matter here.

    Args:
        words: Overrides.
        new: The task that they name is about to be written.

    Raises:
        ConfigError: words that cannot be right, or no task among them.
    """
    with hydra_session():
        given = [o for o in ov.parse(words) if o.key_or_group != "step"]
        override_checks.check([o for o in given if not (new and o.key_or_group == "task")])
        keys = [o.key_or_group for o in given]
        if not {"task", "tasks"} & set(keys):
            raise ConfigError("no task is given: name one, for example `python -m evalrun show task=memo_trap`.")
        many = [o.key_or_group for o in given if o.is_sweep_override() and o.key_or_group not in ("task", "tasks")]
        if many:
            raise ConfigError(f"show takes one {many[0]}=, not several: start it once for each.")
        model = bool({"model", "model.path"} & set(keys))
        missing = [] if "model" in keys else [f"model={ov.LOCAL}" if model else "model=pythia-70m"]
        return ShowRequest(to_config(compose([*missing, *ov.for_hydra(given), "step=0"])), model)


def show(asked: ShowRequest, as_json: bool = False) -> int:
    """Print items of tasks; a task whose file or data cannot be had is said, and the others shown.

    Returns:
        0, or 1 where a task could not be shown.

    Raises:
        ConfigError: no such task, or something is set that would be lost on all of them.
    """
    config = asked.config
    read = task_file.each_for(config)
    files = [file for file in read if isinstance(file, TaskFile)]
    generation_settings.refuse_lost(config, {file.name: file.config for file in files})
    faults = [str(file) for file in read if isinstance(file, TaskError)]
    on_hub = any(need.state == "missing" for need in data_of(files))
    if config.offline or (on_hub and checkpoints.hub_fault(_PATIENCE_S) is not None):
        checkpoints.go_offline()  # the hub's client would try for a minute
    vocabulary = find(config if asked.model else None)
    limit = config.limit or (ITEMS if len(files) == 1 else 1)
    found: list[Shown] = []
    for number, file in enumerate(files):
        try:
            found.append(look(file, config, vocabulary, limit))
        except EvalrunError as error:
            faults.append(str(error))
            continue
        if not as_json:
            render.write(found[-1], vocabulary, last=number == len(files) - 1)
    if as_json:
        print(json.dumps(_to_json(found, vocabulary, faults), indent=1, ensure_ascii=False))
    for fault in faults:
        print(f"evalrun: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _to_json(found: Sequence[Shown], vocabulary: Vocabulary, faults: Sequence[str]) -> dict[str, object]:
    return {
        "tokenizer": {"model": vocabulary.model, "folder": vocabulary.folder, "problem": vocabulary.problem},
        "tasks": [shown.to_json() for shown in found],
        "problems": list(faults),
    }
