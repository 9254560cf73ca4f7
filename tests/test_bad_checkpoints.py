"""Checkpoints that are not what they seem are named; those that only look odd are scored as before."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from bad_checkpoints import BY_THEIR_FILES, BY_THEIR_WEIGHTS, says, with_an_adapter, with_shards
from evalrun import checkpoints
from evalrun.checkpoints import fit
from evalrun.checkpoints.suites.folders import unfinished
from evalrun.core.records import Checkpoint
from evalrun.errors import CheckpointError
from helpers import make_checkpoint

TRUST = {"remote_code": False, "pickle": False, "unused_weights": False}
ALLOWING = TRUST | {"unused_weights": True}


@pytest.fixture
def cell(toy_models: Path, tmp_path: Path) -> Checkpoint:
    folder = tmp_path / "step4"
    shutil.copytree(toy_models / "toy-s" / "step4", folder)
    return Checkpoint("toy", "toy-s", 10, 8, 10, 4, 4000, None, str(folder), None)


def load(cell: Checkpoint, trust: dict[str, bool] = TRUST) -> checkpoints.Loaded:
    located = checkpoints.locate(cell, trust["pickle"], trust["remote_code"], trust["unused_weights"])
    return checkpoints.load(located, Path(cell.location), "auto", "cpu", trust)


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(torch.arange(6)[None]).logits
    return found


@pytest.mark.parametrize("kind", BY_THEIR_FILES)
def test_what_is_in_the_folder_is_said_before_anything_is_loaded(cell: Checkpoint, kind: str) -> None:
    make, named = BY_THEIR_FILES[kind]
    make(Path(cell.location))
    with pytest.raises(CheckpointError) as refused:
        checkpoints.locate(cell)
    assert all(part in str(refused.value) for part in [*named, cell.location]), refused.value


@pytest.mark.parametrize("kind", BY_THEIR_WEIGHTS)
def test_weights_of_the_file_and_of_the_model_are_the_same_set(cell: Checkpoint, kind: str) -> None:
    make, named = BY_THEIR_WEIGHTS[kind]
    make(Path(cell.location))
    with pytest.raises(CheckpointError) as refused:
        load(cell)
    assert all(part in str(refused.value) for part in [*named, cell.location]), refused.value
    assert "\n" not in str(refused.value)


def test_the_whole_model_alone_where_that_is_allowed(cell: Checkpoint) -> None:
    whole = load(cell)
    with_an_adapter(Path(cell.location))
    alone = load(cell, ALLOWING)
    assert alone.unused == ("adapter_config.json",)
    assert not any("lora" in name for name, _ in alone.model.named_modules())
    torch.testing.assert_close(logits(alone.model), logits(whole.model), rtol=0, atol=0)


def test_layers_are_dropped_where_that_is_allowed_and_are_not_counted(cell: Checkpoint) -> None:
    make, _ = BY_THEIR_WEIGHTS["fewer layers"]
    whole = load(cell)
    make(Path(cell.location))
    loaded = load(cell, ALLOWING)
    assert len(loaded.unused) == 12
    assert all(name.startswith("gpt_neox.layers.1.") for name in loaded.unused)
    assert loaded.parameters == (
        sum(p.numel() for p in loaded.model.parameters()),
        sum(p.numel() for p in loaded.model.gpt_neox.layers.parameters()) + 32,  # the last norm
    )
    assert whole.parameters is not None
    assert whole.parameters[0] > loaded.parameters[0]


def test_the_same_weights_once_in_one_file_and_once_in_shards_are_one_model(cell: Checkpoint) -> None:
    with_shards(Path(cell.location), scale=1.0)
    assert load(cell).unused == ()
    (Path(cell.location) / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match="holds two models"):
        checkpoints.locate(cell)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_pointer_of_git_lfs_is_told_as_one(cell: Checkpoint, name: str) -> None:
    (Path(cell.location) / "tokenizer_old").mkdir()
    checkpoints.locate(cell)
    (Path(cell.location) / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(CheckpointError, match=f"{name} that is a Git LFS pointer, not the file: run `git lfs pull`"):
        checkpoints.locate(cell)
    assert "git lfs pull" in str(unfinished(Path(cell.location)))


def test_a_pickle_that_was_written_later_is_said_and_not_read(
    cell: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    pickle, read = (Path(cell.location) / name for name in ("pytorch_model.bin", "model.safetensors"))
    pickle.write_bytes(b"never read")
    os.utime(pickle, (read.stat().st_mtime - 9, read.stat().st_mtime - 9))
    checkpoints.locate(cell)
    assert "written later" not in caplog.text
    os.utime(pickle, (read.stat().st_mtime + 3600, read.stat().st_mtime + 3600))
    checkpoints.locate(cell)
    assert "pytorch_model.bin that was written later: model.safetensors is what is read" in caplog.text


def test_an_index_without_its_shards_beside_a_whole_file_stops_nothing(cell: Checkpoint) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (Path(cell.location) / "model.safetensors.index.json").write_text(json.dumps(index))
    assert load(cell).unused == ()
    own = {"weight_map": {"a": "model.safetensors"}}
    (Path(cell.location) / "model.safetensors.index.json").write_text(json.dumps(own))
    assert load(cell).unused == ()


def test_leftovers_of_older_releases_stop_nothing(cell: Checkpoint) -> None:
    """What published Pythia, GPT-2, GPT-Neo, OLMo, Llama and BERT checkpoints hold beside their weights."""
    file = Path(cell.location) / "model.safetensors"
    tensors = load_file(file)
    for layer in range(2):
        place = f"gpt_neox.layers.{layer}.attention"
        tensors[f"{place}.bias"] = torch.ones(1, 1, 64, 64, dtype=torch.uint8)
        tensors[f"{place}.masked_bias"] = torch.tensor(-1e9)
        tensors[f"{place}.rotary_emb.inv_freq"] = torch.ones(2)
        tensors[f"{place}._extra_state"] = torch.empty(0, dtype=torch.uint8)
        tensors[f"{place}.rotary_emb.cos_sin_cache"] = torch.ones(64, 4)
        tensors[f"{place}.rotary_emb._cos_cached"] = torch.ones(64, 4)
    tensors["gpt_neox.embed_positions.position_ids"] = torch.arange(64)[None]
    tensors["gpt_neox.embeddings.token_type_ids"] = torch.zeros(1, 64, dtype=torch.int64)
    tensors["gpt_neox.freqs_cis"] = torch.ones(64, 4)
    tensors["rope.freqs"] = torch.ones(4)
    save_file(tensors, file, metadata={"format": "pt"})
    assert load(cell).unused == ()
    assert "+fit" not in checkpoints.locate(cell).identity


@pytest.mark.parametrize("name", ["transformer.h.3.attn.attention.bias", "transformer.h.0.attn.masked_bias"])
def test_masks_are_leftovers_and_biases_are_not(name: str) -> None:
    assert fit.is_leftover(name, (1, 1, 8, 8) if name.endswith(".bias") else ())
    assert not fit.is_leftover("model.layers.0.attention.dense.bias", (16,))
    assert not fit.is_leftover("model.layers.0.attn.bias", (16,))


def test_a_tied_head_that_is_saved_twice_stops_nothing(tmp_path: Path, cell: Checkpoint) -> None:
    folder = Path(cell.location)
    tensors = load_file(folder / "model.safetensors")
    tensors["embed_out.weight"] = tensors["gpt_neox.embed_in.weight"].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    says(folder, tie_word_embeddings=True)
    model = load(cell).model
    assert model.lm_head.weight is model.gpt_neox.embed_in.weight
    assert "+head" not in checkpoints.locate(cell).identity
    tensors["embed_out.weight"] += 1.0
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert checkpoints.locate(cell).identity.endswith("+head")  # what was filed of it may be of the wrong head


def test_what_is_quantised_as_config_json_says_is_left_to_transformers(cell: Checkpoint) -> None:
    says(Path(cell.location), quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 128})
    with pytest.raises(CheckpointError, match="cannot be loaded") as refused:
        load(cell)
    assert "homemade" not in str(refused.value)


class TestIdentity:
    def test_of_a_sound_checkpoint_is_what_it_always_was(self, cell: Checkpoint) -> None:
        folder = Path(cell.location)
        names = ["model.safetensors", *sorted(file.name for file in folder.glob("*.json"))]
        lines = [f"{name} {hashlib.sha256((folder / name).read_bytes()).hexdigest()}" for name in names]
        assert checkpoints.locate(cell).identity == f"files:{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()}"

    def test_files_that_are_read_count(self, cell: Checkpoint) -> None:
        folder = Path(cell.location)
        before = checkpoints.locate(cell).identity
        for name in ("merges.txt", "vocab.txt", "notes.txt", "own.py"):
            (folder / name).write_text("a b\n")
        assert checkpoints.locate(cell).identity == before  # tokenizer.json is what is read, and code is not trusted
        (folder / "tokenizer.json").rename(folder / "tokenizer.away")
        without = checkpoints.locate(cell).identity
        for name in ("merges.txt", "vocab.txt", "own.tiktoken"):
            (folder / name).write_text("a c\n")
            changed = checkpoints.locate(cell).identity
            assert changed != without, name
            without = changed
        (folder / "notes.txt").write_text("a c\n")
        assert checkpoints.locate(cell).identity == without

    def test_trusted_code_counts(self, cell: Checkpoint) -> None:
        folder = Path(cell.location)
        says(folder, auto_map={"AutoModelForCausalLM": "own.Model"})
        (folder / "own.py").write_text("SCALE = 1.0\n")
        untrusted, trusted = (checkpoints.locate(cell, remote_code=trust).identity for trust in (False, True))
        (folder / "own.py").write_text("SCALE = 0.1\n")
        assert checkpoints.locate(cell).identity == untrusted
        assert checkpoints.locate(cell, remote_code=True).identity != trusted

    def test_an_adapter_that_is_passed_over_does_not_count(self, cell: Checkpoint) -> None:
        before = checkpoints.locate(cell).identity
        with_an_adapter(Path(cell.location))
        assert checkpoints.locate(cell, unused_weights=True).identity == before


def test_a_masked_model_is_refused(tmp_path: Path) -> None:
    import transformers as hf

    shape = {"vocab_size": 26, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    make_checkpoint(tmp_path / "neox", seed=0)
    for decoder in (False, True):
        folder = tmp_path / str(decoder)
        config = hf.BertConfig(**shape, intermediate_size=32, is_decoder=decoder)
        hf.BertLMHeadModel(config).save_pretrained(folder)
        for file in (tmp_path / "neox").glob("tokenizer*"):
            shutil.copy(file, folder)
        cell = Checkpoint("s", "m", 1, 1, 1, 1, 1, None, str(folder), None)
        if decoder:
            load(cell)
        else:
            with pytest.raises(CheckpointError, match=r"BertLMHeadModel that sees the tokens .* is_decoder: true"):
                load(cell)


def test_code_that_is_not_trusted_says_the_setting(cell: Checkpoint) -> None:
    folder = Path(cell.location)
    (folder / "own.py").write_text("class Config: pass\n")
    says(folder, model_type="own", auto_map={"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"})
    with pytest.raises(CheckpointError, match=r"code of its own \(own\.py\).*trust_remote_code=true\."):
        load(cell)


def test_a_model_saved_without_its_head_says_so(cell: Checkpoint) -> None:
    import transformers as hf

    folder = Path(cell.location)
    model = hf.AutoModelForCausalLM.from_pretrained(folder)
    model.gpt_neox.save_pretrained(folder)
    with pytest.raises(CheckpointError, match="saved as a GPTNeoXModel, which is no GPTNeoXForCausalLM"):
        load(replace(cell))


def test_a_head_that_is_left_out_as_tied_and_not_said_to_be_says_what_to_say(cell: Checkpoint) -> None:
    folder = Path(cell.location)
    tensors = load_file(folder / "model.safetensors")
    del tensors["embed_out.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks the weight .*say tie_word_embeddings: true in its config\.json"):
        load(cell)
    says(folder, tie_word_embeddings=True)
    assert load(replace(cell)).model.lm_head.weight.equal(tensors["gpt_neox.embed_in.weight"])


def test_weights_of_several_precisions_are_said_where_the_config_names_none(
    cell: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(cell.location)
    file = folder / "model.safetensors"
    first, *others = sorted(tensors := load_file(file))
    halved = {name: tensors[name].bfloat16() for name in others}
    save_file({first: tensors[first], **halved}, file, metadata={"format": "pt"})
    assert load(cell).said == {"unused_weights": []}  # the config says float32
    described = json.loads((folder / "config.json").read_text())
    bare = {key: value for key, value in described.items() if key not in ("dtype", "torch_dtype")}
    (folder / "config.json").write_text(json.dumps(bare))
    for _ in range(2):
        found = load(cell)
        assert found.said == {"unused_weights": [], "stored_dtypes": {"bfloat16": len(others), "float32": 1}}
    said = f"config.json names no dtype and the weights have several ({len(others)} in bfloat16, 1 in float32)"
    assert caplog.text.count(said) == 1
    assert f"all are read in {str(found.model.dtype).removeprefix('torch.')}, that of the first" in caplog.text
    save_file(halved | {first: tensors[first].bfloat16()}, file, metadata={"format": "pt"})
    assert "stored_dtypes" not in load(cell).said
