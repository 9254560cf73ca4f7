"""The files of one checkpoint's folder: which of them loading reads, and their digests."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from evalrun.checkpoints import fit, headers, tokenizer
from evalrun.checkpoints.formats import found
from evalrun.core.errors import CheckpointError
from evalrun.core.hashing import file_sha256

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SINGLE = ("model.safetensors", "pytorch_model.bin")
ADAPTER = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")  # as peft names them
# What tokenizers of transformers are read from where there is no tokenizer.json, beside *.json and *.model.
_TOKENIZER = re.compile(r"(?:vocab|merges|dict|spiece)\.(?:txt|bpe|vocab)|bpe\.codes|.*\.(?:tiktoken|spm|bpe)|bpecodes")
_HEADS = ("lm_head.weight", "embed_out.weight", "output.weight")
_INPUTS = re.compile(r"(?:^|\.)(?:embed_in|embed_tokens|wte|word_embeddings|tok_embeddings)\.weight$")


def weight_files(folder: Path) -> list[Path]:
    """The weight files that loading would read, safetensors first; shards by their index, present or not.

    Where there is no whole model, those of an adapter, or those that a trainer wrote in a format of its own.

    Raises:
        CheckpointError: a damaged index.
    """
    return _of_transformers(folder) or found.weight_files(folder)


def is_raw(folder: Path) -> bool:
    """Whether a folder holds, or a file is, what a trainer wrote, and nothing that transformers or peft reads."""
    try:
        return not _of_transformers(folder) and found.container_of(folder) is not None
    except CheckpointError:
        return False


def _of_transformers(folder: Path) -> list[Path]:
    for index, single in zip(INDEXES, SINGLE, strict=True):
        if (folder / single).is_file():
            return [folder / single]
        if (folder / index).is_file():
            shards = shards_of(folder / index)
            if not shards:
                raise CheckpointError(f"'{folder / index}' is damaged: it lists no shards.")
            return [folder / shard for shard in shards]
    adapters = [folder / name for name in ADAPTER_WEIGHTS if (folder / name).is_file()]
    return adapters[:1] if (folder / ADAPTER).is_file() else []


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter of peft and no whole model."""
    files = weight_files(folder) if (folder / ADAPTER).is_file() else []
    return bool(files) and files[0].name in ADAPTER_WEIGHTS


def is_flat(folder: Path) -> bool:
    """Whether a checkpoint's files all lie in its folder itself; not said of one whose index is damaged."""
    try:
        files = weight_files(folder)
        return all(folder in (file, file.parent) or found.INNER.fullmatch(file.parent.name) for file in files)
    except CheckpointError:
        return False


def shards_of(index: Path) -> list[str]:
    """The shards that an index file names; none where it is damaged."""
    return sorted(set(weight_map(index).values()))


def weight_map(index: Path) -> dict[str, str]:
    """Tensor -> shard, as an index file says; empty where it is damaged."""
    try:
        return {str(name): str(shard) for name, shard in json.loads(index.read_text())["weight_map"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def config_of(folder: Path) -> dict[str, Any]:
    """A folder's config.json; empty where there is none that can be read."""
    try:
        said = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def has_own_head(folder: Path) -> bool:
    """Whether config.json ties the head to the input embedding and the file has another: transformers loads that."""
    if config_of(folder).get("tie_word_embeddings") is not True:
        return False
    tensors = headers.read_all(weight_files(folder))
    heads = [tensors[name] for name in _HEADS if name in tensors]
    inputs = [stored for name, stored in tensors.items() if _INPUTS.search(name)]
    return len(heads) == len(inputs) == 1 and not headers.equal(heads[0], inputs[0])


def weights_digest(folder: Path) -> str:
    """Sha256 over the names and sha256 of the weight files: equal digests are equal weights."""
    return _digest(weight_files(folder))


def identity(folder: Path, remote_code: bool) -> str:
    """What tells a checkpoint from any other: a digest of every file that is read when it is scored.

    Args:
        folder: The checkpoint's.
        remote_code: Whether code of the folder's own may be run, and so counts.
    """
    files, adapter = weight_files(folder), is_adapter(folder)
    files += [
        p for p in sorted(folder.glob("*.json")) if p not in files and (adapter or not p.name.startswith("adapter_"))
    ]
    files += sorted(folder.glob("*.model"))
    own_code = tokenizer.code_of(folder) if remote_code else []
    if own_code or not (folder / "tokenizer.json").is_file():
        files += [p for p in sorted(folder.iterdir()) if _TOKENIZER.fullmatch(p.name) and p.is_file()]
    return _digest([*files, *own_code]) + ("" if adapter else _read_otherwise(folder))


def _read_otherwise(folder: Path) -> str:
    """Marks checkpoints that were once scored otherwise or unsaid, so that what was filed then is not found done."""
    doubtful = fit.doubtful(headers.read_all(weight_files(folder)), config_of(folder))
    return "+head" * has_own_head(folder) + "+fit" * doubtful


def _digest(files: list[Path]) -> str:
    lines = [f"{file.name} {file_sha256(file)}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
