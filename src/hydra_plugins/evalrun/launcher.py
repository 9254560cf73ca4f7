"""The default launcher: one job after the other in this process, so that what is loaded once is kept."""

# No `from __future__ import annotations`: Hydra runs this file before it is a module, and dataclasses look theirs up.
import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


@dataclass
class EvalrunLauncherConf:
    """Nothing to set."""

    _target_: str = "hydra_plugins.evalrun.launcher.EvalrunLauncher"


ConfigStore.instance().store(group="hydra/launcher", name="evalrun", node=EvalrunLauncherConf, provider="evalrun")


class EvalrunLauncher(Launcher):
    """Runs jobs in order and keeps going when one fails."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what `launch` needs."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config
        self._last: tuple[list[str], DictConfig] | None = None

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; a failed one is returned as failed, its exception freed of the frames that hold tensors."""
        from evalrun import console

        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        returns = []
        with console.bar(len(job_overrides), "sweep", "job") as bar:
            for index, overrides in enumerate(job_overrides, start=initial_job_idx):
                returns.append(self._run(index, overrides))
                bar.update()
        logging.getLogger(__name__).debug("all jobs returned")
        return returns

    def _run(self, index: int, overrides: Sequence[str]) -> JobReturn:
        config = self._compose(overrides)
        with open_dict(config):
            config.hydra.job.id = str(index)
            config.hydra.job.num = index
        result = run_job(
            hydra_context=self.hydra_context,
            task_function=self.task_function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        if result.status is JobStatus.FAILED:
            _free(result._return_value)
        return result

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        """The job's config; where only the step differs from the job before, that one's config with another step.

        Composing takes a tenth of a second or more, as long as a small checkpoint is scored. The step is a plain value:
        it chooses no config, and what is interpolated from it is resolved later.
        """
        rest = [word for word in overrides if not _is_step(word)]
        steps = [word for word in overrides if _is_step(word)]
        if self._last is None or self._last[0] != rest or len(steps) != 1:
            config: DictConfig = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
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


def _is_step(word: str) -> bool:
    return word.startswith("step=") and word.removeprefix("step=").isdigit()


def _free(error: BaseException | None) -> None:
    """Drop the frames of an exception and of those behind it: they hold the tensors of a job that failed."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
