"""A task's score as a record: what is kept with its numbers, and the line that says them."""

from __future__ import annotations

import json
from typing import Any

from evalrun.config.schema import Config
from evalrun.config.scoring_settings import ScoringSettings
from evalrun.core.records import TaskResult
from evalrun.core.text import counted
from evalrun.tasks.task_file import TaskFile


def about(file: TaskFile, score: Any) -> dict[str, Any]:
    """What a result says about its task, and what the task's score says."""
    return {
        "task": file.name,
        "title": file.title,
        "cause": str(file.metadata.get("cause", "")),
        "role": str(file.metadata.get("role", "")),
        "primary_metric": score.primary,
        "higher_is_better": score.higher_is_better,
        "lower": score.lower,
        "metrics": score.metrics,
        "stderrs": score.stderrs,
        "n": score.n,
    }


def settings(config: Config, file: TaskFile, score: Any, device: str, dtype: str, scored_by: str) -> dict[str, Any]:
    """What determined the numbers, and where they depart from lm-eval's, for a person to read."""
    return {
        **ScoringSettings.of(config).in_record(dtype),
        "scored_by": scored_by,
        "device": device,
        "batch_size": config.scorer.batch_size,
        "num_fewshot": score.num_fewshot,
        "task_file": file.path.name,
        "task_digest": file.digest,
        "task_config": json.loads(json.dumps(file.config, default=str)),
        "data_files": [str(path) for path in file.data_files],
        "release_verified": file.release_verified,
        "ties": score.ties,
        "parted": score.parted,
        "not_finite": score.lost,
        **({"thinking_unended": score.unended} if score.unended else {}),
        **score.texts,
    }


def said(result: TaskResult) -> str:
    """`neqa: acc 0.6100 +- 0.0282 on 300 items, 2 ties, 4.1 s`."""
    value, stderr = result.metrics[result.primary_metric], result.stderrs.get(result.primary_metric)
    spread = "" if stderr is None else f" +- {stderr:.4f}"
    ties, lost, parted = result.ties, result.settings.get("not_finite", 0), result.settings.get("parted", 0)
    more = f", {counted(ties, 'tie')}" if ties else ""
    more += f", {parted} scored from where their tokens part" if parted else ""
    more += f", {lost} with a log-likelihood that is not finite" if lost else ""
    thinking = result.settings.get("thinking_unended", 0)
    more += f", {counted(thinking, 'text')} cut off before its thinking ended" if thinking else ""
    return (
        f"{result.task}: {result.primary_metric} {value:.4f}{spread} on {counted(result.n, 'item')}{more}, "
        f"{result.seconds:.1f} s"
    )
