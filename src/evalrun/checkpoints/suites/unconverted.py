"""The checkpoints of a run in a format that is not read here: found by their names, since nothing else is known."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from evalrun.checkpoints import conversions, tokenizer
from evalrun.checkpoints.suites import local, step_units
from evalrun.checkpoints.suites.released_steps import ReleasedStep, ReleasedSteps
from evalrun.checkpoints.suites.sizes import Parameters
from evalrun.config import converter, step_names
from evalrun.config.step_names import StepName
from evalrun.core.errors import ConfigError

UNKNOWN = Parameters(0, 0, 0, None)  # until one was converted


def find(
    root: Path,
    pattern: str,
    places: Mapping[int, str] | None,
    own_tokenizer: bool,
    unit: str | None,
    command: str,
    converted: str | None,
) -> ReleasedSteps:
    """Find what of a run is to be converted.

    Args:
        root: The run's folder.
        pattern: What its checkpoints are called; `auto`: by whatever names of folders, else of files, hold one number.
        places: Step -> name, where they are listed.
        own_tokenizer: A tokenizer is named for all of them.
        unit: What the numbers in names count; None: what the names say.
        command: checkpoint.convert.
        converted: checkpoint.converted.

    Raises:
        ConfigError: no such folder, or nothing in it that says its step, or names of two runs.
    """
    if not root.is_dir():
        raise ConfigError(local.no_folder(root))
    listed = [StepName(name, step) for step, name in sorted((places or {}).items())]
    named = listed if places is not None else _named(root, pattern)
    if unit is not None and places is None:
        named = [step_units.taken_as(one, unit) for one in named]
    source = str(root) if not own_tokenizer and tokenizer.is_in(root) else None
    found, unfinished = {}, {}
    for one in named:
        at = root / one.name
        if not conversions.tree(at):
            what = "is empty" if at.is_dir() else "is not there"
            unfinished[one.step] = f"step {one.step} of '{root}' is passed over: '{one.name}' {what}."
        else:
            found[one.step] = ReleasedStep(one.step, one.name, one.tokens, source, one.unit)
    if not found:
        raise ConfigError(f"no checkpoint in '{root}' to convert: {unfinished[named[0].step]}")
    made = [said for said in conversions.records(converted) if _is_of(said, root, command)]
    here = [said for said in made if Path(said["folder"], conversions.MODEL).is_dir() and not said.get("fault")]
    some = f"{len(found)} checkpoints of '{root}' are" if len(found) > 1 else f"one checkpoint of '{root}' is"
    said = f"{some} converted by `{command}`, each once, before it is scored ({len(here)} so far)."
    notes = (*step_units.notes(root, named, unit), said, *unfinished.values())
    return ReleasedSteps(found, unfinished, notes, _parameters(made), "folder")


def _is_of(said: Mapping[str, object], root: Path, command: str) -> bool:
    return said.get("run") == os.path.realpath(root) and said.get("command") == converter.parts(command)


def _parameters(made: list[dict[str, object]]) -> Parameters:
    """What a model of this run was counted to have; `UNKNOWN` before the first."""
    for said in made:
        counted = said.get("counted")
        if isinstance(counted, list) and len(counted) == 2:
            return Parameters(int(counted[0]), int(counted[1]), 0, None)
    return UNKNOWN


def _named(root: Path, pattern: str) -> list[StepName]:
    """The checkpoints by their names: folders, and where no folder is named by a number, files."""
    entries = sorted(root.iterdir())
    if pattern != local.AUTO:
        found = step_names.matching([entry.name for entry in entries], pattern)
        if not found:
            near = ", ".join(f"'{entry.name}'" for entry in entries[:4]) or "nothing"
            raise ConfigError(
                f"no checkpoints in '{root}': nothing is named as checkpoint.folder={pattern} says ({near})."
            )
        return found
    for kind in (Path.is_dir, Path.is_file):
        found = step_names.parse_numbered_names([entry.name for entry in entries if kind(entry)])
        families = Counter(one.family for one in found)
        if len(families) > 1:
            raise ConfigError(
                f"'{root}' holds several kinds of names with numbers, such as "
                f"{', '.join(next(repr(one.name) for one in found if one.family == family) for family in families)}: "
                f"say which are checkpoints, such as 'checkpoint.folder=\"{min(families)}\"'."
            )
        if families:
            step_units.refuse_fractions(root, found)
            return step_names.unique(found, f"'{root}'")
    raise ConfigError(
        f"no checkpoints in '{root}' to convert: nothing in it has a number in its name; list them with "
        "checkpoint.steps={step: name}."
    )
