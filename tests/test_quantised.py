"""Quantised weights are read by what config.json says, alone and under adapters; where a package lacks, it is named."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from adapters import save_adapter
from bad_checkpoints import says
from evalrun import checkpoints
from evalrun.checkpoints import adapted as adapted_models
from evalrun.checkpoints.suites.folders import parameters_of
from evalrun.core.records import Checkpoint
from evalrun.errors import CheckpointError
from helpers import make_checkpoint

TRUST = {"remote_code": False, "pickle": False, "unused_weights": False}
MISSING = {
    "awq": ("gptqmodel", {"bits": 4, "group_size": 32, "zero_point": True}),
    "gptq": ("optimum", {"bits": 4, "group_size": 32, "desc_act": False, "sym": True}),
    "bitsandbytes": ("bitsandbytes", {"load_in_4bit": True}),
    "torchao": ("torchao", {"quant_type": {"default": {"_type": "Int8WeightOnlyConfig", "_data": {"version": 2}}}}),
}


def cell_of(folder: Path, tokenizer: Path | None = None) -> Checkpoint:
    return Checkpoint("local", "run", 1, 1, 1, 10, 10, None, str(folder), None, tokenizer and str(tokenizer))


def load(folder: Path, dtype: str = "auto", base: Path | None = None) -> checkpoints.Loaded:
    located = checkpoints.locate(cell_of(folder, base), base=base and str(base))
    return checkpoints.load(located, folder, dtype, "cpu", TRUST)


@pytest.mark.parametrize("method", MISSING)
def test_a_package_that_lacks_is_named(tmp_path: Path, method: str) -> None:
    package, how = MISSING[method]
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    folder = make_checkpoint(tmp_path / "step10", seed=1)
    says(folder, quantization_config={"quant_method": method, **how})
    with pytest.raises(CheckpointError, match=f"{package}.*install what it names") as told:
        load(folder)
    assert "\n" not in str(told.value)


def test_parameters_are_those_of_the_model_and_not_of_its_packed_numbers(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "step10", seed=1)
    plain = parameters_of(folder)
    says(folder, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    (folder / "model.safetensors").unlink()  # nothing of it is counted
    assert parameters_of(folder) == plain


def _settings(method: str) -> Any:
    if method == "torchao":
        pytest.importorskip("torchao", reason="torchao is not installed")
        from torchao.quantization import Int8WeightOnlyConfig
        from transformers import TorchAoConfig

        return TorchAoConfig(Int8WeightOnlyConfig())
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_8bit=method == "8 bits", load_in_4bit=method == "4 bits")


@pytest.mark.parametrize("method", ["8 bits", "4 bits", "torchao"])
def test_a_quantised_model_is_what_was_saved_and_a_base_for_adapters(tmp_path: Path, method: str) -> None:
    import peft
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    settings = _settings(method)
    plain, folder, tuned = tmp_path / "plain", tmp_path / "step10", tmp_path / "tuned"
    make_checkpoint(plain, seed=1, hidden=64)
    made = AutoModelForCausalLM.from_pretrained(plain, quantization_config=settings).eval()
    made.save_pretrained(folder)
    AutoTokenizer.from_pretrained(plain).save_pretrained(folder)
    save_adapter(plain, tuned, seed=3)
    tokens = torch.arange(12)[None]
    with torch.inference_mode():
        own_model = load(folder).model
        torch.testing.assert_close(own_model(tokens).logits, made(tokens).logits, rtol=0, atol=0)
        adapted_models.let_go(own_model)
        own = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), tuned).eval()
        adapted = load(tuned, base=folder).model(tokens).logits
        torch.testing.assert_close(adapted, own(tokens).logits, rtol=0, atol=0)
        assert not torch.allclose(adapted, made(tokens).logits)
    assert "quantization_config" in json.loads((folder / "config.json").read_text())
    assert parameters_of(folder).total == parameters_of(plain).total
    if method != "torchao":
        with pytest.raises(CheckpointError, match=r"computes in float32, .* scorer.dtype is bfloat16"):
            load(folder, "bfloat16")
