"""The rules of conf/format: how a trainer's names, shapes and settings become those of a transformers model."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from evalrun.checkpoints.formats.raw import CONTAINERS
from evalrun.config.own_yaml import conf_dirs, read
from evalrun.core.errors import ConfigError, suggest
from evalrun.core.memory import remembered

GROUP = "format"


@dataclass(frozen=True)
class TensorRule:
    """What becomes of the tensors whose names follow a pattern."""

    names: re.Pattern[str]  # of the trainer
    to: tuple[str, ...]  # names in transformers; several: rows are divided among them in this order
    transpose: bool = False
    view: tuple[Any, ...] = ()  # the rows seen as so many axes: numbers, names of keys of config.json, -1 once
    swap: tuple[int, int] = (0, 1)  # two of these axes, which are exchanged


@dataclass(frozen=True)
class FormatRules:
    """One file of conf/format."""

    name: str
    title: str  # whose files these are, in words
    container: str  # a key of CONTAINERS
    needs: tuple[re.Pattern[str], ...]  # each is the whole name of a tensor of such a file at least
    says: Mapping[str, Any]  # names of values in such a file, and what they are; null: anything
    reads: Mapping[str, str]  # files beside the weights with more values, by what their names begin with
    weights: re.Pattern[str]  # what names of weights begin with, which is left off; others are no weights
    inside: re.Pattern[str] | None  # what names may begin with after that, which is left off: where a trainer keeps it
    skip: re.Pattern[str] | None  # names, after that, of tensors that are no weights of the model
    tensors: tuple[TensorRule, ...]  # the first that fits holds; none: names are transformers' own
    zeros: re.Pattern[str] | None  # of transformers' names: where a file has none of these, they are zero
    config: Mapping[str, Any]  # keys of config.json; {dotted.name} stands for a value; empty: named by the user
    step: str | None  # value that is the step
    tokens: str | None  # values whose product is the tokens seen

    @property
    def digest(self) -> str:
        """A digest of all that the rules say, comments apart."""
        said = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in ("name", "title")}
        return hashlib.sha256(json.dumps(said, default=repr, sort_keys=True).encode()).hexdigest()[:16]


def named(name: str) -> FormatRules:
    """The rules that a user names with checkpoint.format=.

    Raises:
        ConfigError: there are none of that name, or they are wrong.
    """
    files = _files()
    if name not in files:
        raise ConfigError(f"checkpoint.format is '{name}', which is no file of conf/format: {suggest(name, files)}")
    return _parsed(files[name])


def every() -> list[FormatRules]:
    """All rules, those that ask for more of a file first.

    Raises:
        ConfigError: one of the files is wrong.
    """
    found = [_parsed(file) for file in _files().values()]
    return sorted(found, key=lambda rules: (-len(rules.needs) - len(rules.says), rules.name))


def _files() -> dict[str, Path]:
    """Name -> file; the user's own stand for shipped ones of the same name."""
    found: dict[str, Path] = {}
    for folder in conf_dirs():
        found |= {file.stem: file for file in sorted((folder / GROUP).glob("*.yaml"))}
    return found


@remembered
def _parsed(file: Path) -> FormatRules:
    """One file, checked.

    Raises:
        ConfigError: what is wrong in it, all of it at once.
    """
    try:
        said = {str(key): value for key, value in read(file)[1].items()}
    except ValueError as error:
        raise ConfigError(f"{file} {error}") from None
    known = [field.name for field in fields(FormatRules) if field.name != "name"]
    problems = [f"{file}: unknown key '{key}': {suggest(key, known)}" for key in said if key not in known]
    container = said.get("container")
    if container not in CONTAINERS:
        problems.append(f"{file}: container is '{container}': {suggest(str(container), CONTAINERS)}")
    for key in ("says", "reads", "config"):
        if not isinstance(said.get(key) or {}, Mapping):
            problems.append(f"{file}: {key} is '{said[key]}': write `name: value` lines below it.")
    for key in ("needs", "tensors"):
        if not isinstance(said.get(key) or [], list):
            problems.append(f"{file}: {key} is '{said[key]}': it must be a list.")
    if problems:
        raise ConfigError(problems)
    try:
        return FormatRules(
            name=file.stem,
            title=str(said.get("title") or file.stem),
            container=str(container),
            needs=tuple(re.compile(str(one)) for one in said.get("needs") or ()),
            says=dict(said.get("says") or {}),
            reads={str(key): str(name) for key, name in (said.get("reads") or {}).items()},
            weights=re.compile(str(said.get("weights") or "")),
            inside=None if said.get("inside") is None else re.compile(str(said["inside"])),
            skip=None if said.get("skip") is None else re.compile(str(said["skip"])),
            tensors=tuple(_tensor_rule(entry) for entry in said.get("tensors") or ()),
            zeros=None if said.get("zeros") is None else re.compile(str(said["zeros"])),
            config=dict(said.get("config") or {}),
            step=None if said.get("step") is None else str(said["step"]),
            tokens=None if said.get("tokens") is None else str(said["tokens"]),
        )
    except re.error as error:
        raise ConfigError(f"{file}: '{error.pattern!s}' is no regular expression ({error.msg}).") from None
    except ValueError as error:
        raise ConfigError(f"{file}: {error}") from None


def _tensor_rule(entry: Any) -> TensorRule:
    """A line of `tensors`.

    Raises:
        ValueError: the end of a sentence.
    """
    keys = ("from", "to", "transpose", "view", "swap")
    if not isinstance(entry, Mapping) or not {"from", "to"} <= entry.keys() <= set(keys):
        raise ValueError(f"tensors holds {entry}: a line has from and to, and may have transpose, view and swap.")
    to = entry["to"] if isinstance(entry["to"], list) else [entry["to"]]
    view, swap = entry.get("view") or (), entry.get("swap") or (0, 1)
    if not isinstance(swap, list | tuple) or len(swap) != 2 or not all(isinstance(axis, int) for axis in swap):
        raise ValueError(f"swap is {swap}: it must be two axes of view, such as [0, 1].")
    pattern = re.compile(str(entry["from"]))
    for name in to:
        if (wanted := max(map(int, re.findall(r"\\(\d+)", str(name))), default=0)) > pattern.groups:
            raise ValueError(f"to is '{name}', and '{pattern.pattern}' has no group {wanted}.")
    return TensorRule(pattern, tuple(map(str, to)), bool(entry.get("transpose")), tuple(view), (swap[0], swap[1]))
