"""Command-line overrides: read by Hydra's own grammar, and the names that each of them selects."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from functools import cache
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException
from omegaconf import OmegaConf

from evalrun.config import as_typed, omegaconf_private, own_files
from evalrun.config.schema import Config
from evalrun.core.errors import ConfigError

ALIASES = {
    "path": "model.path",
    "base": "model.base",
    "tokens_per_step": "checkpoint.tokens_per_step",
    "samples": "generation.samples",
    "temperature": "generation.temperature",
}
LOCAL = "local"  # the model config that is given a folder with path=; no model by itself


def parse(words: Sequence[str]) -> list[Override]:
    """Parse overrides with Hydra's own grammar.

    Raises:
        ConfigError: words that are no overrides, all of them at once.
    """
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    parsed, problems = [], []
    for word in map(_spelt_out, words):
        try:
            parsed.append(parser.parse_override(word))
        except HydraException:
            problems.append(f"'{word}' cannot be read as an override: {_hint(word)}.")
    if problems:
        raise ConfigError(problems)
    return parsed


@cache
def free_mappings() -> frozenset[str]:
    """The keys whose values are mappings with keys of the user's own, such as analysis.expected."""
    nodes = omegaconf_private.nodes(OmegaConf.structured(Config))
    return frozenset(key for key, node in nodes if omegaconf_private.is_free_mapping(node))


def _hint(word: str) -> str:
    """What to type in place of a word that Hydra's grammar does not take."""
    key, equals, value = word.partition("=")
    if not equals:
        return f"write {key if key.isidentifier() else 'KEY'}=VALUE, with no spaces around = and commas"
    if set(word) & set(" \t\n"):
        return "one KEY=VALUE to a word, with no spaces around ="
    if not set(value) & set("'\"[](){}") and "" in value.split(","):
        return f"write {key}={','.join(part for part in value.split(',') if part)}, with no comma too many"
    return "close its brackets and quotes, and put it in quotes"


def _spelt_out(word: str) -> str:
    """A word with its key in full, and text in quotes where Hydra would read something else."""
    key, equals, value = word.partition("=")
    if not equals:
        return word
    plus = key[: len(key) - len(key.lstrip("+"))]
    key = ALIASES.get(key.lstrip("+"), key.lstrip("+"))
    free = free_mappings()
    if (key in free and value.startswith("{")) or key.rpartition(".")[0] in free:
        plus = "++"  # its keys are the user's: none is there before
    return f"{plus}{key}={as_typed.spelt(key, value, _is_read)}"


def _is_read(value: str) -> bool:
    try:
        OverridesParser.create(config_loader=None).parse_override(f"key={value}")
    except HydraException:
        return False
    return True


def for_hydra(given: Sequence[Override]) -> list[str]:
    """Overrides in words that Hydra itself can compose.

    `task=a,b` names tasks of one job, and names that only lm-eval knows, so it becomes `tasks=[a,b]`; a step such as
    `all` becomes a sweep of one, which Hydra leaves to the sweeper; a list of models is the models of a sweep.
    """
    sayable = []
    for override in given:
        line = override.input_line or ""
        if override.key_or_group == "task":
            line = f"tasks={as_typed.element(choices(override))}"
        elif override.key_or_group == "step" and not override.is_sweep_override():
            line = f"step=choice({','.join(words(override))})"
        elif override.key_or_group == "model" and isinstance(override.value(), list):
            line = f"model={','.join(map(as_typed.element, words(override)))}"
        sayable.append(line)
    return sayable


def group_options(group: str, under: str = "") -> list[str]:
    """All configs of a group, those in sub-folders as `folder/name`."""
    repository = GlobalHydra.instance().config_loader().repository
    path = f"{group}/{under}".rstrip("/")
    names = [under + name for name in repository.get_group_options(path, results_filter=ObjectType.CONFIG)]
    for folder in repository.get_group_options(path, results_filter=ObjectType.GROUP):
        names += group_options(group, f"{under}{folder}/")
    return sorted(names)


def _options(group: str) -> list[str]:
    """The options of a group; none where there is no such group."""
    return group_options(group) if GlobalHydra.instance().config_loader().repository.group_exists(group) else []


def models() -> list[str]:
    """All models that have a config, `local` aside."""
    return [name for name in group_options("model") if name != LOCAL]


def file_problems(group: str, *names: str) -> list[str]:
    """Sentences about files of the user's that options of a group stand for, and about those that they build on."""
    options = cache(_options)  # there may be many files, and a look into folders for each line of them
    return own_files.problems(group, names, options)


def choices(override: Override) -> list[str]:
    """The names that a group override selects, globs resolved; `*` does not cross a `/`.

    Raises:
        ConfigError: a glob that matches nothing.
    """
    value = override.value()
    if isinstance(value, Glob):
        options = models() if override.key_or_group == "model" else group_options(override.key_or_group)
        options = [o for o in options if not o.rpartition("/")[2].startswith("_")]  # what other files include
        found = [o for o in options if _glob(o, value.include) and not _glob(o, value.exclude)]
        if not found:
            written = ", ".join(value.include)
            there = dict.fromkeys(f"{folder}/*" if (folder := o.rpartition("/")[0]) else o for o in options)
            raise ConfigError(f"{override.key_or_group}=glob({written}) matches nothing: there are {', '.join(there)}.")
        return found
    return words(override)


def words(override: Override) -> list[str]:
    """The value of an override as plain words: one, or those of a sweep, a list or a range."""
    if override.is_sweep_override():
        return [str(getattr(word, "text", word)) for word in override.sweep_iterator()]
    value = override.value()
    items: Any = value if isinstance(value, list) else [value]
    return [str(item) for item in items]


def _glob(name: str, patterns: Sequence[str]) -> bool:
    parts = name.split("/")
    return any(
        len(parts) == len(pattern.split("/"))
        and all(fnmatch(part, p) for part, p in zip(parts, pattern.split("/"), strict=True))
        for pattern in patterns
    )


def split_flags(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate Hydra's flags (with the value of those that take one) from overrides."""
    flags, overrides = [], []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if equals and name in ("--cfg", "--info", "--package"):
            flags += [name, value]
        elif word.startswith("-"):
            flags.append(word)
            if word in ("--cfg", "-c", "--info", "-i", "--package", "-p") and rest:
                if word in ("--info", "-i") and "=" in rest[0]:
                    continue
                flags.append(rest.pop(0))
        else:
            overrides.append(word)
    return flags, overrides
