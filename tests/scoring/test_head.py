"""Log-probabilities by blocks of the vocabulary are those of a log-softmax."""

from __future__ import annotations

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


@pytest.mark.parametrize("config", [{"final_logit_softcapping": 30.0}, {"logit_scale": 0.06}, {"logits_scaling": 8.0}])
def test_logits_that_are_changed_after_the_head_are_refused(config: dict[str, float]) -> None:
    with pytest.raises(UnsupportedError, match=next(iter(config))):
        Head(model(torch.nn.Linear(2, 2), **config))
    with pytest.raises(UnsupportedError, match="Identity"):
        Head(model(torch.nn.Identity()))
