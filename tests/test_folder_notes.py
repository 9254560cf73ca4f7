"""What was found out of a folder is asked again as soon as anything in it is another, and not before."""

import json
import os
import shutil
from pathlib import Path

import pytest

from evalrun import checkpoints
from evalrun.checkpoints import contents, folder_notes
from evalrun.checkpoints.folder_notes import FolderNotes
from evalrun.checkpoints.suites import folders, local
from evalrun.core import memory
from evalrun.core.errors import CheckpointError
from evalrun.core.records import Checkpoint

pytestmark = pytest.mark.usefixtures("settled")


@pytest.fixture
def settled(monkeypatch, tmp_path):
    """Folders are kept at once, in a place of their own."""
    monkeypatch.setattr(folder_notes, "_SETTLED_S", -60.0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "multirun").mkdir()


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "run" / "step10"
    made.mkdir(parents=True)
    (made / "config.json").write_text("{}")
    return made


class Asked:
    """Counts how often it is asked."""

    def __init__(self, *said):
        self.said, self.times = list(said), 0

    def __call__(self):
        self.times += 1
        return self.said.pop(0)


def test_a_folder_that_stays_is_asked_once_in_this_process_and_the_next(folder, tmp_path):
    asked, file = Asked("first", "second"), tmp_path / "notes.json"
    notes = FolderNotes(file)
    assert [notes.kept(folder, "what", asked), notes.kept(folder, "what", asked)] == ["first", "first"]
    notes.save()
    assert FolderNotes(file).kept(folder, "what", asked) == "first"
    assert FolderNotes(file).kept(folder, "else", asked) == "second"  # another question
    assert asked.times == 2


def _same_size_and_date(folder):
    stat = (folder / "config.json").stat()
    (folder / "config.json").write_text("[]")
    os.utime(folder / "config.json", ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _other_file_renamed_over(folder):
    old = (folder / "config.json").stat()
    (folder / "new").write_text("[]")
    os.utime(folder / "new", ns=(old.st_atime_ns, old.st_mtime_ns))
    (folder / "new").rename(folder / "config.json")


@pytest.mark.parametrize(
    "change",
    [
        _same_size_and_date,
        _other_file_renamed_over,
        lambda folder: (folder / "model.safetensors").touch(),
        lambda folder: (folder / "config.json").unlink(),
        lambda folder: (folder / "config.json").rename(folder / "other.json"),
        lambda folder: (folder / "below").mkdir(),
    ],
)
def test_any_change_is_asked_again(folder, tmp_path, change):
    asked, notes = Asked("before", "after"), FolderNotes(tmp_path / "notes.json")
    notes.kept(folder, "what", asked)
    change(folder)
    assert notes.kept(folder, "what", asked) == "after"


def test_a_target_of_a_link_that_is_written_again_is_seen(folder, tmp_path):
    (tmp_path / "weights").write_text("aa")
    (folder / "model.safetensors").symlink_to(tmp_path / "weights")
    (folder / "broken").symlink_to(tmp_path / "nowhere")
    asked, notes = Asked("before", "after"), FolderNotes(tmp_path / "notes.json")
    notes.kept(folder, "what", asked)
    stat = (tmp_path / "weights").stat()
    (tmp_path / "weights").write_text("bb")
    os.utime(tmp_path / "weights", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert notes.kept(folder, "what", asked) == "after"


def test_what_changed_a_moment_ago_changes_while_it_is_read_or_lies_elsewhere_is_not_kept(
    folder, tmp_path, monkeypatch
):
    notes = FolderNotes(tmp_path / "notes.json")

    def changes():
        (folder / f"new{len(list(folder.iterdir()))}").touch()
        return "seen"

    for find, whole, seconds in ((Asked(1, 2), True, 60.0), (changes, True, -60.0), (Asked(1, 2), False, -60.0)):
        monkeypatch.setattr(folder_notes, "_SETTLED_S", seconds)
        notes.kept(folder, "what", find, lambda whole=whole: whole)
        assert notes._news == {}
    with pytest.raises(CheckpointError):
        notes.kept(folder, "what", lambda: (_ for _ in ()).throw(CheckpointError("no.")))
    assert notes._news == {}


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff", b'{"by": 1}', b'{"by": "CODE", "folders": 3}', b'{"by": "CODE", "folders": {"F": 1}}',
     b'{"by": "CODE", "folders": {"F": {"stamp": 1, "found": []}}}', b'{"by": "another", "folders": {}}'],
)  # fmt: skip
def test_notes_that_are_damaged_or_another_versions_say_nothing(folder, tmp_path, content):
    file = tmp_path / "notes.json"
    file.write_bytes(
        content.replace(b"CODE", folder_notes._code().encode()).replace(b'"F"', json.dumps(str(folder)).encode())
    )
    asked = Asked("anew")
    notes = FolderNotes(file)
    assert notes.kept(folder, "what", asked) == "anew"
    notes.save()
    assert FolderNotes(file).kept(folder, "what", asked) == "anew"


def test_two_processes_keep_what_both_found(folder, tmp_path):
    other, file = tmp_path / "run" / "step20", tmp_path / "notes.json"
    other.mkdir()
    (other / "config.json").write_text("{}")
    first, second = FolderNotes(file), FolderNotes(file)
    first.kept(folder, "what", Asked(1))
    second.kept(other, "what", Asked(2))
    first.save()
    second.save()
    third = FolderNotes(file)
    assert (third.kept(folder, "what", Asked()), third.kept(other, "what", Asked())) == (1, 2)


def test_nothing_is_made_where_nothing_was_evaluated(folder, tmp_path):
    notes = FolderNotes(tmp_path / "other" / ".cache" / "notes.json")
    notes.kept(folder, "what", Asked("said"))
    notes.save()
    assert not (tmp_path / "other").exists()


def test_a_place_that_cannot_be_written_costs_time_alone(folder, tmp_path):
    (tmp_path / "file").touch()
    notes = FolderNotes(tmp_path / "file" / "notes.json")
    assert notes.kept(folder, "what", Asked("said")) == "said"
    notes.save()


@pytest.fixture
def run(toy_models, tmp_path):
    shutil.copytree(toy_models / "toy-s", tmp_path / "toy-s")
    return tmp_path / "toy-s"


def test_weights_are_read_once_for_their_identity_and_again_when_they_are_others(monkeypatch, run):
    read: list[Path] = []
    real = contents.identity
    monkeypatch.setattr(contents, "identity", lambda folder, code: (read.append(folder), real(folder, code))[1])
    cell = Checkpoint("toy", "toy-s", 10, 8, 10, 4, 4000, None, str(run / "step4"), None)
    first = checkpoints.locate(cell)
    folder_notes.notes().save()
    with memory.fresh():
        assert checkpoints.locate(cell) == first
    assert len(read) == 1
    weights = Path(cell.location) / "model.safetensors"
    stat, held = weights.stat(), bytearray(weights.read_bytes())
    held[-1] ^= 1
    weights.write_bytes(held)
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # with its old date
    assert checkpoints.locate(cell).identity != first.identity


def test_a_command_looks_at_a_folder_once_and_answers_of_that_moment(monkeypatch, run):
    asked: list[str] = []
    real = folder_notes.entries
    monkeypatch.setattr(folder_notes, "entries", lambda folder: (asked.append(str(folder)), real(folder))[1])
    notes, folder = FolderNotes(run / "folders.json"), run / "step4"
    with notes.one_look():
        before = notes.entries(str(folder))
        (folder / "new.txt").write_text("later")
        assert notes.entries(str(folder)) == before
        assert asked == [str(folder)]
    assert notes.entries(str(folder)) != before


def test_what_changes_during_a_look_is_not_kept(run):
    notes, folder, found = FolderNotes(run / "folders.json"), run / "step4", iter((1, 2, 3))

    def find() -> int:
        (folder / "new.txt").write_text("while it is looked at")
        return next(found)

    with notes.one_look():
        assert notes.kept(folder, "number", find) == 1
    assert notes.kept(folder, "number", lambda: next(found)) == 2


def test_a_run_is_looked_through_once(monkeypatch, run):
    looked: list[Path] = []
    real = folders._look
    monkeypatch.setattr(folders, "_look", lambda folder: (looked.append(folder), real(folder))[1])
    first = local.find(run, local.AUTO)
    assert len(looked) == len(set(looked)) == len(first.by_step)
    with memory.fresh():
        assert local.find(run, local.AUTO) == first
    assert len(looked) == len(first.by_step)
