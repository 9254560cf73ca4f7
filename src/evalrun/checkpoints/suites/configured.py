"""The models that have a config, read without composing whole jobs: fifty of them in a blink instead of in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from evalrun.config.as_typed import element, yaml_text
from evalrun.config.compose import compose, to_config
from evalrun.config.own_yaml import conf_dirs
from evalrun.config.schema import CheckpointConf, Config, ModelConf


def config_of(name: str) -> Config:
    """The model and suite that model=NAME stands for, as in a job's config; nothing else of it is filled in.

    Args:
        name: An option of the group `model` (inside a `compose.hydra_session`).

    Raises:
        ConfigError: it cannot be composed.
    """
    model = _plain("model", name)
    if model is not None:
        suite = model.pop("defaults")
        try:
            checkpoint = OmegaConf.merge(OmegaConf.structured(CheckpointConf), _chain(suite))
            described = OmegaConf.merge(OmegaConf.structured(ModelConf), model)
            if not OmegaConf.missing_keys(described) and not OmegaConf.missing_keys(checkpoint):
                return Config(
                    model=cast(ModelConf, OmegaConf.to_object(described)),
                    checkpoint=cast(CheckpointConf, OmegaConf.to_object(checkpoint)),
                )
        except (OmegaConfBaseException, _UnusualError, RecursionError):
            pass  # said by composing it
    whole = to_config(compose([f"model={element(name)}", "step=0"]))
    return Config(model=whole.model, checkpoint=whole.checkpoint)


class _UnusualError(Exception):
    """A file that only Hydra can read."""


def _plain(group: str, name: str) -> dict[str, Any] | None:
    """A model's file, with its suite's name under `defaults`; None where it uses more of Hydra than that."""
    try:
        said = _read(group, name)
    except _UnusualError:
        return None
    match said.get("defaults"):
        case [{"/checkpoint@_global_.checkpoint": str(suite)}, "_self_"]:
            return {**said, "defaults": suite}
    return None


def _chain(suite: str) -> dict[str, Any]:
    """A suite's file over those that it builds on."""
    said = _read("checkpoint", suite)
    match said.pop("defaults", ["_self_"]):
        case ["_self_"]:
            return said
        case [str(base), "_self_"]:
            return {**_chain(base), **said}
    raise _UnusualError


def _read(group: str, name: str) -> dict[str, Any]:
    """A file of conf/ as plain values, the first folder's that has it.

    Raises:
        _UnusualError: there is none, or only Hydra can tell what it means (a package, an interpolation).
    """
    for folder in conf_dirs():
        path = Path(folder) / group / f"{name}.yaml"
        if path.is_file():
            try:
                text = path.read_text(encoding="utf-8")
                said = yaml.safe_load(yaml_text(text, group))
            except (yaml.YAMLError, ValueError, RecursionError):
                raise _UnusualError from None
            if "@package" in text or "${" in text or not isinstance(said, dict):
                raise _UnusualError
            return said
    raise _UnusualError
