"""The commands beside evaluating: each takes its words and returns the exit code."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from evalrun import study
from evalrun.config.schema import TrackingConf, compose, hydra_session, type_sentence, typed
from evalrun.core.secrets import command_line
from evalrun.core.wording import counted
from evalrun.errors import ConfigError, nearest
from evalrun.grid import overrides as ov
from evalrun.grid import planning
from evalrun.tracking import Store
from evalrun.tracking.connection import PORT
from evalrun.tracking.slugs import slug


def plan(words: Sequence[str]) -> int:
    """`plan`: print the grid and what it needs."""
    from evalrun.commands.plan import command

    print(command.show(*ov.split_flags(words)))
    return 0


def prefetch(words: Sequence[str]) -> int:
    """`prefetch`: download what a grid needs."""
    from evalrun.commands.plan import command

    print(command.fetch(ov.split_flags(words)[1]))
    return 0


def audit(words: Sequence[str]) -> int:
    """`audit`: what is wrong in published checkpoints; exit code 0 nothing, 1 faults or nothing could be seen."""
    from evalrun.checkpoints import audit as faults
    from evalrun.checkpoints.audit import render

    flags, overrides = ov.split_flags(words)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with hydra_session():
        given = ov.parse(overrides)
        if not any(o.key_or_group == "step" for o in given):
            given += ov.parse(["step=all"])
        ov.check(given)
        found = faults.run([job.config for job in planning.plan(tuple(ov.for_hydra(given))).jobs])
    print(json.dumps(render.to_json(found), indent=1) if "--json" in flags else render.text(found))
    return 1 if render.count(found) or any(audited.unreachable for audited in found) else 0


def analyze(words: Sequence[str]) -> int:
    """`analyze`: from the store to tables, figures and a report."""
    own = dict(word.split("=", 1) for word in words if word.startswith(("suite=", "sweep=")))
    rest = [word for word in words if word.partition("=")[0] not in own]
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with hydra_session():
        plan, selection = select(rest, own.get("suite"), own.get("sweep"))
        finals = planning.final_steps()
    folder = Path("multirun") / "analysis" / slug(selection.sweep or ("all" if selection.cells is None else plan.sweep))
    study.analyse(plan.config, folder, selection, finals)
    return 0


def select(words: Sequence[str], suite: str | None, name: str | None) -> tuple[planning.Plan, study.Selection]:
    """Which results words mean: those of a grid, or else all that there are (inside a `config.hydra_session`).

    Args:
        words: Overrides, as for a sweep; any of model=, step= and experiment= makes a grid.
        suite: Of this suite alone.
        name: The checkpoints that the multirun of this name wanted.

    Raises:
        ConfigError: words that cannot be right.
    """
    given = ov.parse(words)
    ov.check(given)
    keys = {o.key_or_group for o in given}
    grid = bool(keys & {"model", "step", "experiment"})
    filler = [] if grid else ["model=pythia-70m"]
    filler += [] if keys & {"step", "experiment"} else ["step=all"]
    plan = planning.plan((*filler, *ov.for_hydra(given)))
    selection = study.Selection(
        suite=suite,
        sweep=name,
        tasks=plan.tasks if keys & {"task", "tasks", "experiment"} else None,
        cells=[job.cell for job in plan.jobs] if grid else None,
    )
    return plan, selection


def _tracking(words: Sequence[str]) -> TrackingConf:
    """The store that overrides name, for commands that concern no model (inside a `config.hydra_session`)."""
    given = ov.parse(words)
    ov.check(given)
    return typed(compose(["model=pythia-70m", "step=0", *ov.for_hydra(given)])).tracking


def ingest(words: Sequence[str]) -> int:
    """`ingest`: other people's result files into MLflow; exit code 0 all filed, 1 something left out."""
    from evalrun.commands.ingest import ingest as read

    rest = [word for word in words if word.startswith("tracking") and "=" in word and not Path(word).exists()]
    paths = [Path(word) for word in words if word not in rest]
    if not paths:
        raise ConfigError("ingest needs something to read: name result files or folders, such as results/.")
    with hydra_session():
        return read(paths, _tracking(rest), command_line(["analyze", *rest]))


def tiny(words: Sequence[str]) -> int:
    """`tiny`: train the embedded suite."""
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from evalrun.checkpoints.tiny.settings import TinyConf

    with hydra_session():
        given = ov.parse(words)
        keys = [str(key) for key in compose([], name="tiny") if key != "hydra"]
        unknown = [o.key_or_group for o in given if o.key_or_group.split(".")[0] not in keys]
        if unknown:
            raise ConfigError([f"tiny does not know '{key}': {nearest(key, keys)}" for key in unknown])
        try:
            values = OmegaConf.masked_copy(compose(list(words), name="tiny"), keys)
            merged = OmegaConf.merge(OmegaConf.structured(TinyConf), values)
            settings = cast(TinyConf, OmegaConf.to_object(merged))
        except (OmegaConfBaseException, HydraException) as error:
            raise ConfigError(type_sentence(error)) from None
        configs = {name: typed(compose([f"model={name}", "step=1"])) for name in ov.group_options("model", "tiny/")}
    from evalrun.checkpoints.tiny import train_suite

    ordered = sorted(configs.items(), key=lambda item: item[1].model.n_params or 0)
    sizes = {name.removeprefix("tiny/"): config.model for name, config in ordered}
    trained = train_suite(
        sizes, ordered[0][1].checkpoint, settings, Path(settings.root), say=print, progress=sys.stderr.isatty()
    )
    print(f"{counted(trained, 'model')} trained" if trained else f"all models are in {settings.root} already")
    return 0


def ui(words: Sequence[str]) -> int:
    """`ui`: the MLflow UI on the configured store."""
    rest = list(words)
    port = PORT
    if "--port" in rest:
        at = rest.index("--port")
        value = rest[at + 1] if at + 1 < len(rest) else ""
        if not value.isdecimal() or int(value) > 65535:
            raise ConfigError(f"--port needs a number up to 65535, not '{value}'.")
        port = int(value)
        del rest[at : at + 2]
    if wrong := next((word for word in rest if word.startswith("port=")), None):
        raise ConfigError(f"'{wrong}' is no key: write --port {wrong.removeprefix('port=')}.")
    with hydra_session():
        store = Store(_tracking(rest))
    store.check()
    store.serve(port)
    return 0
