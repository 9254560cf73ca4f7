"""What is written on a checkpoint's run, and how it is read again: the one place that knows both.

A task leaves two tags on the run. `evalrun.task.<task>` is its key; it is written last, so that its presence says that
all else of the task is there. `evalrun.about.<task>` is compact JSON with what the metrics cannot carry: names as they
were before MLflow's rules, title, cause, item count. `evalrun.cell` is the checkpoint itself.
"""

from __future__ import annotations

import json
import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from evalrun.core.errors import TrackingError
from evalrun.core.records import Checkpoint, TaskResult, higher_of
from evalrun.tracking.slugs import metric_key, stderr_key, task_slug

TASK = "evalrun.task."
ABOUT = "evalrun.about."
CELL = "evalrun.cell"
KEY = "evalrun.run_key"
KIND = "evalrun.kind"
IDENTITY = "evalrun.identity"  # of the checkpoint: with the settings it makes the key
FOLDER = "evalrun.folder"  # of the training run, in full; none for a model of the hub
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

Kind = TypeVar("Kind", "TaskEntry", Checkpoint)
log = logging.getLogger(__name__)
_unread: set[str] = set()  # tags that were told of

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

    @classmethod
    def of(cls, result: TaskResult) -> TaskEntry:
        """What a run that holds this result says about it."""
        finite = {name: value for name, value in result.metrics.items() if math.isfinite(value)}
        fewshot = lookup(result, "num_fewshot", "fewshot")
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
            fewshot=fewshot if isinstance(fewshot, int) else None,
            seconds=result.seconds,
            finished_ms=result.finished_ms,
            key=result.key,
            role=result.role[:200],
            lower=result.lower,
        )

    def is_higher_better(self, metric: str) -> bool:
        """Whether more is better of one of its metrics."""
        return higher_of(metric, self.primary, self.higher, self.lower)

    def to_tags(self) -> dict[str, str]:
        """The task's two tags, the key last.

        Raises:
            TrackingError: when the metrics' names do not fit a tag.
        """
        about = {name: value for name, value in vars(self).items() if name != "key"}
        text = json.dumps(about, separators=(",", ":"))
        if len(text) > TAG_LIMIT:
            raise TrackingError(
                f"the {len(self.metrics)} metric names of task '{self.task}' take {len(text)} characters, and MLflow "
                f"keeps {TAG_LIMIT}; shorten the task's metric_list."
            )
        return {ABOUT + task_slug(self.task): text, TASK + task_slug(self.task): self.key}


@dataclass(frozen=True)
class RunEntry:
    """A run of the store: which checkpoint's it is, and what it holds."""

    place: tuple[str, int | None, int] | None  # model, seed, step
    identity: str | None  # None on runs of earlier versions, and of results that were computed elsewhere
    tasks: dict[str, str]  # task -> task key
    finished_ms: dict[str, int]  # task -> when its result was computed
    folder: str | None = None  # of the training run; None for the hub's, and on runs of earlier versions

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> RunEntry:
        """Read from a run's tags."""
        entries = held(tags).values()
        cell = cell_of(tags)
        return cls(
            place=None if cell is None else (cell.model, cell.seed, cell.step),
            identity=tags.get(IDENTITY),
            tasks={entry.task: entry.key for entry in entries},
            finished_ms={entry.task: entry.finished_ms for entry in entries},
            folder=tags.get(FOLDER),
        )


def by_place(filed: Mapping[str, Mapping[str, RunEntry]]) -> dict[tuple[object, ...], list[RunEntry]]:
    """The runs of each checkpoint: (suite, model, seed, step) -> its runs, from suite -> run key -> run."""
    found: dict[tuple[object, ...], list[RunEntry]] = defaultdict(list)
    for suite, runs in filed.items():
        for run in runs.values():
            if run.place is not None:
                found[suite, *run.place].append(run)
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


def cell_of(tags: Mapping[str, str]) -> Checkpoint | None:
    """The checkpoint that a run is of; None where no tag of it says so."""
    return _read(Checkpoint, tags, CELL) if tags.get(CELL) else None


def with_cell(tags: Mapping[str, str], cell: Checkpoint) -> str:
    """The tag of a checkpoint; what a later version said beside is kept."""
    there = _mapping(tags.get(CELL)) or {}
    return json.dumps({**there, **vars(cell)}, separators=(",", ":"))


def sweeps_of(tags: Mapping[str, str]) -> list[str]:
    """Every sweep that wanted the run."""
    try:
        said = json.loads(tags.get(SWEEPS, "[]"))
    except ValueError:
        return []
    return [str(name) for name in said] if isinstance(said, list) else []


def _read(kind: type[Kind], tags: Mapping[str, str], name: str, **more: str) -> Kind | None:
    """What a tag holds, or None, which is said once: others may have copied or edited it."""
    said = _mapping(tags[name])
    try:
        known = {field.name for field in fields(kind)}
        return kind(**{key: value for key, value in (said or {}).items() if key in known} | more)
    except TypeError:
        if tags[name] not in _unread:
            _unread.add(tags[name])
            log.warning("a run's tag '%s' is not as evalrun writes it, so what it speaks of is passed over", name)
        return None


def _mapping(text: str | None) -> dict[str, Any] | None:
    try:
        said = json.loads(text or "null")
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def made_by(tags: Mapping[str, str]) -> str:
    """What a note says of the command that made the results; nothing where none is known."""
    command = tags.get(COMMAND)
    # Four spaces make a line code in Markdown, whatever it holds.
    return "\n\nMade by\n" + "".join(f"\n    {line}" for line in command.splitlines()) if command else ""


def metrics_of(result: TaskResult) -> dict[str, float]:
    """A task's MLflow metrics, finite ones only."""
    values = {metric_key(name, result.task): value for name, value in result.metrics.items()}
    values |= {stderr_key(name, result.task): value for name, value in result.stderrs.items() if name in result.metrics}
    values[f"n/{task_slug(result.task)}"] = float(result.n)
    if result.chance is not None:
        values[f"chance/{task_slug(result.task)}"] = result.chance
    if result.ties:
        values[f"ties/{task_slug(result.task)}"] = float(result.ties)
    return {key: float(value) for key, value in values.items() if math.isfinite(value)}


def summary(cell: Checkpoint, entries: Iterable[TaskEntry], values: Mapping[str, float]) -> dict[str, float]:
    """The run's metrics over all its tasks, and the checkpoint's numbers: MLflow searches and plots metrics only."""
    entries = list(entries)
    accuracies = [values[metric_key("acc", entry.task)] for entry in entries if "acc" in entry.metrics]
    mean = {"acc/mean": math.fsum(accuracies) / len(accuracies)} if accuracies else {}
    return {
        **mean,
        "tokens": float(cell.tokens),
        "step": float(cell.step),
        "n_params": float(cell.n_params),
        "n_params_nonembedding": float(cell.n_params_nonembedding),
        "flops": float(cell.flops),
        "seconds": math.fsum(entry.seconds for entry in entries),
    }


def params_of(result: TaskResult) -> dict[str, str]:
    """What MLflow shows as parameters: it never lets them change, so only what belongs to the run for good."""
    cell = result.cell
    wanted = {
        "model": cell.model,
        "n_params": cell.n_params,
        "n_params_nonembedding": cell.n_params_nonembedding,
        "n_params_nominal": cell.n_params_nominal,
        "step": cell.step,
        "tokens": cell.tokens,
        "seed": cell.seed,
        "revision": cell.revision,
        "location": cell.location,
        "scorer": lookup(result, "scorer", "name"),
        "dtype": lookup(result, "dtype"),
        "limit": lookup(result, "limit"),
    }
    return {name: str(value) for name, value in wanted.items() if value is not None and value != ""}


def settings_label(result: TaskResult) -> str:
    """How the run was scored, in a few words; runs of one model that differ here are different curves."""
    words = [str(lookup(result, name)) for name in ("scorer", "dtype") if lookup(result, name) is not None]
    if (profile := lookup(result, "profile")) not in (None, "corrected"):
        words.append(str(profile))
    if (limit := lookup(result, "limit")) is not None:
        words.append(f"limit {limit}")
    if (shots := lookup(result, "num_fewshot_asked")) is not None:
        words.append(f"{shots}-shot")
    if groups := result.settings.get("group_options"):
        words.append(f"options of {'+'.join(sorted(groups))}")
    return " ".join(words)


def lookup(result: TaskResult, *names: str) -> Any:
    """The first of these settings that the result has: at the top, under `scorer`, or in its environment; or None."""
    scorer = result.settings.get("scorer")
    nested = scorer if isinstance(scorer, dict) else {}
    for name in names:
        for place in (result.settings, nested, result.environment):
            value = place.get(name)
            if value is not None and not isinstance(value, dict | list):
                return value
    return nested.get("name") if "scorer" in names else None
