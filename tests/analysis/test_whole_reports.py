"""A report is replaced whole or not at all: a full disk, Ctrl-C and kill -9 while it is drawn or written."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from shaping import conf_of

from evalrun.core import atomic
from evalrun.errors import StorageError
from evalrun.reporting import build
from evalrun.reporting.build import run_analysis

QUICK = {"methods": ["ols"], "items": False, "sensitivity": False}


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def there(tidy, tmp_path_factory) -> Path:
    """A folder with a report."""
    out = tmp_path_factory.mktemp("report")
    run_analysis(tidy.grid(), conf_of(**QUICK), "tiny", out, {})
    return out


def again(tidy, out: Path) -> None:
    """Another report into the same folder: every table and the page differ."""
    run_analysis(tidy.grid(), conf_of(**QUICK, alpha=0.01, params="total"), "other", out, {})


def test_a_disk_that_has_no_room_for_the_page_leaves_the_old_report(tidy, there) -> None:
    before = files_of(there)
    largest = len(before["report.html"]) - 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))  # tables have room: only the page and figures have not
    try:
        with pytest.raises(StorageError, match=r"^\S+ cannot be written: File too large\.$"):
            again(tidy, there)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files_of(there) == before


@pytest.mark.parametrize("at", ["drawn", "render", "write_files"])
def test_ctrl_c_leaves_the_old_report(tidy, there, at, monkeypatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    before = files_of(there)
    if at == "write_files":
        monkeypatch.setattr(atomic.Path, "write_bytes", interrupted)
    else:
        monkeypatch.setattr(build, at, interrupted)
    with pytest.raises(KeyboardInterrupt):
        again(tidy, there)
    assert files_of(there) == before


def test_kill_leaves_whole_files(tmp_path) -> None:
    """Killed as the last of the new files is being written: those that are in place are the old ones, whole."""
    code = """
import os, signal, sys
from pathlib import Path
from evalrun.core import atomic
folder = Path(sys.argv[1])
atomic.write_files(folder, {"a.csv": "old a", "report.html": "old page"})
plain = Path.write_bytes
def half(path, content):
    if "report" in path.name:
        plain(path, content[:3])
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(path, content)
Path.write_bytes = half
atomic.write_files(folder, {"a.csv": "new a", "report.html": "new page"})
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=os.environ, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert [(tmp_path / name).read_text() for name in ("a.csv", "report.html")] == ["old a", "old page"]
    (left,) = tmp_path.glob(".report.html.*.tmp")
    draft = re.compile(r"(\.report\.html\.)([0-9a-f]{4})([0-9a-f]{6})([0-9a-f]{6}\.tmp)")
    head, machine, _, tail = draft.fullmatch(left.name).groups()
    another = f"{int(machine, 16) ^ 1:04x}"
    living = f"{head}{machine}{os.getpid():06x}{tail}"
    elsewhere, older = (f"{head}{another}{number}{tail}" for number in ("000001", "000002"))
    kept = {"a.csv", "report.html", ".mine.tmp", ".report.html.0123456789ab.tmp", living, elsewhere}
    for name in {*kept, older} - {"a.csv", "report.html"}:
        (tmp_path / name).write_text("half")
    os.utime(tmp_path / older, (0, 0))
    atomic.write_files(tmp_path, {"another.csv": "new"})
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "another.csv"}, "what the dead left is gone"
