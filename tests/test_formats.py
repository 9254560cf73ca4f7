"""Formats of trainers: the model that was saved, to the bit; and one sentence for all that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from evalrun import checkpoints
from evalrun.checkpoints import adapted
from evalrun.checkpoints.formats.raw_checkpoint import Reading, know
from evalrun.core.records import Checkpoint
from evalrun.errors import EvalrunError
from helpers import make_checkpoint
from trainer_files import free_port, logits, model_of, save_dcp, save_nanogpt, save_sharded

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


@pytest.mark.release
def test_fsdp2_of_two_processes_gives_the_model_that_was_saved(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "step-8"
    torch.multiprocessing.spawn(save_sharded, (str(folder), free_port()), nprocs=2)
    assert len(list(folder.glob("*.distcp"))) == 2
    assert torch.equal(logits(load(folder, base, config=str(base)).model), logits(model_of()))
    raw = know(folder, Reading(config=str(base)), "it")
    assert (raw.step, raw.tokens) == (8, 4096)
