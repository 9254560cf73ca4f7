"""What the local launcher finds, made once: all other launchers must find the same."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from helpers import make_workspace

from .contract import Command


@pytest.fixture(scope="session")
def reference_folder(tmp_path_factory: pytest.TempPathFactory, toy_models: Path) -> Path:
    """A user's folder with the toy suite, as `workspace` makes it."""
    folder = make_workspace(tmp_path_factory.mktemp("reference") / "user", toy_models)
    Command(folder).prepare()
    return folder


@pytest.fixture(scope="session")
def reference(reference_folder: Path) -> dict[str, tuple[float, pd.DataFrame]]:
    """The local launcher's results of the contract's sweep."""
    command = Command(reference_folder)
    done = command.run()
    assert done.returncode == 0, done.stderr
    return command.results()
