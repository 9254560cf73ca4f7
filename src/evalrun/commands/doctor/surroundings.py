"""The checks that need evalrun's own parts: the machine, the store, the hub, models and data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from evalrun import checkpoints
from evalrun.commands.doctor import machine, material
from evalrun.commands.doctor.check import OK, Check
from evalrun.config.compose import compose, hydra_session, to_config
from evalrun.config.schema import Config
from evalrun.grid import override_checks
from evalrun.grid import overrides as ov

_ABOUT = ("model", "step", "checkpoint", "path", "experiment")  # of a run: which checkpoint, which does not matter here


def checks(words: Sequence[str]) -> Iterator[Check]:
    """All of them; those that wait, for the network or for a library to be imported, run beside the others.

    Raises:
        ConfigError: words that cannot be right.
    """
    config = _config(words)
    if config.offline:
        checkpoints.go_offline()
    with ThreadPoolExecutor() as pool:
        torch = pool.submit(machine.torch)
        hub = pool.submit(material.hub, config)
        yield torch.result()
        yield machine.store(config.tracking)
        yield from machine.disk(config.tracking)
        yield hub.result()
        yield material.token()
        yield material.suite()
        own = list(material.own_tasks())
        can_download = not config.offline and hub.result().state == OK
        yield from material.tasks(config, can_download, {check.said for check in own})
        yield from own


def _config(words: Sequence[str]) -> Config:
    with hydra_session():
        given = ov.parse(words)
        override_checks.check(given)
        kept = [o for o in given if o.key_or_group.split(".")[0] not in _ABOUT]
        return to_config(compose(["model=pythia-70m", *ov.for_hydra(kept), "step=0"]))
