"""Scoring that goes on past a faulty task: the others of its job are scored, and it is said at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from evalrun import scoring
from evalrun.config.asking import chat_in, generation_in
from evalrun.config.schema import Config
from evalrun.core.errors import CheckpointError, TaskError
from evalrun.scoring.generation.thinking import think_end
from evalrun.tasks import builder, task_faults
from evalrun.tasks.chat_prompts import ChatPrompts, makes_other_prompts
from evalrun.tasks.task_file import TaskFile


def ready(
    config: Config, files: Sequence[TaskFile], chat: ChatPrompts | None = None
) -> tuple[dict[str, Any], dict[str, int], list[str]]:
    """Tasks with their rows checked and their prompts made, how many requests each has, and what is wrong with others.

    Args:
        config: The job's.
        files: The tasks.
        chat: Makes prompts of the checkpoint's tokenizer. Where that is needed and not there yet, no prompt is made,
            and no request is counted.

    Raises:
        TaskError: none of them can be scored.
    """
    waits = chat is None and makes_other_prompts(chat_in(config))
    built, counts, faults = {}, {}, []
    for file in files:
        try:
            task = builder.build([file], config.num_fewshot, generation_in(config), chat)[file.name]
            counts[file.name] = 0 if waits else scoring.count_requests(task, config.limit)
            built[file.name] = task
        except TaskError as error:
            faults += error.problems
    if not built:
        raise TaskError(faults)
    return built, counts, faults


def set_up(lm: Any, config: Config) -> None:
    """Tell a scorer what a job says of drawing texts, and of what is cut from them."""
    lm.seed = config.generation.seed
    lm.think_end_token = think_end(getattr(lm, "tokenizer", None), chat_in(config).get("think_end"))


def scored(
    lm: Any,
    built: Mapping[str, Any],
    files: Sequence[TaskFile],
    config: Config,
    label: str,
    faults: list[str],
) -> dict[str, Any]:
    """The scores of some tasks; where one of several cannot be scored, each is scored alone, and that one is said.

    Args:
        lm: The checkpoint.
        built: Task name -> lm-eval's task object.
        files: The tasks to score at once.
        config: The job's.
        label: The checkpoint in words.
        faults: What is wrong with tasks; sentences are added.

    Returns:
        Task name -> `scoring.Score`, of those that could be scored.

    Raises:
        CheckpointError: memory is short.
    """
    bundle = {file.name: built[file.name] for file in files}
    try:
        with task_faults.faults_named(files, label):
            return scoring.score(lm, bundle, config.limit, config.scorer.bootstrap_iters, config.scorer.ties)
    except torch.OutOfMemoryError:
        raise CheckpointError(
            f"{label}: no memory left on {lm.device} at {', '.join(bundle)} with scorer.batch_size="
            f"{config.scorer.batch_size}: lower it."
        ) from None
    except TaskError as error:
        if len(files) == 1:
            faults += error.problems
            return {}
    found: dict[str, Any] = {}
    for file in files:
        found |= scored(lm, built, [file], config, label, faults)
    return found


def conclude(label: str, lost: Mapping[str, scoring.Score], model: Any, faults: Sequence[str]) -> None:
    """Say which tasks of a job have no result.

    Raises:
        CheckpointError: log-likelihoods that are not finite.
        TaskError: tasks that are at fault themselves.
    """
    if lost:
        raise CheckpointError([scoring.why_lost(label, lost, model), *faults])
    if faults:
        raise TaskError(faults)
