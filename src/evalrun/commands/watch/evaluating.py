"""Where a watch's checkpoints are evaluated: in this process, or by the launcher that a sweep would use."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, flag_override

from evalrun import pipeline
from evalrun.checkpoints import devices
from evalrun.commands.watch.watch_request import RunSetup
from evalrun.config.compose import hydra_session
from evalrun.config.hydra_private import Callbacks
from evalrun.config.schema import Config
from evalrun.core.errors import EvalrunError
from evalrun.core.secrets import masked
from evalrun.grid.job_spec import JobSpec
from evalrun.launch.base import SweepLauncher, sweep_launcher
from evalrun.launch.jobs import Status
from evalrun.launch.worker import Context, forwarded

LOCAL = "local"


@dataclass(frozen=True)
class Evaluated:
    """How the evaluation of a checkpoint ended, or that it is left to a cluster."""

    job: JobSpec
    error: Exception | None = None
    computed: bool = False  # something was scored now
    run_key: str | None = None  # of its results, where the job told
    queued: str | None = None  # where it waits or runs
    warnings: tuple[str, ...] = ()


class Evaluator(Protocol):
    """A way to evaluate checkpoints."""

    def check(self, config: Config) -> None:
        """See that it can work at all, before the first checkpoint."""

    def evaluate(self, jobs: Sequence[JobSpec], setups: Mapping[int, RunSetup], until: float) -> Iterator[Evaluated]:
        """Evaluate jobs, and tell of each as it ends."""


class Here:
    """One checkpoint after the other in this process, which looks again whenever it is time to."""

    def __init__(self) -> None:
        self._process = pipeline.JobProcess()

    def check(self, config: Config) -> None:
        """See that the device is here.

        Raises:
            ConfigError: it is not.
        """
        devices.check([config])

    def evaluate(self, jobs: Sequence[JobSpec], setups: Mapping[int, RunSetup], until: float) -> Iterator[Evaluated]:
        """Evaluate jobs in their order; whatever one raises is told.

        Args:
            jobs: The jobs.
            setups: Group of a job -> its run.
            until: Monotonic time after which no other job is begun, if one was.
        """
        for number, job in enumerate(jobs):
            if number and time.monotonic() >= until:
                return
            plain = {**setups[job.group].plain, "step": job.config.step, "sweep": job.config.sweep}
            try:
                done = pipeline.evaluate(job, masked(OmegaConf.to_yaml(OmegaConf.create(plain))), self._process)
            except Exception as error:
                yield Evaluated(job, error)
            else:
                yield Evaluated(job, None, bool(done.computed), done.run_key)


class ByLauncher:
    """All that is new at a look as one sweep of `hydra/launcher=`; what ends is told as it ends.

    Args:
        setup: Of any run.
        waits: Whether to stay until a cluster's jobs have ended; else they are left in its queue, and asked of later.
    """

    def __init__(self, setup: RunSetup, waits: bool) -> None:
        self._config = setup.composed
        if "wait" in self._config.hydra.launcher and not waits:
            with flag_override(self._config.hydra, ["struct", "readonly"], False):
                self._config.hydra.launcher.wait = False
        self._launcher = self._made()

    def check(self, config: Config) -> None:
        """See that the device is here, where jobs run here.

        Raises:
            ConfigError: it is not.
        """
        if self._launcher.here:
            devices.check([config])

    def evaluate(self, jobs: Sequence[JobSpec], setups: Mapping[int, RunSetup], until: float) -> Iterator[Evaluated]:
        """Hand jobs to the launcher.

        Args:
            jobs: The jobs.
            setups: Group of a job -> its run.
            until: Means nothing here: workers are not ended for the sake of a look.

        Raises:
            EvalrunError: the launcher cannot do what it is asked to.
        """
        works = [replace(job, index=index) for index, job in enumerate(jobs)]
        composed: dict[int, DictConfig] = {job.group: setups[job.group].composed for job in jobs}
        context = Context(os.getcwd(), self._config, composed, forwarded())
        with contextlib.closing(self._launcher.outcomes(context, works)) as ended:
            for end in ended:
                job = jobs[end.index]
                if end.status is Status.QUEUED:
                    yield Evaluated(job, queued=end.said)
                elif end.status is Status.FAILED:
                    yield Evaluated(job, EvalrunError(end.said), warnings=end.warnings)
                elif end.status is Status.DONE:
                    yield Evaluated(job, None, computed=True, warnings=end.warnings)

    def _made(self) -> SweepLauncher:
        with hydra_session():
            context = HydraContext(GlobalHydra.instance().config_loader(), Callbacks(self._config))
            made = Plugins.instance().instantiate_launcher(
                hydra_context=context, task_function=_nothing, config=self._config
            )
        launcher = sweep_launcher(made, self._config)
        launcher.folder = Path(str(self._config.hydra.sweep.dir)).absolute()
        return launcher


def evaluator(launcher: str, setup: RunSetup, waits: bool) -> Evaluator:
    """The way to evaluate that `hydra/launcher=` names.

    Args:
        launcher: Its name.
        setup: Of any run.
        waits: See `ByLauncher`.
    """
    return Here() if launcher == LOCAL else ByLauncher(setup, waits)


def _nothing(_: Any) -> None:
    """What Hydra itself would run for a job: launchers here run jobs as they are planned."""
