"""`hydra/launcher=ray`: a Ray cluster, there already or started here."""

from collections.abc import Generator, Sequence
from typing import Any

from evalrun.launch import on_ray
from evalrun.launch.base import SweepLauncher
from evalrun.launch.jobs import Done, Work
from evalrun.launch.worker import Context


class RayLauncher(SweepLauncher):
    """Makes a Ray task of each job; the settings are those of conf/hydra/launcher/ray.yaml."""

    def __init__(self, **settings: Any) -> None:
        self.settings = on_ray.Settings(**settings)

    def outcomes(self, context: Context, works: Sequence[Work]) -> Generator[Done]:
        """As the cluster ends them."""
        device = self.config.scorer.device
        return on_ray.run(context, works, self.settings, device, lambda: self.stopping, self.folder / ".ray")
