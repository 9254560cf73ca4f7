"""Checkpoints: where one is, whether it is whole, what its weights are, and loading it."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from evalrun import tokenizer
from evalrun.digests import file_sha256
from evalrun.errors import CheckpointError, first_line
from evalrun.records import Cell

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SINGLE = ("model.safetensors", "pytorch_model.bin")
DOWNLOAD = ["*.json", "*.txt", "*.model", "*.safetensors", "tokenizer*"]


@dataclass(frozen=True)
class Located:
    """A checkpoint that is known to exist: what it is, before any weight is read or downloaded."""

    cell: Cell
    identity: str  # hub: repository@commit; local: digest of weights, config and tokenizer
    folder: Path | None  # of a local checkpoint; None while it is only known on the hub
    commit: str | None  # of the hub revision


def locate(cell: Cell, trust_pickle: bool = False) -> Located:
    """Find a checkpoint without loading it.

    Raises:
        CheckpointError: no such folder, files missing, hub or revision not reachable.
    """
    if cell.revision is None:
        folder = Path(cell.location)
        check_folder(folder, cell, trust_pickle)
        return Located(
            cell, f"files:{_files_digest(folder, weights_only=False)}{_tokenizer_identity(cell)}", folder, None
        )
    commit = _commit(cell)
    return Located(cell, f"hub:{cell.location}@{commit}{_tokenizer_identity(cell)}", None, commit)


def _tokenizer_identity(cell: Cell) -> str:
    """What a tokenizer from elsewhere adds to a checkpoint's identity.

    Raises:
        CheckpointError: there is none.
    """
    if cell.tokenizer is None:
        return ""
    if Path(cell.tokenizer).is_dir():
        return f"+tokenizer:{tokenizer.digest(Path(cell.tokenizer))}"
    tokenizer.check_repository(cell.tokenizer)
    return f"+tokenizer:{cell.tokenizer}@{_commit(replace(cell, location=cell.tokenizer, revision='main'))}"


def _tokenizer_folder(located: Located, folder: Path) -> Path:
    """Where the tokenizer's files are; those of a hub repository are downloaded."""
    source = located.cell.tokenizer
    if source is None or Path(source).is_dir():
        return folder if source is None else Path(source)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, allow_patterns=tokenizer.FILES))
    except Exception as error:  # no network comes in many classes
        raise CheckpointError(f"the tokenizer of the hub's {source} cannot be had ({first_line(error)}).") from None


def fetch(located: Located, trust_pickle: bool = False) -> Path:
    """The folder with the checkpoint's files; a hub checkpoint is downloaded into the hub's cache.

    Raises:
        CheckpointError: the download fails or lacks files.
    """
    if located.folder is not None:
        return located.folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    cell = located.cell
    try:
        folder = Path(snapshot_download(cell.location, revision=cell.revision, allow_patterns=_patterns(trust_pickle)))
    except OSError as error:
        raise _no_room_or(error, cell) from None
    except Exception as error:
        raise CheckpointError(_hub_sentence(cell, f"failing ({first_line(error)})")) from None
    if folder.name != located.commit:  # by the branch's name, so that the cache knows it offline; it may have moved
        raise CheckpointError(f"{cell.label} changed on the hub while it was fetched: run the same command again.")
    check_folder(folder, cell, trust_pickle)
    return folder


def download(
    cell: Cell, trust_pickle: bool = False, before: Callable[[str], None] | None = None, bar: Any = None
) -> Path:
    """Fetch a hub checkpoint's files one by one, so that a thread which does it ends with the process.

    `fetch` starts threads of its own, which Python waits for at its end; it finds what is here and asks for the rest.

    Args:
        cell: Which checkpoint.
        trust_pickle: Fetch pickled weights too.
        before: Called with the commit before the first file is asked for; may raise.
        bar: The class of tqdm that is told of every piece; None for silence.

    Returns:
        The folder of the files.

    Raises:
        Exception: whatever the hub's client raises.
    """
    from huggingface_hub import HfApi, hf_hub_download
    from tqdm import tqdm

    silent: Any = bar or partial(tqdm, disable=True)
    found = HfApi().model_info(cell.location, revision=cell.revision, timeout=10)
    names = [str(sibling.rfilename) for sibling in found.siblings or ()]
    if before is not None:
        before(str(found.sha))
    files = [
        Path(hf_hub_download(cell.location, name, revision=found.sha, tqdm_class=silent))
        for name in names
        if wanted(name, trust_pickle)
    ]
    return next(file.parent for file in files if file.name == "config.json")


def wanted(name: str, trust_pickle: bool) -> bool:
    """Whether a file of a hub repository is one that is fetched."""
    return any(fnmatch(name, pattern) for pattern in _patterns(trust_pickle))


def repository_cache(location: str) -> Path:
    """Where the hub's cache keeps a repository, there or not."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=location, repo_type="model")


def cached_commit(cell: Cell) -> str | None:
    """The commit that the hub's cache knows a revision by, where it holds files of it."""
    cache = repository_cache(cell.location)
    ref = cache / "refs" / str(cell.revision)
    if ref.is_file() and (cache / "snapshots" / (commit := ref.read_text().strip())).is_dir():
        return commit
    return None


def go_offline() -> None:
    """Keep this process and those it starts from asking Hugging Face; best before anything of theirs is imported."""
    os.environ.update(dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"), "1"))
    for name in ("huggingface_hub.constants", "datasets.config"):
        if name in sys.modules:
            sys.modules[name].HF_HUB_OFFLINE = True  # type: ignore[attr-defined]


def hub_cache() -> Path:
    """The folder of the hub's cache, or the nearest above it that is there."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE).absolute()
    return next(folder for folder in (cache, *cache.parents) if folder.is_dir())


def _patterns(trust_pickle: bool) -> list[str]:
    return [*DOWNLOAD, "*.bin"] if trust_pickle else DOWNLOAD


def check_folder(folder: Path, cell: Cell, trust_pickle: bool) -> None:
    """See that a checkpoint's folder has all its files.

    Raises:
        CheckpointError: naming what is missing.
    """
    if not folder.is_dir():
        hint = "train the embedded suite with `python -m evalrun tiny`" if cell.suite == "tiny" else "check model.path"
        raise CheckpointError(f"no checkpoint of {cell.label}: folder '{folder}' is not there; {hint}.")
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"checkpoint of {cell.label} is incomplete: '{folder}' has no config.json.")
    files = weight_files(folder)
    if not files:
        raise CheckpointError(f"checkpoint of {cell.label} is incomplete: '{folder}' has no weights.")
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise CheckpointError(f"checkpoint of {cell.label} is incomplete: '{folder}' lacks {', '.join(missing)}.")
    if files[0].suffix == ".bin" and not trust_pickle:
        raise CheckpointError(
            f"checkpoint of {cell.label} in '{folder}' has its weights as pickles only, which can run code: if you "
            "trust it, say trust_pickle=true."
        )


def weight_files(folder: Path) -> list[Path]:
    """The weight files that loading would read, safetensors first; shards by their index, present or not."""
    for index, single in zip(INDEXES, SINGLE, strict=True):
        if (folder / single).is_file():
            return [folder / single]
        if (folder / index).is_file():
            try:
                shards = set(json.loads((folder / index).read_text())["weight_map"].values())
            except (ValueError, KeyError, AttributeError):
                raise CheckpointError(f"'{folder / index}' is damaged: it lists no shards.") from None
            return [folder / shard for shard in sorted(shards)]
    return []


def weights_digest(folder: Path) -> str:
    """Sha256 over the names and sha256 of the weight files: equal digests are equal weights."""
    return _files_digest(folder, weights_only=True)


def load(located: Located, folder: Path, dtype: str, device: str, trust: dict[str, bool]) -> tuple[Any, Any]:
    """Load model and tokenizer.

    Args:
        located: Which checkpoint.
        folder: Where its files are.
        dtype: `auto` for the checkpoint's own, or a torch dtype's name.
        device: A torch device's name; `all`: its layers spread over every GPU, as accelerate places them.
        trust: `remote_code` and `pickle`, both off unless the user says so.

    Returns:
        A transformers causal language model in eval mode on the device, and its tokenizer: one object for all
        checkpoints of this process that have the same tokenizer files.

    Raises:
        CheckpointError: damaged or incomplete weights, a config transformers does not know, no memory.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    own = _tokenizer_folder(located, folder)
    if not tokenizer.is_in(own):
        raise CheckpointError(
            f"checkpoint of {located.cell.label} has no tokenizer in '{own}': name the one that it was trained with, "
            "model.tokenizer=FOLDER or a repository of the hub."
        )
    label, code = located.cell.label, {"trust_remote_code": trust["remote_code"]}
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=None if trust["pickle"] else True, output_loading_info=True,
            device_map="auto" if device == "all" else None, **code,
        )  # fmt: skip
        model = (model if device == "all" else model.to(device)).eval()
    except torch.OutOfMemoryError:
        raise CheckpointError(f"{label} does not fit on {device}: choose another device or scorer.dtype.") from None
    except Exception as error:  # transformers, safetensors and json each raise their own
        raise CheckpointError(
            f"checkpoint of {label} in '{folder}' cannot be loaded: {first_line(error)} "
            f"({type(error).__name__}); fetch or write it again."
        ) from error
    try:
        made = tokenizer.load(own, trust["remote_code"])
    except Exception as error:  # transformers and tokenizers each raise their own
        raise CheckpointError(
            f"the tokenizer of {label} in '{own}' cannot be loaded: {first_line(error)} ({type(error).__name__}); it "
            f"has {', '.join(tokenizer.files(own))}: add what lacks, or name another with model.tokenizer=."
        ) from error
    absent = sorted(info["missing_keys"]) + sorted(str(key) for key in info.get("mismatched_keys", ()))
    if absent:
        raise CheckpointError(
            f"checkpoint of {label} in '{folder}' lacks {len(absent)} of its weights, the first {absent[0]}: it would "
            "be scored with random ones; fetch or write it again."
        )
    if located.cell.tokenizer is not None:
        tokenizer.check_fits(made, model.get_input_embeddings().num_embeddings, located.cell.tokenizer, label)
    return model, made


def _commit(cell: Cell) -> str:
    """The commit that a hub revision stands for: asked of the hub, else of the local cache."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    fault = hub_fault()
    if fault is None:
        try:
            return str(HfApi().model_info(cell.location, revision=cell.revision, timeout=10).sha)
        except RevisionNotFoundError:
            raise CheckpointError(f"the hub's {cell.location} has no revision '{cell.revision}'.") from None
        except RepositoryNotFoundError:
            raise CheckpointError(f"the hub has no repository '{cell.location}' (or it needs a login).") from None
        except Exception as error:  # no network comes in many classes
            fault = f"failing ({first_line(error)})"
    if (commit := cached_commit(cell)) is not None:
        return commit
    raise CheckpointError(_hub_sentence(cell, fault))


def hub_fault(patience_s: float = 10) -> str | None:
    """Why the hub cannot be asked, or None; asked once, because a sweep would wait for each of its checkpoints."""
    from huggingface_hub import constants

    return "switched off (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else _fault_of(constants.ENDPOINT, patience_s)


def forget() -> None:
    """Ask the hub again when it is needed next: the network may be back."""
    _fault_of.cache_clear()


@lru_cache(maxsize=4)
def _fault_of(endpoint: str, patience_s: float) -> str | None:
    from huggingface_hub import get_session

    try:
        get_session().head(endpoint, timeout=patience_s)
    except Exception as error:  # no network comes in many classes
        return f"out of reach ({first_line(error)})"
    return None


def revisions(repository: str) -> dict[str, str]:
    """The branches and tags of a hub repository: name -> commit.

    Raises:
        CheckpointError: the hub is out of reach, or has no such repository.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    fault = hub_fault()
    if fault is None:
        try:
            refs = HfApi().list_repo_refs(repository)
            return {ref.name: ref.target_commit for ref in [*refs.tags, *refs.branches]}
        except RepositoryNotFoundError:
            raise CheckpointError(f"the hub has no repository '{repository}' (or it needs a login).") from None
        except Exception as error:  # no network comes in many classes
            fault = f"failing ({first_line(error)})"
    raise CheckpointError(f"the hub is {fault}: the revisions of {repository} cannot be had; connect, run again.")


def _hub_sentence(cell: Cell, fault: str) -> str:
    return (
        f"no checkpoint of {cell.label}: the hub is {fault}, and revision '{cell.revision}' of {cell.location} is not "
        "in the local cache; connect once, or use a local folder."
    )


def _no_room_or(error: OSError, cell: Cell) -> CheckpointError:
    if error.errno == 28:
        return CheckpointError(f"no space left on the disk to download {cell.label}: free some, or set HF_HOME.")
    return CheckpointError(_hub_sentence(cell, f"failing ({first_line(error)})"))


def _files_digest(folder: Path, weights_only: bool) -> str:
    files = weight_files(folder)
    if not weights_only:
        files += [p for p in sorted(folder.glob("*.json")) if p not in files] + sorted(folder.glob("*.model"))
    lines = [f"{file.name} {file_sha256(file)}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
