"""Which steps a hub repository released: its list of revisions, kept on disk, read by a pattern."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from evalrun import checkpoints
from evalrun.checkpoints.suites import sizes
from evalrun.checkpoints.suites.released_steps import ReleasedStep, ReleasedSteps
from evalrun.checkpoints.suites.sizes import Parameters
from evalrun.config import step_names
from evalrun.core.atomic import keep_file
from evalrun.core.errors import CheckpointError, ConfigError, first_line
from evalrun.core.text import counted

log = logging.getLogger(__name__)
FOLDER = Path("multirun") / ".cache" / "hub"
FRESH_S = 24 * 3600  # a list that old is asked for again, where the hub can be asked


@dataclass(frozen=True)
class Listed:
    """The branches and tags of a repository as the hub listed them."""

    revisions: dict[str, str]  # name -> commit
    asked_s: float  # Unix time

    @property
    def age(self) -> str:
        """`just now`, `3 hours ago`."""
        seconds = max(0, int(time.time() - self.asked_s))
        for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
            if seconds >= size:
                return f"{counted(seconds // size, unit)} ago"
        return "just now"


def find(repository: str, pattern: str, seed: int | None, refresh: bool = False) -> ReleasedSteps:
    """The steps that a repository has revisions for.

    Raises:
        ConfigError: no revision follows the pattern, or two are of one step.
        CheckpointError: the hub cannot be asked, and its list is not kept here.
    """
    listed = listing(repository, refresh)
    return read(repository, pattern, seed, listed)


def read(repository: str, pattern: str, seed: int | None, listed: Listed) -> ReleasedSteps:
    """The steps of a list of revisions.

    Raises:
        ConfigError: no revision follows the pattern, or two are of one step.
    """
    found = step_names.matching(listed.revisions, pattern, seed)
    if not found:
        some = ", ".join(sorted(listed.revisions)[:4])
        raise ConfigError(
            f"no revision of the hub's {repository} follows checkpoint.revision={pattern}: it has {some or 'none'}"
            f"{', ...' if len(listed.revisions) > 4 else ''}."
        )
    by_step = {one.step: ReleasedStep(one.step, one.name, one.tokens) for one in found}
    return ReleasedSteps(by_step, origin=f"hub, {listed.age}")


def listing(repository: str, refresh: bool = False) -> Listed:
    """The revisions of a repository: as kept here if that is fresh, else as the hub says, else as kept however old.

    Raises:
        CheckpointError: neither.
    """
    kept = kept_listing(repository)
    if kept is not None and not refresh and time.time() - kept.asked_s < FRESH_S:
        return kept
    fault = checkpoints.hub_fault()
    if kept is None and fault is not None:
        raise CheckpointError(
            f"which steps {repository} released is not known here, and the hub is {fault}: connect once, or list them "
            "with 'checkpoint.steps=[1000,2000]'."
        )
    try:
        asked = Listed(checkpoints.revisions(repository), time.time())
    except CheckpointError as error:
        if kept is None:
            raise
        log.warning("the steps of %s are as the hub listed them %s: %s", repository, kept.age, error)
        return kept
    told = {"repository": repository, "asked_s": asked.asked_s, "revisions": asked.revisions}
    keep_file(_path(repository), json.dumps(told, indent=1))
    return asked


def kept_listing(repository: str) -> Listed | None:
    """What the hub said the last time."""
    try:
        said = json.loads(_path(repository).read_text())
        revisions = {str(name): str(commit) for name, commit in said["revisions"].items()}
        return Listed(revisions, float(said["asked_s"])) if said["repository"] == repository else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def parameters(repository: str, revision: str) -> Parameters:
    """Count the parameters of a repository's model from its config.json; asked of the hub once.

    Raises:
        CheckpointError: it cannot be had, or transformers does not know the architecture.
    """
    kept = _path(repository).with_suffix(".config.json")
    try:
        config = kept.read_text()
    except OSError:
        config = _config(repository, revision)
        keep_file(kept, config)
    return _count(config, repository)


@lru_cache(maxsize=64)
def _count(config: str, repository: str) -> Parameters:
    return sizes.of_config(config, repository)


def _config(repository: str, revision: str) -> str:
    """A revision's config.json: of the hub's cache, else downloaded apart from it, where it would look like a start."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(repository, "config.json", revision=revision)
    if isinstance(cached, str):
        return Path(cached).read_text()
    fault = checkpoints.hub_fault()
    if fault is None:
        try:
            with tempfile.TemporaryDirectory() as folder:
                return Path(hf_hub_download(repository, "config.json", revision=revision, local_dir=folder)).read_text()
        except Exception as error:  # no network comes in many classes
            fault = f"failing ({first_line(error)})"
    raise CheckpointError(
        f"how many parameters {repository} has is not known here, and the hub is {fault}: connect once, or say it with "
        "model.n_params= and model.n_params_nonembedding=."
    )


def _path(repository: str) -> Path:
    return FOLDER / f"{repository.replace('/', '--')}.json"
