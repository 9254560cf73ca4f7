"""The weight files of one checkpoint by name and content, and which of them loading would read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalrun import checkpoints
from evalrun.core.hashing import file_sha256

FORMATS = dict(zip(("safetensors", "bin"), zip(checkpoints.SINGLE, checkpoints.INDEXES, strict=True), strict=True))
_SHARD = re.compile(r"(?:model|pytorch_model)-(\d+)-of-(\d+)\.(?:safetensors|bin)")


@dataclass(frozen=True)
class Listing:
    """What a checkpoint holds, without its bytes."""

    files: dict[str, str]  # weight file -> sha256 of its content
    indexes: dict[str, list[str]]  # index file -> the shards that it names; none where it is damaged

    def of(self, fmt: str) -> dict[str, str]:
        """The files of a format that are one model together: the single file, else the shards that are there."""
        single, index = FORMATS[fmt]
        if single in self.files:
            return {single: self.files[single]}
        named = self.indexes.get(index)
        shards = named if named is not None else [name for name in self.files if _is_shard(name, fmt)]
        return {name: self.files[name] for name in sorted(shards) if name in self.files}

    @property
    def loaded(self) -> str | None:
        """The format that loading would read, by the rule of `checkpoints.weight_files`; None: nothing to load."""
        for fmt, (single, index) in FORMATS.items():
            if single in self.files or index in self.indexes:
                return fmt
        return None

    @property
    def contents(self) -> dict[str, str]:
        """The files that loading would read, with their sha256."""
        return self.of(self.loaded) if self.loaded else {}

    def missing(self, fmt: str) -> list[str]:
        """Shards of a format that its index, or without one the others' names (2 of 3), call for and are not there."""
        single, index = FORMATS[fmt]
        if single in self.files:
            return []
        expected = set(self.indexes.get(index, ()))
        for name in () if expected else self.files:
            if _is_shard(name, fmt) and (match := _SHARD.fullmatch(name)):
                before, after = name[: match.start(1)], name[match.end(1) :]
                width, total = len(match[1]), int(match[2])
                expected.update(f"{before}{number:0{width}d}{after}" for number in range(1, total + 1))
        return sorted(expected - set(self.files))

    def lacks_index(self, fmt: str) -> bool:
        """Whether there are shards of a format that nothing names, so that loading would pass them over."""
        single, index = FORMATS[fmt]
        return single not in self.files and index not in self.indexes and any(_is_shard(n, fmt) for n in self.files)

    def to_json(self) -> dict[str, Any]:
        """A plain dict for JSON."""
        return {"files": self.files, "indexes": self.indexes}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Listing:
        """Rebuild from `to_json`.

        Raises:
            TypeError, KeyError: when it is something else.
        """
        return cls(dict(data["files"]), {name: list(shards) for name, shards in data["indexes"].items()})


def digest(contents: Mapping[str, str]) -> str | None:
    """What `checkpoints.weights_digest` says of files with these contents; None where it cannot be known from here.

    Args:
        contents: File -> sha256, as `Listing.contents` has them.
    """
    if not contents or any(len(content) != 64 for content in contents.values()):
        return None  # a small file that git itself keeps is known by git's sha1
    lines = [f"{name} {content}" for name, content in sorted(contents.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def is_weight_file(name: str) -> bool:
    """Whether a file's name is one under which transformers looks for a causal model's weights."""
    return name in checkpoints.SINGLE or _SHARD.fullmatch(name) is not None


def shards_of(text: str) -> list[str]:
    """The shards that an index file names; none where it is damaged."""
    try:
        return sorted(set(json.loads(text)["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def of_folder(folder: Path) -> Listing:
    """List a local checkpoint; reads its files for their sha256, except where the hub's cache names them by it.

    Raises:
        OSError: a file cannot be read.
    """
    indexes = {
        name: shards_of((folder / name).read_text()) for name in checkpoints.INDEXES if (folder / name).is_file()
    }
    named = {shard for shards in indexes.values() for shard in shards}
    names = sorted({path.name for path in folder.iterdir() if is_weight_file(path.name)} | named)
    return Listing({n: file_sha256(folder / n) for n in names if (folder / n).is_file()}, indexes)


def spell(steps: Iterable[int], among: Iterable[int] = ()) -> str:
    """`steps 0 to 53000, 55000 and 60000`: three or more that follow each other among the released ones are a run."""
    wanted, order = sorted(steps), sorted(among)
    place = {step: position for position, step in enumerate(order)}
    runs: list[list[int]] = []
    for step in wanted:
        if runs and place.get(step) == place.get(runs[-1][-1], -2) + 1:
            runs[-1].append(step)
        else:
            runs.append([step])
    words = [word for run in runs for word in ([f"{run[0]} to {run[-1]}"] if len(run) > 2 else map(str, run))]
    listed = " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)
    return f"{'step' if len(wanted) == 1 else 'steps'} {listed}"


def _is_shard(name: str, fmt: str) -> bool:
    return _SHARD.fullmatch(name) is not None and name.endswith(f".{fmt}")
