"""The models that have a config, read without composing whole jobs: fifty of them in a blink instead of in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from evalrun.config.as_typed import element, yaml_text
from evalrun.config.compose import compose, to_config
from evalrun.config.own_yaml import conf_dirs
from evalrun.config.schema import CheckpointConf, Config, ModelConf


@dataclass(frozen=True)
class ModelDescription:
    """What a model's file and those of its suite say together, in the types of the schema."""

    model: DictConfig
    checkpoint: DictConfig
    suites: tuple[str, ...]  # the suite's file, and those that it builds on

    @cached_property
    def config(self) -> Config:
        """Config of a job of which nothing else is filled in."""
        return Config(
            model=cast(ModelConf, OmegaConf.to_object(self.model)),
            checkpoint=cast(CheckpointConf, OmegaConf.to_object(self.checkpoint)),
        )


class ModelFiles:
    """The files of models and suites, each read once."""

    def __init__(self) -> None:
        self._read: dict[tuple[str, str], dict[str, Any] | None] = {}
        self._folders = [Path(folder) for folder in conf_dirs()]
        self._described: dict[str, ModelDescription | None] = {}
        self._model = OmegaConf.structured(ModelConf)
        self._checkpoints: dict[str, tuple[DictConfig, tuple[str, ...]]] = {}  # suite's file -> what it says

    def description_of(self, name: str) -> ModelDescription | None:
        """A model by the name of its file; None where its files use more of Hydra than a suite and `_self_`."""
        if name not in self._described:
            try:
                self._described[name] = self._describe(name)
            except (OmegaConfBaseException, _UnusualError, RecursionError):
                self._described[name] = None  # said by composing it
        return self._described[name]

    def _describe(self, name: str) -> ModelDescription:
        """A model's description.

        Raises:
            _UnusualError: only Hydra can tell what its files mean, or they leave out what they must say.
            OmegaConfBaseException: they say what the schema does not take.
        """
        model = self._said("model", name)
        match model.pop("defaults", None):
            case [{"/checkpoint@_global_.checkpoint": str(suite)}, "_self_"]:
                checkpoint, suites = self._checkpoint(suite)
            case _:
                raise _UnusualError
        described = OmegaConf.merge(self._model, model)
        if OmegaConf.missing_keys(described):
            raise _UnusualError
        return ModelDescription(cast(DictConfig, described), checkpoint, suites)

    def _checkpoint(self, suite: str) -> tuple[DictConfig, tuple[str, ...]]:
        """What a suite's file says, and the names of it and those that it builds on; put together once for its models.

        Raises:
            _UnusualError: only Hydra can tell what the files mean, or they leave out what they must say.
            OmegaConfBaseException: they say what the schema does not take.
        """
        if suite not in self._checkpoints:
            said, suites = self._chain(suite)
            checkpoint = OmegaConf.merge(OmegaConf.structured(CheckpointConf), said)
            if OmegaConf.missing_keys(checkpoint):
                raise _UnusualError
            self._checkpoints[suite] = cast(DictConfig, checkpoint), suites
        return self._checkpoints[suite]

    def _chain(self, suite: str) -> tuple[dict[str, Any], tuple[str, ...]]:
        """A suite's file over those that it builds on, and the names of them all."""
        said = self._said("checkpoint", suite)
        match said.pop("defaults", ["_self_"]):
            case ["_self_"]:
                return said, (suite,)
            case [str(base), "_self_"]:
                below, names = self._chain(base)
                return {**below, **said}, (suite, *names)
        raise _UnusualError

    def _said(self, group: str, name: str) -> dict[str, Any]:
        """A file of conf/ as plain values, the first folder's that has it.

        Raises:
            _UnusualError: there is none, or only Hydra can tell what it means (a package, an interpolation).
        """
        if (group, name) not in self._read:
            self._read[group, name] = self._plain(group, name)
        if (found := self._read[group, name]) is None:
            raise _UnusualError
        return dict(found)

    def _plain(self, group: str, name: str) -> dict[str, Any] | None:
        path = next((p for folder in self._folders if (p := folder / group / f"{name}.yaml").is_file()), None)
        if path is None:
            return None
        try:
            text = path.read_text(encoding="utf-8")
            said = yaml.load(yaml_text(text, group), Loader=_LOADER)
        except (yaml.YAMLError, ValueError, RecursionError):
            return None
        return said if isinstance(said, dict) and "@package" not in text and "${" not in text else None


def config_of(name: str, files: ModelFiles | None = None) -> Config:
    """The model and suite that model=NAME stands for, as in a job's config; nothing else of it is filled in.

    Args:
        name: An option of the group `model` (inside a `compose.hydra_session`).
        files: Those that were read already.

    Raises:
        ConfigError: it cannot be composed.
    """
    if (described := (files or ModelFiles()).description_of(name)) is not None:
        return described.config
    whole = to_config(compose([f"model={element(name)}", "step=0"]))
    return Config(model=whole.model, checkpoint=whole.checkpoint)


class _UnusualError(Exception):
    """A file that only Hydra can read."""


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where PyYAML has it: in a tenth of the time
