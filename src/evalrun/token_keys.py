"""Whether following tokenizer.json changes a checkpoint's tokens: asked before it is loaded, for the key of a result.

Where transformers' class for a tokenizer agrees with its file, results keep the keys that they had before the file was
followed. The answer needs the tokenizer, which is loaded once for each and remembered in the cache of plans.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from threading import Lock

from evalrun import token_rules, tokenizer

FORMAT = 1  # raise it when the comparison becomes another
MARK = "+tokens:file"
# Model types for which transformers 5 takes another class than tokenizer_config.json names.
_OWN_CLASS = ("qwen", "siglip", "hyperclovax")
_PATIENCE_S = 120.0
# transformers imports torch where it can; here it must not, because a sweep asks this before its first job.
_ASK = "import sys; sys.modules['torch'] = None; from evalrun import token_keys; token_keys.answer(sys.argv[1])"
_known: dict[str, bool] = {}
_one = Lock()


def mark(folder: Path | None, cache: str | None) -> str:
    """What a checkpoint's identity gains where its tokenizer's file is followed against its class; else nothing.

    Args:
        folder: Of the tokenizer's files; None: they are not here, and what they hold is not known.
        cache: Where answers are kept (scorer.cache); None: in memory only.
    """
    if folder is None or not (folder / token_rules.FILE).is_file() or _follows(folder):
        return ""
    said = [FORMAT, importlib.metadata.version("transformers"), tokenizer.content(folder)]
    key = hashlib.sha256(json.dumps(said).encode()).hexdigest()
    with _one:
        if key not in _known:
            _known[key] = _asked(folder, None if cache is None else Path(cache) / f"tokens-{key[:32]}.json")
    return MARK if _known[key] else ""


def departs(folder: Path) -> bool:
    """Whether a tokenizer's class and file part any of the probing texts differently; loads it."""
    found = tokenizer.departure_of(tokenizer.load(folder, remote_code=False))
    return found is not None and found.first is not None


def answer(folder: str) -> None:
    """Print what `departs` says, for a process that must not load a tokenizer itself."""
    print(json.dumps(departs(Path(folder))))


def _follows(folder: Path) -> bool:
    """Whether a look at the settings tells that the file is followed anyway, or that code of its own decides."""
    try:
        said, model = ({} if not (folder / name).is_file() else json.loads((folder / name).read_text(encoding="utf-8"))
                       for name in ("tokenizer_config.json", "config.json"))  # fmt: skip
        named, kind = said.get("tokenizer_class") or model.get("tokenizer_class"), str(model.get("model_type", ""))
    except (OSError, ValueError, AttributeError):
        return True  # damaged: loading says so
    return "auto_map" in said or (named in token_rules.FOLLOWING and not kind.startswith(_OWN_CLASS))


def _asked(folder: Path, note: Path | None) -> bool:
    """The answer, from a note or by loading the tokenizer; one that cannot be loaded is told of when it is needed."""
    if note is not None:
        with contextlib.suppress(OSError, ValueError):
            said = json.loads(note.read_text())
            if isinstance(said, bool):
                return said
    try:
        found = departs(folder) if "torch" in sys.modules else _elsewhere(folder)
    except Exception:  # transformers and tokenizers raise their own
        return False
    if note is not None:
        own = note.with_name(f"{note.name}.{os.getpid()}")
        with contextlib.suppress(OSError):  # a note that cannot be kept costs time only
            note.parent.mkdir(parents=True, exist_ok=True)
            own.write_text(json.dumps(found))
            os.replace(own, note)
    return found


def _elsewhere(folder: Path) -> bool:
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    said = subprocess.run(
        [sys.executable, "-P", "-c", _ASK, str(folder.absolute())],
        capture_output=True, text=True, timeout=_PATIENCE_S, check=True, stdin=subprocess.DEVNULL,
        env=surroundings | {"HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    return bool(json.loads(said.stdout.splitlines()[-1]))
