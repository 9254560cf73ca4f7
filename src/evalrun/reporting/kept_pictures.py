"""Pictures that need not be drawn again: made from the same data and settings, by the same code, and whole."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from evalrun.core.receipt import Receipt, key_of, read_receipts, receipts_text

MADE = "figures/made.json"  # what each picture was made from


class KeptPictures:
    """Pictures below a report's folder.

    Args:
        out: The report's folder.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._receipts = read_receipts(out / MADE)
        self._keys: dict[str, str] = {}
        # Identity of a table -> the table, so that no other has it, and its digest: several pictures show one.
        self._frames: dict[int, tuple[pd.DataFrame, str]] = {}

    def find(self, name: str, given: tuple[Any, ...]) -> dict[str, bytes] | None:
        """A picture's files, path -> bytes, if they were made from what is given now; None if they are to be made.

        Args:
            name: Of the picture.
            given: All that it is made from: values, tables, and tuples of them.
        """
        self._keys[name] = key_of(name, self._told(given))
        kept = self._receipts.get(name)
        if kept is None or kept.key != self._keys[name] or not kept.files:
            return None
        if any(Path(path).with_suffix("") != Path("figures", name) for path in kept.files):
            return None
        try:
            files = {path: (self._out / path).read_bytes() for path in kept.files}
        except OSError:
            return None
        is_whole = all(hashlib.sha256(files[path]).hexdigest() == digest for path, digest in kept.files.items())
        return files if is_whole else None

    def receipts(self, pictures: Mapping[str, Mapping[str, bytes]]) -> dict[str, bytes]:
        """The file that says what pictures were made from, to lie beside them; nothing where there are none.

        Args:
            pictures: Name -> path -> bytes, of those that `find` was asked for.
        """
        new = {
            name: Receipt(
                self._keys[name], {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}, {}
            )
            for name, files in pictures.items()
        }
        return {MADE: receipts_text(new).encode()} if new else {}

    def _told(self, given: Any) -> Any:
        """Values as they are, tables by their digest."""
        if isinstance(given, tuple):
            return tuple(map(self._told, given))
        if not isinstance(given, pd.DataFrame):
            return given
        if id(given) not in self._frames:
            rows = pd.util.hash_pandas_object(given, index=False).to_numpy()
            self._frames[id(given)] = given, f"{list(given.columns)} {hashlib.sha256(rows.tobytes()).hexdigest()}"
        return self._frames[id(given)][1]
