"""Names to task files: sets of the user's, lm-eval's groups and tags unfolded, with the options they give members.

A group gives options to its tasks as lm-eval has it: keys of a task config beside `task` are set in each member, and a
member written as `{task: NAME, num_fewshot: 2}` has its own, which win. A group above wins over the groups inside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from evalrun.config.own_yaml import conf_dirs
from evalrun.core.errors import ConfigError, TaskError, suggest
from evalrun.tasks import lm_eval_names as known
from evalrun.tasks import lm_eval_private, shape, text_rule
from evalrun.tasks.task_yaml import is_lm_evals, lm_eval_tasks, load

_SAID = frozenset({"task_alias", "group_alias", "tag", "metadata", "group", "task", "aggregate_metric_list"})
_TASKS_OWN = text_rule.KEYS | {"data", "human", "include", "profiles", "class", "custom_dataset"}  # no group gives them

_NO_CONFIG = {".py", ".pyc", ".md"}  # endings of files that no task is made of


@dataclass(frozen=True)
class GroupHead:
    """What a group says of itself; a tag is a name for several tasks, and no group."""

    name: str
    content: Mapping[str, Any] = field(default_factory=dict)
    is_tag: bool = False


@dataclass(frozen=True)
class Member:
    """A task, and what the groups that it was named by set in it."""

    name: str
    path: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    within: tuple[GroupHead, ...] = ()  # the groups that it was named by, the outermost first

    @property
    def group(self) -> str:
        """The innermost group, which set the options; empty for none."""
        return next((head.name for head in reversed(self.within) if not head.is_tag), "")


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


def is_group(content: Mapping[str, Any]) -> bool:
    """Whether a file's content is a set of tasks; a task may name a `group` too, as lm-eval once had it."""
    return isinstance(content.get("task"), list) or (
        "group" in content and not set(content) & (_TASKS_OWN | {"output_type"})
    )


def problems(names: Iterable[str]) -> list[str]:
    """One sentence for each name that is no task, with the nearest that is."""
    found = []
    for name in names:
        try:
            list(members([name]))
        except (ConfigError, TaskError) as error:
            found += error.problems
    return found


def has_file(name: str) -> bool:
    """Whether a task or set stands in a file of its own name; told at once, where an index of lm-eval takes seconds."""
    return name in own_names() or _lm_eval_file(name) is not None


def members(names: Iterable[str]) -> Iterator[Member]:
    """The tasks that names stand for, in order; one named twice comes twice.

    Raises:
        ConfigError: a name that is no task.
        TaskError: a group that cannot be read.
    """
    yield from _named(list(names), own_names(), {}, ())


def _named(
    names: Iterable[Any], own: Mapping[str, Path], options: Mapping[str, Any], within: tuple[GroupHead, ...]
) -> Iterator[Member]:
    """The tasks that names mean, those of sets in their place.

    Args:
        names: As a command or a set has them.
        own: Name -> file, of conf/task.
        options: What the sets above give to their tasks.
        within: The sets above.

    Raises:
        ConfigError: a name of nothing, or a set within itself.
    """
    for name in names:
        _refuse_circle(name, own, within)
        if name not in own:
            yield from _lm_evals(name, own, options, within)
            continue
        content = load(own[name])
        if is_group(content):
            _check(name, own[name], content)
            yield from _inside(content, own, options, (*within, GroupHead(name, content)))
        else:
            yield Member(name, own[name], options, within)


def _refuse_circle(name: Any, own: Mapping[str, Path], within: tuple[GroupHead, ...]) -> None:
    """See that a group is not within itself.

    Raises:
        ConfigError: it is, or a group that is defined in another's list has the name of a task in it.
    """
    if not any(name == head.name for head in within):
        return
    if name in own and not is_group(load(own[name], tolerant=True)):
        raise ConfigError(f"'{name}' is the name of a group and of a task: rename the group.")
    raise ConfigError(f"the task set '{name}' contains itself: take it out of its own list.")


def _inside(
    content: Mapping[str, Any], own: Mapping[str, Path], above: Mapping[str, Any], within: tuple[GroupHead, ...]
) -> Iterator[Member]:
    """The tasks of a group's content.

    Args:
        content: Of its file, or of an entry in a group above.
        own: As `own_names` returns them.
        above: Options that groups above it set.
        within: The groups above, itself included.

    Raises:
        ConfigError: a name of nothing, or a group within itself.
        TaskError: a task that is defined in the group.
    """
    name = within[-1].name
    _refuse_circle(name, own, within[:-1])
    options = {**{key: value for key, value in content.items() if key not in _SAID}, **above}
    listed = content["task"] if isinstance(content["task"], list) else [content["task"]]
    for member in listed:
        if not isinstance(member, Mapping):
            yield from _named([member], own, options, within)
        elif "group" in member and isinstance(member.get("task"), list):
            inner = str(member["group"])
            yield from _inside(member, own, options, (*within, GroupHead(inner, member)))
        else:
            named = member.get("group", member.get("task"))
            if not _is_known(named, own):
                raise TaskError(
                    f"the group '{name}' defines '{named}' in its own list, where evalrun takes names of tasks: write "
                    "it as a file of its own, and name that."
                )
            given = {key: value for key, value in member.items() if key not in _SAID}
            yield from _named([named], own, {**options, **given}, within)


def _is_known(name: Any, own: Mapping[str, Path]) -> bool:
    return isinstance(name, str) and (name in own or _lm_eval_file(name) is not None or name in lm_eval_index())


def _lm_evals(
    name: Any, own: Mapping[str, Path], options: Mapping[str, Any], within: tuple[GroupHead, ...]
) -> Iterator[Member]:
    """Files of an lm-eval task, group or tag; a task in a file of its own name needs no index of all of them."""
    path = _lm_eval_file(name)
    if path is not None:
        yield Member(name, path, options, within)
        return
    hint = suggest(str(name), own)
    if hint.startswith("did") and not _stands_in_lm_eval(str(name)):
        raise _unknown(name, hint)
    index = lm_eval_index()
    if name not in index:
        short = [key for key in index if abs(len(key) - len(str(name))) <= 4]
        raise _unknown(name, hint if hint.startswith("did") else suggest(str(name), [*own, *short]))
    entry = index[name]
    if entry.kind.name == "TAG":
        yield from _named(sorted(entry.tags), {}, options, (*within, GroupHead(name, is_tag=True)))
    elif entry.kind.name == "GROUP":
        yield from _inside(entry.cfg, {}, options, (*within, GroupHead(name, entry.cfg)))
    else:
        yield Member(name, entry.yaml_path, options, within)


def _unknown(name: Any, hint: str) -> ConfigError:
    return ConfigError(f"unknown task '{name}', neither in conf/task nor in lm-eval: {hint}")


def _stands_in_lm_eval(text: str) -> bool:
    """Whether a text is in any of lm-eval's files, or in one that they include, by whatever ending.

    Where it is in none, no task, group or tag is called so: that is known in a second, and by the index in eight.
    """
    said = text.encode("utf-8", "surrogateescape")
    files = (path for path in lm_eval_tasks().rglob("*") if path.suffix not in _NO_CONFIG and path.is_file())
    return any(said in path.read_bytes() for path in files)


@lru_cache(maxsize=4096)
def _lm_eval_file(name: Any) -> Path | None:
    """lm-eval's task in a file of the task's name, where it has one."""
    if not isinstance(name, str) or "/" in name or name.strip("*?[]. ") != name or not name:
        return None
    found = (path for path in _lm_eval_files().get(name, ()) if load(path, tolerant=True).get("task") == name)
    return next(found, None)


@lru_cache(maxsize=1)
def _lm_eval_files() -> dict[str, list[Path]]:
    """lm-eval's files by their names; walking through its folders for each of a group's tasks takes seconds."""
    found: dict[str, list[Path]] = {}
    for path in lm_eval_tasks().rglob("*.yaml"):
        found.setdefault(path.stem, []).append(path)
    return found


@lru_cache(maxsize=1)
def lm_eval_index() -> dict[str, Any]:
    """All of lm-eval's tasks, groups and tags; takes seconds."""
    return lm_eval_private.index_of(lm_eval_tasks())


def _check(name: str, path: Path, content: Mapping[str, Any]) -> None:
    """Refuse what a group of the user's cannot hold.

    Raises:
        TaskError: all faults at once.
    """
    if is_lm_evals(path):
        return
    found = [*shape.misnamed("group", content.get("group"), name), *_faults(content)]
    if found:
        raise TaskError(f"the task set '{name}' in {path} {fault}" for fault in found)


def _faults(content: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a set of tasks, as the tails of sentences; the task's names are not looked up."""
    given = known.task_keys() - _TASKS_OWN
    listed = content.get("task")
    if not (isinstance(listed, str) or (isinstance(listed, list) and listed)):
        yield f"has task: {shape.shown(listed)}, which must be a list of one or more tasks."
        listed = []
    allowed = given | known.group_keys() | {"include"}
    yield from shape.faults({key: value for key, value in content.items() if key != "task"}, allowed)
    yield from _aggregates(content.get("aggregate_metric_list"))
    for member in listed if isinstance(listed, list) else []:
        if isinstance(member, Mapping):
            inner = isinstance(member.get("task"), list)
            if not (isinstance(member.get("task"), str) or inner or isinstance(member.get("group"), str)):
                yield f"has {shape.shown(member)} among its tasks, which names none: write {{task: NAME, ...}}."
            elif inner:
                yield from _faults(member)
            else:
                rest = {key: value for key, value in member.items() if key != "task"}
                yield from shape.faults(rest, given | known.group_keys())
        elif not isinstance(member, str):
            yield f"has {shape.shown(member)} among its tasks, which is no name: put it in quotes."


def _aggregates(entries: Any) -> Iterator[str]:
    """What is wrong with a set's aggregate_metric_list, as the tails of sentences."""
    if entries is None:
        return
    for number, entry in enumerate(entries if isinstance(entries, list) else [entries], start=1):
        place = f"entry {number} of aggregate_metric_list"
        if not isinstance(entry, Mapping) or not isinstance(entry.get("metric"), str):
            yield f"has {shape.shown(entry)} as {place}, which must be a mapping with a metric: {{metric: acc}}."
            continue
        yield from shape.unknown(entry, known.aggregate_keys(), place)
        if entry.get("aggregation", "mean") != "mean":
            yield f"has aggregation: {shape.shown(entry['aggregation'])} in {place}, which must be mean."
        if not isinstance(entry.get("weight_by_size", True), bool):
            yield f"has weight_by_size: {shape.shown(entry['weight_by_size'])} in {place}: write true or false."
