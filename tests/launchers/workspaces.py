"""What the local launcher finds, made once: all other launchers must find the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from helpers import CHECKPOINT, MODEL, TASK, make_rows, write_rows

from .contract import Command


@pytest.fixture(scope="session")
def reference_folder(tmp_path_factory: pytest.TempPathFactory, toy_models: Path) -> Path:
    """A user's folder with the toy suite, as `workspace` makes it."""
    folder = tmp_path_factory.mktemp("reference")
    for name, n in (("toy-s", 1000), ("toy-m", 3000)):
        write(folder / "conf" / "model" / "toy" / f"{name}.yaml", MODEL.format(name=name, n=n))
    write(folder / "conf" / "checkpoint" / "toy.yaml", CHECKPOINT)
    write(folder / "conf" / "task" / "alpha.yaml", TASK.format(name="alpha", title="Alpha"))
    write_rows(folder / "data" / "alpha.jsonl", make_rows(12, 0))
    shutil.copytree(toy_models, folder / "models")
    Command(folder).prepare()
    return folder


@pytest.fixture(scope="session")
def reference(reference_folder: Path) -> dict[str, tuple[float, pd.DataFrame]]:
    """The local launcher's results of the contract's sweep."""
    command = Command(reference_folder)
    done = command.run("analysis.after_sweep=false")
    assert done.returncode == 0, done.stderr
    return command.results()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
