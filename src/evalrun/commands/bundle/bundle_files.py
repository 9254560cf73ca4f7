"""What a bundle is: names of its parts, its digest, and how a folder or a zip becomes one that can be read.

README.txt    what it is, for a person without evalrun
index.html    links to the reports; results.csv is the table of all results
report/       the reports, as `analyze` makes them
runs/         SUITE/MODEL/STEP-KEY: records, items and config, as a journal has them
manifest.json when and by what it was made, and what there should be
SHA256SUMS    of every other file, as `sha256sum --check` reads it; its own sha256 is the bundle's digest
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from evalrun.core.errors import ConfigError, StorageError
from evalrun.core.hashing import file_sha256

MANIFEST, SUMS, README, PAGE, TABLE = "manifest.json", "SHA256SUMS", "README.txt", "index.html", "results.csv"
REPORT, RUNS = "report", "runs"
FORMAT = 1
_MARK = "evalrun bundle"  # in the manifest, so that no other manifest.json is taken for one
_ZIP_BEGINS = b"PK\x03\x04"
_HEX = set("0123456789abcdef")


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself."""

    name: str
    made: str  # day and time, UTC
    version: str  # of evalrun
    command: str  # that made it, without secrets
    results: dict[str, int]  # suite -> how many
    items: bool  # whether results come with their items
    groups: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # suite -> groups of tasks, as fields

    def to_json(self) -> str:
        """The text of manifest.json."""
        return json.dumps({"kind": _MARK, "format": FORMAT, **vars(self)}, indent=1) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of an open bundle.

        Raises:
            ConfigError: it is no bundle, or one of a later version.
        """
        try:
            said = json.loads((folder / MANIFEST).read_text())
            if said.pop("kind") != _MARK:
                raise ValueError
            number = int(said.pop("format"))
            if number > FORMAT:
                raise ConfigError(
                    f"the bundle was made by evalrun {said.get('version')}, which is newer: update evalrun."
                )
            return cls(**said)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            raise ConfigError(f"its {MANIFEST} cannot be read: get the bundle again.") from None


def is_bundle(path: Path) -> bool:
    """Whether a folder, or a zip, says that it is a bundle; nothing of it is unpacked."""
    try:
        if path.is_dir():
            text = (path / MANIFEST).read_text()
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                name = next((name for name in archive.namelist() if PurePosixPath(name).name == MANIFEST), None)
                text = "" if name is None else archive.read(name).decode()
        else:
            return False
        return bool(json.loads(text)["kind"] == _MARK)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile, zlib.error):
        return False


def refuse_damaged(path: Path) -> None:
    """See that a file which begins as a zip does, and says nothing of a bundle, is whole.

    Raises:
        ConfigError: it was cut off, or altered.
    """
    if (why := _damage(path)) is not None:
        raise ConfigError(f"'{path}' is a damaged zip ({why}): get it again.")


def _damage(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            if file.read(len(_ZIP_BEGINS)) != _ZIP_BEGINS:
                return None
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        return None if isinstance(error, OSError) else str(error)
    return None if bad is None else f"{bad} is not as it was packed"


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """The folder of a bundle; that of a zip is unpacked, and there while the block lasts.

    Raises:
        ConfigError: there is no bundle, or a zip with names that lead out of it.
        StorageError: no room to unpack it.
    """
    if not path.exists():
        raise ConfigError(f"'{path}' is not there: name a bundle's folder or zip.")
    if not is_bundle(path):
        refuse_damaged(path)
        raise ConfigError(f"'{path}' is no bundle: `python -m evalrun bundle FOLDER` makes one.")
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="evalrun-bundle-") as scratch:
        try:
            with zipfile.ZipFile(path) as archive:
                yield _unpacked(archive, Path(scratch), path)
        except (zipfile.BadZipFile, zlib.error) as error:
            raise ConfigError(f"'{path}' is a damaged zip ({error}): get it again.") from None


def _unpacked(archive: zipfile.ZipFile, scratch: Path, path: Path) -> Path:
    names = [PurePosixPath(one.filename) for one in archive.infolist()]
    if any(name.is_absolute() or ".." in name.parts for name in names):
        raise ConfigError(f"'{path}' holds names that lead out of its folder, as no bundle does: it is not opened.")
    size, free = sum(one.file_size for one in archive.infolist()), shutil.disk_usage(scratch).free
    if size > free:
        raise StorageError(f"no space left to open '{path}': {size:,} bytes, {free:,} are free in {scratch.parent}.")
    archive.extractall(scratch)
    return next(file.parent for file in sorted(scratch.glob(f"*/{MANIFEST}")) + sorted(scratch.glob(MANIFEST)))


def files_of(folder: Path) -> list[str]:
    """The files of an open bundle below it, sorted, but for SHA256SUMS itself."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if (path.is_file() or path.is_symlink()) and path != folder / SUMS
    )


def sums_text(folder: Path) -> str:
    """SHA256SUMS as it has to be."""
    return "".join(f"{file_sha256(folder / name)}  {name}\n" for name in files_of(folder))


def digest_of(folder: Path) -> str:
    """The bundle's digest: the sha256 of its SHA256SUMS.

    Raises:
        ConfigError: there is none.
    """
    try:
        return file_sha256(folder / SUMS)
    except OSError:
        raise ConfigError(f"the bundle has no {SUMS}: get it again.") from None


def altered(folder: Path) -> list[str]:
    """What is not as SHA256SUMS says, a sentence each: changed, missing, added."""
    said: dict[str, str] = {}
    for line in (folder / SUMS).read_text().splitlines():
        digest, _, name = line.partition("  ")
        if len(digest) == 64 and set(digest) <= _HEX and name:
            said[name] = digest
    there = files_of(folder)
    problems = [f"{name} is missing." for name in said if name not in set(there)]
    problems += [f"{name} was added: {SUMS} does not name it." for name in there if name not in said]
    for name in (name for name in there if name in said):
        file = folder / name
        if file.is_symlink():
            problems.append(f"{name} is a link, as none is in a bundle.")
        elif file_sha256(file) != said[name]:
            problems.append(f"{name} was changed: its sha256 is not the one in {SUMS}.")
    return problems
