"""Where a job's folder is: Hydra's template of it (`hydra.sweep` in conf/config.yaml) is read here and nowhere else."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from evalrun.config.compose import type_sentence
from evalrun.config.schema import model_dirname, step_dirname
from evalrun.core.errors import ConfigError

_PROBES = (9081726354, 90817, 7)  # steps of several lengths: what holds for them holds for all
_MARK = "\0"
_DIRNAME = "evalrun.seeded:${model.name},${checkpoint.seed}"
_STAGED = "evalrun.staged:${stage},${step}"
_REFERENCE = re.compile(rf"\$\{{(?:{re.escape(_DIRNAME)}|{re.escape(_STAGED)}|[\w.]+)\}}")


class FolderTemplate:
    """The folders of jobs that differ in their step alone.

    Args:
        composed: The config of any of them, Hydra's node included.
    """

    def __init__(self, composed: DictConfig) -> None:
        self.root = root_of(composed)
        self._composed = composed
        self._raw: Any = OmegaConf.to_container(composed.hydra.sweep, resolve=False)
        step = composed.step
        texts = {probe: self._resolve(probe, 0) for probe in _PROBES}
        template = texts[_PROBES[0]].replace(str(_PROBES[0]), _MARK)
        is_plain = all(template.replace(_MARK, str(probe)) == text for probe, text in texts.items())
        is_plain = is_plain and self._resolve(_PROBES[0], 1) == texts[_PROBES[0]]
        self._template = template if is_plain else None  # resolving takes milliseconds, and jobs are thousands
        composed.step = step

    @property
    def is_plain(self) -> bool:
        """Whether the folders follow from the steps alone, so that the config is not asked again."""
        return self._template is not None

    def with_names(self, suite: str, model: str, seed: int | None) -> FolderTemplate | None:
        """The folders of another model's jobs, where their names are made of its names alone; else None.

        Args:
            suite: Its suite's name.
            model: Its own.
            seed: Of its training.
        """
        known = {"checkpoint.suite": suite, "model.name": model, _DIRNAME: model_dirname(model, seed), "step": _MARK}
        known[_STAGED] = step_dirname(self._composed.get("stage"), _MARK)
        raw = str(self._raw["subdir"])
        filled = _REFERENCE.sub(lambda found: known.get(found[0][2:-1], "$"), raw)
        if not self.is_plain or "$" in filled or "$" in str(self._raw["dir"]):
            return None
        other = copy.copy(self)
        other._template = filled
        return other

    def is_like(self, other: FolderTemplate) -> bool:
        """Whether both give the same folders."""
        return (self.root, self._template) == (other.root, other._template)

    def folder(self, step: int, number: int = 0) -> Path:
        """The folder of one step.

        Args:
            step: Which.
            number: The job's place in its sweep, which a folder's name may hold too.
        """
        if self._template is None:
            return self.root / self._resolve(step, number)
        return self.root / self._template.replace(_MARK, str(step))

    def _resolve(self, step: int, number: int) -> str:
        self._composed.step = step
        with open_dict(self._composed):
            self._composed.hydra.job.id, self._composed.hydra.job.num = str(number), number
        return _template(self._composed, "subdir")


def root_of(composed: DictConfig) -> Path:
    """The folder of all jobs' folders, and of a sweep's analysis: `hydra.sweep.dir`."""
    return Path(_template(composed, "dir"))


def _template(composed: DictConfig, part: str) -> str:
    """What a part of `hydra.sweep` comes to.

    Raises:
        ConfigError: it holds a ${...} that stands for nothing.
    """
    try:
        return str(composed.hydra.sweep[part])
    except OmegaConfBaseException as error:
        raise ConfigError(type_sentence(error)) from None
