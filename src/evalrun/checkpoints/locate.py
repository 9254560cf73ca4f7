"""Where a checkpoint is, and what identifies it, before any weight is read."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from evalrun.checkpoints import adapter_files, chat_templates, contents, token_keys, tokenizer
from evalrun.checkpoints.complete import check_folder
from evalrun.checkpoints.conversions import Conversion, conversion
from evalrun.checkpoints.convert import made
from evalrun.checkpoints.folder_notes import notes
from evalrun.checkpoints.formats import raw_checkpoint as formats
from evalrun.checkpoints.hub import commit_of, hub_sentence, no_room_or, patterns, repository_cache
from evalrun.core.errors import CheckpointError, first_line
from evalrun.core.hashing import file_sha256
from evalrun.core.records import Checkpoint


@dataclass(frozen=True)
class ResolvedCheckpoint:
    """A checkpoint that is known to exist: what it is, before any weight is read or downloaded."""

    cell: Checkpoint
    identity: str  # hub: repository@commit; local: digest of weights, config and tokenizer
    folder: Path | None  # of a local checkpoint; None while it is only known on the hub
    commit: str | None  # of the hub revision
    base: ResolvedCheckpoint | None = None  # of an adapter: the model that it is put on
    conversion: Conversion | None = None  # of one that must be converted: how; its folder may not be there yet
    raw: formats.RawCheckpoint | None = None  # of what a trainer wrote in a format of its own


def locate(
    cell: Checkpoint,
    trust_pickle: bool = False,
    remote_code: bool = False,
    unused_weights: bool = False,
    base: str | None = None,
    reading: formats.Reading | None = None,
) -> ResolvedCheckpoint:
    """Find a checkpoint without loading it.

    Args:
        cell: Which checkpoint.
        trust_pickle: Pickled weights will do.
        remote_code: Code of its own may be run.
        unused_weights: A second model in its folder is passed over.
        base: Of an adapter, in place of the one that it names.
        reading: Of what a trainer wrote: which format it is, and where its config is.

    Raises:
        CheckpointError: no such folder, files missing or too many, hub or revision not reachable, no base.
    """
    if cell.revision is None:
        folder = Path(cell.location)
        check_folder(folder, cell, trust_pickle, unused_weights)
        if contents.is_raw(folder):
            _refuse_base(base, cell)
            return _raw(folder, cell, remote_code, reading or formats.Reading())
        find = partial(contents.identity, folder, remote_code)
        own = notes().kept(folder, f"identity {remote_code}", find, partial(contents.is_flat, folder))
        own = f"files:{own}{_tokenizer_identity(cell, remote_code)}"
        if not contents.is_adapter(folder):
            _refuse_base(base, cell)
            return ResolvedCheckpoint(cell, own, folder, None)
        on = _base(cell, adapter_files.read(folder, base), (trust_pickle, remote_code, unused_weights))
        return ResolvedCheckpoint(cell, f"{own}+base:{on.identity}", folder, None, on)
    _refuse_base(base, cell)
    commit = commit_of(cell)
    return ResolvedCheckpoint(
        cell, f"hub:{cell.location}@{commit}{_tokenizer_identity(cell, remote_code)}", None, commit
    )


def locate_converted(
    cell: Checkpoint, command: str, place: str | None, remote_code: bool, config: str | None = None
) -> ResolvedCheckpoint:
    """Find a checkpoint that is converted before it is loaded.

    Args:
        cell: Which.
        command: checkpoint.convert.
        place: checkpoint.converted.
        remote_code: Code of its own may be run.
        config: checkpoint.config.

    Raises:
        CheckpointError: there is nothing to convert, or no tokenizer or config where one is named.
    """
    wanted = conversion(cell, command, place, config)
    own = f"converted:{wanted.key}{_tokenizer_identity(cell, remote_code)}"
    return ResolvedCheckpoint(cell, own, wanted.model, None, conversion=wanted)


def _raw(place: Path, cell: Checkpoint, remote_code: bool, reading: formats.Reading) -> ResolvedCheckpoint:
    """What a trainer wrote, by its files, the rules that read them and its config.

    Raises:
        CheckpointError: no rules or no config for it.
    """
    raw = formats.know(place, reading, f"checkpoint of {cell.label} in '{place}'")
    files = notes().kept(place, "raw files", raw.files_digest, partial(contents.is_flat, place))
    identity = f"files:{raw.identity(files)}{_tokenizer_identity(cell, remote_code)}"
    return ResolvedCheckpoint(cell, identity, place, None, raw=raw)


def _base(
    cell: Checkpoint, adapter: adapter_files.AdapterFiles, allowed: tuple[bool, bool, bool]
) -> ResolvedCheckpoint:
    """The base of an adapter.

    Raises:
        CheckpointError: it is not whole, or the hub cannot say what it is.
    """
    base = replace(
        cell, model=f"the base of {cell.model}", location=adapter.base, revision=adapter.revision, tokenizer=None
    )
    try:
        return locate(base, *allowed)
    except CheckpointError as error:
        raise CheckpointError(f"the adapter in '{cell.location}' needs its base '{adapter.base}': {error}") from None


def _refuse_base(base: str | None, cell: Checkpoint) -> None:
    if base is not None:
        place = f"'{cell.location}'" if cell.revision is None else f"the hub's {cell.location}"
        raise CheckpointError(
            f"base={base} is for adapters in local folders, and {place} of {cell.label} is none: leave it out."
        )


def weights_digest(located: ResolvedCheckpoint, folder: Path) -> str:
    """Sha256 of the weights that a result is of: of the files, and for an adapter of its settings and its base's too.

    Args:
        located: Which checkpoint; its base's files are here.
        folder: Of its own files.
    """
    own = contents.weights_digest(folder)
    if located.raw is not None:
        own = hashlib.sha256(f"{own}\n{located.raw.identity(located.raw.files_digest())}".encode()).hexdigest()
    if located.base is None:
        return own
    settings = file_sha256(folder / contents.ADAPTER)
    parts = (own, settings, weights_digest(located.base, fetch(located.base)))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def by_tokens(
    located: ResolvedCheckpoint, by: str, cache: str | None, fetched: Path | None = None
) -> ResolvedCheckpoint:
    """A checkpoint whose identity says, where it makes a difference, that its tokenizer's own file is followed.

    Args:
        located: As `locate` gives it.
        by: scorer.tokens_by.
        cache: scorer.cache.
        fetched: The folder of a hub checkpoint's files; None: the hub's cache is looked through.
    """
    if by != "file":
        return located
    mark = token_keys.mark(_tokens_from(located, fetched), cache)
    return located if located.identity.endswith(mark) else replace(located, identity=located.identity + mark)


def adds_tokens(located: ResolvedCheckpoint, cache: str | None) -> bool:
    """Whether a checkpoint's tokenizer puts special tokens round a text by itself; False where that is not known yet.

    Args:
        located: As `by_tokens` gives it.
        cache: scorer.cache.
    """
    return token_keys.adds(_tokens_from(located), located.identity, cache)


def ends_texts(located: ResolvedCheckpoint, cache: str | None) -> bool:
    """Whether its tokenizer was kept from putting special tokens after a text; see `adds_tokens`."""
    return token_keys.ends(_tokens_from(located), located.identity, cache)


def templates_digest(located: ResolvedCheckpoint, cache: str | None) -> str:
    """Digest of a checkpoint's chat templates that its identity does not tell of; empty where it does.

    A commit on the hub determines its files; those of a local folder may change by themselves.

    Args:
        located: The checkpoint.
        cache: scorer.cache.
    """
    folder = chat_templates.folder_of(located.cell)
    return "" if folder is None else chat_templates.digest(folder, located.identity, cache)


def _tokens_from(located: ResolvedCheckpoint, fetched: Path | None = None) -> Path | None:
    """The folder of a checkpoint's tokenizer, if it is here."""
    cell, source = located.cell, located.cell.tokenizer
    if source is not None and not Path(source).is_dir():
        snapshots = (repository_cache(source) / "snapshots").glob("*")
        folder = next((one for one in sorted(snapshots) if tokenizer.is_in(one)), None)
    elif source is not None or located.folder is not None:
        folder = located.folder if source is None else Path(source)
    elif fetched is None:
        snapshot = os.path.join(repository_cache(cell.location), "snapshots", str(located.commit))
        return Path(snapshot) if os.path.isdir(snapshot) else None
    else:
        folder = fetched
    return folder if folder is not None and folder.is_dir() else None


def without_mark(identity: str) -> str:
    """An identity before `by_tokens`."""
    return identity.removesuffix(token_keys.MARK)


def _tokenizer_identity(cell: Checkpoint, remote_code: bool) -> str:
    """What a tokenizer from elsewhere adds to a checkpoint's identity.

    Raises:
        CheckpointError: there is none.
    """
    if cell.tokenizer is None:
        return ""
    if Path(cell.tokenizer).is_dir():
        return f"+tokenizer:{tokenizer.digest(Path(cell.tokenizer), remote_code)}"
    tokenizer.check_repository(cell.tokenizer)
    return f"+tokenizer:{cell.tokenizer}@{commit_of(replace(cell, location=cell.tokenizer, revision='main'))}"


def tokenizer_folder(located: ResolvedCheckpoint, folder: Path) -> Path:
    """Where the tokenizer's files are; those of a hub repository are downloaded.

    Raises:
        CheckpointError: they cannot be downloaded.
    """
    source = located.cell.tokenizer
    if source is None or Path(source).is_dir():
        return folder if source is None else Path(source)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, allow_patterns=tokenizer.FILES))
    except Exception as error:  # no network comes in many classes
        raise CheckpointError(f"the tokenizer of the hub's {source} cannot be had ({first_line(error)}).") from None


def fetch(located: ResolvedCheckpoint, trust_pickle: bool = False, unused_weights: bool = False) -> Path:
    """The folder with the checkpoint's files; a hub checkpoint is downloaded into the hub's cache.

    Raises:
        CheckpointError: the download fails, lacks files or holds a second model.
    """
    if located.conversion is not None:
        return made(located.conversion, trust_pickle, unused_weights)
    if located.folder is not None:
        return located.folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    cell = located.cell
    try:
        folder = Path(snapshot_download(cell.location, revision=cell.revision, allow_patterns=patterns(trust_pickle)))
    except OSError as error:
        raise no_room_or(error, cell) from None
    except Exception as error:
        raise CheckpointError(hub_sentence(cell, f"failing ({first_line(error)})")) from None
    if folder.name != located.commit:  # by the branch's name, so that the cache knows it offline; it may have moved
        raise CheckpointError(f"{cell.label} changed on the hub while it was fetched: run the same command again.")
    check_folder(folder, cell, trust_pickle, unused_weights)
    if contents.is_adapter(folder):
        raise CheckpointError(
            f"{cell.label} of the hub's {cell.location} is an adapter, and adapters are read from local folders: "
            "download its checkpoints to one and name it with path=."
        )
    return folder
