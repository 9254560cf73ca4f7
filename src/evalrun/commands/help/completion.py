"""Completion for shells: what can follow the words typed so far, and the scripts that ask for it.

A shell asks at every press of the tab key, so nothing is imported but the standard library: configs are listed, not
composed, and keys are read from the source of the schema.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from evalrun.commands import help
from evalrun.core.errors import ConfigError, suggest

SHELLS = ("bash", "zsh", "fish")
FORMATS = ("csv", "lm-eval", "model-card", "parquet", "tensorboard", "wandb")  # of export
_GROUPS = (
    *("model", "task", "experiment", "profile", "scorer", "generation", "chat", "tracking", "analysis", "gate"),
    "hydra/launcher",
)
_FILES = ("path", "data_dir", "model.path", "tracking.root", "model.tokenizer", "base", "model.base", "scorer.cache")
_VALUES = {
    "scorer.dtype": ("auto", "float32", "float16", "bfloat16"),
    "scorer.device": ("auto", "cpu", "all", "cuda:0"),
    "chat.template": ("false", "true", "auto"),
    "step": ("final", "all"),
    "stage": ("all", "pretraining"),
}
_LISTS = ("model", "task", "stage", "step", "profile")
_ALIASES = ("task", "path", "tokens_per_step", "samples", "temperature", *_GROUPS)
_HERE = Path(__file__).parent
_PACKAGE = _HERE.parents[1]


def command(words: Sequence[str]) -> int:
    """`completion SHELL`: print the script that a shell reads.

    Raises:
        ConfigError: no such shell.
    """
    if len(words) != 1 or words[0] not in SHELLS:
        given = f"'{' '.join(words)}'" if words else "none was given"
        also = suggest(words[0], SHELLS) if words else "choose from: bash, fish, zsh."
        raise ConfigError(f"completion takes one shell, {given}: {also}")
    sys.stdout.write((_HERE / "shells" / f"evalrun.{words[0]}").read_text(encoding="utf-8"))
    return 0


def candidates(words: Sequence[str]) -> list[str]:
    """What the last of some words may become.

    Args:
        words: The words after the program's name; the last is typed in part, without an opening quote.
    """
    *before, current = words or [""]
    return sorted(dict.fromkeys(one for one in _candidates(before, current) if one.startswith(current)))


def _candidates(before: Sequence[str], current: str) -> Iterator[str]:
    """What may stand where the cursor is, whether or not it begins with what is typed.

    Args:
        before: The words before it, without `evalrun`.
        current: What is typed of the word.
    """
    name = before[0] if before and before[0] in (*help.COMMANDS, "help") else None
    if name == "help":
        yield from (*help.COMMANDS, help.RUN)
        return
    if name == "completion":
        yield from SHELLS
        return
    if before and before[-1] == "--port":
        return
    if current.startswith("-"):
        yield from (*(help.COMMANDS[name].flags if name else help.RUN_FLAGS), "--help")
        yield from [] if before else ["--version"]
        return
    key, equals, value = current.partition("=")
    if equals:
        yield from (f"{key}={one}" for one in _values(key, value))
        return
    if not before:
        yield from (*help.COMMANDS, "help")
    if name is None or help.COMMANDS[name].keys:
        yield from (f"{key}=" for key in keys() if current or "." not in key)
    if name == "export" and len(before) == 1:
        yield from FORMATS
    if name in ("ingest", "new-task") or (name == "export" and len(before) > 1):
        yield from _paths(current)


def _values(key: str, value: str) -> Iterator[str]:
    """Values of a key, with what is typed of a list before them."""
    if key in _FILES:
        yield from _paths(value)
        return
    names = _names(key)
    if value.startswith("glob("):
        folders = sorted({name.rpartition("/")[0] for name in names})
        yield from (f"glob({folder}/*)" if folder else "glob(*)" for folder in folders)
        return
    kept, comma, _ = value.rpartition(",") if key in _LISTS else ("", "", value)
    chosen = kept.split(",")
    yield from (f"{kept}{comma}{name}" for name in names if name not in chosen)


def _names(key: str) -> list[str]:
    """The values of a key, where they are few and known."""
    if key in _GROUPS:
        found = {name for folder in _conf_dirs() for name in _configs(folder / key)}
        return sorted(found)
    if key in _VALUES:
        return list(_VALUES[key])
    return ["true", "false"] if keys().get(key) == "bool" else []


def _configs(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*.yaml"):
        if not path.name.startswith("_"):
            yield path.relative_to(folder).with_suffix("").as_posix()


def _conf_dirs() -> list[Path]:
    """The folders of `own_yaml.conf_dirs`, without importing what that imports."""
    packaged = _PACKAGE / "conf"
    return [packaged if packaged.is_dir() else _PACKAGE.parents[1] / "conf", Path("conf")]


def _paths(start: str) -> Iterator[str]:
    """Files and folders that a path may become; folders end in a slash."""
    folder, slash, _ = start.rpartition("/")
    try:
        for path in (Path(folder + slash).expanduser() if slash else Path()).iterdir():
            if not path.name.startswith("."):
                yield f"{folder}{slash}{path.name}{'/' * path.is_dir()}"
    except OSError:
        return


@lru_cache(maxsize=1)
def keys() -> dict[str, str]:
    """Keys of a run and their types, from the schema's source."""
    tree = ast.parse((_PACKAGE / "config" / "schema.py").read_text(encoding="utf-8"))
    classes = {
        node.name: {f.target.id: ast.unparse(f.annotation) for f in node.body if _is_field(f)}  # type: ignore
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
    found = dict.fromkeys(_ALIASES, "str")
    for key, kind in classes["Config"].items():
        if kind in classes:
            found.update({f"{key}.{own}": its for own, its in classes[kind].items()})
        elif key not in ("tasks", "sweep"):
            found[key] = kind
    return found


def _is_field(node: ast.stmt) -> bool:
    return isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
