"""Task files: finding, reading and checking them. An lm-eval task config each, or a named set of them.

What evalrun adds to lm-eval's keys: `data`, a local JSONL, JSON, CSV, TSV or Parquet file (or one per split) in
place of the hub; `include` also finds lm-eval's own files; `profiles`, keys that another way of rendering the task sets
(profile name -> keys); `metadata` may hold title, cause, role (control), source, release_file (the data file's name in
the original release, used with `data_dir`) and rows. Nothing here imports lm-eval's evaluator, so that a finished sweep
is recognised in a moment.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from evalrun.config.schema import Config
from evalrun.config.validate import profiles
from evalrun.core.errors import ConfigError, TaskError, suggest
from evalrun.tasks import generation_settings, outdated, permission, scores, shape, text_rule
from evalrun.tasks.data import put_data, release_verified, sha256
from evalrun.tasks.data_rows import builder_of
from evalrun.tasks.groups import Member, members, own_names, problems
from evalrun.tasks.lm_eval_names import task_keys
from evalrun.tasks.task_yaml import Function, functions, is_lm_evals, lm_eval_tasks, load, merged, parts, with_profile

__all__ = ["TaskFile", "each", "each_for", "lm_eval_tasks", "lm_eval_version", "options_of", "own_names", "problems"]
__all__ += ["load", "resolve", "resolve_for"]


@dataclass(frozen=True)
class TaskFile:
    """One task, read and checked: everything but its documents."""

    name: str
    path: Path
    config: dict[str, Any]  # lm-eval task config, includes merged, profile and data put in place
    data_files: tuple[Path, ...]
    release_verified: bool | None = None  # whether data_dir's file is the released one; None where that is not known
    faults_kept: bool = False  # the profile parses choices as another study did, faults included
    options: Mapping[str, Any] = field(default_factory=dict)  # that a group sets, and that change something
    group: str = ""  # which

    @property
    def title(self) -> str:
        """Name for people."""
        return str(self.metadata.get("title", self.name))

    @property
    def metadata(self) -> dict[str, Any]:
        """The config's metadata, or nothing."""
        found = self.config.get("metadata")
        return found if isinstance(found, dict) else {}

    @cached_property
    def is_rolling(self) -> bool:
        """Whether whole texts are scored."""
        return bool(self.config.get("output_type") == "loglikelihood_rolling")

    @property
    def functions(self) -> list[Function]:
        """All code that the config refers to."""
        return list(functions(self.config))

    @property
    def has_own_answers(self) -> bool:
        """Whether doc_to_target was written by the user or by evalrun, not by lm-eval, who may rely on its ways."""
        found = [path for path, content in parts(self.path, tolerant=True) if "doc_to_target" in content]
        return bool(found) and not is_lm_evals(found[-1])

    @cached_property
    def splits(self) -> dict[str, Path]:
        """Split -> file, of local data; also of files that the config hands to `datasets` by itself."""
        kwargs = self.config.get("dataset_kwargs") or {}
        named = kwargs.get("data_files") if isinstance(kwargs, dict) else None
        if not isinstance(named, dict) or not all(isinstance(path, str) for path in named.values()):
            return {}
        found = {str(split): Path(path) for split, path in named.items()}
        if self.data_files:
            return dict(zip(found, self.data_files, strict=True))
        builders = {builder_of(path) for path in found.values()}
        plain = set(kwargs) == {"data_files"} and builders == {self.config.get("dataset_path")}
        return found if plain and all(path.is_file() for path in found.values()) else {}

    @property
    def has_written_examples(self) -> bool:
        """Whether examples are written in the file, and no split is named that they would be drawn from instead."""
        shown = self.config.get("fewshot_config")
        if not isinstance(shown, dict) or shown.get("samples") is None or shown.get("split") is not None:
            return False
        return len(self.data_files) == 1 and self.config.get("fewshot_split") == self.config.get("test_split")

    @cached_property
    def data_sha256(self) -> dict[Path, str]:
        """The digest of each file of local data, when it was first asked for."""
        return {path: sha256(path) for path in self.splits.values()}

    @cached_property
    def digest(self) -> str:
        """Sha256 over the config, the local data and the code outside lm-eval: what determines the items."""
        code = {f.code for f in self.functions if not f.of_lm_eval}
        config = {key: value for key, value in self.config.items() if key not in ("metadata", "dataset_kwargs", "tag")}
        if not self.data_files:
            config["dataset_kwargs"] = self.config.get("dataset_kwargs")
        content = json.dumps(config, sort_keys=True, default=lambda f: getattr(f, "spec", str(f)))
        found = [content, *(self.data_sha256[path] for path in self.splits.values())]
        found += sorted(sha256(path) for path in code if path)
        if outdated.misread(self.config, self.data_sha256):
            found.append("read to the letter")
        if outdated.asked_by_number(self.config, self.splits):
            found.append("numerals are prompts")
        if self.is_rolling and outdated.repeats(self.config, self.splits, self.data_sha256):
            found.append("a text counts once")
        return hashlib.sha256("\n".join(found).encode()).hexdigest()

    def digest_for(self, num_fewshot: int | None) -> str:
        """The digest with so many examples in the prompt; None for as many as the task's file says."""
        own = self.config.get("num_fewshot")
        shots = own if num_fewshot is None or own == 0 else num_fewshot
        if not shots or not outdated.shown_itself(self.config, self.splits, self.has_written_examples):
            return self.digest
        return hashlib.sha256(f"{self.digest}\nexamples are other items".encode()).hexdigest()


def resolve_for(config: Config) -> list[TaskFile]:
    """The tasks of a job, in order; see `resolve`. What the job sets of sampling and chat means something to them."""
    files = resolve(config.tasks, config.data_dir, config.trust_task_code, config.profile)
    generation_settings.refuse_lost(config, configs := {file.name: file.config for file in files})
    permission.refuse_unasked(config.run_generated_code, configs)
    return files


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
    """Resolve names one by one: a task's file, or why it cannot be had.

    Raises:
        ConfigError: unknown names, all at once.
    """
    unknown = problems(names)
    if unknown:
        raise ConfigError(unknown)
    asked: dict[str, list[Member]] = {}
    for member in members(names):
        asked.setdefault(member.name, []).append(member)
    for name, alike in asked.items():
        try:
            yield _one(name, [_read(member, data_dir, trust_code, profile) for member in alike])
        except TaskError as error:
            yield error


def options_of(files: Iterable[TaskFile]) -> dict[str, dict[str, str]]:
    """Group -> task -> what it sets in it, as text; of the tasks where it changes something."""
    found: dict[str, dict[str, str]] = {}
    for file in files:
        if file.options:
            text = json.dumps(dict(file.options), sort_keys=True, default=str)
            found.setdefault(file.group, {})[file.name] = text
    return found


@lru_cache(maxsize=1)
def lm_eval_version() -> str:
    """Installed version; it stands for the content of lm-eval's own task files."""
    return importlib.metadata.version("lm_eval")


def _one(name: str, found: Sequence[TaskFile]) -> TaskFile:
    """The task of a name that was asked for once or more, by itself and in groups.

    Raises:
        TaskError: with options that differ.
    """
    if any(file.config != found[0].config for file in found):
        said = " and ".join(dict.fromkeys(_asked(file) for file in found))
        raise TaskError(f"task '{name}' is asked for twice, {said}: ask for them in two commands.")
    return found[0]


def _asked(file: TaskFile) -> str:
    given = ", ".join(f"{key}: {shape.shown(value)}" for key, value in file.options.items())
    return f"with {given} in the group '{file.group}'" if given else "as its file has it"


def _read(member: Member, data_dir: str | None, trust_code: bool, profile: str | None) -> TaskFile:
    """Read a task's file: includes, profile, options of its sets, data.

    Args:
        member: Name, file, and what its sets give to it.
        data_dir: Folder with released data files, by their names; None without one.
        trust_code: `!function` code of the user's may run.
        profile: The block of the file that is laid over it; None for none.

    Raises:
        TaskError: mistakes in the file, or code that is not trusted.
    """
    name, path = member.name, member.path
    read = parts(path)
    whole = merged(read)
    _check(name, read, whole)
    config = with_profile(whole, profile)
    if not is_lm_evals(path):
        config = text_rule.filled(config)
    options = {key: value for key, value in member.options.items() if config.get(key) != value}
    config |= options
    if not is_lm_evals(path):
        _refuse(f"task '{name}' in {path}", scores.faults(config) if "class" not in config else ())
        _refuse(f"task '{name}' in {path}", text_rule.faults(config))
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
    return TaskFile(name, path, config, data_files, verified, faults_kept, options, member.group)


def _check(name: str, read: Sequence[tuple[Path, dict[str, Any]]], whole: Mapping[str, Any]) -> None:
    """Hold the lines that the user can mend to the shape of a task file; lm-eval's own, included, are as they are.

    Raises:
        TaskError: all faults at once.
    """
    path = read[-1][0]
    if is_lm_evals(path):
        return
    where = f"task '{name}' in {path}"
    _refuse(where, shape.misnamed("task", read[-1][1].get("task"), name))
    allowed = task_keys() | shape.OWN_KEYS
    for place, content in read:
        if not is_lm_evals(place):
            known = allowed | set(content) if "class" in whole else allowed  # a class has keys of its own
            _refuse(where if place == path else f"task '{name}' includes {place}, which", _faults(content, known))
    sources = ("dataset_path", "data", "custom_dataset", "class")
    if whole.get("output_type") is None or all(whole.get(key) is None for key in sources):
        raise TaskError(f"{where} needs an output_type and either data (a file) or dataset_path (hub).")


def _faults(content: Mapping[str, Any], allowed: Collection[str]) -> Iterator[str]:
    """What is wrong with the lines of one file, its blocks of profiles among them."""
    yield from shape.faults(content, allowed)
    blocks = content.get("profiles")
    if not isinstance(blocks, dict):
        return
    for name, block in blocks.items():
        if name not in profiles():
            yield f"has profiles that nobody knows: profile '{name}' ({suggest(str(name), profiles())})"
        if not isinstance(block, dict):
            yield f"has profiles that do not map names to keys: write {name}: {{KEY: VALUE}}."
        else:
            yield from (f"(profile {name}) {fault}" for fault in shape.faults(block, task_keys()))


def _refuse(where: str, faults: Iterable[str]) -> None:
    found = [f"{where} {fault}" for fault in faults]
    if found:
        raise TaskError(found)
