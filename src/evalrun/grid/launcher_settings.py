"""The settings of launchers, hydra.launcher.*, and what of them cannot be right: known before anything is launched."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from evalrun.core.errors import ConfigError


class LauncherSettings(ABC):
    """Settings of one launcher."""

    @abstractmethod
    def problems(self) -> Iterator[str]:
        """A sentence for each value that cannot be right."""

    def check(self) -> None:
        """Raise ConfigError with all values that cannot be right."""
        if found := list(self.problems()):
            raise ConfigError(found)


@dataclass(frozen=True)
class PoolSettings(LauncherSettings):
    """Those of worker processes, explained in conf/hydra/launcher/processes.yaml."""

    workers: int | str
    workers_per_gpu: int
    gpus_per_worker: int
    threads: int | str
    retries: int

    def problems(self) -> Iterator[str]:
        """Numbers that are none or too small, and two ways to share GPUs at once."""
        yield from _below(1, auto=True, workers=self.workers, threads=self.threads)
        alone = [*_below(1, workers_per_gpu=self.workers_per_gpu, gpus_per_worker=self.gpus_per_worker)]
        yield from alone
        yield from _below(0, retries=self.retries)
        if not alone and self.workers_per_gpu != 1 and self.gpus_per_worker != 1:
            yield "hydra.launcher takes either workers_per_gpu or gpus_per_worker: leave one of them at 1."


@dataclass(frozen=True)
class RaySettings(LauncherSettings):
    """Those of a Ray cluster, explained in conf/hydra/launcher/ray.yaml."""

    address: str | None
    cpus: float
    gpus: float | str
    retries: int
    init: Mapping[str, Any]

    def problems(self) -> Iterator[str]:
        """Numbers that are none or too small, and values of another kind."""
        yield from _below(0, fractions=True, cpus=self.cpus)
        yield from _below(0, fractions=True, auto=True, gpus=self.gpus)
        yield from _below(0, retries=self.retries)
        yield from _other_than(Mapping, "`{key: value, ...}`", init=self.init)


@dataclass(frozen=True)
class SlurmSettings(LauncherSettings):
    """Those of SLURM, explained in conf/hydra/launcher/slurm.yaml."""

    partition: str | None
    account: str | None
    qos: str | None
    minutes: int
    cpus: int
    gpus: int
    memory_gb: int | None
    steps_per_job: int
    at_once: int
    setup: Sequence[str]
    options: Mapping[str, Any]
    requeues: int
    retries: int
    wait: bool

    def problems(self) -> Iterator[str]:
        """Numbers that are none or too small, and values of another kind."""
        yield from _below(
            1, minutes=self.minutes, cpus=self.cpus, steps_per_job=self.steps_per_job, at_once=self.at_once
        )
        yield from _below(0, gpus=self.gpus, requeues=self.requeues, retries=self.retries)
        if self.memory_gb is not None:
            yield from _below(1, memory_gb=self.memory_gb)
        yield from _other_than(bool, "true or false", wait=self.wait)
        yield from _other_than(Mapping, "`{key: value, ...}`", options=self.options)
        if isinstance(self.setup, str) or not isinstance(self.setup, Sequence):
            lines = "a list of shell lines, such as ['module load cuda']"
            yield f"hydra.launcher.setup is '{self.setup}': it must be {lines}."


_OF: dict[str, type[PoolSettings | RaySettings | SlurmSettings]] = {  # _target_ of a launcher -> its settings
    "hydra_plugins.evalrun.processes_launcher.ProcessesLauncher": PoolSettings,
    "hydra_plugins.evalrun.ray_launcher.RayLauncher": RaySettings,
    "hydra_plugins.evalrun.slurm_launcher.SlurmLauncher": SlurmSettings,
}


def problems_of(launcher: Mapping[Any, Any]) -> dict[str, str]:
    """Sentences about values of a launcher's config, by the setting that each begins with.

    Args:
        launcher: Plain values, `_target_` included; those of a launcher that is not evalrun's own are not known.
    """
    kind = _OF.get(str(launcher.get("_target_")))
    given = {str(key): value for key, value in launcher.items() if key != "_target_"}
    if kind is None or given.keys() != {one.name for one in fields(kind)}:
        return {}  # keys that are unknown or lacking are said elsewhere
    return {sentence.split()[0].rpartition(".")[2]: sentence for sentence in kind(**given).problems()}


def _below(least: float, *, auto: bool = False, fractions: bool = False, **values: object) -> Iterator[str]:
    """A sentence for each setting that is no number of at least so much.

    Args:
        least: The smallest value that can be right.
        auto: Whether `auto` can be right too.
        fractions: Whether 0.5 can be.
        values: Settings of hydra.launcher by name.
    """
    kinds = (int, float) if fractions else (int,)
    for name, value in values.items():
        number = isinstance(value, kinds) and not isinstance(value, bool) and value >= least
        if not number and not (auto and value == "auto"):
            what = "a number" if fractions else "a whole number"
            yield f"hydra.launcher.{name} is '{value}': it must be {what}, {least:g} or more{', or auto' * auto}."


def _other_than(kind: type, said: str, **values: object) -> Iterator[str]:
    for name, value in values.items():
        if not isinstance(value, kind):
            yield f"hydra.launcher.{name} is '{value}': it must be {said}."
