"""The documentation site: it builds, says what the code says, breaks on a broken link, and fetches nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from evalrun.commands import help
from evalrun.config.own_yaml import conf_dir
from evalrun.core.columns import TABLE_COLUMNS
from evalrun.tracking import layout
from helpers import ROOT

FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}
LINKS = re.compile(r"\]\(([^)#\s]+?)(?:#[^)]*)?\)")

pytest.importorskip("mkdocs", reason="the site is built with `pip install '.[docs]'`")


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config), "--site-dir", str(site)],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT / "mkdocs.yml", folder)
    assert built.returncode == 0, built.stderr
    return folder


class Resources(HTMLParser):
    """What a browser fetches for a page by itself, and its pictures without a text."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        if tag in FETCHED:
            self.fetched.append(values.get(FETCHED[tag], ""))
        if tag == "link" and values.get("rel") in ("stylesheet", "icon", "preconnect", "preload"):
            self.fetched.append(values.get("href", ""))
        if tag == "img" and not values.get("alt"):
            self.silent.append(values.get("src", ""))


@pytest.mark.release
def test_pages_fetch_nothing_from_elsewhere_and_pictures_have_texts(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        seen = Resources()
        seen.feed(page.read_text())
        remote = [address for address in seen.fetched if re.match(r"(https?:)?//", address)]
        assert not remote, f"{page.name}: {remote}"
        assert not seen.silent, f"{page.name}: {seen.silent}"
    style = "".join(path.read_text() for path in site.rglob("*.css"))
    assert not re.search(r"url\(['\"]?(https?:)?//", style)


def text_of(page: Path) -> str:
    return re.sub(r"<[^>]+>", " ", page.read_text())


def leaves(content: object, prefix: str = "") -> list[str]:
    if not isinstance(content, dict):
        return [prefix]
    return [name for key, value in content.items() for name in leaves(value, f"{prefix}.{key}" if prefix else str(key))]


@pytest.mark.release
def test_the_reference_is_complete(site: Path) -> None:
    reference = site / "reference"
    configuration = text_of(reference / "configuration.html")
    files = [path for group in ("scorer", "tracking", "analysis") for path in (conf_dir() / group).glob("*.yaml")]
    files += [conf_dir() / "config.yaml", conf_dir() / "tiny.yaml", *(conf_dir() / "hydra" / "launcher").glob("*.yaml")]
    keys = {key for path in files for key in leaves(yaml.safe_load(path.read_text()))}
    ours = {key for key in keys if key != "_target_" and key.split(".")[0] not in ("defaults", "hydra")}
    assert len(ours) > 60
    assert not {key for key in ours if f" {key} " not in configuration}
    assert "halved whenever memory runs out" in configuration  # a comment of conf/scorer/lm_eval.yaml
    for name, page in (("model", "models"), ("task", "tasks")):
        names = [path.relative_to(conf_dir() / name).with_suffix("") for path in (conf_dir() / name).rglob("*.yaml")]
        text = text_of(reference / f"{page}.html")
        assert not [str(one) for one in names if one.name[0] != "_" and f" {one} " not in text and one.name != "local"]
    assert not [name for name in TABLE_COLUMNS if f" {name} " not in text_of(reference / "library.html")]
    commands = text_of(reference / "commands.html")
    assert not [name for name in help.COMMANDS if f"usage: python -m evalrun {name}" not in commands]
    assert "evaluate" in text_of(reference / "library.html")


@pytest.mark.release
def test_a_page_has_one_title(site: Path) -> None:
    # A line that begins with the number of an issue, `#602`, is a title to Markdown.
    pages = [page for page in site.rglob("*.html") if page.name != "404.html"]
    assert len(pages) > 30
    assert not [page.name for page in pages if len(re.findall(r"<h1\b", page.read_text())) != 1]


def test_every_tag_is_explained() -> None:
    tags = {value for name, value in vars(layout).items() if name.isupper() and str(value).startswith("evalrun.")}
    files = (ROOT / "docs" / "reference" / "files.md").read_text()
    assert len(tags) > 10
    assert not [tag for tag in tags if f"`{tag}" not in files]


@pytest.mark.release
def test_a_broken_link_or_anchor_fails_the_build(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs" / "hooks", tmp_path / "docs" / "hooks")
    for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"):
        (tmp_path / name).write_text("# x\n")
    (tmp_path / "docs" / "index.md").write_text(
        "# x\n\n[gone](gone.md) [no part](index.md#nowhere) [no file](../src/gone.py) [there](../CHANGELOG.md)\n"
    )
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    kept = {key: config[key] for key in ("site_name", "docs_dir", "exclude_docs", "hooks", "validation")}
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(kept))
    built = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert built.returncode != 0
    for wrong in ("gone.md", "nowhere", "gone.py"):
        assert wrong in built.stderr
    assert "'CHANGELOG.md'" not in built.stderr


def test_links_of_pages_outside_the_site_lead_somewhere() -> None:
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"):
        links = [link for link in LINKS.findall((ROOT / name).read_text()) if "://" not in link]
        assert not [link for link in links if not (ROOT / link).exists()], name
