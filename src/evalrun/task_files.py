"""Task files: finding, reading and checking them. An lm-eval task config each, or a named set of them.

What evalrun adds to lm-eval's keys: `data`, a local JSONL, JSON, CSV, TSV or Parquet file (or one per split) in
place of the hub; `include` also finds lm-eval's own files; `profiles`, keys that another way of rendering the task sets
(profile name -> keys); `metadata` may hold title, cause, role (control), source, release_file (the data file's name in
the original release, used with `data_dir`) and rows. Nothing here imports lm-eval's evaluator, so that a finished sweep
is recognised in a moment.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from evalrun.config import Config, conf_dirs, profiles
from evalrun.errors import ConfigError, TaskError, nearest
from evalrun.task_data import put_data, release_verified, sha256
from evalrun.task_yaml import Function, functions, lm_eval_tasks, load, with_profile


@dataclass(frozen=True)
class TaskFile:
    """One task, read and checked: everything but its documents."""

    name: str
    path: Path
    config: dict[str, Any]  # lm-eval task config, includes merged, profile and data put in place
    data_files: tuple[Path, ...]
    release_verified: bool | None = None  # whether data_dir's file is the released one; None where that is not known
    faults_kept: bool = False  # the profile parses choices as another study did, faults included

    @property
    def title(self) -> str:
        """Name for people."""
        return str(self.metadata.get("title", self.name))

    @property
    def metadata(self) -> dict[str, Any]:
        """The config's metadata, or nothing."""
        found = self.config.get("metadata")
        return found if isinstance(found, dict) else {}

    @property
    def functions(self) -> list[Function]:
        """All code that the config refers to."""
        return list(functions(self.config))

    @cached_property
    def digest(self) -> str:
        """Sha256 over the config, the local data and the code outside lm-eval: what determines the items."""
        code = {f.code for f in self.functions if not f.of_lm_eval}
        config = {key: value for key, value in self.config.items() if key not in ("metadata", "dataset_kwargs", "tag")}
        if not self.data_files:
            config["dataset_kwargs"] = self.config.get("dataset_kwargs")
        content = json.dumps(config, sort_keys=True, default=lambda f: getattr(f, "spec", str(f)))
        parts = [content, *(sha256(path) for path in self.data_files), *sorted(sha256(p) for p in code if p)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def resolve_for(config: Config) -> list[TaskFile]:
    """The tasks of a job, in order; see `resolve`."""
    return resolve(config.tasks, config.data_dir, config.trust_task_code, config.profile)


def each_for(config: Config) -> list[TaskFile | TaskError]:
    """The tasks of a job, in order; see `each`."""
    return list(each(config.tasks, config.data_dir, config.trust_task_code, config.profile))


def resolve(
    names: Sequence[str], data_dir: str | None = None, trust_code: bool = False, profile: str | None = None
) -> list[TaskFile]:
    """Find and read tasks; sets are unfolded, and each task is kept once, in order.

    Args:
        names: Files of conf/task (shipped or the user's), sets of them, or names that lm-eval knows.
        data_dir: Folder with local data files in the release format, used in place of the hub.
        trust_code: Allow `!function` code that came neither with lm-eval nor with evalrun.
        profile: Which of a task's `profiles` to apply, where it has that one; None for none.

    Raises:
        ConfigError: unknown names, all at once.
        TaskError: files that are no task configs, or whose data is absent, all at once.
    """
    found = list(each(names, data_dir, trust_code, profile))
    faults = [problem for file in found if isinstance(file, TaskError) for problem in file.problems]
    if faults:
        raise TaskError(dict.fromkeys(faults))
    return [file for file in found if isinstance(file, TaskFile)]


def each(
    names: Sequence[str], data_dir: str | None = None, trust_code: bool = False, profile: str | None = None
) -> Iterator[TaskFile | TaskError]:
    """The same one by one: a task's file, or why it cannot be had.

    Raises:
        ConfigError: unknown names, all at once.
    """
    unknown = problems(names)
    if unknown:
        raise ConfigError(unknown)
    for name, path in dict(_unfold(names)).items():
        try:
            yield _read(name, path, data_dir, trust_code, profile)
        except TaskError as error:
            yield error


def problems(names: Iterable[str]) -> list[str]:
    """One sentence for each name that is no task, with the nearest that is."""
    found = []
    for name in names:
        try:
            list(_unfold([name]))
        except ConfigError as error:
            found += error.problems
        except TaskError as error:
            found.append(str(error))
    return found


def own_names() -> dict[str, Path]:
    """Tasks and sets of the conf/task folders, by name.

    Raises:
        ConfigError: a user's file with the name of a shipped one.
    """
    found: dict[str, Path] = {}
    for folder in conf_dirs():
        for path in sorted((folder / "task").rglob("*.yaml")):
            name = str(path.relative_to(folder / "task").with_suffix(""))
            if path.name.startswith("_"):
                continue
            if name in found:
                raise ConfigError(f"{path} has the name of a shipped task: rename it.")
            found[name] = path
    return found


@lru_cache(maxsize=1)
def lm_eval_keys() -> frozenset[str]:
    """The keys of lm-eval's task configs: the fields of its `TaskConfig`, read without running it."""
    source = (lm_eval_tasks().parent / "config" / "task.py").read_text(encoding="utf-8")
    (shape,) = (n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == "TaskConfig")
    named = (node.target for node in shape.body if isinstance(node, ast.AnnAssign))
    return frozenset(target.id for target in named if isinstance(target, ast.Name))


@lru_cache(maxsize=1)
def lm_eval_version() -> str:
    """Installed version; it stands for the content of lm-eval's own task files."""
    return importlib.metadata.version("lm_eval")


def _unfold(names: Iterable[str], within: tuple[str, ...] = ()) -> Iterator[tuple[str, Path]]:
    own = own_names()
    for name in names:
        if name in within:
            raise ConfigError(f"the task set '{name}' contains itself: take it out of its own list.")
        if name not in own:
            yield from _lm_eval_files(name, own)
            continue
        content = load(own[name])
        if "group" in content and isinstance(content.get("task"), list):
            yield from _unfold([str(member) for member in content["task"]], (*within, name))
        else:
            yield name, own[name]


def _lm_eval_files(name: str, own: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """Files of an lm-eval task, group or tag; a task in a file of its own name needs no index of all of them."""
    for path in lm_eval_tasks().rglob(f"{name}.yaml") if "/" not in name and name.strip("*?[]. ") == name else ():
        if load(path, tolerant=True).get("task") == name:
            yield name, path
            return
    index = _lm_eval_index()
    if name not in index:
        short = [key for key in index if abs(len(key) - len(name)) <= 4]
        hint = nearest(name, own) if nearest(name, own).startswith("did") else nearest(name, [*own, *short])
        raise ConfigError(f"unknown task '{name}', neither in conf/task nor in lm-eval: {hint}")
    for leaf in _leaves(name, index):
        yield leaf, index[leaf].yaml_path


@lru_cache(maxsize=1)
def _lm_eval_index() -> dict[str, Any]:
    from lm_eval.tasks._index import TaskIndex

    index: dict[str, Any] = TaskIndex.build([lm_eval_tasks()])
    return index


def _leaves(name: str, index: Mapping[str, Any]) -> Iterator[str]:
    entry = index[name]
    kind = entry.kind.name
    if kind == "TAG":
        members = sorted(entry.tags)
    elif kind == "GROUP":
        members = [m if isinstance(m, str) else m.get("task") or m.get("group") for m in entry.cfg.get("task", [])]
    else:
        yield name
        return
    for member in members:
        if isinstance(member, str) and member in index:
            yield from _leaves(member, index)
        else:
            raise TaskError(f"lm-eval's group '{name}' is defined inline, which evalrun cannot unfold: name its tasks.")


def _read(name: str, path: Path, data_dir: str | None, trust_code: bool, profile: str | None) -> TaskFile:
    whole = load(path)
    if not path.is_relative_to(lm_eval_tasks()):
        _check_keys(name, path, whole)
    config = with_profile(whole, profile)
    data = config.pop("data", None)
    config.pop("group", None)
    config["task"] = name
    release = (config.get("metadata") or {}).get("release_file")
    from_release = data is None and data_dir is not None and release is not None
    if from_release:
        data = str(Path(str(data_dir)) / str(release))
    data_files = put_data(name, config, data) if data is not None else ()
    untrusted = [f for f in functions(config) if not f.trusted]
    if untrusted and not trust_code:
        raise TaskError(
            f"task '{name}' runs code of its own (!function {untrusted[0].spec} in {path}): read it, and if you trust "
            "it, say trust_task_code=true."
        )
    verified = release_verified(str(release), data_files[0]) if from_release else None
    faults_kept = config.get("doc_to_choice") != whole.get("doc_to_choice")
    return TaskFile(name, path, config, data_files, verified, faults_kept)


def _check_keys(name: str, path: Path, config: Mapping[str, Any]) -> None:
    known = lm_eval_keys()
    allowed = known | {"data", "include", "group", "class", "profiles"}
    wrong = [f"'{key}' ({nearest(key, allowed)})" for key in config if key not in allowed]
    blocks = config.get("profiles") or {}
    if not isinstance(blocks, dict) or not all(isinstance(block, dict) for block in blocks.values()):
        raise TaskError(
            f"task '{name}' in {path} has profiles that do not map names to keys: write NAME: {{KEY: VALUE}}."
        )
    wrong += [f"profile '{key}' ({nearest(key, profiles())})" for key in blocks if key not in profiles()]
    wrong += [f"'{key}' ({nearest(key, known)})" for block in blocks.values() for key in block if key not in known]
    if wrong:
        raise TaskError(f"task '{name}' in {path} has keys that no lm-eval task has: {'; '.join(wrong)}")
    if "output_type" not in config or not ({"dataset_path", "data", "custom_dataset", "class"} & set(config)):
        raise TaskError(f"task '{name}' in {path} needs an output_type and either data (a file) or dataset_path (hub).")
