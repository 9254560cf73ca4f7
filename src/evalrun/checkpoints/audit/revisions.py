"""What the hub says about a model's revisions: their commits and the sha256 of every weight file, without a download.

What a commit holds never changes, so every answer is kept in `multirun/audit/<suite>/<model>.json`: a second audit
asks for what is new, and a sweep uses what an audit has seen.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalrun import checkpoints
from evalrun.checkpoints.audit.weights import Listing, is_weight_file, shards_of
from evalrun.config.schema import model_dirname
from evalrun.core import console
from evalrun.core.atomic import replace_file
from evalrun.core.errors import first_line
from evalrun.core.records import Checkpoint

log = logging.getLogger(__name__)
FOLDER = Path("multirun") / "audit"
_AT_ONCE = 8  # questions under way: enough to hide the hub's latency, few enough to stay below its limits


@dataclass
class Saved:
    """What was learnt about one model before."""

    path: Path
    steps: dict[int, str] = field(default_factory=dict)  # step -> commit, as last seen
    commits: dict[str, Listing] = field(default_factory=dict)

    @classmethod
    def of(cls, cell: Checkpoint) -> Saved:
        """Read what is saved for a model; a file that is absent or damaged is an empty one."""
        of_stage = "" if cell.stage is None else f"-{cell.stage}"
        saved = cls(FOLDER / cell.suite / f"{model_dirname(cell.trunk or cell.model, cell.seed)}{of_stage}.json")
        try:
            data = json.loads(saved.path.read_text())
            if data["repository"] == cell.location:
                saved.steps = {int(step): str(commit) for step, commit in data["steps"].items()}
                saved.commits = {commit: Listing.from_json(entry) for commit, entry in data["commits"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            log.debug("nothing saved in %s", saved.path)
        return saved

    def write(self, repository: str) -> None:
        """Save, atomically; where that fails nothing is lost but time."""
        data = {
            "repository": repository,
            "steps": {str(step): commit for step, commit in sorted(self.steps.items())},
            "commits": {commit: listing.to_json() for commit, listing in sorted(self.commits.items())},
        }
        try:
            replace_file(self.path, json.dumps(data, indent=1))
        except OSError as error:
            log.warning("%s cannot be written (%s): the hub will be asked again", self.path, error.strerror)


def listings(repository: str, commits: Iterable[str], saved: Saved, title: str) -> dict[str, Listing | str]:
    """What each commit holds, asked of the hub where it is not saved; saves the answers.

    Args:
        repository: Such as EleutherAI/pythia-70m.
        commits: Which commits.
        saved: What is known already; gains what is learnt.
        title: Names the progress bar.

    Returns:
        Commit -> listing, or in its place the reason why there is none.
    """
    wanted = dict.fromkeys(commits)
    unknown = [commit for commit in wanted if commit not in saved.commits]
    failed: dict[str, str] = {}
    indexes: dict[str, list[str]] = {}
    if unknown:
        with console.bar(len(unknown), title, "revision") as bar, ThreadPoolExecutor(_AT_ONCE) as pool:
            asked = {pool.submit(_list, repository, commit, indexes): commit for commit in unknown}
            for answer in as_completed(asked):
                try:
                    saved.commits[asked[answer]] = answer.result()
                except Exception as error:  # one revision's trouble is not the others'
                    failed[asked[answer]] = first_line(error)
                bar.update()
        saved.write(repository)
    return {commit: saved.commits.get(commit) or failed[commit] for commit in wanted}


def cached(cell: Checkpoint, commit: str) -> Listing | None:
    """What the local hub cache holds of a commit: its blobs are named by their sha256; None when it has no weights."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    from evalrun.checkpoints.audit.weights import of_folder

    repo = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=cell.location, repo_type="model")
    try:
        listing = of_folder(repo / "snapshots" / commit)
    except OSError:
        return None
    return listing if listing.contents else None


def _list(repository: str, commit: str, indexes: dict[str, list[str]]) -> Listing:
    """Ask for one commit: its tree (the library waits and tries again where the hub is busy), and its indexes.

    Indexes are nearly always the same file in all revisions: `indexes` keeps them by their git name.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    files: dict[str, str] = {}
    found: dict[str, Any] = {}
    for entry in HfApi().list_repo_tree(repository, revision=commit):
        if not isinstance(entry, RepoFile):
            continue
        if entry.path in checkpoints.INDEXES:
            found[entry.path] = entry
        else:
            files[entry.path] = entry.lfs.sha256 if entry.lfs else f"git:{entry.blob_id}"
    for path, entry in found.items():
        if entry.blob_id not in indexes:
            indexes[entry.blob_id] = _shards(repository, commit, path)
    named: Mapping[str, list[str]] = {path: indexes[entry.blob_id] for path, entry in found.items()}
    shards = {shard for names in named.values() for shard in names}
    return Listing({n: c for n, c in sorted(files.items()) if is_weight_file(n) or n in shards}, dict(named))


def _shards(repository: str, commit: str, index: str) -> list[str]:
    """Read an index apart from the hub's cache, where it would look like a checkpoint that is there."""
    from huggingface_hub import hf_hub_download

    with tempfile.TemporaryDirectory() as folder:
        return shards_of(Path(hf_hub_download(repository, index, revision=commit, local_dir=folder)).read_text())
