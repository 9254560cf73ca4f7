"""Command-line overrides, read and checked before Hydra sees them: every mistake at once, with the nearest name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException, ValidationError

from evalrun.config import as_typed, own_files
from evalrun.config.compose import compose
from evalrun.config.own_yaml import conf_dirs
from evalrun.config.schema import Config
from evalrun.core.errors import ConfigError, first_line, suggest
from evalrun.tasks import groups

ALIASES = {"path": "model.path", "tokens_per_step": "checkpoint.tokens_per_step"}
LOCAL = "local"  # the model config that is given a folder with path=; no model by itself
GROUPS = ("model", "checkpoint", "scorer", "profile", "tracking", "analysis", "experiment")


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
    return f"{plus}{key}={as_typed.spelt(key, value, _is_read)}"


def _is_read(value: str) -> bool:
    try:
        OverridesParser.create(config_loader=None).parse_override(f"key={value}")
    except HydraException:
        return False
    return True


def for_hydra(given: Sequence[Override]) -> list[str]:
    """The same overrides in words that Hydra itself can compose.

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
    """As `group_options`; none where there is no such group."""
    return group_options(group) if GlobalHydra.instance().config_loader().repository.group_exists(group) else []


def models() -> list[str]:
    """All models that have a config, `local` aside."""
    return [name for name in group_options("model") if name != LOCAL]


def file_problems(group: str, name: str) -> list[str]:
    """Sentences about a file of the user's that an option of a group stands for, and about those that it builds on."""
    return own_files.problems(group, name, _options)


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


def check(overrides: Sequence[Override]) -> None:
    """Check names, keys and values against the configs and the schema.

    Raises:
        ConfigError: all mistakes together.
    """
    problems = [sentence for _, sentence in mistakes(overrides)]
    if problems:
        raise ConfigError(problems)


def mistakes(overrides: Sequence[Override]) -> list[tuple[Override | None, str]]:
    """Each override that cannot be right, with a sentence; None where it is about Hydra's own keys."""
    found: list[tuple[Override | None, str]] = [(None, sentence) for sentence in _hydra_problems(overrides)]
    found += _given_twice(overrides)
    return found + [(override, sentence) for override in overrides for sentence in _problems(override)]


def _given_twice(overrides: Sequence[Override]) -> Iterator[tuple[Override, str]]:
    """Keys that are there more than once: Hydra takes the last without a word."""
    first: dict[str, Override] = {}
    for override in overrides:
        key = "task" if override.key_or_group == "tasks" else override.key_or_group
        if key not in first or _is_hydra(key):
            first[key] = override
        elif override.input_line != first[key].input_line:
            both = f"{first[key].input_line} and {override.input_line}"
            several = f": several are written {key}=A,B" if key in ("task", "model", "step") else ""
            yield override, f"{key} is given twice, {both}{several or ': leave one out'}."


def _hydra_problems(overrides: Sequence[Override]) -> Iterator[str]:
    """Of Hydra's own config, which Hydra checks itself, in words of its own and with a traceback."""
    own = [o for o in overrides if _is_hydra(o.key_or_group)]
    if not own:
        return
    if found := [*_launcher_problems(own)]:
        yield from found
        return
    for override in own:
        group, name = override.key_or_group, str(override.value())
        if group == "hydra/sweeper" and name in group_options(group) and name != "evalrun":
            yield f"{override.input_line}: evalrun expands its grids itself; leave it out."
            return
        if "/" in group and not override.is_delete():
            if name not in (options := group_options(group)):
                yield f"unknown {group} '{name}': {suggest(name, options)}"
                return
            if found := file_problems(group, name):
                yield from found
                return
    try:
        compose([o.input_line or "" for o in own], partial=True)
    except ConfigError as error:
        words = " ".join(o.input_line or "" for o in own)
        why = first_line(error.__cause__ or error)
        yield f"Hydra does not take {words}: {why}; with `--cfg hydra` it shows what there is."


def _is_hydra(key: str) -> bool:
    return key == "hydra" or key.startswith(("hydra.", "hydra/"))


def _launcher_problems(overrides: Sequence[Override]) -> Iterator[str]:
    """Of the one part of Hydra's own config that people set often."""
    chosen = next((o for o in overrides if o.key_or_group == "hydra/launcher" and not o.is_delete()), None)
    group, key = "hydra/launcher", "hydra.launcher."
    for override in overrides:
        if override.key_or_group == "hydra.launcher":
            yield f"hydra.launcher is no setting itself: choose a launcher with {group}={override.value()}."
            return
    if chosen is not None and str(chosen.value()) not in group_options(group):
        yield f"unknown {group} '{chosen.value()}': {suggest(str(chosen.value()), group_options(group))}"
        return
    settings = [o.key_or_group for o in overrides if o.key_or_group.startswith(key) and not o.is_add()]
    if settings:
        known = [
            f"{key}{name}"
            for name in compose([f"{group}={chosen.value()}"] if chosen else [], partial=True).hydra.launcher
            if name != "_target_"
        ]
        named = chosen.value() if chosen else "local"
        for word in settings:
            if ".".join(word.split(".")[:3]) not in known:
                yield f"unknown setting '{word}' of {group}={named}: {suggest(word, known)}"


def _problems(override: Override) -> Iterator[str]:
    key = override.key_or_group
    if _is_hydra(key):
        return
    if override.package is not None:
        yield f"'{override.input_line}' names a package, which a run does not take: write {_plainly(override)}."
    elif (override.is_add() and _is_known(key)) or (override.is_force_add() and key in GROUPS):
        yield f"'{override.input_line}' would add what is there already: write {_plainly(override)}."
    elif override.is_delete():
        yield f"'{override.input_line}': evalrun's keys cannot be deleted; set {key}=null where it may be empty."
    elif key in ("task", "model", "step") and override.value() in (None, ""):
        yield f"{key} has no value: write {key}=VALUE, with no space after the =."
    elif key in ("task", "tasks"):
        yield from groups.problems(choices(override))
    elif key in GROUPS:
        yield from _group_problems(override)
    else:
        yield from _value_problems(override)


def _is_known(key: str) -> bool:
    return key in (*GROUPS, "task") or key in _keys(OmegaConf.structured(Config))


def _plainly(override: Override) -> str:
    """An override without the signs that templates of Hydra's teach."""
    return f"{override.key_or_group}={(override.input_line or '').partition('=')[2]}"


def _group_problems(override: Override) -> Iterator[str]:
    group = override.key_or_group
    options = group_options(group)
    if group != "model" and isinstance(override.value(), list):
        yield f"{override.input_line} names several: write {group}={','.join(words(override))} and sweep them with -m."
        return
    try:
        chosen = choices(override)
    except ConfigError as error:
        yield str(error)
        return
    for name in chosen:
        if name not in options and not (group == "experiment" and name == "None"):
            pattern = set("*?[") & set(name)
            meant = f"write '{group}=glob({name})', with its quotes." if pattern else suggest(name, options)
            yield f"unknown {group} '{name}': {meant}"
        elif all((folder / group / f"{name}.yaml").is_file() for folder in conf_dirs()[-2:]) and len(conf_dirs()) > 1:
            yield f"conf/{group}/{name}.yaml of yours has the name of a shipped config: rename yours."
        else:
            yield from file_problems(group, name)


def _value_problems(override: Override) -> Iterator[str]:
    key = override.key_or_group
    schema = OmegaConf.structured(Config)
    known = _keys(schema)
    if key not in known and not key.startswith(("model.architecture.", "model.resources.")):
        allowed = {*known, "task", *ALIASES, *GROUPS, "hydra/launcher"} - {"sweep"}
        inside = sorted(name for name in allowed if name.endswith(f".{key}"))
        hint = f"did you mean '{inside[0]}'?" if len(inside) == 1 else suggest(key.lower(), allowed)
        yield f"unknown key '{key}': {hint if hint.startswith('did') else '`python -m evalrun help run` lists them.'}"
        return
    if key == "step":
        return
    values = list(override.sweep_iterator()) if override.is_sweep_override() else [override.value()]
    for value in values:
        try:
            OmegaConf.update(schema, key, getattr(value, "text", value))
        except ValidationError:
            yield f"{key} is '{value}': it must be {_kind(schema, key, value)}."
        except (OmegaConfBaseException, AttributeError) as error:
            yield f"{key}={value}: {str(error).splitlines()[0].rstrip('.')}."


def _kind(schema: Any, key: str, value: Any) -> str:
    """What a key's values are, in words."""
    *parents, last = key.split(".")
    node = OmegaConf.select(schema, ".".join(parents)) if parents else schema
    return own_files.must_be(node._get_node(last), value)


def _keys(schema: Any, prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key in schema:
        keys.append(prefix + str(key))
        node = schema._get_node(key)
        if OmegaConf.is_dict(node) and not node._is_none() and not node._is_missing():
            keys += _keys(node, f"{prefix}{key}.")
    return keys


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
