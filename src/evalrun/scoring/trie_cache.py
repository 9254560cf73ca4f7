"""Plans are made once per tokenizer and set of requests: kept in memory for the process, in a folder for the next."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evalrun.core.atomic import keep_file
from evalrun.scoring import trie
from evalrun.scoring.trie import TokenRequest, TokenTrie, make_trie

log = logging.getLogger(__name__)

FORMAT = 2  # raise it when the same requests no longer give the same plan
IN_MEMORY = 64
_memory: OrderedDict[str, TokenTrie] = OrderedDict()


Coded = tuple[Sequence[TokenRequest], Sequence[int]]  # and the places of those that were parted


class TrieCache:
    """The plans of one tokenizer."""

    def __init__(self, tokenizer: Any, folder: str | None) -> None:
        """`folder` may be None: plans are then kept in memory only."""
        backend = getattr(tokenizer, "backend_tokenizer", None)  # one without it cannot be named by its content
        own = f"{type(tokenizer).__qualname__} {getattr(tokenizer, 'split_special_tokens', None)} "
        self._tokenizer = None if backend is None else hashlib.sha256((own + backend.to_str()).encode()).hexdigest()
        self._folder = None if folder is None or backend is None else Path(folder)

    def get(self, content: Any, max_length: int, tokens: Callable[[], Coded]) -> TokenTrie:
        """The plan of some requests.

        Args:
            content: What determines the tokens, as plain data: texts and rules.
            max_length: The model's window.
            tokens: Gives the tokens, and the places of requests that were parted; called only if the plan is not there.

        Raises:
            ValueError: a request that cannot be scored (see `make_trie`).
        """
        if self._tokenizer is None:
            return _made(tokens(), max_length)
        constants = [trie.LONGEST_ROW, trie.ROW_COST, trie.ANCESTOR_COST]
        text = json.dumps([FORMAT, constants, self._tokenizer, max_length, content])
        key = hashlib.sha256(text.encode()).hexdigest()
        if key not in _memory:
            _memory[key] = self._read(key) or self._write(key, _made(tokens(), max_length))
            if len(_memory) > IN_MEMORY:
                _memory.popitem(last=False)
        _memory.move_to_end(key)
        return _memory[key]

    def _file(self, key: str) -> Path | None:
        return None if self._folder is None else self._folder / f"plan-{key[:32]}.npz"

    def _read(self, key: str) -> TokenTrie | None:
        file = self._file(key)
        if file is None or not file.is_file():
            return None
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return TokenTrie(**{name: arrays[name].astype(np.int64) for name in arrays.files})
        except (OSError, ValueError, TypeError, EOFError, KeyError, zipfile.BadZipFile) as error:
            log.warning("'%s' is damaged (%s): made again", file, type(error).__name__)
            return None

    def _write(self, key: str, plan: TokenTrie) -> TokenTrie:
        """Keep a plan for other processes; a cache that cannot be written costs time only."""
        file = self._file(key)
        if file is not None:
            content = io.BytesIO()
            np.savez(content, allow_pickle=False, **{name: _narrow(array) for name, array in plan.arrays().items()})
            keep_file(file, content.getvalue())
        return plan


def _made(coded: Coded, max_length: int) -> TokenTrie:
    requests, parted = coded
    return make_trie(requests, max_length, parted)


def forget() -> None:
    """Drop what this process keeps, as if it had just begun."""
    _memory.clear()


def _narrow(array: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, Any]:
    """In half the bytes, where the values allow it."""
    return array.astype(np.int32) if array.size == 0 or array.max() < 2**31 else array
