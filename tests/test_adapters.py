"""Adapters: scored as the merged model, on a base that is loaded once and comes back as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments, default_data_collator

from adapters import save_adapter, settings
from evalrun import checkpoints
from evalrun.checkpoints import adapted
from evalrun.checkpoints.suites import folders, local
from evalrun.core.records import Checkpoint
from evalrun.errors import CheckpointError
from helpers import make_checkpoint

TRUST = {"remote_code": False, "pickle": False, "unused_weights": False}
KINDS = ("LoRA", "DoRA", "IA3", "LoRA with a head")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("adapters") / "base", seed=1)


@pytest.fixture(autouse=True)
def _alone() -> None:
    adapted.forget()


def cell(folder: Path, tokenizer: Path | None) -> Checkpoint:
    return Checkpoint(
        "toy", "tuned", 10, 8, 10, 4, 4000, None, str(folder), None, None if tokenizer is None else str(tokenizer)
    )


def load(folder: Path, base: Path, dtype: str = "auto", named: str | None = None) -> checkpoints.Loaded:
    located = checkpoints.locate(cell(folder, base), base=named)
    return checkpoints.load(located, folder, dtype, "cpu", TRUST)


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(torch.arange(12)[None] % 10).logits.clone()
    return found


def refused(folder: Path, base: Path, named: str | None = None) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(folder, base, named=named)
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    return said


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_gives_what_the_merged_model_gives_and_the_base_comes_back(
    base: Path, tmp_path: Path, kind: str
) -> None:
    merged = save_adapter(base, tmp_path / "trained", kind)
    save_adapter(base, tmp_path / "zero", kind, seed=None)
    bare = logits(checkpoints.load(checkpoints.locate(cell(base, None)), base, "auto", "cpu", TRUST).model)
    one = load(tmp_path / "trained", base)
    assert one.adapter == f"{kind.split()[0]} on {base}"
    torch.testing.assert_close(logits(one.model), logits(merged), rtol=0, atol=2e-5)
    assert float((logits(one.model) - bare).abs().max()) > 0.1
    assert torch.equal(logits(load(tmp_path / "zero", base).model), bare)  # to the bit, after another adapter


def test_the_base_is_loaded_once_and_let_go_for_another_model(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3):
        save_adapter(base, tmp_path / str(seed), seed=seed)
    read: list[str] = []
    real = AutoModelForCausalLM.from_pretrained

    def noted(place: Path, **how: Any) -> Any:
        read.append(Path(place).name)
        return real(place, **how)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", noted)
    models = [load(tmp_path / str(seed), base).model for seed in range(3)]
    assert read == ["base"]
    assert models[0] is models[2]
    load(tmp_path / "0", base, dtype="bfloat16")
    assert read == ["base", "base"]
    checkpoints.load(checkpoints.locate(cell(base, None)), base, "auto", "cpu", TRUST)
    assert read == ["base", "base", "base"]
    assert models[0].get_input_embeddings().weight.numel() == 0  # its memory is given back


def test_one_job_after_another_gives_what_each_gives_alone(base: Path, tmp_path: Path) -> None:
    kinds = [*KINDS, "LoRA"]
    merged = [save_adapter(base, tmp_path / str(at), kind, seed=at) for at, kind in enumerate(kinds)]
    for at, model in enumerate(merged):
        got = logits(load(tmp_path / str(at), base).model)
        torch.testing.assert_close(got, logits(model), rtol=0, atol=2e-5)
        adapted.forget()
        assert torch.equal(logits(load(tmp_path / str(at), base).model), got)
        if at:
            load(tmp_path / str(at - 1), base)  # what comes next follows another kind


def test_identity_and_weights_are_of_adapter_and_base(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "trained"
    save_adapter(base, folder)
    other = make_checkpoint(tmp_path / "other", seed=2)

    def names(named: Path | None = None) -> tuple[str, str]:
        located = checkpoints.locate(cell(folder, base), base=None if named is None else str(named))
        return located.identity, checkpoints.weights_digest(located, folder)

    first = names()
    assert names(base) == first
    assert not set(names(other)) & set(first)
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"lora_alpha": 99}))
    scaled = names()
    assert not set(scaled) & set(first)
    state = load_file(folder / "adapter_model.safetensors")
    save_file({name: tensor + 1 for name, tensor in state.items()}, folder / "adapter_model.safetensors")
    assert not set(names()) & {*first, *scaled}


def test_a_wrong_base_is_a_sentence(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "trained"
    save_adapter(base, folder)
    wide = make_checkpoint(tmp_path / "wide", seed=2, hidden=24)
    said = refused(folder, base, str(wide))
    assert "lora_A.weight is [2, 16] in the file and [2, 24] on this base" in said
    assert "base=" in said
    assert "is not there: say where it is with base=" in refused(folder, base, "/no/such/base")
    (tmp_path / "empty").mkdir()
    assert "no whole model" in refused(folder, base, str(tmp_path / "empty"))
    assert "no whole model" in refused(folder, base, str(folder))
    assert "is for adapters" in refused(base, base, str(wide))


def settings_of(folder: Path, **keys: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"base_model_name_or_path": None}, "names no base model"),
        ({"base_model_name_or_path": "no/such/place/here"}, "'no/such/place/here'"),
        ({"peft_type": "PREFIX_TUNING"}, "of the kind PREFIX_TUNING"),
        ({"bias": "all"}, 'has bias: "all"'),
        ({"init_lora_weights": "pissa"}, 'has init_lora_weights: "pissa"'),
        ({"target_modules": ["c_attn"]}, "does not fit its base"),
        ({"target_modules": ["query_key_value"]}, "tensors that this base has no place for"),
        ({"target_modules": ["query_key_value", "dense_h_to_4h", "dense"]}, "tensors that this base has a place for"),
    ],
)
def test_settings_that_cannot_be_followed(base: Path, tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    folder = tmp_path / "trained"
    save_adapter(base, folder)
    settings_of(folder, **keys)
    assert said in refused(folder, base)


def test_an_adapter_in_halves_on_a_base_in_halves(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "trained"
    save_adapter(base, folder)
    state = load_file(folder / "adapter_model.safetensors")
    save_file({name: tensor.bfloat16() for name, tensor in state.items()}, folder / "adapter_model.safetensors")
    got = logits(load(folder, base, dtype="bfloat16").model).float()
    pefts = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16), folder)
    assert torch.equal(got, logits(pefts.eval()).float())


def test_pickled_adapters_need_trust(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "trained"
    save_adapter(base, folder)
    torch.save(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()
    assert "trust_pickle=true" in refused(folder, base)
    located = checkpoints.locate(cell(folder, base), trust_pickle=True)
    assert checkpoints.load(located, folder, "auto", "cpu", TRUST | {"pickle": True}).adapter


def test_a_run_of_adapters_is_found(base: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for step in (10, 20, 30):
        save_adapter(base, run / f"checkpoint-{step}", seed=step)
    found = local.find(run, "auto", counts_tokens=False)
    assert found.steps == [10, 20, 30]
    assert [release.tokenizer for release in found.by_step.values()] == [str(base)] * 3
    assert found.parameters is not None
    assert found.parameters.total == folders.parameters_of(base).total
    assert f"are adapters (LoRA) on the base '{base}'" in " ".join(found.notes)
    (run / "checkpoint-20" / "adapter_model.safetensors").unlink()
    assert "has no weights" in local.find(run, "auto").unfinished[20]


def test_a_trainers_adapters_say_their_tokens(base: Path, tmp_path: Path) -> None:
    """A Trainer counts the operations of base and adapter together."""
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), settings("DoRA"))
    rows = [{"input_ids": row, "labels": row} for row in torch.randint(0, 20, (64, 16))]
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "run"), max_steps=4, save_steps=2, per_device_train_batch_size=4, report_to=[],
        use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    Trainer(model=model, args=arguments, train_dataset=rows, data_collator=default_data_collator).train()
    found = local.find(tmp_path / "run", "auto")
    assert [(step, one.tokens) for step, one in found.by_step.items()] == [(2, 2 * 4 * 16), (4, 4 * 4 * 16)]


def test_adapters_and_whole_models_are_no_one_run(base: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for step in (10, 20):
        save_adapter(base, run / f"checkpoint-{step}", seed=step)
    make_checkpoint(run / "checkpoint-30", seed=3)
    found = local.find(run, "auto", counts_tokens=False)
    assert "'checkpoint-30' is a whole model and 'checkpoint-10' is an adapter, which cannot be one run" in str(
        found.by_step[30].fault
    )
    assert found.by_step[10].fault is None


def test_a_base_of_the_hub_is_asked_for_by_its_name(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "trained"
    save_adapter(base, folder)
    settings_of(folder, base_model_name_or_path="org/base", revision="v2")
    said = refused(folder, base)
    assert "org/base" in said
