"""Whether evalrun's tokens are others than lm-eval's: asked before a checkpoint is loaded, for the key of a result.

Where transformers' class for a tokenizer agrees with its file, results keep the keys that they had before the file was
followed; where a tokenizer adds no tokens of its own, those of rolling tasks keep theirs. The answers need the
tokenizer, which is loaded once for each and remembered in the cache of plans.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from threading import Lock

from evalrun.checkpoints import token_ends, token_rules, tokenizer
from evalrun.checkpoints.folder_notes import notes
from evalrun.core import environment
from evalrun.core.atomic import keep_file

FORMAT = 1  # raise it when the comparison becomes another
MARK = "+tokens:file"
# Model types for which transformers 5 takes another class than tokenizer_config.json names.
_OWN_CLASS = ("qwen", "siglip", "hyperclovax")
_PATIENCE_S = 120.0
# transformers imports torch where it can; here it must not, because a sweep asks this before its first job.
_ASK = (
    "import sys; sys.modules['torch'] = None; "
    "from evalrun.checkpoints import token_keys; token_keys.answer(*sys.argv[1:])"
)
_known: dict[str, bool | None] = {}  # None: its tokenizer cannot be loaded, which is told of when it is needed
_one = Lock()


def mark(folder: Path | None, cache: str | None) -> str:
    """What a checkpoint's identity gains where its tokenizer's file is followed against its class; else nothing.

    Args:
        folder: Of the tokenizer's files; None: they are not here, and what they hold is not known.
        cache: Where answers are kept (scorer.cache); None: in memory only.
    """
    if folder is None or notes().kept(folder, "follows its file", partial(_follows, folder)):
        return ""
    key = _key(tokenizer.content(folder))
    note = None if cache is None else os.path.join(cache, f"tokens-{key[:32]}.json")
    with _one:
        if key not in _known and (found := _noted(note)) is not None:
            _known[key] = found
        if key not in _known:
            _remember(key, _asked(folder), note)
    return MARK if _known[key] else ""


def adds(folder: Path | None, identity: str, cache: str | None) -> bool:
    """Whether a checkpoint's tokenizer puts special tokens round a text by itself.

    The answer is kept by the checkpoint's identity, so that it is known when its files are gone, too.

    Args:
        folder: Of the tokenizer's files; None: they are not here.
        identity: Of the checkpoint, with its mark.
        cache: Where answers are kept (scorer.cache); None: in memory only.
    """
    here = folder if folder is not None and tokenizer.is_in(folder) else None
    return _of_own(here, identity, cache, "added")


def ends(folder: Path | None, identity: str, cache: str | None) -> bool:
    """Whether a checkpoint's tokenizer was kept from putting special tokens after a text; see `adds`."""
    if folder is not None and notes().kept(folder, "has no end", partial(_has_no_end, folder)):
        return False
    here = folder if folder is not None and tokenizer.is_in(folder) else None
    return _of_own(here, identity, cache, "left_off")


def _has_no_end(folder: Path) -> bool:
    return tokenizer.is_in(folder) and (tokenizer.has_own_code(folder) or not token_ends.may_be(folder))


def _of_own(folder: Path | None, identity: str, cache: str | None, what: str) -> bool:
    """Whether a checkpoint's tokenizer is special in one way; asked of its files once, then remembered and kept.

    Args:
        folder: Its files; None where they are not here, and only what is kept can answer.
        identity: Of the checkpoint.
        cache: Folder of the kept answers; None keeps none.
        what: Which way: `added` or `left_off`.
    """
    key = _key(identity) if what == "added" else _key(f"{what} {identity}")
    note = None if cache is None else os.path.join(cache, f"{what}-{key[:32]}.json")
    with _one:
        if key not in _known and (found := _noted(note)) is not None:
            _known[key] = found
        if key not in _known and folder is not None:
            by = "file" if identity.endswith(MARK) else "class"
            alike = f"{what} {by} {tokenizer.content(folder)}"
            if alike not in _known:
                own_code = what == "added" and tokenizer.has_own_code(folder)  # which is not run to know
                _known[alike] = own_code or _asked(folder, by, what)
            _remember(key, _known[alike], note)
    return bool(_known.get(key))


def departs(folder: Path) -> bool:
    """Whether a tokenizer's class and file part any of the probing texts differently; loads it."""
    found = tokenizer.departure_of(tokenizer.load(folder, remote_code=False))
    return found is not None and found.first is not None


def answer(folder: str, by: str = "", what: str = "") -> None:
    """Print an answer, for a process that must not load a tokenizer itself."""
    print(json.dumps(_answer(Path(folder), by, what)))


def _answer(folder: Path, by: str, what: str) -> bool:
    """What `departs` says; with `what`, whether the tokenizer that follows `by` has any tokens of that kind."""
    if not what:
        return departs(folder)
    made = tokenizer.load(folder, False, by)
    return bool(tokenizer.added(made) if what == "added" else tokenizer.left_off(made))


def _key(content: str) -> str:
    # Found once: it is asked for every checkpoint, and a package's metadata take milliseconds to be read.
    return hashlib.sha256(json.dumps([FORMAT, environment.versions()["transformers"], content]).encode()).hexdigest()


def _follows(folder: Path) -> bool:
    """Whether a look at the settings tells that the file is followed anyway, that code of its own decides, or none."""
    if not (folder / token_rules.FILE).is_file():
        return True
    try:
        said, model = ({} if not (folder / name).is_file() else json.loads((folder / name).read_text(encoding="utf-8"))
                       for name in ("tokenizer_config.json", "config.json"))  # fmt: skip
        named, kind = said.get("tokenizer_class") or model.get("tokenizer_class"), str(model.get("model_type", ""))
    except (OSError, ValueError, AttributeError):
        return True  # damaged: loading says so
    return "auto_map" in said or (named in token_rules.FOLLOWING and not kind.startswith(_OWN_CLASS))


def _remember(key: str, answer: bool | None, note: str | None) -> None:
    """Keep an answer for this process and, if there is one, for the next."""
    _known[key] = answer
    if note is not None and answer is not None:
        keep_file(Path(note), json.dumps(answer))


def _noted(note: str | None) -> bool | None:
    if note is None:
        return None
    try:
        with open(note, encoding="utf-8") as file:
            said = json.load(file)
    except (OSError, ValueError):
        return None
    return said if isinstance(said, bool) else None


def _asked(folder: Path, by: str = "", what: str = "") -> bool | None:
    try:
        return (_answer if "torch" in sys.modules else _elsewhere)(folder, by, what)
    except Exception:  # transformers and tokenizers raise their own
        return None


def _elsewhere(folder: Path, by: str, what: str) -> bool:
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    said = subprocess.run(
        [sys.executable, "-P", "-c", _ASK, str(folder.absolute()), by, what],
        capture_output=True, text=True, timeout=_PATIENCE_S, check=True, stdin=subprocess.DEVNULL,
        env=surroundings | {"HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    return bool(json.loads(said.stdout.splitlines()[-1]))
