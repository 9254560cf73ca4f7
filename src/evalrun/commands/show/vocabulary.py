"""A tokenizer without its model: of the model that was named, or the first that is on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evalrun import checkpoints
from evalrun.checkpoints import tokenizer
from evalrun.checkpoints.suites import location, released_steps_of
from evalrun.checkpoints.suites.configured import config_of
from evalrun.config.compose import hydra_session
from evalrun.config.schema import Config
from evalrun.core.errors import EvalrunError, first_line
from evalrun.grid import overrides as ov

if TYPE_CHECKING:
    from evalrun.scoring.tokens import ScorerTokenizer

HOW = "train the embedded suite with `python -m evalrun tiny`, or name a model of the hub while connected, model=NAME"


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer as a scorer uses it; without one, why there is none."""

    model: str | None = None
    folder: str | None = None
    problem: str | None = None
    tokens: ScorerTokenizer | None = None


def find(config: Config | None) -> Vocabulary:
    """The tokenizer of a config's model, fetched if need be; of no model in particular, one that is here.

    Whatever goes wrong is a sentence in what is returned: prompts can be shown without tokens.
    """
    try:
        if config is not None:
            folder = next(_here(config), None) or _fetched(config)
            return _load(config, folder)
        with hydra_session():
            names = sorted(ov.models(), key=lambda name: (not name.startswith("tiny/"), name))
        for name in names:
            for known, folder in _configured(name):
                return _load(known, folder)
    except EvalrunError as error:
        return Vocabulary(problem=str(error))
    return Vocabulary(problem=f"no tokenizer is on this machine: {HOW}.")


def _configured(name: str) -> Iterator[tuple[Config, Path]]:
    """A model's config with each folder here that has its tokenizer; nothing where its config cannot be read."""
    try:
        config = config_of(name)
        yield from ((config, folder) for folder in _here(config))
    except EvalrunError:
        return


def _here(config: Config) -> Iterator[Path]:
    """Folders on this machine that hold the tokenizer of a model."""
    model, checkpoint = config.model, config.checkpoint
    root = location(config)
    if model.tokenizer is not None:
        folders = [Path(model.tokenizer)] if Path(model.tokenizer).is_dir() else _cached(model.tokenizer)
    elif checkpoint.folder is not None:
        released = reversed(list(released_steps_of(config).by_step.values()))
        folders = [Path(one.tokenizer or Path(root) / one.place) for one in released]
    else:
        folders = _cached(root)
    yield from (folder for folder in folders if folder.is_dir() and tokenizer.is_in(folder))


def _cached(repository: str) -> list[Path]:
    return sorted((checkpoints.repository_cache(repository) / "snapshots").glob("*"))


def _fetched(config: Config) -> Path:
    """A tokenizer from the hub, without the weights.

    Raises:
        EvalrunError: it cannot be had.
    """
    source = config.model.tokenizer or location(config)
    if config.checkpoint.folder is not None and config.model.tokenizer is None:
        raise EvalrunError(f"{config.model.name} has no checkpoint with a tokenizer in '{source}': {HOW}.")
    if config.offline:
        raise EvalrunError(f"the tokenizer of {config.model.name} is not here, and offline=true: leave it out once.")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, allow_patterns=tokenizer.FILES))
    except Exception as error:  # no network comes in many classes
        raise EvalrunError(f"the tokenizer of the hub's {source} cannot be had ({first_line(error)}): {HOW}.") from None


def _load(config: Config, folder: Path) -> Vocabulary:
    """Load a tokenizer.

    Raises:
        EvalrunError: it is damaged, or needs code that is not trusted.
    """
    from evalrun.scoring.tokens import ScorerTokenizer

    return Vocabulary(
        config.model.name, str(folder), None, ScorerTokenizer(folder, config.trust_remote_code, config.scorer.tokens_by)
    )
