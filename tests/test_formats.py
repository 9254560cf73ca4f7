"""Formats of trainers: the model that was saved, to the bit; and one sentence for all that is wrong."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from evalrun import checkpoints
from evalrun.checkpoints import adapted
from evalrun.checkpoints.formats.raw_checkpoint import Reading, know
from evalrun.checkpoints.suites import local
from evalrun.config.own_yaml import conf_dir
from evalrun.core import memory
from evalrun.core.records import Checkpoint
from evalrun.errors import EvalrunError
from helpers import make_checkpoint
from trainer_files import (
    LIT_LLAMA,
    LIT_PYTHIA,
    OLMO,
    TITAN,
    free_port,
    llama,
    logits,
    model_of,
    olmo2,
    renamed,
    save_dcp,
    save_nanogpt,
    save_sharded,
    torchtitan_logits,
)
from training_runs import write_state

TRUST = {"remote_code": False, "pickle": False, "unused_weights": False}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with config.json and tokenizer of the model that `model_of` makes."""
    return make_checkpoint(tmp_path_factory.mktemp("formats") / "base", seed=1)


@pytest.fixture(autouse=True)
def _alone() -> None:
    adapted.forget()


def load(place: Path, base: Path, dtype: str = "auto", pickles: bool = False, **reading: str) -> checkpoints.Loaded:
    cell = Checkpoint("toy", "run", 10, 8, 10, 4, 4000, None, str(place), None, str(base))
    located = checkpoints.locate(cell, trust_pickle=pickles, reading=Reading(**reading))
    return checkpoints.load(located, place, dtype, "cpu", TRUST)


def refused(place: Path, base: Path, **how: Any) -> str:
    with pytest.raises(EvalrunError) as caught:
        load(place, base, **how)
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith((".", "?"))
    return said


def test_dcp_of_one_process_gives_the_model_that_was_saved(base: Path, tmp_path: Path) -> None:
    model = model_of()
    optimizer = torch.optim.AdamW(model.parameters())
    save_dcp({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}, tmp_path / "step4")
    got = load(tmp_path / "step4", base, config=str(base))
    assert torch.equal(logits(got.model), logits(model))
    assert got.format == "dcp"
    half = load(tmp_path / "step4", base, "bfloat16", config=str(base)).model
    assert torch.equal(logits(half), logits(model.bfloat16()))


@pytest.mark.parametrize(("bias", "compiled"), [(False, True), (True, False)])
def test_nanogpt_gives_the_model_that_was_saved(base: Path, tmp_path: Path, bias: bool, compiled: bool) -> None:
    model = save_nanogpt(tmp_path / "out" / "ckpt.pt", 4, bias=bias, compiled=compiled)
    got = load(tmp_path / "out" / "ckpt.pt", base)
    assert type(got.model).__name__ == "GPT2LMHeadModel"
    assert torch.equal(logits(got.model), logits(model))
    assert torch.equal(logits(load(tmp_path / "out", base).model), logits(model))


def test_torchtitan_by_its_own_rotation(base: Path, tmp_path: Path) -> None:
    model = llama()
    state = renamed(model, TITAN)
    model.config.save_pretrained(tmp_path / "config")
    save_dcp(
        {**state, "train_state": {"step": 4, "ntokens_seen": 77}, "lr_scheduler": {"last": 1}}, tmp_path / "step-4"
    )
    got = load(tmp_path / "step-4", base, config=str(tmp_path / "config"))
    assert got.format == "torchtitan"
    torch.testing.assert_close(logits(got.model), torchtitan_logits(state, 4, 2, 1e-6), rtol=0, atol=2e-4)
    assert not torch.allclose(logits(got.model), logits(model), atol=1e-2)  # as they were, rows stood in another order


def test_olmo_core_says_its_architecture_its_step_and_its_tokens(base: Path, tmp_path: Path) -> None:
    model, folder = olmo2(), tmp_path / "step4"
    save_dcp({**renamed(model, OLMO), "optim": {"x": torch.ones(3)}}, folder / "model_and_optim")
    (folder / "train").mkdir()
    torch.save(
        {"global_step": 4, "global_train_tokens_seen": 512, "rng": {"cpu": torch.ones(2)}}, folder / "train/rank0.pt"
    )
    block = {"attention": {"n_heads": 4, "rope": {"theta": 10000}}, "feed_forward": {"hidden_size": 24},
             "layer_norm": {"eps": model.config.rms_norm_eps}}  # fmt: skip
    shape = {"d_model": 16, "n_layers": 2, "vocab_size": model.config.vocab_size, "block": block}
    (folder / "config.json").write_text(json.dumps({"model": shape, "dataset": {"sequence_length": 64}}))
    got = load(folder, base)
    assert got.format == "olmo-core"
    assert torch.equal(logits(got.model), logits(model))
    raw = know(folder, Reading(), "it")
    assert (raw.step, raw.tokens) == (4, 512)


def lit_config(folder: Path, model: Any, **own: Any) -> None:
    said = model.config
    folder.mkdir(parents=True, exist_ok=True)
    shape = {"n_layer": 2, "n_head": said.num_attention_heads, "n_embd": 16, "padded_vocab_size": said.vocab_size,
             "intermediate_size": said.intermediate_size, "block_size": said.max_position_embeddings,
             "rope_base": 10000, "norm_eps": 1e-5}  # fmt: skip
    (folder / "model_config.yaml").write_text(yaml.safe_dump(shape | own))


def test_litgpt_divides_the_rows_of_llama(base: Path, tmp_path: Path) -> None:
    model, folder = llama(), tmp_path / "step-00000004"
    model.config.rms_norm_eps = 1e-5
    for part in model.modules():
        if hasattr(part, "variance_epsilon"):
            part.variance_epsilon = 1e-5
    state = renamed(model, LIT_LLAMA)
    for layer in range(2):
        parts = [state.pop(f"transformer.h.{layer}.attn.{one}") for one in "qkv"]
        state[f"transformer.h.{layer}.attn.qkv.weight"] = torch.cat(parts)
    lit_config(folder, model, mlp_class_name="LLaMAMLP", norm_class_name="RMSNorm", norm_qk=False, bias=False,
               n_query_groups=2, head_size=4)  # fmt: skip
    torch.save({"model": state, "optimizer": {"state": {}}, "iter_num": 16, "step_count": 4}, folder / "lit_model.pth")
    got = load(folder, base)
    assert got.format == "litgpt-llama"
    assert torch.equal(logits(got.model), logits(model))
    assert know(folder, Reading(), "it").step == 4


def test_litgpt_puts_the_rows_of_pythia_in_order(base: Path, tmp_path: Path) -> None:
    model, folder = model_of(), tmp_path / "step-4"
    state = renamed(model, LIT_PYTHIA)
    for name in [name for name in state if ".qkv." in name]:
        rows = state[name]
        state[name] = rows.view(2, 3, 8, *rows.shape[1:]).transpose(0, 1).reshape(rows.shape)
    lit_config(folder, model, mlp_class_name="GptNeoxMLP", norm_class_name="LayerNorm", shared_attention_norm=False,
               rotary_percentage=0.25, parallel_residual=True)  # fmt: skip
    torch.save(state, folder / "lit_model.pth")
    got = load(folder, base)
    assert got.format == "litgpt-pythia"
    assert torch.equal(logits(got.model), logits(model))


def test_what_names_a_result_follows_files_rules_and_config(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "ckpt_4.pt"
    save_nanogpt(place, 4)

    def names(**reading: str) -> tuple[str, str]:
        cell = Checkpoint("toy", "run", 10, 8, 10, 4, 4000, None, str(place), None, str(base))
        with memory.fresh():
            located = checkpoints.locate(cell, reading=Reading(**reading))
        return located.identity, checkpoints.weights_digest(located, place)

    first = names()
    rules = (conf_dir() / "format" / "nanogpt.yaml").read_text()
    (tmp_path / "conf" / "format").mkdir(parents=True)
    own = tmp_path / "conf" / "format" / "nanogpt.yaml"
    own.write_text(f"# the same\n{rules}")
    assert names() == first
    own.write_text(rules.replace("activation_function: gelu", "activation_function: relu"))
    assert not set(names()) & set(first)
    own.unlink()
    save_nanogpt(place, 4, seed=1)
    assert not set(names()) & set(first)


def own_rules(folder: Path, text: str) -> None:
    (folder / "conf" / "format").mkdir(parents=True, exist_ok=True)
    (folder / "conf" / "format" / "mine.yaml").write_text(text)


def test_a_user_adds_rules_and_hears_what_is_wrong_in_them(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = model_of()
    torch.save({"net": {f"x.{name}": t for name, t in model.state_dict().items()}}, tmp_path / "ckpt_4.pt")
    own_rules(tmp_path, "container: torch\nneeds: ['net\\.x\\..*']\nweights: 'net\\.x\\.'\n")
    got = load(tmp_path / "ckpt_4.pt", base, config=str(base))
    assert got.format == "mine"
    assert torch.equal(logits(got.model), logits(model))
    for text, said in {
        "container: zip": "container is 'zip'",
        "container: torch\nnedds: []": "unknown key 'nedds': did you mean 'needs'?",
        "container: torch\nweights: '('": "no regular expression",
        "container: torch\ntensors: [{from: 'a', to: '\\1'}]": "has no group 1",
        "container: torch\ntensors: [{from: 'a'}]": "a line has from and to",
    }.items():
        own_rules(tmp_path, text)
        with memory.fresh():
            assert said in refused(tmp_path / "ckpt_4.pt", base, config=str(base), format="mine")


def test_what_is_wrong_is_one_sentence(base: Path, tmp_path: Path) -> None:
    folder, model = tmp_path / "step4", model_of()
    state = model.state_dict()
    save_dcp({"model": state}, folder)
    wide = make_checkpoint(tmp_path / "wide", seed=2, hidden=24)
    llama().config.save_pretrained(tmp_path / "llama")
    assert "says nothing of its architecture" in refused(folder, base)
    assert "does not fit its config" in refused(folder, base, config=str(wide))
    assert "checkpoint.config=" in refused(folder, base, config=str(tmp_path / "llama"))
    assert "which has no config.json" in refused(folder, base, config=str(tmp_path))
    assert "did you mean 'nanogpt'?" in refused(folder, base, config=str(base), format="nanogtp")
    assert "is for a file of torch.save" in refused(folder, base, config=str(base), format="nanogpt")
    assert "of which the rules of format torchtitan say nothing" in refused(
        folder, base, config=str(base), format="torchtitan"
    )
    save_dcp({"model": {**state, "value_head.weight": torch.ones(2, 2)}}, tmp_path / "more")
    assert "value_head.weight" in refused(tmp_path / "more", base, config=str(base))
    save_dcp({"model": {n: t for n, t in state.items() if "dense.bias" not in n}}, tmp_path / "less")
    assert "attention.dense.bias" in refused(tmp_path / "less", base, config=str(base))
    (data,) = folder.glob("*.distcp")
    whole = data.read_bytes()
    data.write_bytes(whole[: len(whole) // 2])
    assert "ends before its .metadata says" in refused(folder, base, config=str(base))
    data.unlink()
    assert "files that its .metadata names, the first __0_0.distcp" in refused(folder, base, config=str(base))
    data.write_bytes(whole)
    (folder / ".metadata").unlink()
    assert "no .metadata, which is written last" in refused(folder, base, config=str(base))


def test_folders_of_trainer_and_of_deepspeed(base: Path, tmp_path: Path) -> None:
    model, run = model_of(), tmp_path / "run"
    save_dcp({"model": model.state_dict()}, run / "checkpoint-4" / "pytorch_model_fsdp_0")
    save_dcp({"optimizer": {"x": torch.ones(2)}}, run / "checkpoint-4" / "optimizer_0")
    write_state(run / "checkpoint-4", 4, tokens=640)
    assert torch.equal(logits(load(run / "checkpoint-4", base, config=str(base)).model), logits(model))
    (step,) = local.find(run, "auto", own_tokenizer=True, reading=Reading(config=str(base))).by_step.values()
    assert (step.step, step.tokens) == (4, 640)
    zero = tmp_path / "zero" / "global_step2"
    zero.mkdir(parents=True)
    said = {"module": model.state_dict(), "global_steps": 2, "ds_version": "0.19.8", "mp_world_size": 1}
    torch.save(said, zero / "mp_rank_00_model_states.pt")
    got = load(zero, base, config=str(base))
    assert got.format == "deepspeed"
    assert torch.equal(logits(got.model), logits(model))
    (zero / "mp_rank_00_model_states.pt").rename(zero / "zero_pp_rank_0_mp_rank_00_model_states.pt")
    with pytest.raises(EvalrunError, match="zero_to_fp32"):
        local.find(zero.parent, "auto", own_tokenizer=True, reading=Reading(config=str(base)))


def test_a_step_that_the_file_says_otherwise_is_refused(base: Path, tmp_path: Path) -> None:
    save_nanogpt(tmp_path / "run" / "ckpt_8.pt", 4)
    with pytest.raises(EvalrunError, match=r"taken for step 8, and its ckpt_8.pt says step 4"):
        local.find(tmp_path / "run", "auto", own_tokenizer=True)
    (tmp_path / "run" / "ckpt_8.pt").rename(tmp_path / "run" / "ckpt_4.pt")
    with pytest.raises(EvalrunError, match=r"no tokenizer in the checkpoints of .* model\.tokenizer="):
        local.find(tmp_path / "run", "auto")


class Bomb:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.place),)


def test_nothing_of_a_pickle_is_run(base: Path, tmp_path: Path) -> None:
    mark, folder = tmp_path / "exploded", tmp_path / "step4"
    save_dcp({"model": model_of().state_dict()}, folder)
    (folder / ".metadata").write_bytes(pickle.dumps(Bomb(mark)))
    assert "posix.mkdir" in refused(folder, base, config=str(base), pickles=True)
    torch.save({"model": model_of().state_dict(), "hyper": Bomb(mark)}, tmp_path / "ckpt_4.pt")
    assert "trust_pickle=true" in refused(tmp_path / "ckpt_4.pt", base, config=str(base))
    got = load(tmp_path / "ckpt_4.pt", base, config=str(base), pickles=True)
    assert torch.equal(logits(got.model), logits(model_of()))
    assert not mark.exists()


@pytest.mark.release
def test_fsdp2_of_two_processes_gives_the_model_that_was_saved(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "step-8"
    torch.multiprocessing.spawn(save_sharded, (str(folder), free_port()), nprocs=2)
    assert len(list(folder.glob("*.distcp"))) == 2
    assert torch.equal(logits(load(folder, base, config=str(base)).model), logits(model_of()))
    raw = know(folder, Reading(config=str(base)), "it")
    assert (raw.step, raw.tokens) == (8, 4096)
