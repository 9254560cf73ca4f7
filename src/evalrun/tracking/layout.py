"""What is written on a checkpoint's run, and how it is read again: the one place that knows both.

A task leaves two tags on the run. `evalrun.task.<task>`, its key, is written last: where it is, all else is there too.
`evalrun.about.<task>` is compact JSON with what metrics cannot carry, `evalrun.cell` the checkpoint itself.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

from evalrun.core.errors import TrackingError
from evalrun.core.records import Checkpoint, TaskResult, higher_of
from evalrun.tracking import run_values
from evalrun.tracking.slugs import task_slug

TASK = "evalrun.task."
ABOUT = "evalrun.about."
CELL = "evalrun.cell"
KEY = "evalrun.run_key"
KIND = "evalrun.kind"
IDENTITY = "evalrun.identity"  # of the checkpoint: with the settings it makes the key
FOLDER = "evalrun.folder"  # of the training run, in full; none for a model of the hub
TOKENIZER = "evalrun.tokenizer"  # digest of its tokens and of how it parts a text
BUNDLE = "evalrun.bundle"  # JSON: name, digest and day of the bundle that others' results came in
SETTINGS = "evalrun.settings"
HARDWARE = "evalrun.hardware"  # what scored it, as provenance.label says it
STATE = "evalrun.state"
SWEEP = "evalrun.sweep"
SWEEPS = "evalrun.sweeps"  # JSON list: every sweep that wanted the run
COMMAND = "evalrun.command"  # that made the latest sweep, masked; on experiments and runs
COLOR = "mlflow.runColor"
PAGE = "evalrun.page"  # a report's artifact that a person wants to open
NOTE = "mlflow.note.content"
ALARM = "evalrun.alarm"  # JSON: what fell, where a watch found that something did
ALARM_NOTE = "\n\n**Worse than before:**"  # begins its part of the note

Delivery = Sequence[tuple[TaskResult, Path | None]]
"""Task results, each with its Parquet file of per-item results; None where only the results are known."""

Kind = TypeVar("Kind", "TaskEntry", Checkpoint)
log = logging.getLogger(__name__)
_unread: set[str] = set()  # tags that were told of
_compact = json.JSONEncoder(separators=(",", ":")).encode
TAG_LIMIT = 8000  # characters; MLflow cuts what is longer (mlflow.utils.validation.MAX_TAG_VAL_LENGTH)


@dataclass(frozen=True)
class TaskEntry:
    """A task that a run holds."""

    task: str
    title: str
    cause: str
    primary: str  # metric
    higher: bool
    metrics: dict[str, bool]  # name -> whether a standard error was logged with it
    missing: dict[str, str]  # metrics that are not finite, as text: MLflow would store inf as 1.797e308
    n: int
    chance: float | None
    fewshot: int | None
    seconds: float
    finished_ms: int
    key: str = ""
    role: str = ""  # runs written before controls were told apart lack it
    lower: list[str] | None = None  # metrics of which less is better; None on runs written before it was kept
    disputed: str = ""  # other values that its sources gave for it
    version: str | float = ""  # of the task, as lm-eval says it; empty where it is not known

    @classmethod
    def of(cls, result: TaskResult) -> TaskEntry:
        """What a run that holds this result says about it."""
        finite = {name: value for name, value in result.metrics.items() if math.isfinite(value)}
        return cls(
            task=result.task,
            title=result.title[:200],
            cause=result.cause[:200],
            primary=result.primary_metric,
            higher=result.higher_is_better,
            metrics={name: math.isfinite(result.stderrs.get(name, math.nan)) for name in finite},
            missing={name: str(value) for name, value in result.metrics.items() if name not in finite},
            n=result.n,
            chance=result.chance,
            fewshot=run_values.fewshot_of(result),
            seconds=result.seconds,
            finished_ms=result.finished_ms,
            key=result.key,
            role=result.role[:200],
            lower=result.lower,
            disputed=str(result.settings.get("disputed", ""))[:1000],
            version=run_values.task_version(result),
        )

    def is_higher_better(self, metric: str) -> bool:
        """Whether more is better of one of its metrics."""
        return higher_of(metric, self.primary, self.higher, self.lower)

    def to_tags(self) -> dict[str, str]:
        """The task's two tags, the key last.

        Raises:
            TrackingError: when the metrics' names do not fit a tag.
        """
        about = {k: v for k, v in vars(self).items() if k != "key" and (v != "" or k not in ("disputed", "version"))}
        text = _compact(about)
        if len(text) > TAG_LIMIT:
            raise TrackingError(
                f"the {len(self.metrics)} metric names of task '{self.task}' take {len(text)} characters, and MLflow "
                f"keeps {TAG_LIMIT}; shorten the task's metric_list."
            )
        return {ABOUT + task_slug(self.task): text, TASK + task_slug(self.task): self.key}


@dataclass(frozen=True)
class RunEntry:
    """A checkpoint's run of the store: what its state and its tags tell of it."""

    run_id: str
    ended: bool
    tags: Mapping[str, str]

    @property
    def run_key(self) -> str:
        """What results belong to it."""
        return self.tags[KEY]

    @cached_property
    def checkpoint(self) -> Checkpoint | None:
        """Whose it is; None where no tag says so."""
        return cell_of(self.tags)

    @property
    def _cell(self) -> Checkpoint:
        assert self.checkpoint is not None  # asked of runs of `Store.past` alone, which have one
        return self.checkpoint

    @property
    def model(self) -> str:
        """The checkpoint's model."""
        return self._cell.model

    @property
    def n_params(self) -> int:
        """Its parameters, embeddings included."""
        return self._cell.n_params

    @property
    def step(self) -> int:
        """Its training step."""
        return self._cell.step

    @property
    def seed(self) -> int | None:
        """Its training seed."""
        return self._cell.seed

    @property
    def place(self) -> tuple[str, int | None, int] | None:
        """Model, seed, step."""
        cell = self.checkpoint
        return None if cell is None else (cell.model, cell.seed, cell.step)

    @cached_property
    def entries(self) -> dict[str, TaskEntry]:
        """The tasks that it holds completely, by name."""
        return held(self.tags)

    @cached_property
    def _known(self) -> dict[str, tuple[str, int]]:  # the rest is not kept: a store may have many thousand runs
        return _keys_in(self.tags)

    @cached_property
    def tasks(self) -> dict[str, str]:
        """Task -> task key."""
        return {task: key for task, (key, _) in self._known.items()}

    @cached_property
    def finished_ms(self) -> dict[str, int]:
        """Task -> when its result was computed."""
        return {task: finished for task, (_, finished) in self._known.items()}

    def holds(self, results: Iterable[TaskResult]) -> bool:
        """Whether all of these are on it."""
        return all(self.tasks.get(result.task) == result.key for result in results)

    @property
    def identity(self) -> str | None:
        """The checkpoint's; None on runs of earlier versions, and of results that were computed elsewhere."""
        return self.tags.get(IDENTITY)

    @property
    def folder(self) -> str | None:
        """The training run's; None for the hub's, and on runs of earlier versions."""
        return self.tags.get(FOLDER)

    @property
    def tokenizer(self) -> str:
        """Digest of the tokenizer; empty where that was not noted."""
        return self.tags.get(TOKENIZER, "")

    @property
    def settings(self) -> str:
        """How it was scored, in a few words."""
        return self.tags.get(SETTINGS, "")

    @property
    def hardware(self) -> str:
        """What scored it; empty where that was not noted."""
        return self.tags.get(HARDWARE, "")


@dataclass(frozen=True)
class Origin:
    """Where the results of a run key come from, as far as the journal knows."""

    sweep: str | None = None
    config_yaml: str | None = None


_REQUIRED = {field.name for field in fields(TaskEntry) if field.default is MISSING}
_FIELDS: dict[type, frozenset[str]] = {  # a task's key has a tag of its own
    kind: frozenset(field.name for field in fields(kind)) - {"key"} for kind in (TaskEntry, Checkpoint)
}


def by_key(runs: Iterable[RunEntry]) -> dict[str, RunEntry]:
    """Runs, newest first, by their keys; of twins the one that holds most, then the oldest."""
    found: dict[str, RunEntry] = {}
    for run in runs:
        other = found.get(run.run_key)
        if other is None or len(run.tasks) >= len(other.tasks):
            found[run.run_key] = run
    return found


def held(tags: Mapping[str, str]) -> dict[str, TaskEntry]:
    """The tasks that a run holds completely, by name; what a later version says beside is passed over."""
    found = {}
    for tag, key in tags.items():
        name = ABOUT + tag.removeprefix(TASK)
        if tag.startswith(TASK) and tags.get(name):
            entry = _read(TaskEntry, tags, name, key=key)
            if entry is not None:
                found[entry.task] = entry
    return found


def _keys_in(tags: Mapping[str, str]) -> dict[str, tuple[str, int]]:
    """Task -> key of its result and when that was computed, of the tasks of `held`."""
    there = [(key, tags.get(ABOUT + tag.removeprefix(TASK))) for tag, key in tags.items() if tag.startswith(TASK)]
    about = [(key, text) for key, text in there if text]
    try:  # read at once: a store may have a hundred thousand
        said = json.loads(f"[{','.join([text for _, text in about])}]")
        if len(said) == len(about) and all(one.keys() >= _REQUIRED for one in said):
            return {one["task"]: (key, one["finished_ms"]) for one, (key, _) in zip(said, about, strict=True)}
    except (ValueError, AttributeError):
        pass  # others may have edited one
    return {entry.task: (entry.key, entry.finished_ms) for entry in held(tags).values()}


def cell_of(tags: Mapping[str, str]) -> Checkpoint | None:
    """The checkpoint that a run is of; None where no tag of it says so."""
    return _read(Checkpoint, tags, CELL) if tags.get(CELL) else None


def with_cell(tags: Mapping[str, str], cell: Checkpoint) -> str:
    """The tag of a checkpoint; what a later version said beside is kept."""
    there = _mapping(tags.get(CELL)) or {}
    return _compact({**there, **cell.to_json()})


def _read(kind: type[Kind], tags: Mapping[str, str], name: str, **more: Any) -> Kind | None:
    """What a tag holds, or None, which is said once: others may have copied or edited it."""
    try:
        return kind(**_fields(_FIELDS[kind], tags[name]), **more)
    except TypeError:
        if tags[name] not in _unread:
            _unread.add(tags[name])
            log.warning("a run's tag '%s' is not as evalrun writes it, so what it speaks of is passed over", name)
        return None


@lru_cache(maxsize=10_000)  # of an ingested table many checkpoints say the same of a task
def _fields(known: frozenset[str], text: str) -> Mapping[str, Any]:
    """What a tag's text says of some fields, to be read only."""
    return {key: value for key, value in (_mapping(text) or {}).items() if key in known}


def _mapping(text: str | None) -> dict[str, Any] | None:
    try:
        said = json.loads(text or "null")
    except ValueError:
        return None
    return said if isinstance(said, dict) else None
