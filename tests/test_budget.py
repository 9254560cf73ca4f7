"""`make test` stays a matter of minutes: the kept durations against the budget of each folder."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

import durations
from helpers import ROOT

TESTS = ROOT / "tests"
BUDGET = tomllib.loads((TESTS / "budget.toml").read_text())
TIMES: dict[str, dict[str, float]] = json.loads(durations.KEPT.read_text())["tests"]
START = 36  # seconds on each core, to import what is tested and what forks commands
QUICK = 0.01  # seconds, of a test that is too quick to be listed


def folder_of(file: str) -> str:
    """The folder in tests/, whose own files are `.`."""
    return Path(file).parts[1] if len(Path(file).parts) > 2 else "."


def left_out() -> list[str]:
    """The marks that `make test` passes over."""
    (line,) = re.findall(r"^test: setup\n\t(.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return re.findall(r"not (\w+)", line)


def test_every_file_of_tests_is_known() -> None:
    files = {path.relative_to(ROOT).as_posix() for path in TESTS.rglob("test_*.py")}
    unknown = {file for file in files - TIMES.keys() if not file.startswith(tuple(BUDGET["untimed"]))}
    assert not unknown, f"make durations TESTS='{' '.join(sorted(unknown))}'"
    assert not TIMES.keys() - files, "files that are gone: make durations"
    assert {folder_of(file) for file in TIMES} <= BUDGET["folders"].keys()


def test_the_folders_budgets_are_six_minutes_on_two_cores() -> None:
    assert sum(BUDGET["folders"].values()) <= (6 * 60 - START) * 2


def test_each_folder_is_within_its_budget(request: pytest.FixtureRequest) -> None:
    """Of the tests that are collected here: all of them in `make test`."""
    took: defaultdict[str, float] = defaultdict(float)
    marks = left_out()
    assert "release" in marks
    for item in request.session.items:
        if not any(item.get_closest_marker(mark) for mark in marks):
            file, _, name = item.nodeid.partition("::")
            took[folder_of(file)] += TIMES.get(file, {}).get(name, QUICK)
    over = {name: f"{total:.0f} of {BUDGET['folders'][name]}" for name, total in took.items()
            if total > BUDGET["folders"][name]}  # fmt: skip
    assert not over, f"seconds over budget: {over}"


def test_what_costs_too_much_is_left_to_make_test_all(request: pytest.FixtureRequest) -> None:
    for item in request.session.items:
        dear = durations.cost_of(item.nodeid, TIMES) > BUDGET["most"] and item.nodeid not in BUDGET["kept"]
        assert not dear or item.get_closest_marker("release"), item.nodeid
    names = {f"{file}::{name}" for file, tests in TIMES.items() for name in tests}
    assert set(BUDGET["kept"]) <= names


def test_a_report_is_read_and_merged(tmp_path: Path) -> None:
    cost = '<properties><property name="{}" value="{}"/></properties>'
    case = f'<testcase classname="{{}}" name="{{}}" time="9">{cost}</testcase>'
    rows = [
        ("tests.test_budget", "test_a[x y]", durations.PROPERTY, 1.754),
        ("tests.test_budget", "test_b", durations.PROPERTY, 0.01),
        ("tests.test_gone", "test_c", durations.PROPERTY, 2.0),
    ]
    report = f"<testsuites><testsuite>{''.join(case.format(*row) for row in rows)}</testsuite></testsuites>"
    kept = tmp_path / "durations.json"
    before = {"tests/test_budget.py": {"test_old": 9.0}, "tests/helpers.py": {"test_d": 1.0}}
    kept.write_text(json.dumps({"machine": "", "tests": before}))
    made = durations.keep([report], kept)
    assert json.loads(kept.read_text()) == made
    assert made["tests"] == {"tests/helpers.py": {"test_d": 1.0}, "tests/test_budget.py": {"test_a[x y]": 1.75}}
    assert made["machine"]


def test_the_cost_of_a_process_is_counted() -> None:
    before = durations.spent()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)
    assert 0.25 < durations.spent() - before < 5
