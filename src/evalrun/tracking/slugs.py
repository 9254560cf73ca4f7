"""Names that MLflow takes: metric keys, tag keys and artifact files from whatever a task or metric is called.

MLflow allows letters, digits and `_ - . space : /` in keys, at most 250 characters, and no path tricks such as `..`
(mlflow.utils.validation). File systems allow less. What fits is kept as it is; anything else gets a readable stand-in
with a digest of the true name, so that no two names meet.
"""

from __future__ import annotations

from functools import lru_cache

from evalrun.core.plain_names import slug, stand_in

# Used by evalrun itself beside the tasks' and metrics' own names.
_TASKS_TAKEN = {"mean"}
_METRICS_TAKEN = {"n", "chance"}

ITEMS = "items"  # the artifact folder of per-item results


@lru_cache(maxsize=10_000)  # asked again for every checkpoint
def task_slug(task: str) -> str:
    """A task's name in metric keys, tags and artifacts."""
    return stand_in(task) if task in _TASKS_TAKEN else slug(task)


def items_path(task: str) -> str:
    """The artifact that holds a task's per-item results."""
    return f"{ITEMS}/{task_slug(task)}.parquet"


@lru_cache(maxsize=10_000)  # asked again for every checkpoint
def metric_key(metric: str, task: str) -> str:
    """`acc/memo_trap`: the part before the slash is a section of charts in the UI."""
    taken = metric in _METRICS_TAKEN or metric.endswith("_stderr")
    return f"{stand_in(metric) if taken else slug(metric)}/{task_slug(task)}"


@lru_cache(maxsize=10_000)
def stderr_key(metric: str, task: str) -> str:
    """`acc_stderr/memo_trap`."""
    return metric_key(metric, task).replace("/", "_stderr/", 1)


def free_key(name: str) -> str:
    """A key for a metric, param or tag that evalrun does not read back; keeps `/`."""
    return "/".join(slug(part) for part in name.split("/")) if len(name) <= 250 else stand_in(name)


def file_path(name: str) -> str:
    """An artifact path below the run, whatever the name says."""
    return "/".join(slug(part) for part in name.split("/") if part) or "file"
