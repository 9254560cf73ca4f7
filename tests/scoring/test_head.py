"""Log-probabilities by blocks of the vocabulary are those of a log-softmax."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from evalrun.scoring import head as heads
from evalrun.scoring.head import Head
from evalrun.scoring.unsupported import UnsupportedError


def model(linear: torch.nn.Module, **config: object) -> SimpleNamespace:
    own = SimpleNamespace(**config)
    own.get_text_config = lambda: own
    return SimpleNamespace(get_output_embeddings=lambda: linear, config=own)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("vocabulary", [7, 64, 150])
@torch.inference_mode()
def test_blocks_give_what_log_softmax_gives(monkeypatch: pytest.MonkeyPatch, vocabulary: int, bias: bool) -> None:
    monkeypatch.setattr(heads, "BLOCK", 64)
    monkeypatch.setattr(heads, "ROWS", 10)
    torch.manual_seed(vocabulary)
    linear = torch.nn.Linear(8, vocabulary, bias=bias)
    hidden = torch.randn(33, 8) * 20
    rows = torch.arange(33).repeat_interleave(3)[torch.randperm(99)[:70].sort().values]
    tokens = torch.randint(vocabulary, (70,))
    tokens[:20] = linear(hidden)[rows[:20]].argmax(1)
    logprobs, greedy = Head(model(linear))(hidden, rows, tokens)
    expected = linear(hidden).log_softmax(1)
    torch.testing.assert_close(logprobs, expected[rows, tokens], atol=1e-5, rtol=1e-6)
    assert greedy.tolist() == (expected.argmax(1)[rows] == tokens).tolist()


@torch.inference_mode()
def test_of_equally_likely_tokens_the_first_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "BLOCK", 4)
    linear = torch.nn.Linear(1, 12, bias=False)
    linear.weight.copy_(torch.tensor([0, 0, 2, 2, 0, 2, 0, 0, 0, 0, 1, 2.0])[:, None])
    rows, tokens = torch.zeros(12, dtype=torch.long), torch.arange(12)
    assert Head(model(linear))(torch.ones(1, 1), rows, tokens)[1].nonzero().tolist() == [[2]]


@torch.inference_mode()
def test_half_precision_is_normalised_in_float32() -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(16, 100, bias=False).bfloat16()
    hidden = torch.randn(5, 16).bfloat16()
    logprobs, _ = Head(model(linear))(hidden, torch.arange(5), torch.zeros(5, dtype=torch.long))
    assert logprobs.dtype == torch.float32
    exact = (hidden.float() @ linear.weight.float().T).log_softmax(1)[:, 0]
    torch.testing.assert_close(logprobs, exact)


CHANGES: dict[str, tuple[dict[str, float], Callable[[torch.Tensor], torch.Tensor]]] = {
    "gemma 2": ({"final_logit_softcapping": 3.0}, lambda logits: torch.tanh(logits / 3.0) * 3.0),
    "cohere": ({"logit_scale": 0.25}, lambda logits: logits * 0.25),
    "granite": ({"logits_scaling": 8.0}, lambda logits: logits / 8.0),
    "none": ({"logit_scale": 1.0}, lambda logits: logits),
}


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", CHANGES)
@torch.inference_mode()
def test_logits_that_are_changed_after_the_head(
    monkeypatch: pytest.MonkeyPatch, name: str, precision: torch.dtype
) -> None:
    monkeypatch.setattr(heads, "BLOCK", 16)
    torch.manual_seed(0)
    config, change = CHANGES[name]
    linear = torch.nn.Linear(8, 50).to(precision)
    hidden = (torch.randn(5, 8) * 5).to(precision)
    rows, tokens = torch.arange(5), torch.arange(5) * 9
    logprobs, greedy = Head(model(linear, **config), precision)(hidden, rows, tokens)
    expected = change(linear(hidden)).log_softmax(1, dtype=precision)
    torch.testing.assert_close(logprobs, expected[rows, tokens].float(), atol=1e-5, rtol=1e-5)
    assert greedy.tolist() == (expected.argmax(1) == tokens).tolist()


def test_a_head_that_is_no_matrix_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="Identity"):
        Head(model(torch.nn.Identity()))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_masses_of_parts_are_those_of_softmax(monkeypatch: pytest.MonkeyPatch, precision: torch.dtype) -> None:
    monkeypatch.setattr(heads, "BLOCK", 64)
    monkeypatch.setattr(heads, "ROWS", 10)
    torch.manual_seed(0)
    linear = torch.nn.Linear(8, 150).to(precision)
    hidden = (torch.randn(33, 8) * 20).to(precision)
    parts = torch.rand(3, 150) < torch.tensor([0.05, 0.5, 2.0])[:, None]
    parts[0, :64] = False  # a block without any
    found = Head(model(linear, final_logit_softcapping=30.0), precision).masses(hidden, parts)
    chances = (torch.tanh(linear(hidden) / 30) * 30).double().softmax(1)
    expected = torch.stack([chances[:, part].sum(1) for part in parts], 1).log()
    torch.testing.assert_close(found.double(), expected, atol=1e-5 if precision == torch.float32 else 0.05, rtol=1e-5)
    torch.testing.assert_close(found[:, 2], torch.zeros(33), atol=1e-6, rtol=0)
    assert Head(model(linear), precision).masses(hidden[:0], parts).shape == (0, 3)
