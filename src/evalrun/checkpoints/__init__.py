"""Checkpoints: where one is, whether it is whole, what its weights are, and loading it.

files     the files of one folder: which are read, whether all are there, their digests
hub       revisions, downloads and the cache of the Hugging Face hub
place     where a checkpoint is, and what identifies it
loading   model and tokenizer
"""

from __future__ import annotations

from evalrun.checkpoints.files import INDEXES, SINGLE, check_folder, weight_files, weights_digest
from evalrun.checkpoints.hub import (
    cached_commit,
    download,
    forget,
    go_offline,
    hub_cache,
    hub_fault,
    repository_cache,
    revisions,
    wanted,
)
from evalrun.checkpoints.loading import load
from evalrun.checkpoints.place import Located, fetch, locate

__all__ = [
    "INDEXES", "SINGLE", "Located", "cached_commit", "check_folder", "download", "fetch", "forget", "go_offline",
    "hub_cache", "hub_fault", "load", "locate", "repository_cache", "revisions", "wanted", "weight_files",
    "weights_digest",
]  # fmt: skip
