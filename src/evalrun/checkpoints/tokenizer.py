"""The tokenizer that a checkpoint is scored with: its own, or one from another folder or repository."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalrun.checkpoints import token_ends, token_rules
from evalrun.core.errors import CheckpointError
from evalrun.core.hashing import file_sha256

FILES = ["*token*", "vocab*", "merges*", "*.model", "config.json"]  # of a repository, what a tokenizer needs
# Weights, optimizer states and notes; a kind that is not known here costs a second load of the same tokenizer.
_NOT_OF_TOKENIZER = re.compile(
    r"^(\.|(generation_)?config\.json$|trainer_state\.json$|README|LICENSE)|"
    r"\.(safetensors|bin|pt|pth|h5|msgpack|onnx|gguf|md|log|safetensors\.index\.json|bin\.index\.json)$"
)
_OF_TOKENIZER = re.compile(r"^(tokenizer|vocab|merges|special_tokens|added_tokens|spiece)|\.(model|tiktoken|spm)$")
_REPOSITORY = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_tokenizers: dict[str, _Made] = {}


@dataclass(frozen=True)
class _Made:
    """A tokenizer that is loaded, and what was seen of it then."""

    tokenizer: Any
    departure: token_rules.Departure | None
    added: list[str]
    left_off: list[str]


def is_in(folder: Path) -> bool:
    """Whether a tokenizer's files are in a folder."""
    return bool(_files(folder))


def files(folder: Path) -> list[str]:
    """The names of a tokenizer's files in a folder."""
    return [file.name for file in _files(folder)]


def code_of(folder: Path) -> list[Path]:
    """The Python files of a folder whose config.json or tokenizer names code of its own; none where neither does."""
    for name in ("config.json", "tokenizer_config.json"):
        file = folder / name
        if file.is_file() and b'"auto_map"' in file.read_bytes():
            return sorted(folder.glob("*.py"))
    return []


def digest(folder: Path, remote_code: bool = False) -> str:
    """Sha256 over the names and sha256 of a tokenizer's files.

    Args:
        folder: Where they are.
        remote_code: Whether code of the folder's own may be run, and so counts.

    Raises:
        CheckpointError: the folder holds none.
    """
    found = _files(folder)
    if not found:
        raise CheckpointError(f"model.tokenizer is '{folder}', a folder without a tokenizer: name one that has it.")
    lines = [f"{file.name} {file_sha256(file)}" for file in [*found, *(code_of(folder) if remote_code else [])]]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():  # a checkpoint that is one file
        return []
    return [file for file in sorted(folder.iterdir()) if _OF_TOKENIZER.search(file.name) and file.is_file()]


def check_repository(name: str) -> None:
    """See that a name may be a hub repository's.

    Raises:
        CheckpointError: it is a folder's that is not there.
    """
    if not _REPOSITORY.fullmatch(name):
        raise CheckpointError(
            f"model.tokenizer is '{name}', which is no folder and no hub repository: write OWNER/NAME."
        )


def load(folder: Path, remote_code: bool, by: str = "file") -> Any:
    """A tokenizer; loaded once for all folders whose files, weights aside, give the same one.

    It puts no tokens after a text, whatever its files say: see `left_off`. One with code of its own is left as it is.

    Args:
        folder: Its files.
        remote_code: Whether code in the folder may run.
        by: Whose rules it follows where transformers' class for it parts texts otherwise than its tokenizer.json:
            `file` or `class`; see `departure_of`.
    """
    from transformers import AutoTokenizer

    key = f"{content(folder)} {remote_code} {by}"
    if key not in _tokenizers:
        made = AutoTokenizer.from_pretrained(folder, trust_remote_code=remote_code)
        own_code = remote_code and type(made).__module__.startswith("transformers_modules.")
        found = None if own_code else token_rules.departure(made, folder)
        if found is not None and by == "file":
            token_rules.follow_file(made, found)
        own = [str(made.convert_ids_to_tokens(token)) for part in token_ends.around(made) or () for token in part]
        off = [] if has_own_code(folder) else token_ends.take_off(made, found)
        _tokenizers[key] = _Made(made, found, own, off)
    return _tokenizers[key].tokenizer


def content(folder: Path) -> str:
    """Sha256 of all files in a folder that a tokenizer may be made from."""
    described = folder / "config.json"
    config = json.loads(described.read_text()) if described.is_file() else {}
    chosen = {key: config.get(key) for key in ("model_type", "tokenizer_class", "auto_map")}
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and not _NOT_OF_TOKENIZER.search(file.name)]
    lines = [f"{file.name} {file_sha256(file)}" for file in files]
    return hashlib.sha256(json.dumps([chosen, lines]).encode()).hexdigest()


def has_own_code(folder: Path) -> bool:
    """Whether a tokenizer names code of its own, which is not run to know what it would do."""
    described = folder / "tokenizer_config.json"
    return described.is_file() and b'"auto_map"' in described.read_bytes()


def departure_of(tokenizer: Any) -> token_rules.Departure | None:
    """How a tokenizer that `load` gave parts texts otherwise by its class than by its file; None: not at all."""
    return _made(tokenizer).departure


def added(tokenizer: Any) -> list[str]:
    """The special tokens that a tokenizer that `load` gave puts round a text by its files, as it spells them."""
    return _made(tokenizer).added


def left_off(tokenizer: Any) -> list[str]:
    """Those of `added` that stand after a text, which it was kept from."""
    return _made(tokenizer).left_off


def ending(tokenizer: Any) -> list[str]:
    """The special tokens that a tokenizer puts after a text all the same."""
    _, end = token_ends.around(tokenizer) or ([], [])
    return [str(tokenizer.convert_ids_to_tokens(token)) for token in end]


def _made(tokenizer: Any) -> _Made:
    known = (made for made in _tokenizers.values() if made.tokenizer is tokenizer)
    return next(known, _Made(tokenizer, None, [], []))


def check_fits(tokenizer: Any, rows: int, source: str, label: str) -> None:
    """See that a tokenizer from elsewhere names no token that the model has no embedding for.

    Raises:
        CheckpointError: it does.
    """
    if len(tokenizer) > rows:
        raise CheckpointError(
            f"the tokenizer of '{source}' has {len(tokenizer)} tokens and {label} embeddings for {rows}: it is not the "
            "one that it was trained with; name that with model.tokenizer=."
        )
