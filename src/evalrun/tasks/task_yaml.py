"""Reading task YAML: includes merged, `!function` kept as a reference, the block of a profile put over the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from evalrun.config.own_yaml import conf_dirs
from evalrun.core.errors import TaskError
from evalrun.tasks import generated_code, lm_eval_names, metrics, plain_columns

# The modules whose functions any task file may name, by the names that stand in users' files: those stay.
OWN_CODE: Mapping[str, ModuleType] = {
    "evalrun.task_code": generated_code,
    "evalrun.task_columns": plain_columns,
    "evalrun.task_metrics": metrics,
}
_LARGEST = 200_000  # values in one file, aliases unfolded: a few short lines can stand for millions
_DEEPEST = 50  # of what holds what
_Fast: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml has no limit to depth: for lm-eval's alone


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
        return Path(str(OWN_CODE[self._module].__file__)) if self._is_own else self._beside

    @property
    def own(self) -> Any:
        """The function itself where it is of a module in `OWN_CODE`, else None."""
        return getattr(OWN_CODE[self._module], self.spec.rpartition(".")[2]) if self._is_own else None

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
    return lm_eval_names.folder() / "tasks"


def load(path: Path, tolerant: bool = False) -> dict[str, Any]:
    """Read one task file with its includes merged; own keys win.

    Args:
        path: The file.
        tolerant: Return nothing, instead of raising, for a file that is no task config.

    Raises:
        TaskError: not YAML, not a mapping, a key twice, or an include that is nowhere.
    """
    return merged(parts(path, tolerant))


def merged(read: Sequence[tuple[Path, dict[str, Any]]]) -> dict[str, Any]:
    """The config that the parts of a task file make, as `parts` returns them."""
    return {key: value for _, content in read for key, value in content.items()}


def parts(path: Path, tolerant: bool = False, within: tuple[Path, ...] = ()) -> list[tuple[Path, dict[str, Any]]]:
    """A task file and the files that it includes, each with its own lines; later ones win, so its own are last.

    Raises:
        TaskError: as `load`.
    """
    try:
        content = _content(path)
    except TaskError:
        if tolerant:
            return [(path, {})]
        raise
    includes = content.pop("include", None)
    found: list[tuple[Path, dict[str, Any]]] = []
    for include in includes if isinstance(includes, list) else [] if includes is None else [includes]:
        there = _included(path, str(include))
        if there.resolve() in (*within, path.resolve()):
            raise TaskError(f"{path} includes '{include}', which includes it in turn: take it out of one of them.")
        found += parts(there, within=(*within, path.resolve()))
    return [*found, (path, content)]


def is_lm_evals(path: Path) -> bool:
    """Whether a file came with lm-eval."""
    return path.is_relative_to(lm_eval_tasks())


def _content(path: Path) -> dict[str, Any]:
    """The lines of one file, without what it includes.

    Raises:
        TaskError: it cannot be read, or is no mapping of YAML.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_loader(path))
    except UnicodeDecodeError:
        raise TaskError(f"{path} is not UTF-8 text: save it as UTF-8.") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:  # ValueError: a date such as 2024-13-01
        what = " ".join(str(error).split())
        raise TaskError(f"{path} is not valid YAML ({what}): {_remedy(what)}.") from None
    except OSError as error:
        raise TaskError(f"{path} cannot be read ({error.strerror}): correct it, or take it away.") from None
    if content is None:
        raise TaskError(f"{path} is empty where a task config (key: value lines) is expected: write it, or remove it.")
    if not isinstance(content, dict):
        raise TaskError(f"{path} holds {type(content).__name__} where a task config (key: value lines) is expected.")
    if not is_lm_evals(path) and not _is_small(content):
        raise TaskError(f"{path} holds more than {_LARGEST:,} values, or too deep ones: look at its & and *, and [.")
    return content


def _remedy(what: str) -> str:
    """What to do about a file that is no YAML, by the parser's words for it."""
    if r"'\t'" in what:
        return "put spaces where tabs stand"
    if "a single document" in what:
        return "take out the line --- and what follows it"
    return "put texts that hold ': ', '#' or '{{' in quotes"


def _is_small(content: object) -> bool:
    """Whether all values, aliases unfolded, are few enough and not too deep to be walked through."""
    waiting, count = [(content, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if count > _LARGEST or depth > _DEEPEST:
            return False
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        waiting += [(one, depth + 1) for one in inner]
    return True


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


def _loader(path: Path) -> Any:
    """Safe YAML that keeps `!function` as a reference to code beside the file, and takes no key twice."""

    class Loader(_Fast if is_lm_evals(path) else yaml.SafeLoader):  # type: ignore[misc]
        pass

    def function(_: Any, node: yaml.Node) -> Function:
        spec = node.value
        if not isinstance(spec, str) or not all(part.isidentifier() for part in spec.split(".")) or "." not in spec:
            said = spec if isinstance(spec, str) else "something else"
            raise TaskError(f"{path}: !function names {said} at {_line(node)}: write it as !function MODULE.NAME.")
        return Function(spec, str(path.parent))

    def mapping(loader: Any, node: yaml.MappingNode) -> Iterator[dict[Any, Any]]:
        _refuse_twice(path, node)
        return yaml.SafeLoader.construct_yaml_map(loader, node)

    Loader.add_constructor("!function", function)
    if not is_lm_evals(path):  # fourteen of its own files have a key twice
        Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    return Loader


def _refuse_twice(path: Path, node: yaml.MappingNode) -> None:
    """YAML keeps the last of two lines with one key, and drops the other without a word."""
    first: dict[str, yaml.Node] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
            continue
        before = first.setdefault(key.value, key)
        if before is not key:
            raise TaskError(f"{path} has the key '{key.value}' twice, at {_line(before)} and {_line(key)}: keep one.")


def _line(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"


def _included(path: Path, include: str) -> Path:
    for candidate in (path.parent / include, conf_dirs()[0] / "task" / include, lm_eval_tasks() / include):
        if candidate.is_file() and candidate.resolve() != path.resolve():
            return candidate
    if (path.parent / include).resolve() == path.resolve():
        raise TaskError(f"{path} includes itself: take its include out.")
    raise TaskError(
        f"{path} includes '{include}', which is neither beside it nor in lm-eval's tasks folder: correct its name."
    )
