"""Two training runs of one name in one store would be one model with one curve: the second is refused, by its folder.

A run that was moved or copied is known by its checkpoints: one of them has the identity that the store knows.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence

from evalrun.checkpoints import ResolvedCheckpoint
from evalrun.checkpoints.suites import location
from evalrun.config.schema import Config
from evalrun.config.training_stages import in_stage
from evalrun.core.errors import CheckpointError, ConfigError
from evalrun.tracking.layout import RunEntry

log = logging.getLogger(__name__)


def folder_of(config: Config) -> str | None:
    """The folder of a training run, in full; None for a model of the hub."""
    return os.path.realpath(location(config)) if in_stage(config).checkpoint.folder is not None else None


def origin(config: Config, located: ResolvedCheckpoint) -> dict[str, str | None]:
    """What a result keeps of where it is from: which checkpoint, and its run's folder."""
    return {"identity": located.identity, "folder": folder_of(config)}


def refuse(
    configs: Sequence[Config],
    places: Sequence[ResolvedCheckpoint | CheckpointError],
    filed: Callable[[str], Mapping[str, RunEntry]],
) -> None:
    """See that no results are filed under the name of another run's.

    Args:
        configs: One for each job.
        places: Where each job's checkpoint is, or why it cannot be had.
        filed: Suite -> its runs by their keys, as `Store.filed` gives them.

    Raises:
        ConfigError: they would be; all models at once.
        TrackingError: the store cannot be read.
    """
    mine: dict[tuple[str, str, int | None, str | None, str], dict[int, str]] = {}
    for config, place in zip(configs, places, strict=True):
        folder = folder_of(config)
        if folder is not None and not config.allow_other_folder and isinstance(place, ResolvedCheckpoint):
            cell = place.cell
            mine.setdefault((cell.suite, cell.model, cell.seed, cell.stage, folder), {})[cell.step] = place.identity
    known = {suite: list(filed(suite).values()) for suite in {key[0] for key in mine}}
    problems = []
    for (suite, model, seed, stage, folder), identities in mine.items():
        theirs = [run for run in known[suite] if training_of(run) == (model, seed, stage)]
        other = other_run(folder, identities, theirs)
        if other is not None:
            problems.append(
                f"'{model}' in suite {suite} is the name of the run in '{other}' already, and this is '{folder}': give "
                "it another name with model.name=, or, if it is the same run, say allow_other_folder=true."
            )
    if problems:
        raise ConfigError(problems)


def training_of(run: RunEntry) -> tuple[str, int | None, str | None] | None:
    """Model, seed and stage of a checkpoint's run: what lies in one folder; None where no tag says so."""
    cell = run.checkpoint
    return None if cell is None else (cell.model, cell.seed, cell.stage)


def other_run(folder: str, identities: dict[int, str], theirs: Sequence[RunEntry]) -> str | None:
    """The folder of another run among results of this name; None where they are this run's, or may be."""
    known = [run for run in theirs if run.folder is not None]
    if not known or any(run.folder == folder for run in known):
        return None
    shared = [run for run in known if run.place is not None and run.place[2] in identities]
    if any(run.identity == identities[run.place[2]] for run in shared if run.place is not None):
        return None
    other = str(known[0].folder)
    if shared or os.path.isdir(other):
        return other
    log.warning("results of this name were computed from '%s', which is not here: taken for the same run", other)
    return None


def here(place: ResolvedCheckpoint | CheckpointError) -> ResolvedCheckpoint | CheckpointError:
    """A place whose weights can be compared with others; an error for a checkpoint that is gone."""
    is_gone = isinstance(place, ResolvedCheckpoint) and place.folder is None and place.cell.revision is None
    return CheckpointError("is gone") if is_gone else place
