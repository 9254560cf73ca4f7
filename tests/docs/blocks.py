"""The fenced blocks of README and docs, each with what the comment before it says about it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from helpers import ROOT

MARKER = re.compile(r"<!-- (not run|checked|file): (.+?) -->")
COMMAND = ["python", "-m", "evalrun"]
# A reader of the whole site goes this way; results of one page are there for the next.
FIRST = ("docs/tutorial.md", "README.md")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: str
    line: int
    language: str
    text: str
    marker: str  # not run, checked, file, or empty
    said: str  # after the marker's colon

    @property
    def where(self) -> str:
        """`README.md:12`."""
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command, without comments; `$` begins one in a console block."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language == "console":
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        return [words for line in lines if (words := shlex.split(line, comments=True))]

    @property
    def printed(self) -> list[str]:
        """What a console block says is printed."""
        return [line.rstrip() for line in self.text.splitlines() if not line.startswith("$ ")]


def pages() -> list[str]:
    """README, CONTRIBUTING and every page of docs, in the order of reading."""
    docs = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
    return [*FIRST, *(page for page in docs if page not in FIRST), "CONTRIBUTING.md"]


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page, in order; a comment directly before a block belongs to it."""
    found = []
    marker, said = "", ""
    for token in MarkdownIt().parse((ROOT / page).read_text()):
        if token.type == "html_block" and (match := MARKER.fullmatch(token.content.strip())):
            marker, said = match[1], match[2]
        elif token.type == "fence":
            line = (token.map or [0])[0] + 1
            found.append(Block(page, line, token.info.strip(), token.content, marker, said))
            marker, said = "", ""
        elif token.type != "html_block" and marker:
            raise AssertionError(f"{page}: the comment '{marker}: {said}' stands before no block")
    return found


def all_blocks() -> list[Block]:
    """Of all pages."""
    return [block for page in pages() for block in blocks_of(page)]


def data_file(block: Block, folder: Path) -> Path:
    """Where a `file:` block is put; inside the folder."""
    path = (folder / block.said).resolve()
    assert path.is_relative_to(folder.resolve()), block.where
    return path
