"""Every command block of README and docs is run, or checked, or says why not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from blocks import COMMAND, Block, all_blocks, blocks_of, data_file

from evalrun.checkpoints.suites.configured import config_of
from evalrun.config.compose import hydra_session
from evalrun.tasks import task_file
from helpers import ROOT

PYTHON = {"docs/how-to/notebook.md"}  # run by tests/e2e/test_library.py


def test_every_block_is_run_or_says_why_not() -> None:
    silent = []
    for block in all_blocks():
        if block.marker == "not run":
            if len(block.said.split()) < 2:
                silent.append(f"{block.where}: '{block.said}' is no reason")
        elif block.marker == "checked" and block.said != "composes":
            silent.append(f"{block.where}: checked: {block.said}, which is not known: composes")
        elif block.language in ("bash", "console"):
            wrong = [words for words in block.commands if words[:3] != COMMAND]
            if wrong or not block.commands:
                silent.append(f"{block.where}: {wrong or 'no command'} is not evalrun's: say <!-- not run: why -->")
            elif block.language == "console" and len(block.commands) > 1:
                silent.append(f"{block.where}: a console block shows one command and what it prints")
        elif (block.language == "python" and block.page not in PYTHON) or (
            block.language == "yaml" and block.marker != "file"
        ):
            silent.append(f"{block.where}: {block.language} without <!-- file: PATH --> or <!-- not run: why -->")
    assert not silent, "\n".join(silent)


def test_a_marker_before_no_block_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("<!-- not run: needs the hub -->\n\ntext\n")
    monkeypatch.setattr("blocks.ROOT", tmp_path)
    with pytest.raises(AssertionError, match="stands before no block"):
        blocks_of("page.md")


def matches(expected: Sequence[str], printed: str) -> bool:
    """Whether lines are as written; `...` stands for anything."""
    pattern = r"\n".join(".*" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") for line in expected)
    lines = "\n".join(line.rstrip() for line in printed.strip().splitlines())
    return re.fullmatch(pattern, lines, re.DOTALL) is not None


def test_what_counts_as_printed() -> None:
    assert matches(["a", "...", "d"], "a\nb\nc\nd\n")
    assert not matches(["a", "d"], "a\nb\nd\n")


@pytest.mark.release
@pytest.mark.timeout(1800)
def test_the_pages_do_what_they_say(tmp_path: Path) -> None:
    folder, results = tmp_path / "user", tmp_path / "results.json"
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "120"}
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("reader.py")), str(folder), str(results)],
        env=environment, capture_output=True, text=True, timeout=1740, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    done = json.loads(results.read_text())
    expected = {block.where: block for block in all_blocks() if block.language == "console" and not block.marker}
    wrong = []
    for one in done:
        block = expected.pop(one["where"], None)
        if block is not None:
            if not matches(block.printed, one["printed"]):
                wrong.append(f"{one['where']} says something else than is printed:\n{one['printed']}")
        elif one["code"] != 0:
            wrong.append(f"{one['where']}: {' '.join(one['words'])} ended with {one['code']}:\n{one['printed']}")
    assert not wrong, "\n\n".join([*wrong, ran.stderr])
    assert not expected, "not run"
    assert len(done) > 10
    check_files(folder, [block for block in all_blocks() if block.marker == "file"])


def check_files(folder: Path, blocks: Sequence[Block]) -> None:
    """Tasks and models that pages show are read by the code that reads a user's."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        names = {block.said: data_file(block, folder) for block in blocks}
        tasks = [path.stem for name, path in names.items() if name.startswith("conf/task/")]
        assert {file.name for file in task_file.resolve(tasks, None, False, "corrected")} >= {"capitals"}
        with hydra_session():
            for name in names:
                if name.startswith("conf/model/"):
                    assert config_of(name.removeprefix("conf/model/").removesuffix(".yaml")).model.path
    finally:
        os.chdir(before)
