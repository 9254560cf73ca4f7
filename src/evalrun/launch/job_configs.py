"""The whole config of each job of a sweep, as Hydra would compose it: made from the one that the plan composed."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf, flag_override

from evalrun.config.omegaconf_private import YamlSections
from evalrun.grid.job_spec import JobSpec


class JobConfig(NamedTuple):
    """What a job's config is."""

    whole: DictConfig  # with Hydra's node
    task: DictConfig  # without it, as a job sees it
    hydra_yaml: YamlSections  # the text of Hydra's node
    task_yaml: YamlSections  # the text of the rest


class JobComposer:
    """Makes the configs of jobs of one sweep.

    Composing takes a tenth of a second or more, and copying five hundred nodes a hundredth: as long as a small
    checkpoint is scored. So it is done once for jobs that differ in their step alone and come one after the other. The
    step is a plain value: it chooses no config, and what is interpolated from it is resolved later.

    Args:
        config: The sweep's own config.
        composed: Of each group of jobs, by its place in the plan.
    """

    def __init__(self, config: DictConfig, composed: Mapping[int, DictConfig]) -> None:
        self._config = config
        self._composed = composed
        self._group: int | None = None  # whose config is kept
        self._kept: JobConfig

    def compose(self, job: JobSpec) -> JobConfig:
        """The job's config, good until the next one is asked for."""
        if job.group != self._group:
            self._kept, self._group = self._made(job.group), job.group
        whole, words = self._kept.whole, list(job.words)
        for config in (whole, self._kept.task):
            with flag_override(config, ["struct", "readonly"], False):
                config.step, config.sweep = job.config.step, job.config.sweep
        with flag_override(whole.hydra, ["struct", "readonly"], False):
            whole.hydra.overrides.task = words
            whole.hydra.job.override_dirname = _dirname(words, whole.hydra.job.config.override_dirname)
            whole.hydra.job.id, whole.hydra.job.num = str(job.number), job.number
        return self._kept

    def _made(self, group: int) -> JobConfig:
        whole = copy.deepcopy(self._composed[group])
        with flag_override(whole, "struct", False):
            whole.hydra.mode = self._config.hydra.mode
            # As typed: a ${hydra.job.num} in it is known to the job alone.
            typed = OmegaConf.to_container(self._config.hydra.overrides.hydra, resolve=False)
            whole.hydra.overrides.hydra = typed
        OmegaConf.copy_cache(from_config=self._config, to_config=whole)  # times are those of the sweep's start
        task = OmegaConf.masked_copy(whole, [str(key) for key in whole if key != "hydra"])
        of_a_job = ("overrides", "job", "runtime")  # what `compose` and `hydra_job.run` set
        return JobConfig(whole, task, YamlSections(of_a_job, "hydra"), YamlSections(("step", "sweep")))


def _dirname(words: Sequence[str], shape: DictConfig) -> str:
    kept = [word for word in words if word.partition("=")[0].lstrip("+~") not in shape.exclude_keys]
    return str(shape.item_sep).join(sorted(kept)).replace("=", shape.kv_sep)
