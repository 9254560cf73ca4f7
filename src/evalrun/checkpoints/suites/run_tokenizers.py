"""Where the tokenizer is of a run's checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from evalrun.checkpoints import tokenizer
from evalrun.checkpoints.suites import folders
from evalrun.checkpoints.suites.folders import FolderLook
from evalrun.checkpoints.suites.released_steps import ReleasedStep
from evalrun.core.errors import ConfigError

Looks = Callable[[str], FolderLook]  # at a folder of the run, by its name


def said(
    root: Path, found: Mapping[int, ReleasedStep], looks: Looks, base: str | None, config: str | None
) -> dict[int, ReleasedStep]:
    """Say where the tokenizer is of checkpoints that lack one: in the run's folder, or with the base of adapters.

    Args:
        root: The run's folder.
        found: Its checkpoints.
        looks: At each of its folders.
        base: Of adapters, in place of the one that they name.
        config: checkpoint.config, which may have a tokenizer too.

    Raises:
        ConfigError: nowhere.
    """
    lacking = [step for step, release in found.items() if not looks(release.place).has_tokenizer]
    if not lacking:
        return dict(found)
    adapter = folders.adapter_of(root / found[lacking[0]].place, base)
    source = str(root) if tokenizer.is_in(root) else config if adapter is None else adapter.base
    if source is not None and source == config and Path(source).is_dir() and not tokenizer.is_in(Path(source)):
        source = None
    if source is not None:
        return {s: replace(r, tokenizer=source) if s in lacking else r for s, r in found.items()}
    if len(lacking) == len(found):
        raise ConfigError(
            f"no tokenizer in the checkpoints of '{root}' nor in '{root}' itself: name the one that the run was "
            "trained with, a folder or a hub repository, such as model.tokenizer=EleutherAI/pythia-70m."
        )
    why = "has no tokenizer, and others of the run have one: copy it, or name one for all with model.tokenizer="
    return {
        s: replace(r, fault=r.fault or f"step {s} of '{root}' is refused: '{r.place}' {why}.") if s in lacking else r
        for s, r in found.items()
    }
