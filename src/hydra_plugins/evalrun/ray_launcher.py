"""`hydra/launcher=ray`: a Ray cluster, there already or started here."""

from collections.abc import Generator, Sequence
from typing import Any

from evalrun.grid.job_spec import JobSpec
from evalrun.grid.launcher_settings import RaySettings
from evalrun.launch import on_ray
from evalrun.launch.base import SweepLauncher
from evalrun.launch.jobs import JobResult
from evalrun.launch.worker import Context


class RayLauncher(SweepLauncher):
    """Makes a Ray task of each job; the settings are those of conf/hydra/launcher/ray.yaml."""

    def __init__(self, **settings: Any) -> None:
        self.settings = RaySettings(**settings)

    def outcomes(self, context: Context, works: Sequence[JobSpec]) -> Generator[JobResult]:
        """Results of the jobs, as the cluster ends them."""
        device = self.config.scorer.device
        return on_ray.run(context, works, self.settings, device, lambda: self.stopping, self.folder / ".ray")
