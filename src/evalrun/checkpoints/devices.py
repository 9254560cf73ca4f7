"""The device that a checkpoint is scored on."""

from __future__ import annotations

from collections.abc import Iterable

from evalrun.config.engine_settings import lacking
from evalrun.config.schema import Config
from evalrun.core.errors import CheckpointError, ConfigError


def pick(asked: str) -> str:
    """The device to score on: `auto` is the first GPU, else the CPU; `all` spreads a model over every GPU.

    Raises:
        CheckpointError: a device that is not there.
    """
    import torch

    if asked == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if asked == "all":
        return "all" if torch.cuda.is_available() else "cpu"
    try:
        if torch.empty(1, device=asked).device.type != "meta":  # which holds shapes and no numbers
            return asked
    except (RuntimeError, AssertionError, ImportError):  # by the device, and by how torch was built
        pass
    raise CheckpointError(f"scorer.device is '{asked}', which is not here: use auto, all or cpu.")


def check(configs: Iterable[Config]) -> None:
    """See that what jobs are scored on or by is on this machine, before the first of them starts.

    Raises:
        ConfigError: a device is not, or an engine.
    """
    configs = list(configs)
    if lacks := list(dict.fromkeys(lack for config in configs if (lack := lacking(config.scorer)) is not None)):
        raise ConfigError(lacks)
    named = {config.scorer.device for config in configs} - {"auto", "all", "cpu"}
    if not named:
        return
    for device in sorted(named):
        try:
            pick(device)
        except CheckpointError as error:
            raise ConfigError(error.problems) from None
