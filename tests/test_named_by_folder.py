"""A run that is named by its folder, where another folder's run has that name."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalrun.commands.compare.run_groups import runs_named, stored_runs
from evalrun.commands.compare.selection import ComparedCheckpoint, named_checkpoint
from evalrun.errors import ConfigError
from evalrun.tracking.layout import CELL, FOLDER, RunEntry, TaskEntry, with_cell
from tracking.conftest import make_cell


def entry(model: str, folder: Path | None) -> RunEntry:
    task = TaskEntry("t", "T", "", "acc", True, {"acc": True}, {}, 10, 0.5, 0, 1.0, 0, key="k")
    tags = {CELL: with_cell({}, make_cell(model=model, step=64)), **task.to_tags()}
    if folder is not None:
        tags[FOLDER] = str(folder)
    return RunEntry(run_id=f"{hash(model):032x}", ended=True, tags=tags)


def checkpoints(*entries: RunEntry) -> list[ComparedCheckpoint]:
    return [ComparedCheckpoint("mine", one.model, one.seed, one.step, (one,)) for one in entries]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two folders with a run of the same name in each."""
    for name in ("a/x", "a/y", "b/x", "b/z"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path.resolve() / "runs"


def test_results_of_another_folder_are_not_taken_for_its_own(runs: Path) -> None:
    there = checkpoints(entry("x", runs / "a" / "x"), entry("hub", None))
    for word in ("x@64", "runs/a/x@64", "./runs/a/x@final", f"{runs}/a/x@64", "runs/b/../a/x@64"):
        assert named_checkpoint(word, there).model == "x"
    assert named_checkpoint("Somebody/hub@64", there).model == "hub"
    with pytest.raises(ConfigError, match=f"'runs/b/x': those of 'x' are of the run in '{runs}/a/x'; write x@64 if"):
        named_checkpoint("runs/b/x@64", there)


def test_a_run_that_was_moved_or_is_on_another_machine_is_found(runs: Path) -> None:
    there = checkpoints(entry("x", Path("/scratch/old/runs/b/x")))
    assert named_checkpoint("runs/b/x@64", there).model == "x"  # moved here
    assert named_checkpoint("old/runs/b/x@64", there).model == "x"  # as it was called there
    with pytest.raises(ConfigError, match="in '/scratch/old/runs/b/x'"):
        named_checkpoint("new/runs/b/x@64", there)


def test_a_link_is_followed(runs: Path) -> None:
    (runs / "c").mkdir()
    (runs / "c" / "linked").symlink_to(runs / "a" / "x")
    assert named_checkpoint("runs/c/linked@64", checkpoints(entry("linked", runs / "a" / "x"))).model == "linked"


def test_a_glob_of_a_folder_leaves_out_other_folders_runs(runs: Path) -> None:
    entries = [entry("x", runs / "a" / "x"), entry("y", runs / "a" / "y"), entry("z", runs / "b" / "z")]
    there = stored_runs({"mine": entries})
    assert [one.name for one in runs_named("runs/a/*", there)] == ["x", "y"]
    assert [one.name for one in runs_named("runs/b/*", there)] == ["z"]
    assert [one.name for one in runs_named("*", there)] == ["x", "y", "z"]
    with pytest.raises(ConfigError, match="no results of 'runs/b/x'"):
        runs_named("runs/b/x", there)
