"""Which task a result is of: names of the conf/task folders, and the other names that their metadata lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from evalrun.commands.ingest.parsed import number, whole
from evalrun.core.errors import ConfigError, TaskError
from evalrun.tasks import groups, task_yaml


@dataclass(frozen=True)
class Task:
    """What is known of a task without its data."""

    name: str
    title: str
    cause: str = ""
    role: str = ""
    rows: int | None = None  # items of the whole data set
    chance: float | None = None  # expected accuracy of a uniform guess
    num_fewshot: int = 0  # its own


@dataclass(frozen=True)
class TaskPart:
    """A result's share that is one task of ours: its metrics by the name in the file -> ours."""

    task: Task
    metrics: dict[str, str]


class Tasks:
    """All tasks by name and by alias.

    An alias is another name (`isp_memo_trap`), or one metric of another task (`truthfulqa_mc:mc1`), which then is this
    task's `acc`: lm-eval 0.3 had tasks that are several now.

    Args:
        configs: Task configs by name; None for all of the conf folders.

    Raises:
        ConfigError: two tasks that claim one alias.
    """

    def __init__(self, configs: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Read names and aliases.

        Args:
            configs: Task -> its config; None for all of conf/task.

        Raises:
            ConfigError: an alias means two tasks.
        """
        self._tasks: dict[str, Task] = {}
        self._metrics: dict[str, dict[str, Task]] = {}
        self._asked: dict[tuple[str, ...], list[TaskPart]] = {}
        problems = []
        aliases: list[tuple[str, Task]] = []
        for name, config in (_own() if configs is None else configs).items():
            metadata = config.get("metadata")
            task = _task(name, config, metadata if isinstance(metadata, Mapping) else {})
            self._tasks[name] = task
            aliases += [(alias, task) for alias in _aliases(metadata)]
        for alias, task in aliases:
            other, _, metric = alias.partition(":")
            known = self._metrics.setdefault(other, {}) if metric else self._tasks
            claimed = known.setdefault(metric or other, task)
            if claimed.name != task.name:
                problems.append(
                    f"the alias '{alias}' of task {task.name} means {claimed.name} already: remove it from one of them."
                )
        if problems:
            raise ConfigError(problems)

    def parts(self, name: str, metrics: Iterable[str]) -> list[TaskPart]:
        """The tasks of ours that a result holds; a task that nobody knows keeps its name."""
        asked = (name, *metrics)  # the same for every checkpoint
        if asked not in self._asked:
            self._asked[asked] = self._parts(name, list(asked[1:]))
        return self._asked[asked]

    def _parts(self, name: str, rest: list[str]) -> list[TaskPart]:
        found = []
        for metric, task in self._metrics.get(name, {}).items():
            if metric in rest:
                found.append(TaskPart(task, {metric: "acc"}))
                rest.remove(metric)
        if rest:
            found.append(TaskPart(self._tasks.get(name, Task(name, name)), {metric: metric for metric in rest}))
        return found


def _own() -> dict[str, dict[str, Any]]:
    """The configs as they are, without asking whether their data is there; those that cannot be read know no names."""
    configs = {}
    for name, path in groups.own_names().items():
        try:
            config = task_yaml.load(path, tolerant=True)
        except TaskError:
            continue
        if not groups.is_group(config):
            configs[name] = config
    return configs


def _task(name: str, config: Mapping[str, Any], metadata: Mapping[str, Any]) -> Task:
    return Task(
        name=name,
        title=str(metadata.get("title", name)),
        cause=str(metadata.get("cause", "")),
        role=str(metadata.get("role", "")),
        rows=whole(metadata.get("rows")),
        chance=number(metadata.get("chance")),
        num_fewshot=whole(config.get("num_fewshot")) or 0,
    )


def _aliases(metadata: Any) -> list[str]:
    listed = metadata.get("aliases") if isinstance(metadata, Mapping) else None
    return [str(alias) for alias in listed] if isinstance(listed, list) else []
