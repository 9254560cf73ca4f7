"""Under which names a job's results are kept.

Two results with one key have the same numbers: what determines a number is in the key, and nothing else is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from evalrun import checkpoints
from evalrun.checkpoints.suites import allowed, checkpoint_of
from evalrun.config.asking import chat_in
from evalrun.config.schema import Config
from evalrun.config.scoring_settings import ScoringSettings
from evalrun.core.records import Checkpoint
from evalrun.journal import result_files
from evalrun.tasks import task_file


def keys_by_identity(
    config: Config, identity: str, files: Sequence[task_file.TaskFile], cell: Checkpoint | None = None
) -> tuple[str, dict[str, str]]:
    """Names by content: of the MLflow run (checkpoint and settings) and of each task's result in it.

    Args:
        config: The job's.
        identity: Of its checkpoint.
        files: Its tasks.
        cell: Its checkpoint, where it is known.
    """
    settings = result_files.canonical(
        {"identity": identity, **_determining(config), **_template(config, identity, cell)}
    )
    shots, version = config.num_fewshot, task_file.lm_eval_version()
    own = {kind: allowed.left_out(config, identity, kind, cell) for kind in {file.is_rolling for file in files}}
    keys = {}
    for file in files:  # the digest of [settings, name, ...]: grids ask for a hundred thousand, alike but for settings
        rest = _canonical_rest(file.name, file.digest_for(shots), version, *own[file.is_rolling])
        keys[file.name] = result_files.digest_of_text(f"[{settings}, {rest}")
    options = task_file.options_of(files)
    return run_key_of(config, identity, options, cell) if options else result_files.digest_of_text(settings), keys


@lru_cache(maxsize=10_000)
def _canonical_rest(*items: str) -> str:
    return result_files.canonical(items).removeprefix("[")


def run_key_of(config: Config, identity: str, options: Mapping[str, Any], cell: Checkpoint | None = None) -> str:
    """The run's key alone. A run holds a task once, so with options that a group sets it is another run."""
    settings = {"identity": identity, **_determining(config), **_template(config, identity, cell)}
    return result_files.digest(settings | ({"options": options} if options else {}))


def _template(config: Config, identity: str, cell: Checkpoint | None) -> dict[str, str]:
    """The chat templates of a checkpoint's folder, where prompts are made by one and the identity does not tell it."""
    if chat_in(config).get("template", False) is False:
        return {}
    found = checkpoints.templates_digest(allowed.named(cell or checkpoint_of(config), identity), config.scorer.cache)
    return {"chat_template": found} if found else {}


def state_name(config: Config) -> str:
    """What tells a job from others in its folder, known before the checkpoint is found."""
    return result_files.digest(_determining(config))


def _determining(config: Config) -> dict[str, Any]:
    """What determines the numbers, beside the checkpoint's files and the tasks."""
    return {
        "suite": config.checkpoint.suite,
        "model": config.model.name,
        "seed": config.checkpoint.seed,
        "step": config.step,
        **({} if config.stage is None else {"stage": config.stage}),
        **ScoringSettings.of(config).in_key(),
    }
