"""One look at a run's folder: which checkpoints are complete and at rest, and what is wrong with the others.

A Hugging Face Trainer writes `trainer_state.json` as the last file of a checkpoint, so one whose other files are not
newer than it is complete. Any other checkpoint must have been left alone for `watch.poll_s`: unchanged since the look
before, or since a time that long ago by the file system's own clock (the change time of its files, which copying with
old dates does not set back).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from evalrun.checkpoints import conversions, folder_notes
from evalrun.checkpoints.suites import ReleasedSteps, folders, location, released_steps_of
from evalrun.checkpoints.suites.local import AUTO
from evalrun.config import step_names
from evalrun.config.schema import Config
from evalrun.core.errors import ConfigError

Files = frozenset[tuple[str, int, int]]
"""Name, size and time of change (ns) of a folder's files: equal while nothing was written."""

_READ = (".json", ".safetensors", ".bin", ".model", ".txt")  # files that scoring may read
_TRIES = 3  # looks at a folder that is changed while it is looked at


@dataclass(frozen=True)
class Scan:
    """What was seen."""

    config: Config  # names the checkpoints that are one run
    ready: Mapping[int, Files]  # step -> its files, for checkpoints that can be evaluated
    waiting: tuple[int, ...]  # steps that may still be written
    refused: Mapping[int, str]  # step -> why it is not evaluated
    notes: tuple[str, ...]  # sentences about the rest


def scan(config: Config, before: Mapping[int, Files], rest_s: float) -> Scan:
    """Look at a run's folder.

    Args:
        config: Of any step of the run.
        before: What the look before saw of each step.
        rest_s: How long a checkpoint without a Trainer's own sign must have been left alone.

    Raises:
        ConfigError, CheckpointError: no run can be made out, as `suites.released_steps_of` says.
    """
    for tries_left in reversed(range(_TRIES)):
        try:
            return _look(config, before, rest_s)
        except OSError as error:  # a checkpoint is deleted while it is read
            if not tries_left:
                raise ConfigError(f"'{root_of(config)}' cannot be read ({error.strerror}).") from None
            time.sleep(0.1)
    raise AssertionError


def files_of(folder: Path, below: bool = False) -> Files:
    """A folder's files as they are now; none where it is gone.

    Args:
        folder: A checkpoint's.
        below: Those in folders below it too, and a file in place of a folder: of what is to be converted.
    """
    if below:
        return frozenset((name, size, changed) for name, size, _, changed, _ in conversions.tree(folder))
    try:
        with os.scandir(folder) as found:
            entries = [(entry.name, entry.stat()) for entry in found if entry.is_file()]
    except OSError:
        return frozenset()
    return frozenset((name, stat.st_size, stat.st_mtime_ns) for name, stat in entries)


def signature(config: Config) -> int | None:
    """What differs once anything was written in a run's folder or in a checkpoint's; None where that cannot be told.

    A look at what is there that reads no file: of a run in which nothing happened the scan before holds.
    """
    if config.checkpoint.convert is not None:
        return None  # whose files may lie at any depth
    root = root_of(config)
    below = folder_notes.entries(root)
    return hash((root.is_dir(), *below, *(hash(tuple(folder_notes.entries(root / name))) for name, *_ in below)))


def root_of(config: Config) -> Path:
    """The run's folder."""
    return Path(location(config))


def _look(config: Config, before: Mapping[int, Files], rest_s: float) -> Scan:
    """Sort a run's checkpoints into ready, still being written and refused.

    Args:
        config: Of the run.
        before: Step -> files at the last look; those that have not changed since are at rest.
        rest_s: Seconds after which an unmarked folder counts as written.

    Raises:
        ConfigError, CheckpointError: the folder is not there or holds no run.
    """
    root = root_of(config)
    config, found, notes = _one_run(config, root)
    below = config.checkpoint.convert is not None
    ready: dict[int, Files] = {}
    waiting, refused = list(found.unfinished), {}
    for step, release in found.by_step.items():
        folder = root / release.place
        files = files_of(folder, below)
        if release.fault is not None:
            refused[step] = release.fault
        elif files and (_is_finished(files) or files == before.get(step) or _at_rest(folder, rest_s, below)):
            ready[step] = files
        else:
            waiting.append(step)
    said = [note for note in (*notes, *found.notes) if note not in refused.values()]
    return Scan(config, ready, tuple(sorted(waiting)), refused, tuple(said))


def _one_run(config: Config, root: Path) -> tuple[Config, ReleasedSteps, list[str]]:
    """The checkpoints of the training at work, without those that a restart from an earlier one left behind."""
    try:
        return config, released_steps_of(config, refresh=True), []
    except ConfigError:
        if config.checkpoint.folder != AUTO or config.checkpoint.steps is not None:
            raise
        kept, left = _since_restart(root)
        if not left:
            raise
    own = replace(config, checkpoint=replace(config.checkpoint, steps=kept))
    newest = max(kept)
    note = (
        f"steps go back in '{root}': step {newest} was written after step {max(left)}, so the training was started "
        f"again from before; {', '.join(map(str, sorted(left)))} of the old one {'is' if len(left) == 1 else 'are'} "
        "passed over."
    )
    return own, released_steps_of(own, refresh=True), [note]


def _since_restart(root: Path) -> tuple[dict[int, str], list[int]]:
    """Step -> folder of those checkpoints that no smaller step was written after, and the steps of the others."""
    below = [entry.name for entry in root.iterdir() if entry.is_dir()] if root.is_dir() else []
    named = [one for one in step_names.parse_numbered_names(below) if folders.looks_like_model(root / one.name)]
    if len({one.family for one in named}) != 1 or len({one.step for one in named}) != len(named):
        return {}, []
    kept: dict[int, str] = {}
    for one in sorted(named, key=lambda one: _written(root / one.name), reverse=True):  # the newest first
        if not kept or one.step < min(kept):
            kept[one.step] = one.name
    return kept, [one.step for one in named if one.step not in kept]


def _written(folder: Path) -> int:
    """When a checkpoint was finished, as far as its files tell (ns)."""
    times = {name: mtime for name, _, mtime in files_of(folder)}
    return times.get(folders.STATE, max(times.values(), default=0))


def _is_finished(files: Files) -> bool:
    """Whether a Trainer wrote its last file after all others that scoring reads."""
    times = {name: mtime for name, _, mtime in files if name.endswith(_READ)}
    return folders.STATE in times and times[folders.STATE] >= max(times.values())


def _at_rest(folder: Path, rest_s: float, below: bool) -> bool:
    """Whether nothing in a folder was changed for some time, by the change times of its files and of itself.

    Args:
        folder: A checkpoint's.
        rest_s: How long, in seconds.
        below: As in `files_of`.
    """
    if below:
        times = [moved / 1e9 for *_, moved in conversions.tree(folder)]
    else:
        with os.scandir(folder) as found:
            times = [entry.stat().st_ctime for entry in found if entry.is_file()]
    changed = max([os.stat(folder).st_ctime, *times])
    return 0 <= rest_s <= time.time() - changed
