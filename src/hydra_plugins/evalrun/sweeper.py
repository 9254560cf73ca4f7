"""Hydra's sweeper for evalrun: expands the grid, launches it, and reports at the end."""

# No `from __future__ import annotations`: Hydra runs this file before it is a module, and dataclasses look theirs up.
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


@dataclass
class EvalrunSweeperConf:
    """`params` as in Hydra's basic sweeper: what to sweep unless the command line says otherwise."""

    _target_: str = "hydra_plugins.evalrun.sweeper.EvalrunSweeper"
    params: dict[str, str] | None = None


ConfigStore.instance().store(group="hydra/sweeper", name="evalrun", node=EvalrunSweeperConf, provider="evalrun")


class EvalrunSweeper(Sweeper):
    """Launches exactly the jobs of `evalrun.grid.planning.plan`, grouped by model."""

    def __init__(self, params: dict[str, str] | None = None) -> None:
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep the config and make the launcher."""
        self.config = config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Sequence[JobReturn]:
        """Launch what is not done of the plan, and hand what came back to the end of the sweep."""
        from evalrun.commands.run import session as sessions
        from evalrun.errors import EvalrunError, StorageError
        from evalrun.launch.base import sweep_launcher

        session, folder = sessions.current(), Path(self.config.hydra.sweep.dir)
        try:
            launcher = sweep_launcher(self.launcher, self.config)
            folder.mkdir(parents=True, exist_ok=True)
            OmegaConf.save(self.config, folder / "multirun.yaml")
        except OSError as error:  # Hydra would show where in the code
            why = f"'{folder}' cannot be written ({error.strerror or error})"
            session.stop(StorageError(f"{why}: free some space or check the folder, and run the same again."))
            return []
        except EvalrunError as error:
            session.stop(error)
            return []
        returns: list[Any] = []
        for todo in session.launches(here=launcher.here):
            launcher.expect(session.plan, todo)
            try:
                batch = [list(job.words) for job in todo]
                back: Sequence[Any] = launcher.launch(batch, initial_job_idx=0) if batch else []
            except EvalrunError as error:
                session.stop(error)
                break
            session.ended(todo, back)
            returns += back
        session.finish()
        return returns
