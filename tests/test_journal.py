"""The journal: atomic, verified, and honest about what is damaged."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from evalrun.core.records import Checkpoint, TaskResult
from evalrun.errors import StorageError
from evalrun.journal import result_files

CELL = Checkpoint("toy", "toy-s", 10, 8, 10, 4, 4000, None, "models/toy-s/step4", None)
ITEMS = b"items"
RESULT = TaskResult(
    key="k" * 64, run_key="r" * 64, task="alpha", title="Alpha", cause="", primary_metric="acc", higher_is_better=True,
    metrics={"acc": 0.5}, stderrs={"acc": 0.1}, n=12, chance=0.4, cell=CELL, weights="w", settings={"limit": None},
    environment={"torch": "2"}, finished_ms=1, seconds=0.5, items_sha256=hashlib.sha256(ITEMS).hexdigest(),
)  # fmt: skip


def test_what_is_written_is_read(tmp_path: Path) -> None:
    with result_files.locked(tmp_path):
        result_files.write(tmp_path, RESULT, ITEMS)
    assert result_files.read(tmp_path) == {RESULT.key: RESULT}
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("damage", ["half a record", "other items", "no items", "an older record"])
def test_damage_is_set_aside(tmp_path: Path, damage: str) -> None:
    with result_files.locked(tmp_path):
        result_files.write(tmp_path, RESULT, ITEMS)
    record, items = result_files.record_path(tmp_path, RESULT), result_files.items_path(tmp_path, RESULT)
    if damage == "half a record":
        record.write_bytes(record.read_bytes()[:100])
    elif damage == "other items":
        items.write_bytes(b"itemz")
    elif damage == "no items":
        items.unlink()
    else:
        record.write_text(record.read_text().replace('"n": 12', '"count": 12'))
    assert result_files.read(tmp_path) == {}
    assert record.with_name(record.name + ".damaged").exists()


def test_items_without_a_record_are_nothing(tmp_path: Path) -> None:
    """Killed between the two writes: the record, written last, is what makes a result."""
    with result_files.locked(tmp_path):
        result_files.write(tmp_path, RESULT, ITEMS)
    result_files.record_path(tmp_path, RESULT).unlink()
    assert result_files.read(tmp_path) == {}


def test_results_of_two_settings_lie_side_by_side(tmp_path: Path) -> None:
    other = replace(RESULT, key="o" * 64)
    with result_files.locked(tmp_path):
        result_files.write(tmp_path, RESULT, ITEMS)
        result_files.write(tmp_path, other, ITEMS)
    assert set(result_files.read(tmp_path)) == {RESULT.key, other.key}


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with (
        pytest.raises(StorageError, match="no space left"),
        result_files._storage_errors(tmp_path),
        full.open("wb") as file,
    ):
        file.write(b"x" * 10)
        file.flush()


def test_a_file_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "job").write_text("")
    with pytest.raises(StorageError, match="cannot be written"), result_files.locked(tmp_path / "job"):
        pass


def test_records_survive_json() -> None:
    import json

    assert TaskResult.from_json(json.loads(json.dumps(RESULT.to_json()))) == RESULT
