"""What is wrong with a launcher and its settings, on the command line and in an experiment, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from evalrun.config import own_yaml
from evalrun.config.compose import compose
from evalrun.core.errors import ConfigError, suggest
from evalrun.grid.launcher_settings import problems_of
from evalrun.grid.overrides import group_options


def of_file(own: Sequence[Override], beside: Sequence[str]) -> Iterator[str]:
    """Sentences about settings in an experiment that its launcher, or the one that was typed, does not have.

    Args:
        own: Overrides of Hydra's own keys, the launcher's without a mistake.
        beside: The word for the experiment.
    """
    typed = [o.input_line or "" for o in own if o.key_or_group == "hydra/launcher"]
    without = [o.input_line or "" for o in own if o.is_delete() and o.key_or_group.startswith("hydra.launcher.")]
    try:
        hydra = compose([*beside, *typed, *without], partial=True).hydra
    except ConfigError:
        return  # said where all words are put together
    name = hydra.runtime.choices["hydra/launcher"]
    known = [str(key) for key in compose([f"hydra/launcher={name}"], partial=True).hydra.launcher]
    for key in map(str, hydra.launcher):
        if key not in known:
            files = ", ".join(map(str, own_yaml.saying(own_yaml.named(beside), key)))
            meant = suggest(key, [name for name in known if name != "_target_"])
            if typed:
                meant = f"add '~hydra.launcher.{key}' to leave it out."
            yield f"{files}: unknown setting 'hydra.launcher.{key}' of hydra/launcher={name}: {meant}"


def names(overrides: Sequence[Override], beside: Sequence[str]) -> Iterator[str]:
    """Sentences about hydra/launcher and its keys, the one part of Hydra's own config that people set often.

    Args:
        overrides: Of Hydra's own keys.
        beside: The word for the experiment, which may choose a launcher.
    """
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
        hydra = compose([*beside, *([f"{group}={chosen.value()}"] if chosen else [])], partial=True).hydra
        known = [f"{key}{name}" for name in hydra.launcher if name != "_target_"]
        named = hydra.runtime.choices[group]
        for word in settings:
            if ".".join(word.split(".")[:3]) not in known:
                yield f"unknown setting '{word}' of {group}={named}: {suggest(word, known)}"


def values(own: Sequence[Override], beside: Sequence[str]) -> Iterator[str]:
    """Sentences about values that a launcher cannot work with, wherever they were said.

    Args:
        own: Overrides of Hydra's own keys, without a mistake in their names.
        beside: The word for the experiment.
    """
    words = [*beside, *(o.input_line or "" for o in own)]
    if not words:
        return
    try:
        launcher = OmegaConf.to_container(compose(words, partial=True).hydra.launcher, resolve=True)
    except (ConfigError, OmegaConfBaseException):  # said where all words are put together
        return
    typed = {o.key_or_group for o in own}
    for key, sentence in problems_of(launcher if isinstance(launcher, Mapping) else {}).items():
        files = [] if f"hydra.launcher.{key}" in typed else own_yaml.saying(own_yaml.named(words), key)
        yield f"{', '.join(map(str, files))}{': ' if files else ''}{sentence}"
