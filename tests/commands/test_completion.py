"""Completion: what may follow what is typed, quickly, and in the shells that people type it in."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evalrun.commands import help
from evalrun.commands.help.completion import SHELLS, candidates
from helpers import ROOT, TASK


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with a task and a training run."""
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / "capitals.yaml").write_text(TASK.format(name="capitals", title="Capitals"))
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands_flags_and_keys(folder: Path) -> None:
    assert candidates(["sh"]) == ["show"]
    assert set(help.COMMANDS) <= set(candidates([""]))
    assert "model=" in candidates([""])
    assert not any("." in one for one in candidates([""]))  # a first look is not flooded
    assert candidates(["scorer.ve"]) == ["scorer.verify="]
    assert candidates(["plan", "--j"]) == ["--json"]
    assert candidates(["watch", "--"]) == ["--help", "--once"]
    assert candidates(["suites", "mod"]) == []
    assert candidates(["help", "comp"]) == ["compare", "completion"]
    assert candidates(["completion", ""]) == sorted(SHELLS)


def test_values(folder: Path) -> None:
    assert candidates(["-m", "task=cap"]) == ["task=capitals"]  # the user's own
    assert candidates(["model=tiny/"]) == ["model=tiny/l", "model=tiny/m", "model=tiny/s", "model=tiny/xs"]
    assert candidates(["model=tiny/s,tiny/x"]) == ["model=tiny/s,tiny/xs"]
    assert "model=tiny/s,tiny/s" not in candidates(["model=tiny/s,tiny/"])  # not twice
    assert candidates(["model=glob(ti"]) == ["model=glob(tiny/*)"]
    assert candidates(["hydra/launcher=s"]) == ["hydra/launcher=slurm"]
    assert candidates(["force="]) == ["force=false", "force=true"]
    assert candidates(["path=ru"]) == ["path=runs/"]
    assert candidates(["path=runs/"]) == ["path=runs/mine/"]
    assert candidates(["experiment=pap"]) == ["experiment=paper", "experiment=paper_v1"]


def test_it_imports_nothing_heavy(folder: Path) -> None:
    code = (
        "import sys; from evalrun.cli import main; main(['__complete', 'plan', 'model=ti']); "
        "assert not {'hydra', 'omegaconf', 'yaml', 'torch', 'mlflow', 'numpy'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "model=tiny/l"
    assert time.perf_counter() - began < 3  # 0.1 s on an idle machine


class Terminal:
    """A shell in a pseudo-terminal."""

    def __init__(self, words: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe(words[0], words, environment)

    def type(self, text: str, until: str, seconds: float = 20) -> str:
        """Type, then read until something is seen; returns what was seen, without control sequences."""
        os.write(self.fd, text.encode())
        seen, deadline = "", time.monotonic() + seconds
        while time.monotonic() < deadline:
            if select.select([self.fd], [], [], 0.2)[0]:
                seen += os.read(self.fd, 65536).decode(errors="replace")
            plain = re.sub(r"\x1b(\[[0-9;?>=]*[a-zA-Z]|\][^\x07\x1b]*(\x07|\x1b\\)|[=>()][0B]?)|[\r\x07\x08]", "", seen)
            if until in plain:
                return plain
        raise AssertionError(f"{until!r} not in {seen!r}")

    def close(self) -> None:
        os.close(self.fd)
        os.waitpid(self.pid, 0)


START = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "PS1='$ '; source <(evalrun completion bash); echo rea''dy\n"),
    "zsh": (
        ["zsh", "-f", "-i"],
        "PS1='$ '; autoload -Uz compinit && compinit -u -D; source <(evalrun completion zsh); echo rea''dy\n",
    ),
    "fish": (["fish", "--no-config", "-i"], "evalrun completion fish | source; echo rea''dy\n"),
}


@pytest.fixture(params=SHELLS)
def terminal(request: pytest.FixtureRequest, folder: Path) -> Iterator[Terminal]:
    """Each shell that is installed, with our completion read, and both ways to call us."""
    words, start = START[request.param]
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    bin_ = folder / "bin"
    bin_.mkdir()
    for name, arguments in (("evalrun", "-m evalrun"), ("python", "")):
        (bin_ / name).write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
        (bin_ / name).chmod(0o755)
    environment = {
        **os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src"), "TERM": "dumb",
        "HOME": str(folder), "LANG": "C.UTF-8",
    }  # fmt: skip
    opened = Terminal(words, folder, environment)
    opened.type(start, "ready")
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("typed", "becomes"),
    [
        ("evalrun pref\t", "evalrun prefetch "),
        ("evalrun plan task=capi\t", "evalrun plan task=capitals "),
        ("python -m evalrun -m model=tiny/s,tiny/x\t", "model=tiny/s,tiny/xs "),
        ("evalrun -m 'model=glob(tin\t", "'model=glob(tiny/*)"),
        ("evalrun watch path=ru\tmi\t", "path=runs/mine/"),
        ("evalrun plan hydra/launcher=sl\t", "hydra/launcher=slurm "),
    ],
)
def test_in_a_shell(terminal: Terminal, typed: str, becomes: str) -> None:
    first, *rest = typed.split("\t")[:-1]
    terminal.type(f"{first}\t", becomes if not rest else "runs/")
    for more in rest:
        terminal.type(f"{more}\t", "ne/")
