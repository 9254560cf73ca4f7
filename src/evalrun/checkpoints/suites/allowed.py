"""A job's checkpoint, found, fetched and loaded by what the job allows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from evalrun import checkpoints
from evalrun.checkpoints.conversion_check import try_out
from evalrun.checkpoints.conversions import Conversion
from evalrun.checkpoints.downloads import Ledger
from evalrun.checkpoints.formats.raw_checkpoint import Reading
from evalrun.checkpoints.suites import checkpoint_of, sizes
from evalrun.checkpoints.unloaded import describe
from evalrun.config.engine_settings import ENGINES
from evalrun.config.schema import Config
from evalrun.config.training_stages import in_stage
from evalrun.core.errors import CheckpointError, NoMemoryError
from evalrun.core.records import Checkpoint


def locate(config: Config, cell: Checkpoint | None = None) -> checkpoints.ResolvedCheckpoint:
    """Find a job's checkpoint without loading it.

    Args:
        config: The job's.
        cell: Its cell, or another of the same model.

    Raises:
        CheckpointError: as `checkpoints.locate` says.
    """
    own = in_stage(config)
    if (command := own.checkpoint.convert) is not None:
        if own.model.base is not None:
            raise CheckpointError(
                f"base={own.model.base} is for adapters, and what is converted is none: leave it out."
            )
        of_cell = cell or checkpoint_of(config)
        place, architecture = own.checkpoint.converted, own.checkpoint.config
        found = checkpoints.locate_converted(of_cell, command, place, config.trust_remote_code, architecture)
        return by_tokens(config, found)
    allowed = (config.trust_pickle, config.trust_remote_code, config.allow_unused_weights, own.model.base)
    reading = Reading(own.checkpoint.format, own.checkpoint.config)
    return by_tokens(config, checkpoints.locate(cell or checkpoint_of(config), *allowed, reading))


def by_tokens(
    config: Config, located: checkpoints.ResolvedCheckpoint, fetched: Path | None = None
) -> checkpoints.ResolvedCheckpoint:
    """A job's checkpoint with what the following of its tokenizer's file adds to its identity, where that is known.

    Args:
        config: The job's.
        located: The checkpoint, by its files alone.
        fetched: The folder of a hub checkpoint's files; None: where the hub's cache has them.
    """
    return checkpoints.by_tokens(located, config.scorer.tokens_by, config.scorer.cache, fetched)


def named(cell: Checkpoint, identity: str) -> checkpoints.ResolvedCheckpoint:
    """A checkpoint of which only the identity is known: from its journal, or from the store."""
    bare = checkpoints.without_mark(identity)
    folder, commit = (Path(cell.location), None) if cell.revision is None else (None, bare.partition("@")[2][:40])
    return checkpoints.ResolvedCheckpoint(cell, identity, folder, commit)


def left_out(config: Config, identity: str, rolling: bool, cell: Checkpoint | None = None) -> list[str]:
    """What a result is named by beside all else, where tokens that its tokenizer adds by itself are left out.

    Args:
        config: The job's.
        identity: Of its checkpoint.
        rolling: Whether the task scores whole texts, round which nothing is left; of another only the end is off.
        cell: The checkpoint, where it is known.
    """
    located, cache = named(cell or checkpoint_of(config), identity), config.scorer.cache
    if rolling:
        return ["without the tokenizer's own tokens"] if checkpoints.adds_tokens(located, cache) else []
    return ["without the tokenizer's end"] if checkpoints.ends_texts(located, cache) else []


def fetch(config: Config, located: checkpoints.ResolvedCheckpoint) -> Path:
    """The folder of a job's checkpoint.

    Raises:
        CheckpointError: as `checkpoints.fetch` says.
    """
    return checkpoints.fetch(located, config.trust_pickle, config.allow_unused_weights)


def fetch_claimed(config: Config, located: checkpoints.ResolvedCheckpoint) -> Path:
    """`fetch`, with what it puts on the disk noted as the sweep's own.

    Raises:
        CheckpointError: as `fetch` and `Ledger` say.
    """
    ledger, conversion = Ledger(config), located.conversion
    if conversion is None:
        ledger.claim(located.cell, str(located.commit))
        return fetch(config, located)
    ledger.claim_conversion(conversion)
    folder = fetch(config, located)
    ledger.weigh(conversion)
    return folder


def load(
    config: Config, located: checkpoints.ResolvedCheckpoint, folder: Path, device: str
) -> tuple[checkpoints.Loaded, Checkpoint]:
    """Load a job's checkpoint; its cell then has the parameters of the model that is scored.

    Where an engine holds the weights the checkpoint is described, and none are loaded here.

    Those that the config says are kept. What was counted in the files is more than the model has where
    `allow_unused_weights` drops some; of what is converted nothing was counted before.

    Raises:
        CheckpointError: as `checkpoints.load` says.
    """
    trust = {
        "remote_code": config.trust_remote_code,
        "pickle": config.trust_pickle,
        "unused_weights": config.allow_unused_weights,
    }
    with _tried(located.conversion):
        if config.scorer.name in ENGINES:
            loaded = describe(located, folder, trust, config.scorer.tokens_by)
        else:
            loaded = checkpoints.load(located, folder, config.scorer.dtype, device, trust, config.scorer.tokens_by)
        if located.conversion is not None:
            own = config.checkpoint
            if config.scorer.name not in ENGINES:
                try_out(located.conversion, loaded.model, loaded.tokenizer, own.converted, own.convert_text)
            located.conversion.note(counted=loaded.parameters)
    cell, model = located.cell, config.model
    if not (loaded.unused or located.conversion) or loaded.parameters is None:
        return loaded, cell
    total, nonembedding = model.n_params or loaded.parameters[0], model.n_params_nonembedding or loaded.parameters[1]
    nominal = model.n_params_nominal or sizes.nominal(total)
    return loaded, replace(cell, n_params=total, n_params_nonembedding=nonembedding, n_params_nominal=nominal)


def dtype_of(config: Config, loaded: checkpoints.Loaded) -> str:
    """The precision that a job's checkpoint is scored in, as far as it is known: a server may choose its own."""
    scorer = config.scorer
    if scorer.name not in ENGINES:
        return str(loaded.model.dtype).removeprefix("torch.")
    if scorer.dtype != "auto":
        return scorer.dtype
    own = getattr(loaded.model.config, "dtype", None)
    return "auto" if own is None else str(own).removeprefix("torch.")


@contextlib.contextmanager
def _tried(conversion: Conversion | None) -> Iterator[None]:
    """Take back what a converter made where it turns out to be no model: it is made anew when it is wanted again."""
    try:
        yield
    except CheckpointError as error:
        if conversion is not None and not isinstance(error, NoMemoryError):
            conversion.note(fault=str(error))
        raise
