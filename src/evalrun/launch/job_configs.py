"""The whole config of each job of a sweep, as Hydra would compose it: made from the one that the plan composed."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf, open_dict

from evalrun.grid.job_spec import JobSpec


class JobComposer:
    """Makes the configs of jobs of one sweep.

    Composing takes a tenth of a second or more, as long as a small checkpoint is scored, so it is done once for jobs
    that differ in their step alone. The step is a plain value: it chooses no config, and what is interpolated from it
    is resolved later.

    Args:
        config: The sweep's own config.
        composed: Of each group of jobs, as `sweep_plan.Plan` has them.
    """

    def __init__(self, config: DictConfig, composed: Sequence[DictConfig]) -> None:
        self._config = config
        self._composed = composed

    def compose(self, job: JobSpec) -> DictConfig:
        """The job's config, Hydra's node included; it is the caller's."""
        made, words = copy.deepcopy(self._composed[job.group]), list(job.words)
        made.step, made.sweep = job.config.step, job.config.sweep
        with open_dict(made):
            hydra = made.hydra
            hydra.mode = self._config.hydra.mode
            # As typed: a ${hydra.job.num} in it is known to the job alone.
            hydra.overrides.hydra = OmegaConf.to_container(self._config.hydra.overrides.hydra, resolve=False)
            hydra.overrides.task = words
            hydra.job.override_dirname = _dirname(words, hydra.job.config.override_dirname)
            hydra.job.id, hydra.job.num = str(job.number), job.number
        OmegaConf.copy_cache(from_config=self._config, to_config=made)  # times are those of the sweep's start
        return made


def _dirname(words: Sequence[str], shape: DictConfig) -> str:
    kept = [word for word in words if word.partition("=")[0].lstrip("+~") not in shape.exclude_keys]
    return str(shape.item_sep).join(sorted(kept)).replace("=", shape.kv_sep)
