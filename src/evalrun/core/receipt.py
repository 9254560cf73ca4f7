"""What files were made from: so that what is up to date is not made again, and anything else is.

A receipt lies beside what it speaks of. It holds a key of all that went in (data, settings, code, versions), and the
digest of each file that came out. What cannot be read, or speaks of another key or other files, counts as none.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from evalrun.core.atomic import write_file
from evalrun.core.hashing import file_sha256

_LIBRARIES = ("matplotlib", "mlflow", "numpy", "pandas", "pyarrow", "scipy", "statsmodels")  # of the analysis


@dataclass(frozen=True)
class Receipt:
    """Of some files."""

    key: str  # of all that they were made from
    files: Mapping[str, str]  # path below the receipt's folder -> SHA-256
    about: Mapping[str, str]  # what is to be known when they are not made again

    def is_whole(self, folder: Path) -> bool:
        """Whether all files are there, as they were made."""
        return all(_digest(folder / name) == digest for name, digest in self.files.items())


def receipt_of(key: str, folder: Path, files: Iterable[Path], about: Mapping[str, str]) -> Receipt:
    """A receipt of files that lie in a folder."""
    return Receipt(key, {str(path.relative_to(folder)): _digest(path) or "" for path in files}, about)


def read_receipts(path: Path) -> dict[str, Receipt]:
    """Receipts by name; none where the file is missing, broken, or of another form."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return {name: Receipt(one["key"], dict(one["files"]), dict(one["about"])) for name, one in said.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def write_receipts(path: Path, receipts: Mapping[str, Receipt]) -> None:
    """Put receipts into a file.

    Raises:
        StorageError: it cannot be written.
    """
    write_file(path, receipts_text(receipts))


def receipts_text(receipts: Mapping[str, Receipt]) -> str:
    """What a file of receipts holds."""
    return json.dumps({name: asdict(one) for name, one in receipts.items()}, indent=1)


def key_of(*parts: Any) -> str:
    """A digest of values, this package's code and the versions of what computes with it."""
    return hashlib.sha256(repr((parts, _code())).encode("utf-8", "surrogatepass")).hexdigest()


@cache
def _code() -> tuple[Any, ...]:
    """The package's files with their sizes and times, and the versions: an edited or updated one computes anew."""
    package = Path(__file__).resolve().parents[1]
    files = []
    for path in sorted(package.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            said = path.stat()
            files.append((str(path.relative_to(package)), said.st_size, said.st_mtime_ns))
    return platform.python_version(), files, [importlib.metadata.version(name) for name in _LIBRARIES]


def _digest(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except OSError:
        return None
