"""Half-written and odd folders in a run: each is refused, passed over or said, with its reason, and the others stay."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bad_checkpoints import with_shards
from evalrun import checkpoints
from evalrun.checkpoints import beside, headers
from evalrun.checkpoints.suites import folders, local, passed_over
from evalrun.checkpoints.suites.released_steps import ReleasedSteps
from evalrun.core.records import Checkpoint
from evalrun.errors import CheckpointError

OLD_S = 7200


@pytest.fixture
def run(tmp_path: Path, toy_models: Path) -> Path:
    for step in (1, 2):
        shutil.copytree(toy_models / "toy-s" / f"step{step}", tmp_path / "run" / f"checkpoint-{step}00")
    return tmp_path / "run"


def find(run: Path) -> ReleasedSteps:
    return local.find(run, local.AUTO, counts_tokens=False)


def check(folder: Path) -> None:
    checkpoints.check_folder(folder, Checkpoint("local", "run", 1, 1, 1, 200, 1, None, str(folder), None), False)


def in_shards(folder: Path) -> None:
    with_shards(folder)
    (folder / "model.safetensors").unlink()


def optimizer_alone(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "optimizer.pt").write_bytes(b"state")


def under_another_name(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "ema.safetensors")


def in_folders_below(folder: Path) -> None:
    shutil.copytree(folder, folder / "ema_model")
    (folder / "model").mkdir()
    for path in list(folder.iterdir()):
        if path.is_file():
            path.rename(folder / "model" / path.name)


def cut_tokenizer(folder: Path) -> None:
    file = folder / "tokenizer.json"
    file.write_text(file.read_text()[:-20])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (optimizer_alone, "has no weights, only the state of its training (optimizer.pt)."),
        (under_another_name, "only ema.safetensors: rename it to model.safetensors if it is the model."),
        (in_folders_below, "below it in ema_model and model: say which with 'checkpoint.steps={STEP: checkpoint-200/"),
        (cut_tokenizer, "has a tokenizer.json that ends too early, so it is still being written or was cut short."),
    ],
)
def test_what_is_no_checkpoint_is_passed_over(run: Path, make: Callable[[Path], None], says: str) -> None:
    make(run / "checkpoint-200")
    found = find(run)
    assert found.steps == [100]
    assert says in found.unfinished[200]


def test_drafts_and_links_that_lead_nowhere_are_said(run: Path) -> None:
    (run / "tmp-checkpoint-300").mkdir()
    (run / "checkpoint-400").symlink_to("gone")
    (run / "checkpoint-500").symlink_to("checkpoint-500")
    (run / "latest").symlink_to("checkpoint-200")
    (run / "checkpoint-0200").symlink_to("checkpoint-200")  # no second checkpoint of step 200
    (run / "loop").symlink_to(".")
    found = find(run)
    assert found.steps == [100, 200]
    assert found.by_step[200].place == "checkpoint-200"
    assert found.notes == (
        f"'{run}/checkpoint-400' is passed over: it is a link to 'gone', which is not there.",
        f"'{run}/checkpoint-500' is passed over: it is a link to 'checkpoint-500', which leads back to itself.",
        f"'{run}/tmp-checkpoint-300' is passed over: by its name it is still being written or was cut short.",
    )


def test_links_to_checkpoints_elsewhere_are_checkpoints(run: Path) -> None:
    linked = run.with_name("linked")
    linked.mkdir()
    for step in (100, 200):
        (linked / f"step{step}").symlink_to(run / f"checkpoint-{step}")
    assert find(linked).steps == [100, 200]
    assert sorted(passed_over.names_below(linked)) == ["step100", "step200"]


def test_what_cannot_be_read_is_said_so(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root everything can be read, so the system's answer is pretended."""
    folder, listdir = run / "checkpoint-200", os.listdir

    def refuse(place: Path) -> list[str]:
        if Path(place) == folder:
            raise PermissionError(13, "Permission denied", str(place))
        return listdir(place)

    monkeypatch.setattr(os, "listdir", refuse)
    assert folders.unfinished(folder) == "cannot be read (Permission denied)"


def shards_of_two_saves(folder: Path) -> None:
    in_shards(folder)
    for path in folder.iterdir():
        os.utime(path, (time.time() - OLD_S,) * 2)
    os.utime(folder / "config.json")
    os.utime(folder / "model-00001-of-00002.safetensors")


def shards_of_another_index(folder: Path) -> None:
    in_shards(folder)
    shard = folder / "model-00001-of-00002.safetensors"
    tensors = load_file(shard)
    del tensors["embed_out.weight"]
    save_file(tensors, shard, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            shards_of_two_saves,
            "has shards of two saves: model-00001-of-00002.safetensors is newer than its config.json",
        ),
        (shards_of_another_index, "has embed_out.weight in model-00001-of-00002.safetensors by its model.safetensors"),
    ],
)
def test_shards_of_two_saves_are_refused(run: Path, make: Callable[[Path], None], says: str) -> None:
    make(run / "checkpoint-200")
    with pytest.raises(CheckpointError) as told:
        check(run / "checkpoint-200")
    assert says in str(told.value)


def test_shards_of_one_save_are_not(run: Path) -> None:
    folder = run / "checkpoint-200"
    in_shards(folder)
    check(folder)
    os.utime(folder / "config.json", (time.time() + OLD_S,) * 2)  # edited by hand later
    check(folder)


def test_weights_beside_the_model_are_said(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = run / "checkpoint-200"
    check(folder)
    assert not caplog.records
    shutil.copytree(run / "checkpoint-100", folder / "ema_model")
    shutil.copy(run / "checkpoint-100" / "model.safetensors", folder / "model_swa.safetensors")
    check(folder)
    assert "holds other weights too, ema_model and 1 more: model.safetensors is what is read" in caplog.text


def test_matrices_of_zeros_are_said(run: Path) -> None:
    file = run / "checkpoint-200" / "model.safetensors"
    tensors = load_file(file)
    assert beside.emptied([file]) is None
    tensors["embed_out.weight"].zero_()
    save_file(tensors, file, metadata={"format": "pt"})
    assert "holds zeros alone in embed_out.weight:" in str(beside.emptied([file]))


def test_a_file_that_ends_in_zeros_is_said(run: Path) -> None:
    file = run / "checkpoint-200" / "model.safetensors"
    whole = bytearray(file.read_bytes())
    first = len(whole) - 2000
    there = headers.read(file) or {}
    (torn,) = (name for name, stored in there.items() if stored.start < first < stored.end)
    whole[first:] = bytes(2000)
    file.write_bytes(whole)
    said = f"holds model.safetensors, which ends in zeros from amid {torn} on:"
    assert said in str(beside.emptied([file]))
    whole[-1] = 1
    file.write_bytes(whole)
    assert beside.emptied([file]) is None


def test_a_file_that_ends_in_a_bias_of_zeros_is_well(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"a.weight": torch.ones(32, 32), "b.bias": torch.zeros(256)}, file)
    assert headers.zero_tail(file) is None
    weight = torch.ones(32, 32)
    weight[20:] = 0
    save_file({"a.weight": weight, "b.bias": torch.zeros(256)}, file)
    assert headers.zero_tail(file) == "a.weight"
