"""Commands on results that are in a store: each module has its own in a fixture `filed`, a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from evalrun import cli

Compare = Callable[..., tuple[int, str, str]]


@pytest.fixture
def compare(filed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Compare:
    """The command, in this process: its exit code and what it prints."""
    monkeypatch.chdir(filed)

    def run(*words: str) -> tuple[int, str, str]:
        code = cli.main(["compare", *words])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run
