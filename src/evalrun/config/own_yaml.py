"""Where configs lie, what a user's own file says, and which file a mistake is in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from evalrun.core.errors import first_line


def conf_dir() -> Path:
    """The folder of shipped configs: inside the installed package, else at the top of the checkout."""
    packaged = Path(__file__).parents[1] / "conf"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[3] / "conf"


def conf_dirs() -> list[Path]:
    """Where configs are looked for: the shipped folder, then `./conf` of the user."""
    own = Path.cwd() / "conf"
    shipped = conf_dir()
    return [shipped] if not own.is_dir() or own.resolve() == shipped.resolve() else [shipped, own]


def own_file(group: str, name: str) -> Path | None:
    """The user's file of an option, as a path to show; None where it is a shipped one, or there is none."""
    for folder in conf_dirs()[1:]:
        path = folder / group / f"{name}.yaml"
        if path.is_file():
            return path.relative_to(Path.cwd())
    return None


def read(path: Path, prepare: Callable[[str], str] = str) -> tuple[str, dict[Any, Any]]:
    """The text of a file and what it says to Hydra, interpolations as they are written.

    Args:
        path: The file.
        prepare: What is done to its text before it is taken for YAML.

    Raises:
        ValueError: the end of a sentence that begins with the file's name.
    """
    try:
        text = path.read_text(encoding="utf-8")
        said = OmegaConf.create(prepare(text))
        if not isinstance(said, DictConfig):
            raise ValueError("holds a list where `key: value` lines are expected.")
        plain: Any = OmegaConf.to_container(said, resolve=False)
        if list(plain.values()) == [None] and ":" not in text:  # so OmegaConf reads a single word
            raise AssertionError
        return text, dict(plain)
    except AssertionError:  # OmegaConf's word for a file that is a number or a date
        raise ValueError("holds one value where `key: value` lines are expected.") from None
    except UnicodeDecodeError:
        raise ValueError("is no text in UTF-8: save it as such.") from None
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror or first_line(error)}).") from None
    except yaml.YAMLError as error:
        raise ValueError(f"is not valid YAML ({_spot(error)}): correct it there.") from None
    except RecursionError:
        raise ValueError("holds a value that contains itself: write it out.") from None
    except OmegaConfBaseException as error:
        raise ValueError(f"cannot be read: {first_line(error)}.") from None


def _spot(error: yaml.YAMLError) -> str:
    """What a YAML parser did not like, and where."""
    mark = getattr(error, "problem_mark", None)
    what = " ".join(str(getattr(error, "problem", None) or first_line(error)).split())
    return what if mark is None else f"line {mark.line + 1}: {what}"


def chosen(cfg: DictConfig) -> list[Path]:
    """The user's files that a composed config was put together from, Hydra's node being there."""
    choices = as_written(cfg, "hydra.runtime.choices") or {}
    found = (own_file(str(group).partition("@")[0], str(name)) for group, name in choices.items())
    return list(dict.fromkeys(path for path in found if path is not None))


def as_written(cfg: DictConfig, key: str) -> Any:
    """A list or mapping of a config as it stands, or None: a ${...} in words that were typed belongs elsewhere."""
    node = OmegaConf.select(cfg, key)
    return None if node is None else OmegaConf.to_container(node, resolve=False)


def saying(files: Iterable[Path], key: str) -> list[Path]:
    """Those of some files that set a key, by the last part of its name."""
    last = re.escape(key.rpartition(".")[2])
    return [path for path in files if re.search(rf"(?m)^[^#\n]*\b{last}['\"]?\s*:", _text(path))]


def named(overrides: Iterable[str]) -> Iterator[Path]:
    """The user's files that overrides choose."""
    for word in overrides:
        group, _, name = word.partition("=")
        path = own_file(group.lstrip("+").partition("@")[0], name.strip("'\""))
        if path is not None:
            yield path


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
