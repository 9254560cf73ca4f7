"""What a job is for and under which names its results are kept: its tasks, where its checkpoint is, and its keys.

Two results with one key have the same numbers: what determines a number is in the key, and nothing else is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evalrun import checkpoints
from evalrun.checkpoints import downloads
from evalrun.checkpoints.suites import allowed, check, checkpoint_of, identity_of_gone
from evalrun.config.schema import Config
from evalrun.core.errors import CheckpointError
from evalrun.journal import result_files
from evalrun.tasks import task_file

_files: dict[tuple[Any, ...], list[task_file.TaskFile]] = {}


def files_of_sweep(config: Config) -> list[task_file.TaskFile]:
    """The tasks of a job; read once a sweep, whose jobs are then all scored on the same."""
    if config.sweep is None:
        return task_file.resolve_for(config)
    asked = (config.sweep, *config.tasks, config.data_dir, config.trust_task_code, config.profile)
    if asked not in _files:
        _files[asked] = task_file.resolve_for(config)
    return _files[asked]


def forget() -> None:
    """Read tasks again when they are needed next: in one process their files may change between sweeps."""
    _files.clear()


def try_to_locate(config: Config) -> checkpoints.ResolvedCheckpoint | CheckpointError:
    """Where a job's checkpoint is, or why it cannot be had; what is done needs no files, if its place is remembered."""
    cell = checkpoint_of(config)
    if (identity := identity_of_gone(config)) is not None:
        return checkpoints.ResolvedCheckpoint(cell, identity, None, None)
    try:
        check(config)
        return allowed.locate(config, cell)
    except CheckpointError as error:
        return downloads.recall(cell) or error  # what is done needs no files


def result_keys(
    config: Config, located: checkpoints.ResolvedCheckpoint, files: Sequence[task_file.TaskFile]
) -> tuple[str, dict[str, str]]:
    """Names by content: of the MLflow run (checkpoint and settings) and of each task's result in it.

    Two results with one key have the same numbers; anything that can change a number is in the key.
    """
    return keys_by_identity(config, located.identity, files)


def keys_by_identity(config: Config, identity: str, files: Sequence[task_file.TaskFile]) -> tuple[str, dict[str, str]]:
    """`result_keys` of a checkpoint whose identity is known already: from its journal, or from the store."""
    settings = {"identity": identity, **_determining(config)}
    shots, version = config.num_fewshot, task_file.lm_eval_version()
    own = {kind: allowed.left_out(config, identity, kind) for kind in {file.is_rolling for file in files}}
    keys = {
        file.name: result_files.digest([settings, file.name, file.digest_for(shots), version, *own[file.is_rolling]])
        for file in files
    }
    return run_key_of(config, identity, task_file.options_of(files)), keys


def run_key_of(config: Config, identity: str, options: Mapping[str, Any]) -> str:
    """The run's key alone. A run holds a task once, so with options that a group sets it is another run."""
    settings = {"identity": identity, **_determining(config)}
    return result_files.digest(settings | ({"options": options} if options else {}))


def state_name(config: Config) -> str:
    """What tells a job from others in its folder, known before the checkpoint is found."""
    return result_files.digest(_determining(config))


def _determining(config: Config) -> dict[str, Any]:
    """What determines the numbers, beside the checkpoint's files and the tasks."""
    scorer, cell = config.scorer, checkpoint_of(config)
    return {
        "suite": cell.suite,
        "model": cell.model,
        "seed": cell.seed,
        "step": cell.step,
        "scorer": [scorer.name, scorer.dtype, scorer.softmax_dtype, scorer.logits_cache, scorer.encoding]
        + [scorer.allow_not_finite] * (scorer.allow_not_finite > 0)
        + [scorer.ties] * (scorer.ties != ("first" if config.profile == "as_published" else "expected")),
        "profile": config.profile,
        "num_fewshot": config.num_fewshot,
        "limit": config.limit,
    }
