"""Checkpoints on the Hugging Face hub and in its cache: commits, downloads, what is out of reach."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from evalrun.core.errors import CheckpointError, first_line
from evalrun.core.memory import remembered
from evalrun.core.records import Checkpoint

DOWNLOAD = ["*.json", "*.txt", "*.model", "*.safetensors", "tokenizer*", "*.tiktoken", "*.py"]


def download(
    cell: Checkpoint, trust_pickle: bool = False, before: Callable[[str], None] | None = None, bar: Any = None
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
    return any(fnmatch(name, pattern) for pattern in patterns(trust_pickle))


def repository_cache(location: str) -> Path:
    """Where the hub's cache keeps a repository, there or not."""
    from huggingface_hub import constants

    return _repository_in(constants.HF_HUB_CACHE, location)


@lru_cache(maxsize=1000)  # asked for each of a repository's checkpoints
def _repository_in(cache: str, location: str) -> Path:
    # As huggingface_hub.file_download.repo_folder_name has it, which takes a second to be imported.
    return Path(cache) / "--".join(["models", *location.split("/")])


def cached_commit(cell: Checkpoint) -> str | None:
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


@contextmanager
def left_alone() -> Iterator[None]:
    """Ask Hugging Face nothing while the block lasts, for what is in its cache: without a network it asks for long."""
    from datasets import config
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE = before


def hub_cache() -> Path:
    """The folder of the hub's cache, or the nearest above it that is there."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE).absolute()
    return next(folder for folder in (cache, *cache.parents) if folder.is_dir())


def patterns(trust_pickle: bool) -> list[str]:
    """What is fetched of a repository."""
    return [*DOWNLOAD, "*.bin"] if trust_pickle else DOWNLOAD


def commit_of(cell: Checkpoint) -> str:
    """The commit that a hub revision stands for: asked of the hub, else of the local cache.

    Raises:
        CheckpointError: the hub has no such revision, or neither it nor the cache can tell.
    """
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
    raise CheckpointError(hub_sentence(cell, fault))


def hub_fault(patience_s: float = 10) -> str | None:
    """Why the hub cannot be asked, or None; asked once, because a sweep would wait for each of its checkpoints."""
    from huggingface_hub import constants

    return "switched off (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else _fault_of(constants.ENDPOINT, patience_s)


@remembered
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


def hub_sentence(cell: Checkpoint, fault: str) -> str:
    """What to say of a checkpoint that cannot be had while the hub has a fault."""
    return (
        f"no checkpoint of {cell.label}: the hub is {fault}, and revision '{cell.revision}' of {cell.location} is not "
        "in the local cache; connect once, or use a local folder."
    )


def no_room_or(error: OSError, cell: Checkpoint) -> CheckpointError:
    """What to say of a download that the disk or the hub's client ended."""
    if error.errno == 28:
        return CheckpointError(f"no space left on the disk to download {cell.label}: free some, or set HF_HOME.")
    return CheckpointError(hub_sentence(cell, f"failing ({first_line(error)})"))


def sizes(location: str, commit: str, trust_pickle: bool) -> dict[str, int]:
    """The files of a commit that would be fetched, by what the hub says: name -> bytes.

    Raises:
        Exception: whatever the hub's client raises.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    tree = HfApi().list_repo_tree(location, revision=commit, recursive=True)
    return {
        entry.path: int(entry.size)
        for entry in tree
        if isinstance(entry, RepoFile) and wanted(entry.path, trust_pickle)
    }
