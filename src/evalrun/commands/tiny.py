"""`tiny`: train the embedded suite."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from evalrun.checkpoints.tiny.settings import TinyConf
from evalrun.config.compose import compose, hydra_session, to_config, type_sentence
from evalrun.core.errors import ConfigError, suggest
from evalrun.core.text import counted
from evalrun.grid import overrides as ov


def command(words: Sequence[str]) -> int:
    """`tiny`: train the embedded suite.

    Raises:
        ConfigError: unknown keys, or values that cannot be right.
        StorageError: the suite cannot be written.
    """
    with hydra_session():
        given = ov.parse(words)
        keys = [str(key) for key in compose([], name="tiny") if key != "hydra"]
        unknown = [o.key_or_group for o in given if o.key_or_group.split(".")[0] not in keys]
        if unknown:
            raise ConfigError([f"tiny does not know '{key}': {suggest(key, keys)}" for key in unknown])
        try:
            values = OmegaConf.masked_copy(compose(list(words), name="tiny"), keys)
            merged = OmegaConf.merge(OmegaConf.structured(TinyConf), values)
            settings = cast(TinyConf, OmegaConf.to_object(merged))
        except (OmegaConfBaseException, HydraException) as error:
            raise ConfigError(type_sentence(error)) from None
        configs = {name: to_config(compose([f"model={name}", "step=1"])) for name in ov.group_options("model", "tiny/")}
    from evalrun.checkpoints.tiny import train_suite

    ordered = sorted(configs.items(), key=lambda item: item[1].model.n_params or 0)
    sizes = {name.removeprefix("tiny/"): config.model for name, config in ordered}
    trained = train_suite(
        sizes, ordered[0][1].checkpoint, settings, Path(settings.root), say=print, progress=sys.stderr.isatty()
    )
    print(f"{counted(trained, 'model')} trained" if trained else f"all models are in {settings.root} already")
    return 0
