"""What a watch was asked for, and the config that this comes to for each run's folder."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf, flag_override

from evalrun.commands.watch import hooks
from evalrun.config.as_typed import quoted
from evalrun.config.compose import compose, hydra_session, to_config
from evalrun.config.schema import Config
from evalrun.core.errors import ConfigError
from evalrun.core.plain_names import slug
from evalrun.core.secrets import hide_password
from evalrun.grid import override_checks
from evalrun.grid import overrides as ov
from evalrun.grid.job_folders import FolderTemplate, root_of

PATHS = "paths"
_EVERY = "it evaluates every checkpoint of the run in path="
_NOT_TAKEN = {  # key -> why not
    **dict.fromkeys(("step", "experiment", "until", "until_levels"), _EVERY),
    "fail_fast": "no fault of a checkpoint ends it, and what failed is tried again (watch.retry_s)",
}
_ANY = "run"  # in place of a folder, where none is known yet
_NOT_FOR_JOBS = ("hydra", "watch", "model.path")  # keys that no job is told of: an address of watch may be a secret


@dataclass(frozen=True)
class RunSetup:
    """One run's folder as it is to be evaluated."""

    config: Config  # of any step; its sweep names the watch on this run
    plain: Mapping[str, Any]  # the same as plain values, to be kept with results
    folders: FolderTemplate  # of its jobs
    overrides: tuple[str, ...]  # that make it, the step aside
    asked: tuple[str, ...]  # the words as typed, those that name folders aside
    composed: DictConfig  # the whole config, Hydra's node included


class WatchRequest:
    """The words of a watch, checked; composed once for however many folders.

    Args:
        words: Overrides; the model is `local` unless they name one. `paths=A,B` are patterns of folders of runs.

    Raises:
        ConfigError: anything that cannot be right.
    """

    def __init__(self, words: Sequence[str]) -> None:
        """Check the words, and compose what they come to without a folder."""
        self.patterns = _patterns(words)
        words = [word for word in words if not word.startswith(f"{PATHS}=")]
        with hydra_session():
            given = ov.parse(words)
            keys = [o.key_or_group for o in given]
            if misplaced := [key for key in keys if key in _NOT_TAKEN]:
                raise ConfigError(f"watch takes no {misplaced[0]}=: {_NOT_TAKEN[misplaced[0]]}.")
            if self.patterns and "model.path" in keys:
                raise ConfigError("path= and paths= are both given: name one run with path=, or several with paths=.")
            override_checks.check(given)
            many = [o.key_or_group for o in given if o.is_sweep_override() and o.key_or_group not in ("task", "tasks")]
            if many:
                several = "watch several with 'paths=A,B'" if many[0] == "model.path" else "start a watch for each"
                raise ConfigError(f"watch takes one value of a key, and {many[0]}= has several values: {several}.")
            local = [] if "model" in keys else [f"model={ov.LOCAL}"]
            sayable = ov.for_hydra(given)
            place = [f"model.path={_ANY}"] if self.patterns else []
            self._composed = compose([*local, *sayable, *place, "step=0"])
            self._words = [*local, *(word for word in sayable if not word.lstrip("+~").startswith(_NOT_FOR_JOBS))]
            self._asked = tuple(sorted(o.input_line or "" for o in given if o.key_or_group != "model.path"))
            config = to_config(self._composed)
        found = list(hooks.problems(config.watch))
        if config.checkpoint.folder is None:
            where = f"the checkpoints of {config.model.name} are on the hub"
            found.append(f"watch looks at a folder, and {where}: give path=.")
        if found:
            raise ConfigError(found)
        self.config = config
        self.jobs = root_of(self._composed)  # the folder of all jobs' folders
        self.launcher = str(self._composed.hydra.runtime.choices["hydra/launcher"])

    def setup(self, folder: str | None = None) -> RunSetup:
        """How a run is evaluated.

        Args:
            folder: Its folder; None for the one of path=.

        Raises:
            ConfigError: what cannot be right for this folder, such as a name that can be no model's.
        """
        composed = copy.deepcopy(self._composed)
        with hydra_session():
            if folder is not None:
                with flag_override(composed, ["struct", "readonly"], False):
                    composed.model.path = folder
            config = to_config(composed)
            kept = OmegaConf.masked_copy(composed, [str(key) for key in composed if key not in ("hydra", "watch")])
            values = cast("dict[str, Any]", OmegaConf.to_container(kept, resolve=True))
        config.sweep = f"watch-{slug(config.model.name)}"
        if config.tracking.uri is not None:
            config.tracking.uri = values["tracking"]["uri"] = hide_password(config.tracking.uri)
        with flag_override(composed, ["struct", "readonly"], False):
            composed.watch.webhook = composed.watch.command = None
            composed.tracking.uri = config.tracking.uri
        place = f"model.path={quoted(config.model.path)}"
        return RunSetup(config, values, FolderTemplate(composed), (*self._words, place), self._asked, composed)


def configured(words: Sequence[str]) -> tuple[Config, Mapping[str, Any], FolderTemplate]:
    """The config of a watch on one run from overrides, the same as plain values, and its jobs' folders.

    Args:
        words: Overrides; the model is `local` unless they name one.

    Raises:
        ConfigError: anything that cannot be right.
    """
    setup = WatchRequest(words).setup()
    return setup.config, setup.plain, setup.folders


def _patterns(words: Sequence[str]) -> tuple[str, ...]:
    """What `paths=` names; nothing where it is not there."""
    given = [word.partition("=")[2] for word in words if word.startswith(f"{PATHS}=")]
    if not given:
        return ()
    patterns = tuple(
        dict.fromkeys(part.strip().strip("'\"") for part in given[0].strip("[]").split(",") if part.strip())
    )
    if len(given) > 1:
        raise ConfigError(f"paths is given twice, {given[0]} and {given[1]}: several are written 'paths=A,B'.")
    if not patterns:
        raise ConfigError("paths has no value: write 'paths=runs/*', with its quotes.")
    return patterns
