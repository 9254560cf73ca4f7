"""Texts written on a CUDA device: those of lm-eval one by one, drawn ones by their seeds, and memory that runs out."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from evalrun.scoring.generation import prompt_tree, shared_texts
from evalrun.scoring.shared_prefix import SharedPrefixLM
from helpers import whole_word_tokenizer
from random_models import CONF, SHARED, VOCABULARY, spread
from scoring.test_generation import alone, asked, prompts

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    shared_texts._checked.clear()
    monkeypatch.setattr(prompt_tree, "WORTH", 16)  # so that short prompts share, too
    monkeypatch.setattr(shared_texts, "AT_ONCE", 5)  # so that texts join and leave
    yield
    gc.collect()
    torch.cuda.empty_cache()


def on_gpu(name: str, dtype: torch.dtype = torch.float32) -> SharedPrefixLM:
    model = spread(SHARED[name]).to("cuda:0", dtype)
    conf: Any = replace(CONF, device="cuda:0")
    return SharedPrefixLM(model, whole_word_tokenizer(VOCABULARY), conf, lambda count: None)


@pytest.mark.parametrize("name", SHARED)
def test_every_supported_architecture_writes_lm_evals_texts(name: str) -> None:
    lm = on_gpu(name)
    requests = asked(prompts(), until=["w7", "w11 w3"])
    found = lm.generate(requests)
    assert lm.used == "shared_prefix"
    assert found == alone(lm, requests)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_passes_its_check(dtype: torch.dtype) -> None:
    lm = on_gpu("llama", dtype)
    found = lm.generate(asked(prompts()))
    assert lm.used == "shared_prefix"  # the first texts were held against lm-eval's
    assert all(text.tokens for text in found)


def test_what_is_drawn_follows_from_the_seed_whatever_is_in_the_batch() -> None:
    lm = on_gpu("gpt-neox")
    some = prompts()
    whole = lm.generate(asked(some, repeats=3, do_sample=True, temperature=1.0))
    again = on_gpu("gpt-neox").generate(asked(some[:2], repeats=3, do_sample=True, temperature=1.0))
    assert again == whole[:6]
