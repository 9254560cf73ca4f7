"""The user's own files of conf/, checked before Hydra composes them: one sentence with file and key for each mistake.

Hydra tells of a mistake in a file with a hundred lines of traceback, and of some in other words than the file's.
What can only be seen when all files are put together is said by `compose.compose` and `compose.to_config`.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import AnyNode, BooleanNode, FloatNode, IntegerNode, OmegaConf, StringNode
from omegaconf.errors import OmegaConfBaseException

from evalrun.config.as_typed import yaml_text
from evalrun.config.omegaconf_private import element_class, node_of
from evalrun.config.own_yaml import conf_dir, own_file, read
from evalrun.config.schema import (
    AnalysisConf,
    ChatConf,
    CheckpointConf,
    Config,
    GateConf,
    GenerationConf,
    ModelConf,
    ScorerConf,
    TrackingConf,
)
from evalrun.core.errors import suggest

Options = Callable[[str], Sequence[str]]
ROOT = "_global_"  # the package of a file whose keys are those of the whole configuration
TYPED = {  # groups whose keys the schema knows
    "model": ModelConf,
    "checkpoint": CheckpointConf,
    "scorer": ScorerConf,
    "generation": GenerationConf,
    "chat": ChatConf,
    "tracking": TrackingConf,
    "analysis": AnalysisConf,
    "gate": GateConf,
}
LAUNCHER = "hydra/launcher"
_PACKAGE = "# @package"
_KINDS = {IntegerNode: "a whole number", FloatNode: "a number", BooleanNode: "true or false", StringNode: "one text"}
_INSTEAD = {  # words that begin a command, and how a file says them
    "task": "tasks: [NAME]",
    "model": "hydra: {sweeper: {params: {model: NAME}}}",
    "checkpoint": "checkpoint: {suite: NAME} with lines below it",
    "scorer": "defaults: [override /scorer: NAME]",
    "generation": "defaults: [override /generation: NAME]",
    "chat": "defaults: [override /chat: NAME]",
    "tracking": "defaults: [override /tracking: NAME]",
    "analysis": "defaults: [override /analysis: NAME]",
    "gate": "defaults: [override /gate: NAME]",
}


def problems(group: str, names: Sequence[str], options: Options) -> list[str]:
    """What is wrong in files of the user's, and in those that their defaults name.

    Args:
        group: Such as `model` or `experiment`.
        names: Of options.
        options: Called with a group's name, gives the names of its options.
    """
    sound: set[Path] = set()
    return list(dict.fromkeys(problem for name in names for problem in _problems(group, name, options, (), sound)))


def must_be(node: Any, value: Any = None) -> str:
    """What the values of a key are, in words; for a number that is whole but not written so, how to write it."""
    if isinstance(node, IntegerNode) and isinstance(value, float) and math.isfinite(value) and value == int(value):
        return f"a whole number, written {int(value)}"
    if OmegaConf.is_list(node):
        return f"a list, such as [{value}]" if isinstance(value, str) else "a list"
    return _KINDS.get(type(node), "`key: value` lines, as in conf/")


def _problems(group: str, name: str, options: Options, above: tuple[Path, ...], sound: set[Path]) -> Iterator[str]:
    """Mistakes of one file of the user's and of those that its defaults name; nothing where it is not the user's.

    Args:
        group: Its folder below conf/.
        name: Its name without the ending.
        options: Names in a group.
        above: The files that led to it, to find circles.
        sound: Files without a mistake, which many may name; this one is added if it is one.
    """
    path = own_file(group, name)
    if path is None or path in sound:
        return
    found = list(_problems_of(path, group, name, options, above, sound))
    if not found:
        sound.add(path)
    yield from found


def _problems_of(
    path: Path, group: str, name: str, options: Options, above: tuple[Path, ...], sound: set[Path]
) -> Iterator[str]:
    """Mistakes of a file of the user's and of those that its defaults name, found once each."""
    if path in above:
        yield f"{above[-1]}: defaults names {group} '{name}', which names it in turn: leave one of the two out."
        return
    kind = group.partition("/")[0]
    try:  # text as it was typed, as Hydra is given it
        text, said = read(path, lambda text: yaml_text(text, "" if _package(text) == ROOT else kind))
    except ValueError as error:
        yield f"{path} {error}"
        return
    package = _package(text)
    if kind == "experiment" and package != ROOT:
        yield f"{path}: its first line must be `{_PACKAGE} {ROOT}`, so that its keys are those of a run."
        return
    defaults = said.pop("defaults", None)
    if found := list(_default_problems(path, group, defaults, options)):
        yield from found
    else:
        for inner, choice in _chosen(group, defaults):
            yield from _problems(inner, choice, options, (*above, path), sound)
    if package == ROOT:
        yield from _key_problems(path, OmegaConf.structured(Config), said, "")
    elif kind in TYPED and package in (None, "_group_", kind):
        yield from _key_problems(path, OmegaConf.structured(TYPED[kind]), said, "")
    elif group == LAUNCHER:
        yield from _launcher_problems(path, said, bool(defaults))


def _package(text: str) -> str | None:
    """What Hydra takes from the comments at the top of a file."""
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            break
        if line.lstrip().startswith(_PACKAGE):
            return line.strip().removeprefix(_PACKAGE).strip() or None
    return None


def _entries(group: str, defaults: Any) -> Iterator[tuple[Any, str, Any, bool]]:
    """Each line of a defaults list: itself, the group that it chooses in, what it chooses, whether it overrides."""
    for entry in defaults if isinstance(defaults, list) else ():
        if isinstance(entry, str) and entry != "_self_":
            folder, _, name = entry.partition("@")[0].rpartition("/")
            yield entry, _absolute(group, folder if not entry.startswith("/") else folder or "/"), name, False
        elif isinstance(entry, Mapping) and len(entry) == 1:
            ((key, value),) = entry.items()
            words = str(key).split()
            overrides = words[:1] == ["override"]
            if words[:1] in (["override"], ["optional"]):
                words = words[1:]
            yield entry, _absolute(group, " ".join(words).partition("@")[0]), value, overrides


def _absolute(group: str, folder: str) -> str:
    return folder.strip("/") if folder.startswith("/") else f"{group}/{folder}".strip("/")


def _default_problems(path: Path, group: str, defaults: Any, options: Options) -> Iterator[str]:
    """Mistakes in a defaults list: its form, groups and options that do not exist, what it must not override.

    Args:
        path: The file.
        group: Its folder below conf/.
        defaults: The list as YAML has it; None where there is none.
        options: Names in a group.
    """
    if defaults is None:
        return
    if not isinstance(defaults, list):
        yield f"{path}: defaults is {_shown(defaults)}: it must be a list, a line `- /group: name` for each."
        return
    for entry in defaults:
        if not isinstance(entry, str) and not (isinstance(entry, Mapping) and len(entry) == 1):
            yield f"{path}: defaults holds {_shown(entry)}: a line is `- /group: name` or `- name`."
    for entry, where, value, overrides in _entries(group, defaults):
        there = options(where)
        if overrides and where in (group, "task"):
            yield f"{path}: defaults cannot override {where}: name it on the command line or in hydra.sweeper.params."
        elif overrides and where == "hydra/sweeper":
            yield f"{path}: defaults cannot override {where}: evalrun expands its grids itself; leave it out."
        elif overrides and where.startswith("hydra/") and group != "experiment":
            yield f"{path}: defaults cannot override {where}: say it in an experiment or on the command line."
        elif not there:
            groups = [f"/{name}" for name in (*TYPED, "profile", LAUNCHER)]
            yield f"{path}: defaults names the group '/{where}': {suggest(f'/{where}', groups)}"
        elif value is not None and not isinstance(value, str | list):
            yield f"{path}: defaults holds {_shown(entry)}: the name of an option of {where} must be one text."
        else:
            for name in value if isinstance(value, list) else [value]:
                if name is not None and "${" not in str(name) and name not in (*there, "???"):
                    yield f"{path}: defaults names {where} '{name}', which is none: {suggest(str(name), there)}"


def _chosen(group: str, defaults: Any) -> Iterator[tuple[str, str]]:
    for _, where, value, _ in _entries(group, defaults):
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str):
                yield where, name


def _key_problems(path: Path, node: Any, said: Mapping[Any, Any], above: str) -> Iterator[str]:
    """Keys that there are not and values that a key does not take."""
    known = [str(name) for name in node]
    for name, value in said.items():
        key = f"{above}{name}"
        if key == "hydra" and "model" in known:
            yield from _hydra_problems(path, value)
        elif name not in known and above == "" and "model" in known and name == "task":
            yield f"{path}: a file says {_INSTEAD[name]} in place of '{name}'."
        elif name not in known:
            yield f"{path}: unknown key '{key}': {suggest(str(name), known)}"
        elif isinstance(value, str) and ("${" in value or value == "???"):
            continue  # seen when all files are put together
        elif OmegaConf.is_dict(child := node_of(node, name)) and OmegaConf.get_type(child) is not dict:
            if isinstance(value, Mapping):
                yield from _key_problems(path, child, value, f"{key}.")
            else:
                yield f"{path}: {key} is {_shown(value)}: write {_INSTEAD.get(key, '`key: value` lines below it')}."
        elif isinstance(value, list) and (kind := element_class(child)) is not None:
            for at, one in enumerate(value):
                if isinstance(one, Mapping):
                    yield from _key_problems(path, OmegaConf.structured(kind), one, f"{key}[{at}].")
                else:
                    yield f"{path}: {key} holds {_shown(one)}: write `key: value` lines below each `-`."
        elif not _takes(node, name, value):
            yield f"{path}: {key} is {_shown(value)}: it must be {must_be(child, value)}."


def _takes(node: Any, name: str, value: Any) -> bool:
    if isinstance(node_of(node, name), AnyNode) and not isinstance(node_of(node, name), tuple(_KINDS)):
        return True
    try:
        node[name] = value
    except (OmegaConfBaseException, ValueError, TypeError):
        return False
    return True


def _hydra_problems(path: Path, value: Any) -> Iterator[str]:
    """Of Hydra's own part, as far as it says what to sweep; the rest is Hydra's to know."""
    place = "hydra"
    for name in ("sweeper", "params"):
        if not isinstance(value, Mapping):
            yield f"{path}: {place} is {_shown(value)}: write `key: value` lines below it."
            return
        if name not in value or (name == "params" and value[name] is None):
            return
        value, place = value[name], f"{place}.{name}"
    if not isinstance(value, Mapping):
        yield f"{path}: {place} is {_shown(value)}: write `key: value` lines below it."
        return
    for key, what in value.items():
        if isinstance(what, Mapping) or what is None:
            yield f"{path}: {place}.{key} is {_shown(what)}: it must be what follows {key}= on the command line."


def _launcher_problems(path: Path, said: Mapping[Any, Any], inherits: bool) -> Iterator[str]:
    """A launcher's file names one that there is, and settings that it has."""
    target = said.get("_target_")
    shipped = {str(read(file)[1]["_target_"]): read(file)[1] for file in sorted((conf_dir() / LAUNCHER).glob("*.yaml"))}
    if "_target_" not in said and inherits:
        return  # a file in its defaults says it
    if not isinstance(target, str) or (target not in shipped and not _is_module(target.rpartition(".")[0])):
        yield f"{path}: _target_ is {_shown(target)}, which is no launcher here: {suggest(str(target), shipped)}"
    elif target in shipped:
        for key in said:
            if key not in shipped[target]:
                yield f"{path}: unknown key '{key}': {suggest(str(key), map(str, shipped[target]))}"


def _is_module(name: str) -> bool:
    try:
        return bool(name) and importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _shown(value: Any) -> str:
    text = " ".join((f"'{value}'" if isinstance(value, str) else "null" if value is None else str(value)).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
