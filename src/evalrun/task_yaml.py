"""Reading task YAML: includes merged, `!function` kept as a reference, the block of a profile put over the rest."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from evalrun import task_columns, task_metrics
from evalrun.config import conf_dirs
from evalrun.errors import TaskError

# The modules whose functions any task file may name.
OWN_CODE = {module.__name__: Path(str(module.__file__)) for module in (task_columns, task_metrics)}


@dataclass(frozen=True)
class Function:
    """A `!function` reference: code, resolved only when the task is built and its file is trusted."""

    spec: str
    folder: str

    def __str__(self) -> str:
        return f"!function {self.spec}"

    @property
    def of_lm_eval(self) -> bool:
        """Whether it is lm-eval's own, installed with it."""
        return Path(self.folder).is_relative_to(lm_eval_tasks())

    @property
    def trusted(self) -> bool:
        """Whether it came with the installation: lm-eval's own, or of a module in `OWN_CODE`."""
        return self.of_lm_eval or self._is_own

    @property
    def code(self) -> Path | None:
        """The file that holds it, where that is known."""
        return OWN_CODE[self._module] if self._is_own else self._beside

    @property
    def _is_own(self) -> bool:
        # A file of the same name beside the task file would be taken first: then it is not ours.
        return self._module in OWN_CODE and self._beside is None

    @property
    def _module(self) -> str:
        return self.spec.rpartition(".")[0]

    @property
    def _beside(self) -> Path | None:
        path = Path(self.folder) / (self._module.replace(".", "/") + ".py")
        return path if path.is_file() else None


def lm_eval_tasks() -> Path:
    """Folder of lm-eval's own task files (found without importing it)."""
    spec = importlib.util.find_spec("lm_eval")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "tasks"


def load(path: Path, tolerant: bool = False) -> dict[str, Any]:
    """Read one task file with its includes merged; own keys win.

    Args:
        path: The file.
        tolerant: Return nothing, instead of raising, for a file that is no task config.

    Raises:
        TaskError: not YAML, not a mapping, or an include that is nowhere.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_loader(path.parent))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        if tolerant:
            return {}
        what = " ".join(str(error).split())
        raise TaskError(
            f"{path} is not valid YAML ({what}): put texts that hold ': ', '#' or '{{{{' in quotes."
        ) from None
    if not isinstance(content, dict):
        if tolerant:
            return {}
        raise TaskError(f"{path} holds {type(content).__name__} where a task config (key: value lines) is expected.")
    includes = content.pop("include", [])
    merged: dict[str, Any] = {}
    for include in includes if isinstance(includes, list) else [includes]:
        merged.update(load(_included(path, str(include))))
    return {**merged, **content}


def functions(value: Any) -> Iterator[Function]:
    """All `!function` references inside a config."""
    if isinstance(value, Function):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from functions(item)
    elif isinstance(value, list):
        for item in value:
            yield from functions(item)


def with_profile(config: dict[str, Any], profile: str | None) -> dict[str, Any]:
    """The config with the block of a profile over it; a task without such a block is the same in every profile.

    Args:
        config: As `load` returns it; `profiles` maps a profile's name to keys that it sets.
        profile: Which; None for the config without any block.
    """
    rest = {key: value for key, value in config.items() if key != "profiles"}
    blocks = config.get("profiles") or {}
    return {**rest, **(blocks.get(profile) or {})}


def _loader(folder: Path) -> type[yaml.SafeLoader]:
    """Safe YAML that keeps `!function` as a reference to code beside the file."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda _, node: Function(node.value, str(folder)))
    return Loader


def _included(path: Path, include: str) -> Path:
    for candidate in (path.parent / include, conf_dirs()[0] / "task" / include, lm_eval_tasks() / include):
        if candidate.is_file() and candidate.resolve() != path.resolve():
            return candidate
    raise TaskError(
        f"{path} includes '{include}', which is neither beside it nor in lm-eval's tasks folder: correct its name."
    )
