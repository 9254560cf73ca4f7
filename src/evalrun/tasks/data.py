"""Local data files of tasks: put in place of the hub, and compared with the original release."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from evalrun.config.own_yaml import conf_dir
from evalrun.core.errors import TaskError
from evalrun.tasks import data_rows
from evalrun.tasks.data_rows import BUILDERS
from evalrun.tasks.packed import not_unpacked

log = logging.getLogger(__name__)
SPLITS = ("test_split", "validation_split", "training_split")


def put_data(name: str, config: dict[str, Any], data: Any) -> tuple[Path, ...]:
    """Point a config at local files; a single file serves the split that is evaluated.

    Args:
        name: The task's, for messages.
        config: Changed in place.
        data: A file, or split name -> file.

    Returns:
        The files.

    Raises:
        TaskError: a file that is absent, empty or of a format that cannot be read.
    """
    evaluated = next((config[split] for split in SPLITS[:2] if config.get(split)), "test")
    files = {str(k): Path(str(v)) for k, v in data.items()} if isinstance(data, dict) else {evaluated: Path(str(data))}
    builders = {data_rows.builder_of(path) for path in files.values()}
    for path in files.values():
        if not path.suffix and not path.exists():
            raise TaskError(f"task '{name}': data folder '{path}' is not there: {_remedy(path)}.")
    for path in files.values():
        _refuse_unknown_compression(name, path)
    if len(builders) != 1 or None in builders:
        raise TaskError(
            f"task '{name}': data {_said(files)} must end in one of {', '.join(BUILDERS)}, all alike, or be a folder "
            "(text, JSON and tables may be compressed, with .gz or .zst after that)."
        )
    for path in files.values():
        if path.is_dir() and not data_rows.files_in(path):
            raise TaskError(
                f"task '{name}': data folder '{path}' has no file that ends in one of {', '.join(BUILDERS)}."
            )
        if not path.exists():
            raise TaskError(f"task '{name}': data file '{path}' is not there: {_remedy(path)}.")
        if path.is_file() and path.stat().st_size == 0:
            raise TaskError(f"task '{name}': data file '{path}' is empty: put one item in each row.")
    if not isinstance(data, dict):
        config.update(dict.fromkeys(SPLITS))
        # Without a split for examples lm-eval takes them from all rows, the very one that is asked about among them.
        config["test_split"] = config["fewshot_split"] = evaluated
    else:
        _check_splits(name, config, files)
    config["dataset_path"] = builders.pop()
    config["dataset_name"] = None
    config["dataset_kwargs"] = {"data_files": {split: str(path.resolve()) for split, path in files.items()}}
    try:
        data_rows.text_columns(files.values())
    except TaskError as error:
        raise TaskError(f"task '{name}': {error}") from None
    return tuple(files.values())


def _refuse_unknown_compression(name: str, path: Path) -> None:
    """See that no file, nor one of a folder, is left unread for how it is compressed.

    Raises:
        TaskError: naming the file.
    """
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if (found := not_unpacked(file, tuple(BUILDERS))) is not None:
            raise TaskError(f"task '{name}': data file '{file}' is compressed as {found}: pack it as .gz or .zst.")


def _check_splits(name: str, config: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    """See that what a task takes from a split is taken from one that has a file.

    Raises:
        TaskError: naming the key.
    """
    said = {key: config[key] for key in (*SPLITS, "fewshot_split") if config.get(key) is not None}
    held = ", ".join(files)
    for key, split in said.items():
        if split not in files:
            raise TaskError(f"task '{name}' has {key}: {split}, of which its data has no file: it has {held}.")
    if not {"test_split", "validation_split"} & set(said):
        raise TaskError(
            f"task '{name}' has data for {held} and does not say which is scored: write test_split: "
            f"{next(iter(files))}."
        )


def release_verified(release_file: str, path: Path) -> bool | None:
    """Whether a local file is, byte for byte, the one that was released; None where its sha256 is not known.

    A file that differs is used all the same, since a shortened or mended copy has its uses and the results' key holds
    the data's digest; but it is said in the log, and the result's settings keep the answer.
    """
    expected = _released().get(release_file)
    if expected is None:
        return None
    found = sha256(path)
    if found != expected:
        _warn(release_file, str(path), found, expected)
    return found == expected


def sha256(path: Path) -> str:
    """Hex digest of a file, or of the files of a folder with their names."""
    if path.is_dir():
        own = [f"{file.relative_to(path).as_posix()} {sha256(file)}" for file in data_rows.files_in(path)]
        return hashlib.sha256("\n".join(own).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=1)
def _released() -> dict[str, str]:
    content = yaml.safe_load((conf_dir() / "task" / "_release_sha256.yaml").read_text(encoding="utf-8"))
    return {str(name): str(value) for name, value in content.items()}


@lru_cache(maxsize=64)
def _warn(release_file: str, path: str, found: str, expected: str) -> None:
    """Once a process: a sweep reads its tasks many times."""
    log.warning(
        "DATA DIFFERS FROM THE RELEASE: '%s' has sha256 %s... where the released %s has %s..., so its results are not "
        "those of the published task: get the released file, or go on if the change is meant.",
        *(path, found[:12], release_file, expected[:12]),
    )


def _remedy(path: Path) -> str:
    """What to do about a file that is not there."""
    if path.parts[:2] == ("models", "tiny"):
        return "train the embedded suite, which writes it, with `python -m evalrun tiny`"
    return f"correct its name, or start evalrun in the folder that it is named from (this is {Path.cwd()})"


def _said(files: Mapping[str, Path]) -> str:
    return ", ".join(f"'{path}'" for path in files.values())
