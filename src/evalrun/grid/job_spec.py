"""One job, from the plan to the process that runs it: what is known of it is found out once and goes along."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from evalrun.checkpoints import ResolvedCheckpoint, adapter_files, conversions
from evalrun.checkpoints.suites import ReleasedStep
from evalrun.config.schema import Config
from evalrun.config.training_stages import in_stage
from evalrun.core.errors import CheckpointError, ConfigError, TaskError
from evalrun.core.records import Checkpoint
from evalrun.grid import job_keys
from evalrun.journal import job_state
from evalrun.tasks import first_row, task_file

Stamp = frozenset[tuple[str, int, int]]  # name, bytes and time of change (ns) of files


class JobTasks:
    """The tasks of jobs that ask for the same: read once, when they are first asked for, so that all score the same.

    Args:
        config: Of any of the jobs.
    """

    def __init__(self, config: Config) -> None:
        self._config = config

    @cached_property
    def files(self) -> tuple[task_file.TaskFile, ...]:
        """In order.

        Raises:
            TaskError: files that are no task configs, or whose data is absent.
        """
        return tuple(task_file.resolve_for(self._config))

    def checked(self) -> tuple[task_file.TaskFile, ...]:
        """Read them before anything runs: what is wrong with them then is a mistake of the request.

        Raises:
            ConfigError: as `files`, or templates that name a column which local data lacks; all at once.
        """
        try:
            files = self.files
            found = list(first_row.problems(files))
        except TaskError as error:
            raise ConfigError(error.problems) from error
        if found:
            raise ConfigError(found)
        return files


@dataclass(frozen=True)
class JobResults:
    """Under which names a job's results are kept, and of which checkpoint they are."""

    located: ResolvedCheckpoint
    run_key: str
    keys: Mapping[str, str]  # task -> key
    files: Stamp  # of a local checkpoint, when it was looked at


@dataclass(frozen=True)
class JobSpec:
    """One checkpoint to evaluate. It can be pickled: a worker gets it as the plan made it."""

    cell: Checkpoint
    config: Config
    overrides: tuple[str, ...]  # that make its config
    folder: Path  # where its journal is
    tasks: JobTasks
    release: ReleasedStep  # what its suite says of its step
    group: int = 0  # which of the plan's composed configs is its own but for the step
    number: int = 0  # its place in the plan
    turn: int = 0  # jobs of an earlier turn go out first
    index: int = 0  # in its launch
    only: tuple[str, ...] | None = None  # tasks to score now; None: all. Keys and runs are those of all
    results: JobResults | None = None  # None until a sweep has started

    @property
    def files(self) -> tuple[task_file.TaskFile, ...]:
        """Its tasks; read when they are first asked for."""
        return self.tasks.files

    @property
    def asked(self) -> tuple[task_file.TaskFile, ...]:
        """Those of its tasks that are to be scored now."""
        return self.files if self.only is None else tuple(file for file in self.files if file.name in self.only)

    @property
    def words(self) -> tuple[str, ...]:
        """Its overrides, the name of its sweep included: in quotes, because to Hydra 63e8210975 is a number."""
        return (*self.overrides, *([] if self.config.sweep is None else [f"sweep='{self.config.sweep}'"]))

    @property
    def key(self) -> str:
        """What tells it from the other jobs of a sweep, in this launch and the next."""
        return " ".join(self.words)

    @property
    def resources(self) -> Mapping[str, float]:
        """What its model's config asks a cluster for: cpus, gpus."""
        return self.config.model.resources

    @property
    def state(self) -> Path:
        """The file in which it says what it is at, from the command's folder."""
        return job_state.path_of(self.folder, job_keys.state_name(self.config))

    def of_sweep(self, name: str | None) -> JobSpec:
        """This job as a sweep's."""
        return replace(self, config=replace(self.config, sweep=name))

    def stamp(self) -> Stamp:
        """The files of its checkpoint as they are now; none of one that is on the hub."""
        if self.cell.revision is not None:
            return frozenset()
        places = [self.cell.location, *([] if self.cell.tokenizer is None else [self.cell.tokenizer])]
        if (base := adapter_files.base_folder(self.cell.location, in_stage(self.config).model.base)) is not None:
            places.append(base)
        if self.config.checkpoint.convert is not None:
            inputs = conversions.tree(Path(self.cell.location))
            return frozenset((name, size, mtime) for name, size, _, mtime, _ in inputs)
        return frozenset(file for place in places for file in _files(place))


def refuse_changed(job: JobSpec, before: Stamp) -> None:
    """See that no file of a job's checkpoint changed since it was looked at: what was read may be of two saves.

    Args:
        job: The job.
        before: `JobSpec.stamp` when it was looked at.

    Raises:
        CheckpointError: one did.
    """
    cell = job.cell
    if cell.revision is not None or job.config.checkpoint.convert is not None:
        return
    now = {file for file in _files(cell.location) if not os.path.isdir(os.path.join(cell.location, file[0]))}
    if changed := sorted(name for name, *_ in now - before):
        raise CheckpointError(
            f"'{cell.location}' of {cell.label} changed while it was read ({', '.join(changed[:3])}): run the same "
            "command again when it is at rest."
        )


def _files(folder: str) -> list[tuple[str, int, int]]:
    try:
        with os.scandir(folder) as found:
            entries = [(entry.name, entry.stat(follow_symlinks=entry.is_file())) for entry in found]
    except OSError:
        return []
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in entries]
