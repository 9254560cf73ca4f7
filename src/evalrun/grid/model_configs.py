"""The configs of a plan's models: Hydra composes one, and the others are made of it where they must come out the same.

Composing takes an eighth of a second, and a grid may have sixty models and seeds. What a model's own files say lands
below `model` and `checkpoint` alone. So where nothing else writes there and nothing refers to them, the rest of the
config is the same for all models. That is seen in the files that Hydra put the first config together from; wherever it
cannot be seen, each is composed. What is launched is composed by Hydra in any case, and compared.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, cast

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Glob, Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from evalrun.checkpoints.suites.configured import ModelDescription, ModelFiles
from evalrun.config import validate
from evalrun.config.as_typed import element
from evalrun.config.compose import CONFIG_NAME, compose, to_config
from evalrun.config.schema import Config
from evalrun.config.training_stages import expand_stages
from evalrun.core.errors import ConfigError
from evalrun.grid import overrides as ov
from evalrun.grid.job_folders import FolderTemplate

_PARTS = ("model", "checkpoint")


@dataclass(frozen=True)
class GroupConfig:
    """What jobs of one model share that differ in their step alone."""

    hydra: tuple[str, ...]  # overrides of Hydra's own keys
    overrides: tuple[str, ...]  # the model's and the other axes', without the step
    config: Config  # of step 0, which means nothing
    folders: FolderTemplate
    composed: DictConfig | None  # None where it was not composed by Hydra itself


class ComposedConfigs(Sequence[DictConfig]):
    """The whole config of each group of a plan's jobs, composed when it is first asked for (inside a session).

    Args:
        groups: Of the plan's jobs.
    """

    def __init__(self, groups: Sequence[GroupConfig] = ()) -> None:
        self._groups = groups
        self._kept = {at: group.composed for at, group in enumerate(groups) if group.composed is not None}

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[i] for i in range(len(self))[at]]
        at = range(len(self))[at]
        if at not in self._kept:
            group = self._groups[at]
            composed = compose([*group.hydra, *group.overrides, "step=0"])
            if to_config(composed) != group.config:
                raise ConfigError("files in conf/ changed while the sweep began: give the same command again.")
            self._kept[at] = composed
        return self._kept[at]

    def of(self, groups: Iterable[int]) -> dict[int, DictConfig]:
        """Those of some groups, by their place.

        Raises:
            ConfigError: files of conf/ say something else than when the plan was made.
        """
        return {at: self[at] for at in sorted(set(groups))}


class ModelConfigs:
    """Makes the configs of the models of one plan (inside a `compose.hydra_session`).

    Args:
        hydra: Overrides of Hydra's own keys.
        files: Of the models.
    """

    def __init__(self, hydra: Sequence[str], files: ModelFiles) -> None:
        self._hydra = tuple(hydra)
        self._files = files
        self._shared: dict[tuple[str, ...], Callable[[], _Shared | None]] = {}  # asked for by a second model

    def of(self, model: str, fixed: Sequence[str]) -> GroupConfig:
        """The config of one model under one combination of the other axes.

        Args:
            model: Its name in conf/model.
            fixed: Overrides, without the step.

        Raises:
            ConfigError: they cannot be composed, or come to what cannot be right.
        """
        overrides = (f"model={element(model)}", *fixed)
        words = (*self._hydra, *overrides)
        rest = tuple(word for word in fixed if not word.startswith(("model.", "checkpoint.")))
        own = [word for word in fixed if word not in rest]
        described = self._files.description_of(model)
        shared = self._shared[rest]() if rest in self._shared and described is not None else None
        if shared is not None and described is not None and (made := shared.with_model(described, own)) is not None:
            return GroupConfig(self._hydra, overrides, *made, None)
        composed = compose([*words, "step=0"])
        group = GroupConfig(self._hydra, overrides, to_config(composed), FolderTemplate(composed), composed)
        if rest not in self._shared:
            self._shared[rest] = cache(partial(self._shared_by, group, model, own))
        return group

    def _shared_by(self, first: GroupConfig, model: str, own: Sequence[str]) -> _Shared | None:
        """What of the first model's config holds for others; None where that cannot be seen."""
        described = self._files.description_of(model)
        if described is None or not _writes_alone(model, described, self._hydra, first.overrides):
            return None
        shared = _Shared(copy.deepcopy(cast(DictConfig, first.composed)), first.config, first.folders)
        # What is made of the first model's files must be what Hydra made of them.
        return shared if shared.reproduces(described, own) else None

    def of_stages(self, model: str, fixed: Sequence[str], stage: Override | None) -> Iterator[GroupConfig]:
        """The config of one model under one combination of the other axes, for each stage that is asked for.

        Args:
            model: Its name in conf/model.
            fixed: Overrides, without stage and step.
            stage: What was typed; None for pretraining alone.

        Raises:
            ConfigError: they cannot be composed, or there is no such stage.
        """
        made = self.of(model, fixed)
        value = None if stage is None else stage.value()
        if stage is None or value is None:
            yield made
            return
        suite, name = made.config.checkpoint, made.config.model.name
        if isinstance(value, Glob):
            left_out = expand_stages(value.exclude, True, suite, name) if value.exclude else []
            chosen = [one for one in expand_stages(value.include, True, suite, name) if one not in left_out]
        else:
            chosen = expand_stages(ov.words(stage), False, suite, name)
        for one in chosen:
            yield made if one is None else self.of(model, (*fixed, f"stage={element(one)}"))


class _Shared:
    """A composed config of which all but `model` and `checkpoint` holds for other models too.

    Args:
        whole: The config, Hydra's node included; it is changed.
        config: In its types.
        folders: Of its jobs.
    """

    def __init__(self, whole: DictConfig, config: Config, folders: FolderTemplate) -> None:
        self._whole = whole
        self._config = config
        self._folders = folders

    def with_model(self, described: ModelDescription, own: Sequence[str]) -> tuple[Config, FolderTemplate] | None:
        """The config of another model and the folders of its jobs; None where only Hydra can compose it."""
        try:
            parts = _with_overrides(described, own)
            if any("${" in word for word in own) or any(OmegaConf.missing_keys(parts[name]) for name in _PARTS):
                return None
            model, checkpoint = (cast(Any, OmegaConf.to_object(parts[name])) for name in _PARTS)
        except OmegaConfBaseException:
            return None
        config = replace(self._config, model=model, checkpoint=checkpoint)
        if any(True for _ in validate.problems(config)):
            return None
        folders = _folders_of(config, self._folders)
        return config, self._folders_with(parts) if folders is None else folders

    def _folders_with(self, parts: DictConfig) -> FolderTemplate:
        with flag_override(self._whole, ["struct", "readonly"], False):
            for name in _PARTS:
                self._whole[name] = parts[name]
        folders = FolderTemplate(self._whole)
        return folders if folders.is_plain else FolderTemplate(copy.deepcopy(self._whole))

    def reproduces(self, described: ModelDescription, own: Sequence[str]) -> bool:
        """Whether what is made of a model's files is what Hydra composed of them, and the rest is made of neither."""
        try:
            parts = _with_overrides(described, own)
        except OmegaConfBaseException:
            return False
        folders = _folders_of(self._config, self._folders)
        return (
            all(_raw(parts[name]) == _raw(self._whole[name]) for name in _PARTS)
            and not _refers(self._whole)
            and (folders is None or folders.is_like(self._folders))
        )


def _folders_of(config: Config, like: FolderTemplate) -> FolderTemplate | None:
    return like.with_names(config.checkpoint.suite, config.model.name, config.checkpoint.seed)


def _with_overrides(described: ModelDescription, own: Sequence[str]) -> DictConfig:
    """`model` and `checkpoint` with the overrides of their keys, as Hydra applies them.

    Raises:
        OmegaConfBaseException: a key or a value that there cannot be.
    """
    parts = OmegaConf.create({"model": described.model, "checkpoint": described.checkpoint})
    if not own:
        return parts
    OmegaConf.set_struct(parts, True)
    for override in ov.parse(own):
        OmegaConf.update(parts, override.key_or_group, override.value(), merge=True)
    return parts


def _raw(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=False)


def _refers(composed: DictConfig) -> bool:
    """Whether anything in a config is made of other keys, Hydra's own node aside; or its folders of Hydra's keys."""
    rest = OmegaConf.masked_copy(composed, [str(key) for key in composed if key not in ("hydra", *_PARTS)])
    return "${" in str(_raw(rest)) or "hydra" in str(_raw(composed.hydra.sweep))


def _writes_alone(model: str, described: ModelDescription, hydra: Sequence[str], overrides: Sequence[str]) -> bool:
    """Whether the files of a model and its suite are all that says `model` and `checkpoint`, and choose nothing else.

    Args:
        model: Its name.
        described: What its files say.
        hydra: Overrides of Hydra's own keys.
        overrides: The others that make the config, but for the step.
    """
    keys = [word.partition("=")[0] for word in overrides]
    if any(key[:1] in "+~" or "@" in key or key == "checkpoint" for key in keys) or "${" in "".join(overrides):
        return False
    loader = GlobalHydra.instance().config_loader()
    used = loader.compute_defaults_list(CONFIG_NAME, [*hydra, *overrides, "step=0"], RunMode.RUN).defaults
    own = [(f"model/{model}", "model"), *((f"checkpoint/{suite}", "checkpoint") for suite in described.suites)]
    files = [(default.config_path, default.package or "") for default in used if default.config_path is not None]
    others = [file for file in files if file not in own]
    once = len(files) == len(others) + len(own)
    return once and all(_leaves_models_alone(*file, loader.repository) for file in others)


def _leaves_models_alone(path: str, package: str, repository: Any) -> bool:
    """Whether a file of conf/ writes nothing to `model` and `checkpoint`, and chooses nothing that they are made of.

    Args:
        path: Its group and name.
        package: Below which key of the config it is put.
        repository: Hydra's, of all files.
    """
    loaded = repository.load_config(path)
    if package.partition(".")[0] in _PARTS:
        return False
    if package == "" and any(key in _PARTS for key in loaded.config) and not loaded.path.startswith("structured:"):
        return False  # the schema has their types
    for line in loaded.defaults_list or ():
        chosen = [str(getattr(line, name, None) or "") for name in ("group", "path", "value")]
        if "${" in "".join(chosen) or (line.is_override() and chosen[0].strip("/").partition("@")[0] in _PARTS):
            return False
    return True
