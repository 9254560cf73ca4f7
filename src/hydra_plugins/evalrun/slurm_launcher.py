"""`hydra/launcher=slurm`: arrays of SLURM jobs, each for some steps of a model."""

from collections.abc import Generator, Sequence
from typing import Any

from evalrun.grid.job_spec import JobSpec
from evalrun.grid.launcher_settings import SlurmSettings
from evalrun.launch import on_slurm
from evalrun.launch.base import SweepLauncher
from evalrun.launch.jobs import JobResult
from evalrun.launch.worker import Context


class SlurmLauncher(SweepLauncher):
    """Submits the jobs through submitit; the settings are those of conf/hydra/launcher/slurm.yaml."""

    def __init__(self, **settings: Any) -> None:
        self.settings = SlurmSettings(**settings)

    def outcomes(self, context: Context, works: Sequence[JobSpec]) -> Generator[JobResult]:
        """Results of the jobs, as SLURM ends them."""
        device = self.config.scorer.device
        folder = self.folder / ".slurm"
        return on_slurm.run(context, works, self.settings, device, lambda: self.stopping, folder)
