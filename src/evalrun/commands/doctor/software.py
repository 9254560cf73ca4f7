"""Python and packages: what is installed against what evalrun asks for."""

from __future__ import annotations

import importlib.metadata
import platform
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from evalrun.commands.doctor.check import FAIL, OK, Check
from evalrun.core.version import DISTRIBUTION

_EXTRAS = {"ray": "hydra/launcher=ray", "slurm": "hydra/launcher=slurm"}


def python() -> Check:
    """The version of Python."""
    allowed, have = SpecifierSet(_asked()[0]), platform.python_version()
    if allowed.contains(have, prereleases=True):
        return Check("python", OK, have)
    return Check("python", FAIL, f"{have} is not {allowed}", "make another environment with a newer Python.")


def packages() -> Iterator[Check]:
    """What is required, and the extras that are there; a line each only where something is wrong."""
    needed = [Requirement(line) for line in _asked()[1]]
    wrong = [r for r in needed if (r.marker is None or r.marker.evaluate({"extra": ""})) and not _fits(r)]
    for one in wrong:
        have = _version(one.name)
        said = f"{one.name} {have} is installed" if have else f"{one.name} is not installed"
        yield Check("packages", FAIL, f"{said}, evalrun needs {one}", f"python -m pip install '{_plain(one)}'")
    if not wrong:
        plain = sum(one.marker is None for one in needed)
        yield Check("packages", OK, f"the {plain} required ones are installed, in versions that fit")
    for extra, use in _EXTRAS.items():
        own = [r for r in needed if r.marker is not None and r.marker.evaluate({"extra": extra})]
        own = [r for r in own if not (r.marker is not None and r.marker.evaluate({"extra": ""}))]
        bad = [r for r in own if _version(r.name) is not None and not _fits(r)]
        for one in bad:
            said = f"{one.name} {_version(one.name)} is installed, {use} needs {_plain(one)}"
            yield Check("packages", FAIL, said, f"python -m pip install '{_plain(one)}'")


def _asked() -> tuple[str, list[str]]:
    """Versions of Python and requirements, of the installed package or of the checkout."""
    try:
        found = importlib.metadata.metadata(DISTRIBUTION)
        return str(found["Requires-Python"]), found.get_all("Requires-Dist") or []
    except importlib.metadata.PackageNotFoundError:
        file = Path(__file__).parents[4] / "pyproject.toml"
        project: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        extras = project["optional-dependencies"]
        optional = [f'{line}; extra == "{name}"' for name, lines in extras.items() for line in lines]
        return str(project["requires-python"]), [*project["dependencies"], *optional]


def _plain(one: Requirement) -> str:
    extras = f"[{','.join(sorted(one.extras))}]" if one.extras else ""
    return f"{one.name}{extras}{one.specifier}"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _fits(one: Requirement) -> bool:
    have = _version(one.name)
    return have is not None and one.specifier.contains(have, prereleases=True)
