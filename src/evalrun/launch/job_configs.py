"""The config of each job of a sweep: Hydra's own composition, done once for jobs that differ in their step alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, open_dict

from evalrun.checkpoints.suites import checkpoint_of
from evalrun.config.compose import to_config
from evalrun.config.schema import Config
from evalrun.grid import job_keys
from evalrun.journal import job_state
from evalrun.launch.jobs import LaunchedJob


class Composer:
    """Composes jobs of one sweep.

    Args:
        loader: Hydra's config loader.
        config: The sweep's own config.
    """

    def __init__(self, loader: Any, config: DictConfig) -> None:
        self.loader = loader
        self.config = config
        self._last: tuple[list[str], DictConfig] | None = None

    def compose(self, overrides: Sequence[str], index: int) -> DictConfig:
        """The job's config, Hydra's node included."""
        config = self._compose(overrides)
        with open_dict(config):
            config.hydra.job.id = str(index)
            config.hydra.job.num = index
        return config

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        """The job's config; where only the step differs from the job before, that one's config with another step.

        Composing takes a tenth of a second or more, as long as a small checkpoint is scored. The step is a plain value:
        it chooses no config, and what is interpolated from it is resolved later.
        """
        rest, steps = _split(overrides)
        if self._last is None or self._last[0] != rest or len(steps) != 1:
            config = cast(DictConfig, self.loader.load_sweep_config(self.config, list(overrides)))
            self._last = (rest, copy.deepcopy(config)) if len(steps) == 1 else None
            return config
        config = copy.deepcopy(self._last[1])
        (before,) = [word for word in config.hydra.overrides.task if _is_step(word)]
        config.step = int(steps[0].partition("=")[2])
        config.hydra.overrides.task = list(overrides)
        shape = config.hydra.job.config.override_dirname
        before, after = (word.replace("=", shape.kv_sep) for word in (before, steps[0]))
        named = str(config.hydra.job.override_dirname).split(shape.item_sep)
        config.hydra.job.override_dirname = shape.item_sep.join(after if word == before else word for word in named)
        return config

    def works(self, batch: Sequence[Sequence[str]], first: int) -> list[LaunchedJob]:
        """Which checkpoint each job of a batch is for, and where it says what it is at."""
        known: dict[tuple[str, ...], tuple[Config, DictConfig]] = {}
        works = []
        for index, overrides in enumerate(batch, start=first):
            rest, steps = _split(overrides)
            key = tuple(rest) if len(steps) == 1 else tuple(overrides)
            if key not in known:
                whole = copy.deepcopy(self._compose(overrides))
                known[key] = to_config(_plain(whole)), whole
            config, whole = known[key]
            if len(steps) == 1:
                whole.step = int(steps[0].partition("=")[2])
                config = replace(config, step=whole.step)
            with open_dict(whole):  # what a folder's name may hold
                whole.hydra.job.id, whole.hydra.job.num = str(index), index
            folder = Path(str(whole.hydra.sweep.dir)) / str(whole.hydra.sweep.subdir)
            state = job_state.path_of(folder, job_keys.state_name(config))
            works.append(
                LaunchedJob(index, tuple(overrides), checkpoint_of(config), config.model.resources, str(state))
            )
        return works


def _plain(whole: DictConfig) -> DictConfig:
    config = copy.deepcopy(whole)
    with open_dict(config):
        del config["hydra"]
    return config


def _split(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    return [word for word in overrides if not _is_step(word)], [word for word in overrides if _is_step(word)]


def _is_step(word: str) -> bool:
    return word.startswith("step=") and word.removeprefix("step=").isdigit()
