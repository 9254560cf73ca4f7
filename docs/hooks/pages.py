"""What MkDocs calls while it builds the site: generated parts, and links that leave the folder of the docs.

The pages are written to be read in the repository too, where a link to a source file works. On the site there is no
such file: what a link names must exist, and is shown as text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import reference

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
OUTSIDE = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md", "security.md": "SECURITY.md"}
IMAGE = re.compile(r'<img [^>]*src="([^"]+)"[^>]*>')
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s:]+?)(#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie at the top of the repository."""
    for name, source in OUTSIDE.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in what is generated, and mend links for the site."""
    name = page.file.src_uri
    here = ROOT if name in OUTSIDE else (DOCS / name).parent
    markdown = re.sub(r"<!-- generated: (\w+) -->", lambda found: reference.PARTS[found[1]](), markdown)
    return LINK.sub(lambda found: _for_site(found, here, posixpath.dirname(name)), markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let each picture lead to itself: on a phone it is too small to read."""
    return IMAGE.sub(r'<a class="picture" href="\1">\g<0></a>', html)


def _for_site(found: re.Match[str], here: Path, folder: str) -> str:
    text, address, anchor = found[1], found[2], found[3] or ""
    target = (here / address).resolve()
    outside = {ROOT / source: name for name, source in OUTSIDE.items()}
    if not target.exists() or target == here:
        return found[0]  # MkDocs says what is wrong with it
    inside = outside.get(target) or (target.relative_to(DOCS).as_posix() if target.is_relative_to(DOCS) else None)
    if inside is None:
        return text
    return f"[{text}]({posixpath.relpath(inside, folder or '.')}{anchor})"
