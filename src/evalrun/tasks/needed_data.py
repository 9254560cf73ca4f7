"""The data of tasks: local files, or a dataset of the hub that is in the local cache or is not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evalrun.tasks.task_file import TaskFile

_BUILDERS = ("json", "csv", "parquet", "text", "arrow", "pandas")  # what `datasets` reads local files with


@dataclass(frozen=True)
class DatasetNeed:
    """One dataset that tasks need."""

    dataset: str  # with its configuration: allenai/ai2_arc (ARC-Easy)
    tasks: tuple[TaskFile, ...]
    state: str  # local, cached, missing, unknown


def data_of(files: Sequence[TaskFile]) -> list[DatasetNeed]:
    """What tasks need, each dataset once, in the order of the tasks; local files are left out."""
    found: dict[str, DatasetNeed] = {}
    for file in files:
        state = _state(file)
        if state == "local":
            continue
        path, name = file.config.get("dataset_path"), file.config.get("dataset_name")
        label = f"{path} ({name})" if name else str(path or f"code of {file.name}")
        before = found.get(label)
        found[label] = DatasetNeed(label, (*(before.tasks if before else ()), file), state)
    return list(found.values())


def _state(file: TaskFile) -> str:
    path = file.config.get("dataset_path")
    if file.data_files:
        return "local"
    if not isinstance(path, str) or file.config.get("custom_dataset") or path in _BUILDERS:
        return "unknown"  # code, or files anywhere
    if Path(path).exists():
        return "local"
    return "cached" if _is_cached(path, file.config.get("dataset_name")) else "missing"


def _is_cached(path: str, name: str | None) -> bool:
    """Whether `datasets` has made this dataset here before: namespace___name/configuration/version/digest."""
    wanted = _plain(path.replace("/", "___"))
    try:
        roots = [folder for folder in _cache().iterdir() if _plain(folder.name) == wanted]
    except OSError:
        return False
    made = [info.parents[2].name for root in roots for info in root.glob("*/*/*/dataset_info.json")]
    return any(name is None or found == name or found.startswith(f"{name}-") for found in made)


def _plain(name: str) -> str:
    """Datasets writes AI2Arc as ai2_arc; this holds for both."""
    return name.replace("_", "").lower()


def _cache() -> Path:
    from huggingface_hub import constants

    return Path(os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets").expanduser()
