"""Where a job's folder is: Hydra's template of it (`hydra.sweep` in conf/config.yaml) is read here and nowhere else."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from evalrun.config.compose import type_sentence
from evalrun.core.errors import ConfigError

_PROBES = (9081726354, 90817, 7)  # steps of several lengths: what holds for them holds for all
_MARK = "\0"


class FolderTemplate:
    """The folders of jobs that differ in their step alone.

    Args:
        composed: The config of any of them, Hydra's node included.
    """

    def __init__(self, composed: DictConfig) -> None:
        self.root = root_of(composed)
        self._composed = composed
        step = composed.step
        texts = {probe: self._resolve(probe, 0) for probe in _PROBES}
        template = texts[_PROBES[0]].replace(str(_PROBES[0]), _MARK)
        is_plain = all(template.replace(_MARK, str(probe)) == text for probe, text in texts.items())
        is_plain = is_plain and self._resolve(_PROBES[0], 1) == texts[_PROBES[0]]
        self._template = template if is_plain else None  # resolving takes milliseconds, and jobs are thousands
        composed.step = step

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
