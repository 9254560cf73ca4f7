"""What a repository says about itself agrees with what it is: licence, citation, versions, pins, checks."""

from __future__ import annotations

import ast
import hashlib
import re
import sys
import tomllib
from importlib.metadata import packages_distributions as distributions

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import evalrun
from evalrun.core import environment
from evalrun.core.version import DISTRIBUTION
from helpers import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# The text of https://www.apache.org/licenses/LICENSE-2.0.txt, white space aside.
APACHE = "0ffddef9e48f8a09aed5caf2d44f7ba1c1be2d9b8e0a6f693b1635b2d5566645"


def test_versions_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert PROJECT["version"] == evalrun.__version__ == str(citation["version"])
    assert PROJECT["version"] in (ROOT / "CHANGELOG.md").read_text()


def test_the_changes_are_lists_under_the_headings_that_one_expects() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## \[Unreleased\]", text, re.MULTILINE)
    for version in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        named = re.findall(r"^### (.+)$", version, re.MULTILINE)
        expected = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Not exercised"]
        assert named == [name for name in expected if name in named]
        entries = [re.sub(r"\s+", " ", entry) for entry in re.findall(r"^- .+(?:\n  .+)*", version, re.MULTILINE)]
        assert not [entry for entry in entries if not entry.rstrip("`*").endswith((".", ")"))]
        assert "\n\n- " not in re.sub(r"^### .+\n\n- ", "", version, flags=re.MULTILINE)  # one list under each


def test_the_name_to_pip_is_one_and_the_command_another() -> None:
    assert PROJECT["name"] == DISTRIBUTION != "evalrun"
    assert list(PROJECT["scripts"]) == ["evalrun"]
    assert f"--exclude {DISTRIBUTION}" in (ROOT / "Makefile").read_text()  # `make lock` pins what others made
    assert DISTRIBUTION not in pins()
    for page in ("README.md", "docs/faq.md"):
        assert f"`{DISTRIBUTION}`" in (ROOT / page).read_text()
    assert environment.versions()["evalrun"] == evalrun.__version__  # whatever is installed under which name


def test_the_licence_is_the_one_that_is_named() -> None:
    words = " ".join((ROOT / "LICENSE").read_text().split())
    assert hashlib.sha256(words.encode()).hexdigest() == APACHE
    assert PROJECT["license"] == "Apache-2.0"
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["license"] == "Apache-2.0"


def test_the_citation_has_what_the_format_asks_for() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert all({"name"} <= set(author) or {"family-names"} <= set(author) for author in citation["authors"])
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= set(reference)


def pins() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return {name.lower().replace("_", "-"): pin for name, _, pin in (line.partition("==") for line in lines)}


def test_the_lock_pins_what_the_project_asks_for() -> None:
    locked = pins()
    extras = PROJECT["optional-dependencies"]
    for asked in map(Requirement, [*PROJECT["dependencies"], *extras["dev"], *extras["docs"]]):
        pin = locked.get(asked.name.lower().replace("_", "-"))
        assert pin is not None, f"{asked.name} is not in requirements.lock: make lock"
        assert pin in asked.specifier, f"{asked} but locked is {pin}: make lock"


def test_the_checks_before_a_commit_are_those_of_make() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"  # nothing is fetched
    hooks = {hook["id"]: hook for hook in repository["hooks"]}
    assert {hook["language"] for hook in hooks.values()} == {"system"}
    makefile = (ROOT / "Makefile").read_text()
    for entry in ("ruff check", "ruff format", "mypy"):
        assert any(hook["entry"].startswith(entry) for hook in hooks.values())
        assert f"$(BIN)/{entry}" in makefile
    entries = {hook["entry"].split()[0] for hook in hooks.values()}
    assert {"check-yaml", "check-added-large-files", "detect-private-key", "check-merge-conflict"} <= entries
    assert "pre-commit-hooks" in pins()  # which has them


def test_nothing_large_lies_in_the_repository() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    entry = next(hook["entry"] for hook in hooks if hook["id"] == "large-files")
    most = int(entry.partition("--maxkb=")[2]) * 1024
    folders = ("src", "conf", "docs", "tests", "examples", "benchmarks", "findings")
    large = [p for folder in folders for p in (ROOT / folder).rglob("*") if p.is_file() and p.stat().st_size > most]
    assert not [path for path in large if "__pycache__" not in path.parts]


def test_what_ci_runs_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    words = " ".join(re.findall(r"^make (.+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)).split()
    named = [word for word in words if not word.startswith("-")]
    assert set(named) == {"setup", "lint", "types", "docs", "test-all"}
    assert set(named) <= targets
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == targets


def test_the_public_ci_runs_what_is_run_here_on_every_python_that_is_claimed() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    commands = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()}
    assert commands["whole"] == [".ci/run"]
    (make,) = commands["newer-pythons"]
    assert set(make.split()) >= {"make", "lint", "types", "test"}
    oldest = next(step["with"]["python-version"] for step in jobs["whole"]["steps"] if "with" in step)
    assert PROJECT["requires-python"] == f">={oldest}"
    said = [text.split(" :: ")[-1] for text in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d", text)]
    assert said == [oldest, *jobs["newer-pythons"]["strategy"]["matrix"]["python"]]


def test_templates_are_what_the_forms_of_a_repository_ask_for() -> None:
    folder = ROOT / ".github" / "ISSUE_TEMPLATE"
    forms = {path.stem: yaml.safe_load(path.read_text()) for path in folder.glob("*.yml") if path.stem != "config"}
    assert len(forms) == 3
    for form in forms.values():
        assert {"name", "description", "body"} <= set(form)
        fields = [part["id"] for part in form["body"]]
        assert len(set(fields)) == len(fields)
        assert all(part["type"] in ("textarea", "input") and part["attributes"]["label"] for part in form["body"])
        assert any(part.get("validations", {}).get("required") for part in form["body"])
    for name in re.findall(r"\b[A-Z]+\.md\b", (folder / "bug.yml").read_text()):
        assert (ROOT / name).is_file()


def test_what_is_off_unless_named_is_off() -> None:
    keys = re.findall(r"`(trust_\w+)=true`", (ROOT / "SECURITY.md").read_text())
    defaults = yaml.safe_load((ROOT / "conf" / "config.yaml").read_text())
    assert set(keys) == {key for key in defaults if key.startswith("trust_")}
    assert not any(defaults[key] for key in keys)


def test_the_tests_are_collected_with_what_is_pinned() -> None:
    """Those of engines too: all commands of pytest read them, whatever these leave out."""
    from_a_pin = {name for name, owners in distributions().items() if {*map(canonicalize_name, owners)} & pins().keys()}
    own = {path.stem for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")}
    known = from_a_pin | own | {path.name for path in ROOT.glob("tests/*/")} | sys.stdlib_module_names | {"evalrun"}
    late = {"gguf_files", "llama_server"}  # read by tests that run, with what `make test-engines` installs
    for path in (ROOT / "tests").rglob("*.py"):
        if path.stem not in late:
            named = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
            roots = {alias.name.partition(".")[0] for node in named for alias in node.names} & late
            for node in named:
                of = (
                    [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or "evalrun"]
                )
                roots |= {name.partition(".")[0] for name in of} - known if not getattr(node, "level", 0) else set()
            assert not roots, path
