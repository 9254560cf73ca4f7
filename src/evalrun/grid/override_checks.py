"""What is wrong with overrides: names, keys and values held against configs and schema, all mistakes at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hydra.core.override_parser.types import Glob, IntervalSweep, Override
from omegaconf import OmegaConf
from omegaconf.errors import (
    InterpolationKeyError,
    OmegaConfBaseException,
    UnsupportedInterpolationType,
    ValidationError,
)

from evalrun.config import omegaconf_private, own_files, own_yaml
from evalrun.config.compose import compose, type_sentence
from evalrun.config.own_yaml import conf_dirs
from evalrun.config.schema import Config
from evalrun.core.errors import ConfigError, first_line, suggest
from evalrun.grid import launcher_problems
from evalrun.grid.overrides import ALIASES, choices, file_problems, free_mappings, group_options, words
from evalrun.tasks import groups

GROUPS = (
    *("model", "checkpoint", "scorer", "profile", "generation", "chat", "tracking", "analysis", "gate", "experiment"),
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
    found: list[tuple[Override | None, str]] = [(o, sentence) for o in overrides for sentence in _sweep_problems(o)]
    rest = [o for o in overrides if o not in [override for override, _ in found]]
    found += [(None, sentence) for sentence in _hydra_problems(rest)]
    found += _given_twice(overrides)
    return found + [(override, sentence) for override in rest for sentence in _problems(override)]


def _sweep_problems(override: Override) -> Iterator[str]:
    """Of sweeps that name no values: intervals, globs where there are no files to choose from, any of Hydra's own."""
    key, value = override.key_or_group, override.value()
    written = f"{key}={(override.input_line or '').partition('=')[2]}"
    if _is_hydra(key) and override.is_sweep_override():
        yield f"{written}: what is Hydra's own is not swept; name one value."
    elif isinstance(value, IntervalSweep):
        listed = "step=100,200 or step=range(100,201,100)" if key == "step" else f"{key}=A,B"
        yield f"{written}: an interval names no values; list those that are meant, as in {listed}."
    elif isinstance(value, Glob) and key not in (*GROUPS, "task", "stage"):
        instead = {"step": "step=all for all that there are", "tasks": f"'{written.replace('tasks', 'task', 1)}'"}
        yield f"{written}: a glob chooses among files, which {key} has none of; write {instead.get(key, f'{key}=A,B')}."


def _given_twice(overrides: Sequence[Override]) -> Iterator[tuple[Override, str]]:
    """Keys that are there more than once: Hydra takes the last without a word."""
    first: dict[str, Override] = {}
    for override in overrides:
        key = "task" if override.key_or_group == "tasks" else override.key_or_group
        if key not in first or _is_hydra(key):
            first[key] = override
        elif override.input_line != first[key].input_line:
            both = f"{first[key].input_line} and {override.input_line}"
            several = f": several are written {key}=A,B" if key in ("task", "model", "step", "stage") else ""
            yield override, f"{key} is given twice, {both}{several or ': leave one out'}."


def _hydra_problems(overrides: Sequence[Override]) -> Iterator[str]:
    """Of Hydra's own config, which Hydra checks itself, in words of its own and with a traceback."""
    own = [o for o in overrides if _is_hydra(o.key_or_group)]
    beside = _experiment(overrides)
    is_theirs = next(own_yaml.named(beside), None) is not None  # shipped experiments say nothing of launchers
    if found := [*launcher_problems.names(own, beside), *(launcher_problems.of_file(own, beside) if is_theirs else ())]:
        yield from found
        return
    if not own:
        yield from launcher_problems.values(own, beside) if is_theirs else ()
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
        compose([*beside, *(o.input_line or "" for o in own)], partial=True)
    except ConfigError as error:
        written = " ".join(o.input_line or "" for o in own)
        why = first_line(error.__cause__ or error)
        files = "".join(f"{path}: " for path in dict.fromkeys(own_yaml.named(written.split())))
        yield f"{files}Hydra does not take {written}: {why}; with `--cfg hydra` it shows what there is."
        return
    yield from launcher_problems.values(own, beside)


def unresolved(overrides: Sequence[Override], job: Sequence[str]) -> Iterator[str]:
    """Of overrides of Hydra's own keys, those with a ${...} that stands for nothing: seen with a job's config alone.

    What is known once a job has begun, such as ${hydra.job.num}, is no mistake.
    """
    for override in overrides:
        line, key = override.input_line or "", override.key_or_group
        if "${" not in line or override.is_delete():
            continue
        try:
            OmegaConf.select(compose([*job, line]), key)
        except (InterpolationKeyError, UnsupportedInterpolationType) as error:
            yield type_sentence(error)
        except OmegaConfBaseException:
            continue


def _is_hydra(key: str) -> bool:
    return key == "hydra" or key.startswith(("hydra.", "hydra/"))


def _experiment(overrides: Sequence[Override]) -> list[str]:
    """The word that names an experiment, which may say what is Hydra's own, if it is one that can be read."""
    named = [o for o in overrides if o.key_or_group == "experiment" and not o.is_sweep_override()]
    return [o.input_line or "" for o in named if not [*_problems(o)]]


def _problems(override: Override) -> Iterator[str]:
    """Sentences about what is wrong with one override; nothing about Hydra's own keys."""
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
    """Sentences about options of a config group that do not exist, are shadowed or have mistakes in the user's file."""
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
    whole: list[str] = []
    for name in chosen:
        if name not in options and not (group == "experiment" and name == "None"):
            pattern = set("*?[") & set(name)
            meant = f"write '{group}=glob({name})', with its quotes." if pattern else suggest(name, options)
            yield f"unknown {group} '{name}': {meant}"
        elif all((folder / group / f"{name}.yaml").is_file() for folder in conf_dirs()[-2:]) and len(conf_dirs()) > 1:
            yield f"conf/{group}/{name}.yaml of yours has the name of a shipped config: rename yours."
        else:
            whole.append(name)
    found = file_problems(group, *whole)
    yield from found
    if group == "experiment" and len(whole) > 1 and not found:
        yield from _of_one_alone(override, whole)


def _of_one_alone(override: Override, experiments: Sequence[str]) -> Iterator[str]:
    """A sentence where swept experiments say what a sweep has once: the sweep itself, and what launches its jobs."""
    usual = compose([], partial=True).hydra
    for name in experiments:
        hydra = compose([f"experiment={name}"], partial=True).hydra
        if (hydra.sweeper, hydra.launcher) != (usual.sweeper, usual.launcher):
            yield (
                f"{override.input_line}: experiment '{name}' says what to sweep or where to run it, which a sweep has "
                "once; run one experiment after the other."
            )
            return


def _value_problems(override: Override) -> Iterator[str]:
    """Sentences about a key that is unknown, or a value that its type does not take."""
    key = override.key_or_group
    schema = OmegaConf.structured(Config)
    known, mapping = _keys(schema), key.rpartition(".")[0]
    if key not in known and mapping not in free_mappings():
        allowed = {*known, "task", *ALIASES, *GROUPS, "hydra/launcher"} - {"sweep"}
        inside = sorted(name for name in allowed if name.endswith(f".{key}"))
        hint = f"did you mean '{inside[0]}'?" if len(inside) == 1 else suggest(key.lower(), allowed)
        yield f"unknown key '{key}': {hint if hint.startswith('did') else '`python -m evalrun help run` lists them.'}"
        return
    if key in ("step", "stage"):  # what a model's suite has is seen with its config
        return
    if mapping in free_mappings():
        OmegaConf.update(schema, mapping, {}, merge=False)  # where it is null by itself
    values = list(override.sweep_iterator()) if override.is_sweep_override() else [override.value()]
    for value in values:
        try:
            OmegaConf.update(schema, key, getattr(value, "text", value))
        except ValidationError:
            said = "null" if value is None else f"'{value}'"
            yield f"{key} is {said}: it must be {_kind(schema, key, value)}."
        except (OmegaConfBaseException, AttributeError) as error:
            yield f"{key}={value}: {str(error).splitlines()[0].rstrip('.')}."


def _kind(schema: Any, key: str, value: Any) -> str:
    """What a key's values are, in words."""
    *parents, last = key.split(".")
    node = omegaconf_private.node_of(OmegaConf.select(schema, ".".join(parents)) if parents else schema, last)
    if OmegaConf.is_dict(node):
        return "`{key: value, ...}`, or {} for none of its own"
    return own_files.must_be(node, value)


def _keys(schema: Any) -> list[str]:
    return [key for key, _ in omegaconf_private.nodes(schema)]
