"""The chat templates in a folder, before any tokenizer is loaded: they determine what a chat model is asked."""

from __future__ import annotations

import hashlib
import json
import os
from functools import partial
from pathlib import Path

from evalrun.checkpoints.folder_notes import notes
from evalrun.core.atomic import keep_file
from evalrun.core.hashing import file_sha256
from evalrun.core.records import Checkpoint

_FILES = ("chat_template.jinja", "chat_template.json")
_MORE = "additional_chat_templates"


def folder_of(cell: Checkpoint) -> Path | None:
    """The folder on this machine whose templates are a checkpoint's; None where they lie on the hub."""
    if cell.tokenizer is not None:
        return Path(cell.tokenizer) if os.path.isdir(cell.tokenizer) else None
    return Path(cell.location) if cell.revision is None else None


def digest(folder: Path | None, identity: str, cache: str | None) -> str:
    """Sha256 of the templates in a local folder; empty where there are none.

    The answer is kept by the checkpoint's identity, so that it is known when its files are gone, too.

    Args:
        folder: Of its tokenizer; None, or one that is gone: what was kept is told.
        identity: Of the checkpoint.
        cache: Where answers are kept (scorer.cache); None keeps none.
    """
    key = hashlib.sha256(identity.encode()).hexdigest()
    note = None if cache is None else Path(cache) / f"chat-{key[:32]}.json"
    if folder is None or not folder.is_dir():
        return _noted(note)
    found = str(notes().kept(folder, "chat templates", partial(_digest, folder), partial(_is_flat, folder)))
    if note is not None and found and _noted(note) != found:
        keep_file(note, json.dumps(found))
    return found


def _digest(folder: Path) -> str:
    files = [folder / name for name in _FILES if (folder / name).is_file()]
    files += sorted((folder / _MORE).glob("*.jinja"))
    lines = [f"{file.relative_to(folder)} {file_sha256(file)}" for file in files]
    try:
        said = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template")
    except (OSError, ValueError, AttributeError):  # none, or damaged, which loading says
        said = None
    lines += [] if said is None else [json.dumps(said, sort_keys=True)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else ""


def _is_flat(folder: Path) -> bool:
    return not os.path.isdir(folder / _MORE)


def _noted(note: Path | None) -> str:
    try:
        return "" if note is None else str(json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return ""
