"""From what a file says to the record that evalrun would have made: cell, names, keys."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from evalrun.commands.ingest.parsed import UNRECORDED, ParsedResult
from evalrun.commands.ingest.task_names import Task, TaskPart
from evalrun.core.records import Checkpoint, TaskResult
from evalrun.journal.result_files import digest
from evalrun.tasks.data import sha256

UNDATED_MS = 1  # for files without a date: MLflow takes 0 for "now", and a second ingest must find the same time
_COUNTED = ("acc", "acc_norm", "exact_match")  # metrics that are a share of items
# What tells two studies of one checkpoint apart; the rest of the settings is for a person to read.
_IDENTITY = (
    *("scorer", "dtype", "limit", "num_fewshot_asked", "model_args", "gen_kwargs"),
    *("system_instruction_sha", "chat_template_sha", "fewshot_as_multiturn"),
)


@dataclass(frozen=True)
class Candidate:
    """A result that may be filed: its record, the file it is from, and lm-eval's samples if there are some."""

    result: TaskResult
    file: str
    samples: Path | None

    @property
    def recorded(self) -> bool:
        """Whether its file says how it was computed."""
        return bool(self.result.settings["scorer"] != UNRECORDED)

    @property
    def place(self) -> tuple[Checkpoint, str]:
        """Checkpoint and task."""
        return self.result.cell, self.result.task


def candidate(found: ParsedResult, part: TaskPart, cell: Checkpoint) -> Candidate:
    """The record of one task.

    Args:
        found: What the file says.
        part: Which task of ours it is, and which of its metrics.
        cell: The checkpoint.
    """
    task = part.task
    metrics = {ours: found.metrics[theirs] for theirs, ours in part.metrics.items()}
    stderrs = {ours: found.stderrs[theirs] for theirs, ours in part.metrics.items() if theirs in found.stderrs}
    primary = part.metrics.get(found.primary or "") or ("acc" if "acc" in metrics else next(iter(metrics)))
    asked = None if found.num_fewshot in (None, task.num_fewshot) else found.num_fewshot
    settings = _settings_of(found, asked)
    run_key = _run_key(cell, [settings.get(key) for key in _IDENTITY])
    samples = None if found.samples is None else _digest(found.samples)
    result = TaskResult(
        key=content_key(run_key, task.name, metrics, stderrs, samples),
        run_key=run_key,
        task=task.name,
        title=task.title,
        cause=task.cause,
        primary_metric=primary,
        higher_is_better=found.higher_is_better is not False,
        metrics=metrics,
        stderrs=stderrs,
        n=found.n or _counted(metrics, stderrs) or _rows(task, found) or 0,
        chance=found.chance if found.chance is not None else task.chance,
        cell=cell,
        weights=found.weights,
        settings=settings,
        environment=found.environment,
        finished_ms=found.finished_ms or UNDATED_MS,
        seconds=0.0,
        items_sha256="",
        role=task.role,
        lower=None if found.lower is None else [part.metrics[name] for name in found.lower if name in part.metrics],
    )
    return Candidate(result, found.file, found.samples)


def content_key(
    run_key: str, task: str, metrics: dict[str, float], stderrs: dict[str, float], samples: str | None
) -> str:
    """A result's name by its content: the same from any copy of its file, wherever and whenever it was copied."""
    return digest([run_key, task, metrics, stderrs, samples])


def _run_key(cell: Checkpoint, identity: Sequence[Any]) -> str:
    """What the results of one checkpoint in one study have in common; mostly it was asked for the task before too."""
    try:
        return _digest_of(cell.suite, cell.model, cell.seed, cell.step, *identity)
    except TypeError:  # a file may hold anything there, and what cannot be hashed is not remembered
        return _digest_of.__wrapped__(cell.suite, cell.model, cell.seed, cell.step, *identity)


@lru_cache(maxsize=1000, typed=True)
def _digest_of(suite: str, model: str, seed: int | None, step: int, *identity: Any) -> str:
    return digest([{"ingested": True, **dict(zip(_IDENTITY, identity, strict=True))}, suite, model, seed, step])


def _settings_of(found: ParsedResult, asked: int | None) -> dict[str, Any]:
    """What is known of how it was scored; what many results have is kept once, and none of it is changed."""
    given = found.file, found.task, found.num_fewshot, asked, *itertools.chain.from_iterable(found.settings.items())
    try:
        return _settings(*given)
    except TypeError:  # a list or a mapping is among them
        return _settings.__wrapped__(*given)


@lru_cache(maxsize=1000, typed=True)
def _settings(file: str, task: str, fewshot: int | None, asked: int | None, *words: Any) -> dict[str, Any]:
    said = dict(zip(words[::2], words[1::2], strict=True))
    said |= {"num_fewshot": fewshot, "num_fewshot_asked": asked, "source": Path(file).name, "source_task": task}
    return {key: value for key, value in said.items() if value is not None}


def _counted(metrics: Mapping[str, float], stderrs: Mapping[str, float]) -> int | None:
    """The number of items that a share and its standard error, sqrt(p (1 - p) / (n - 1)), give away.

    Taken only where both n and the count of right items come out whole: then it is no estimate.
    """
    for name in _COUNTED:
        share, error = metrics.get(name, math.nan), stderrs.get(name, math.nan)
        if not (0 < share < 1 and error > 0):
            continue
        n = 1 + share * (1 - share) / error**2
        if n < 1e7 and abs(n - round(n)) < 1e-5 * n and abs(share * round(n) - round(share * n)) < 1e-6 * n:
            return round(n)
    return None


def _rows(task: Task, found: ParsedResult) -> int | None:
    return task.rows if found.settings.get("limit") is None else None


def _digest(path: Path) -> str:
    try:
        return sha256(path)
    except OSError:
        return "unreadable"
