"""`hydra/launcher=processes`: the GPUs or the CPU cores of this machine, a worker process each."""

from collections.abc import Generator, Sequence
from typing import Any

from evalrun.grid.job_spec import JobSpec
from evalrun.grid.launcher_settings import PoolSettings
from evalrun.launch import pool
from evalrun.launch.base import SweepLauncher
from evalrun.launch.jobs import JobResult
from evalrun.launch.worker import Context


class ProcessesLauncher(SweepLauncher):
    """Hands jobs to worker processes of this machine; the settings are those of conf/hydra/launcher/processes.yaml."""

    here = True

    def __init__(self, **settings: Any) -> None:
        self.settings = PoolSettings(**settings)

    def outcomes(self, context: Context, works: Sequence[JobSpec]) -> Generator[JobResult]:
        """Results of the jobs, as workers become free."""
        slots = pool.slots(self.settings, self.config.scorer.device)[: len(works)]
        return pool.run(context, works, slots, self.settings.retries, lambda: self.stopping, self.folder / ".workers")
