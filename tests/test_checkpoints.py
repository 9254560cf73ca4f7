"""Checkpoints: whole ones load; missing, truncated, partial and foreign ones are one clear sentence."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from evalrun import checkpoints
from evalrun.core.records import Checkpoint
from evalrun.errors import CheckpointError

TRUST = {"remote_code": False, "pickle": False}


@pytest.fixture
def cell(toy_models: Path, tmp_path: Path) -> Checkpoint:
    folder = tmp_path / "step4"
    shutil.copytree(toy_models / "toy-s" / "step4", folder)
    return Checkpoint("toy", "toy-s", 10, 8, 10, 4, 4000, None, str(folder), None)


def load(cell: Checkpoint) -> object:
    located = checkpoints.locate(cell)
    return checkpoints.load(located, checkpoints.fetch(located), "auto", "cpu", TRUST).model


def test_a_whole_checkpoint_loads(cell: Checkpoint) -> None:
    assert sum(p.numel() for p in load(cell).parameters()) > 0  # type: ignore[attr-defined]


def test_digests_follow_the_weights(cell: Checkpoint, toy_models: Path) -> None:
    located = checkpoints.locate(cell)
    first = checkpoints.weights_digest(located, Path(cell.location))
    assert first == checkpoints.weights_digest(located, toy_models / "toy-s" / "step4")
    assert first != checkpoints.weights_digest(located, toy_models / "toy-s" / "step8")
    identity = located.identity
    config = Path(cell.location) / "config.json"
    config.write_text(config.read_text().replace('"rotary_pct": 0.25', '"rotary_pct": 0.5'))
    assert checkpoints.weights_digest(located, Path(cell.location)) == first
    assert checkpoints.locate(cell).identity != identity or "rotary_pct" not in config.read_text()


def test_a_missing_folder(cell: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match=r"is not there; check model\.path"):
        checkpoints.locate(replace(cell, location="/no/such/folder"))
    with pytest.raises(CheckpointError, match="python -m evalrun tiny"):
        checkpoints.locate(replace(cell, location="/no/such/folder", suite="tiny"))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file(cell: Checkpoint, name: str) -> None:
    (Path(cell.location) / name).unlink()
    with pytest.raises(CheckpointError, match="is incomplete"):
        checkpoints.locate(cell)


def test_truncated_weights(cell: Checkpoint) -> None:
    path = Path(cell.location) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load(cell)


def test_a_tokenizer_that_lacks_a_file(cell: Checkpoint) -> None:
    (Path(cell.location) / "tokenizer.json").unlink()
    said = "the tokenizer of .* cannot be loaded: .* it has tokenizer_config.json: add what lacks, or name another"
    with pytest.raises(CheckpointError, match=said):
        load(cell)


def test_weights_that_lack_a_tensor_are_not_scored_with_random_ones(cell: Checkpoint) -> None:
    from safetensors.torch import load_file, save_file

    path = Path(cell.location) / "model.safetensors"
    tensors = load_file(path)
    gone = next(name for name in tensors if name.endswith("dense_h_to_4h.weight"))
    tensors.pop(gone)
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="lacks the weight "):
        load(cell)


def test_a_missing_shard(cell: Checkpoint) -> None:
    folder = Path(cell.location)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(CheckpointError, match="lacks model-00002-of-00002"):
        checkpoints.locate(cell)
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match="lists no shards"):
        checkpoints.locate(cell)


def test_pickles_need_a_word(cell: Checkpoint) -> None:
    import torch
    from safetensors.torch import load_file

    folder = Path(cell.location)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="trust_pickle=true"):
        checkpoints.locate(cell)
    located = checkpoints.locate(cell, trust_pickle=True)
    checkpoints.load(located, Path(cell.location), "auto", "cpu", {"remote_code": False, "pickle": True})


def test_the_hub_out_of_reach() -> None:
    cell = Checkpoint("pythia", "pythia-70m", 1, 1, 1, 2, 4, None, "EleutherAI/pythia-70m", "step2")
    with pytest.raises(CheckpointError, match=r"revision 'step2' of EleutherAI/pythia-70m is not in the local cache"):
        checkpoints.locate(cell)


def test_a_checkpoint_in_the_hubs_cache_is_used_offline(
    cell: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache's layout: refs name commits, snapshots link to blobs that are named by their sha256."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repo = tmp_path / "hub" / "models--EleutherAI--pythia-70m"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "step2").write_text("c0ffee")
    shutil.copytree(cell.location, repo / "snapshots" / "c0ffee")
    hub = replace(cell, location="EleutherAI/pythia-70m", revision="step2")
    located = checkpoints.locate(hub)
    assert located.identity == "hub:EleutherAI/pythia-70m@c0ffee"
    assert located.folder is None


def test_no_such_device() -> None:
    from evalrun.checkpoints import devices

    for name in ("cuda:99", "hpu", "meta", "gpu"):
        with pytest.raises(CheckpointError, match=rf"scorer\.device is '{name}', which is not here"):
            devices.pick(name)
    assert devices.pick("cpu") == "cpu"


def test_a_model_spread_over_devices_is_the_same_model(cell: Checkpoint) -> None:
    """Where there is no GPU, accelerate puts all of it on the CPU."""
    import torch

    located = checkpoints.locate(cell)
    folder = checkpoints.fetch(located)
    whole = checkpoints.load(located, folder, "auto", "cpu", TRUST).model
    spread = checkpoints.load(located, folder, "auto", "all", TRUST).model
    tokens = torch.arange(6)[None]
    torch.testing.assert_close(spread(tokens).logits.cpu(), whole(tokens).logits)


def test_what_transformers_warns_of_every_checkpoint_is_said_once(
    cell: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that is not tied although the config says so: of a run all steps are."""
    said: list[str] = []
    logger = logging.getLogger("transformers.modeling_utils")
    monkeypatch.setattr(logger, "callHandlers", lambda record: said.append(record.getMessage()))
    for name, value in (("level", logging.WARNING), ("_cache", {}), ("disabled", False)):
        monkeypatch.setattr(logger, name, value)  # other tests may have it say nothing
    monkeypatch.setattr(sys.modules["evalrun.checkpoints.load"], "_said", set())  # other tests may have had it
    folder = Path(cell.location)
    config = json.loads((folder / "config.json").read_text())
    assert not config["tie_word_embeddings"]
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    for _ in range(3):
        load(cell)
    assert sum("we will NOT tie them" in message for message in said) == 1
