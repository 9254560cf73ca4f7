"""The data that a checkpoint was evaluated on, as MLflow's own datasets: filters and the run's page list them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from evalrun.core.records import TaskResult

_DIGEST_LIMIT = 36  # characters (mlflow.utils.validation.MAX_DATASET_DIGEST_SIZE)
_NAME_LIMIT = 500
CONTEXT = "eval"  # what the data is used for, in MLflow's words


class UsedData(NamedTuple):
    """The fields of one of MLflow's datasets."""

    name: str
    digest: str
    source_type: str
    source: str  # JSON
    profile: str  # JSON


def used_by(results: Iterable[TaskResult]) -> list[UsedData]:
    """A dataset for each task whose data is known: named as the task, with the digest of the task and its data."""
    found = {}
    for result in results:
        if digest := result.settings.get("task_digest"):
            key = result.task[:_NAME_LIMIT], str(digest)[:_DIGEST_LIMIT]
            kind, source = _source(result.settings)
            found[key] = UsedData(*key, kind, json.dumps(source), json.dumps({"num_rows": result.n}))
    return list(found.values())


def inputs_of(results: Iterable[TaskResult]) -> list[Any]:
    """The data of `used_by` as MLflow's client takes it."""
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    return [
        DatasetInput(Dataset(*data[:4], profile=data.profile), [InputTag(MLFLOW_DATASET_CONTEXT, CONTEXT)])
        for data in used_by(results)
    ]


def _source(settings: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """MLflow's name for the kind of source, and where it is."""
    if files := settings.get("data_files"):
        return "local", {"uri": ", ".join(str(path) for path in files)}
    config = settings.get("task_config") or {}
    split = config.get("test_split") or config.get("validation_split")
    return "hf", {"path": config.get("dataset_path"), "config_name": config.get("dataset_name"), "split": split}
