"""What all launchers of evalrun are to Hydra: the jobs go out, one line comes back for each."""

from __future__ import annotations

import contextlib
import logging
import os
from abc import abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from evalrun.config.own_yaml import conf_dir
from evalrun.core.errors import ConfigError
from evalrun.grid.job_spec import JobSpec
from evalrun.grid.sweep_plan import Plan
from evalrun.launch import live
from evalrun.launch.jobs import JobResult, Status
from evalrun.launch.worker import Context, forwarded

log = logging.getLogger(__name__)


class SweepLauncher(Launcher):
    """Runs every job, whatever happens to the others, unless `fail_fast=true`."""

    here = False  # whether jobs run on this machine
    says = True  # a line for each job that ended; False where jobs log to this terminal themselves

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what `launch` needs: what Hydra would run for a job is what a worker runs."""
        self.config = config
        self.stopping = False
        self._warned: set[str] = set()

    @abstractmethod
    def outcomes(self, context: Context, works: Sequence[JobSpec]) -> Generator[JobResult]:
        """Run jobs and yield each as it ends; once `self.stopping` is true, start no more.

        Closing the generator stops what runs and leaves no process behind.
        """

    def expect(self, plan: Plan, jobs: Sequence[JobSpec]) -> None:
        """Take the jobs of a plan that `launch` is to run: Hydra itself hands over their words alone."""
        self._plan = plan
        self._jobs = [replace(job, index=index) for index, job in enumerate(jobs)]

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs and return how each ended; one that was not started, or is left to a cluster, is UNKNOWN.

        Args:
            job_overrides: The words of each job that is expected.
            initial_job_idx: Which of them is the first.

        Raises:
            EvalrunError: the launcher cannot do what it is asked to.
        """
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        self.folder = Path(str(self.config.hydra.sweep.dir)).absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        works = self._jobs[initial_job_idx : initial_job_idx + len(job_overrides)]
        composed = self._plan.composed.of(work.group for work in works)
        context = Context(os.getcwd(), self.config, composed, forwarded())
        ended: dict[int, JobResult] = {}
        watched = [live.Watched(work.cell.model, work.cell.n_params, work.state) for work in works]
        with live.showing(watched) as board, contextlib.closing(self.outcomes(context, works)) as outcomes:
            for done in outcomes:
                ended[done.index] = done
                if done.status in (Status.DONE, Status.FAILED):
                    failure = done.said if done.status is Status.FAILED else None
                    board.ended(done.index - initial_job_idx, done.seconds, done.requests, failure)
                if done.status is Status.FAILED and self.config.fail_fast:
                    self.stopping = True
                if self.says:
                    self._say(done, len(ended), len(works))
        return [_returned(work, ended.get(work.index)) for work in works]

    def _say(self, done: JobResult, number: int, total: int) -> None:
        for warning in done.warnings:
            if warning not in self._warned:
                log.warning(warning)
                self._warned.add(warning)
        if done.status in (Status.DONE, Status.FAILED):
            failed = "failed: " if done.status is Status.FAILED else ""
            log.info("[%d/%d] %s%s, %.1f s", number, total, failed, done.said.rstrip("."), done.seconds)


def sweep_launcher(made: Launcher, config: DictConfig) -> SweepLauncher:
    """What Hydra made for hydra/launcher=, if it is one of evalrun's.

    Args:
        made: The launcher.
        config: That it was made of, with Hydra's own.

    Raises:
        ConfigError: it is another's, such as Hydra's own: it would hand on the words of each job alone.
    """
    if isinstance(made, SweepLauncher):
        return made
    name = config.hydra.runtime.choices["hydra/launcher"]
    ours = sorted(path.stem for path in (conf_dir() / "hydra" / "launcher").glob("*.yaml"))
    raise ConfigError(
        f"hydra/launcher={name} is no launcher of evalrun's, and cannot know which jobs are planned and done: choose "
        f"from: {', '.join(ours)}; local, the default, runs one job after the other in this process."
    )


_STATUS = {Status.DONE: JobStatus.COMPLETED, Status.FAILED: JobStatus.FAILED}


def _returned(work: JobSpec, done: JobResult | None) -> JobReturn:
    if done is None:
        return JobReturn(overrides=work.words, status=JobStatus.UNKNOWN)
    said: object = RuntimeError(done.said) if done.status is Status.FAILED else done.said
    if done.status is Status.SKIPPED:
        said = None
    return JobReturn(overrides=work.words, status=_STATUS.get(done.status, JobStatus.UNKNOWN), _return_value=said)
