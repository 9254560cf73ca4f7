"""Checkpoints: where one is, whether it is whole, what its weights are, and loading it.

contents      the files of one folder: which are read, and their digests
folder_notes  what was found out of local folders, kept while they stay as they are
headers       what safetensors files say they hold
beside        what lies in a folder beside the checkpoint
complete      whether all files are there, and no other model's
hub           revisions, downloads and the cache of the Hugging Face hub
conversions, convert, conversion_check   folders made by the user's command: where, how, and whether they are right
locate        where a checkpoint is, and what identifies it
adapter_files, adapted   an adapter's base, and the adapter put on it
fit           weights in the file and weights in the model
causal        whether a model sees what it is to predict
precision     weights in several precisions
load          model and tokenizer
tensor_values  weights that are no numbers
devices       what it is scored on
tokenizer, token_rules, token_ends, token_keys   its tokenizer, and where its file and its class part a text
tokenizer_digest   what tells two tokenizers apart
chat_templates   what makes a conversation a prompt
downloads, download_log, read_ahead              what a sweep fetches, keeps and reads ahead
kept_commits  which commits revisions were
suites        the steps of a model, and where each is
audit         steps that are another step's
tiny          the embedded suite
"""

from __future__ import annotations

from evalrun.checkpoints.complete import check_folder
from evalrun.checkpoints.contents import INDEXES, SINGLE, shards_of, weight_files
from evalrun.checkpoints.hub import (
    cached_commit,
    download,
    go_offline,
    hub_cache,
    hub_fault,
    repository_cache,
    revisions,
    sizes,
    wanted,
)
from evalrun.checkpoints.load import Loaded, load
from evalrun.checkpoints.locate import (
    ResolvedCheckpoint,
    adds_tokens,
    by_tokens,
    ends_texts,
    fetch,
    locate,
    locate_converted,
    templates_digest,
    weights_digest,
    without_mark,
)

__all__ = [
    "INDEXES",
    "SINGLE",
    "Loaded",
    "ResolvedCheckpoint",
    "adds_tokens",
    "by_tokens",
    "cached_commit",
    "check_folder",
    "download",
    "ends_texts",
    "fetch",
    "go_offline",
    "hub_cache",
    "hub_fault",
    "load",
    "locate",
    "locate_converted",
    "repository_cache",
    "revisions",
    "shards_of",
    "sizes",
    "templates_digest",
    "wanted",
    "weight_files",
    "weights_digest",
    "without_mark",
]
