"""Endings of the prompt's last word: told apart, in any order, and lm-eval's tokens wherever these tell them apart."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from evalrun.scoring.lm_eval_model import CheckpointLM
from evalrun.scoring.parting import encode_items
from evalrun.scoring.shared_prefix import SharedPrefixLM
from random_models import CONF, SHARED, spread

TEXT = ["one baked two bakes three baking four bake a cake at home or far away"] * 20


def endings() -> Any:
    """A byte-level tokenizer that has each of a few words as one token."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=["<eos>"], show_progress=False)
    raw.train_from_iterator(TEXT, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<eos>", bos_token="<eos>")


@pytest.fixture(scope="module", params=[SharedPrefixLM, CheckpointLM])
def lm(request: pytest.FixtureRequest) -> Any:
    return request.param(spread(SHARED["gpt-neox"]), endings(), CONF, lambda count: None)


def asked(*items: tuple[str, list[str]]) -> list[Any]:
    return [
        SimpleNamespace(args=(context, choice), task_name="made", doc_id=item)
        for item, (context, choices) in enumerate(items)
        for choice in choices
    ]


def log_probability(lm: Any, tokens: list[int], start: int) -> float:
    with torch.no_grad():
        logprobs = lm.model(torch.tensor([tokens])).logits[0].log_softmax(-1)
    return sum(float(logprobs[i - 1, tokens[i]]) for i in range(start, len(tokens)))


@pytest.mark.parametrize("choices", [["d a cake", "s a cake"], ["d", "s"], ["d", "s", " a cake"]])
def test_endings_are_scored_from_where_their_tokens_part(lm: Any, choices: list[str]) -> None:
    prompt = "one bake"
    before = lm.tokenizer(prompt)["input_ids"]
    wholes = [lm.tokenizer(prompt + choice)["input_ids"] for choice in choices]
    cut = len(before) - 1
    assert all(whole[:cut] == before[:cut] for whole in wholes)
    assert wholes[0][cut] != before[cut]  # one token spans the join
    expected = [log_probability(lm, whole, cut) for whole in wholes]
    assert len({round(value, 3) for value in expected}) == len(choices)
    lm.parted.clear()
    found = [value for value, _ in lm.loglikelihood(asked((prompt, choices)))]
    assert found == pytest.approx(expected, abs=1e-4)
    assert lm.parted == {("made", 0)}
    assert [value for value, _ in lm.loglikelihood(asked((prompt, choices[::-1])))][::-1] == pytest.approx(found)


def test_where_lm_evals_tokens_tell_choices_apart_they_are_kept(lm: Any) -> None:
    requests = asked(
        ("one bake", ["d a cake", "s at home"]),  # spans, and the rest differs
        ("one bake", [" a cake", " a cake"]),  # one text twice is no fault of the tokens
        ("two", [" bakes", " baked"]),
        ("", ["bakes", "baked"]),
    )
    lm.parted.clear()
    found = [value for value, _ in lm.loglikelihood(requests)]
    assert lm.parted == set()
    assert found == pytest.approx([value for value, _ in HFLM.loglikelihood(lm, requests, disable_tqdm=True)], abs=1e-4)


def test_items_are_parted_one_by_one(lm: Any) -> None:
    """The same texts asked by another item, or with another encoding, are lm-eval's."""
    pairs = [("one bake", "d a cake"), ("one bake", "s a cake")]
    together, parted = encode_items(lm, pairs, [0, 0], separate=False)
    apart, none = encode_items(lm, pairs, [0, 1], separate=False)
    assert (parted, none) == ([0, 1], [])
    assert apart[0] == apart[1]
    assert together[0] != together[1]
    assert encode_items(lm, pairs, [0, 0], separate=True)[1] == []
    first = lm.loglikelihood(asked(("one bake", ["d a cake", "s a cake"])))
    other = lm.loglikelihood([*asked(("one bake", ["d a cake"])), *asked(("x", []), ("one bake", ["s a cake"]))])
    assert first[0] != first[1]
    assert other[0] == pytest.approx(other[1])  # not the plan of the other question


def test_a_prompt_whose_first_token_is_spanned_is_scored_after_the_beginning_of_text(lm: Any) -> None:
    found = [value for value, _ in lm.loglikelihood(asked((" bake", ["d", "s"])))]
    wholes = [[lm.prefix_token_id, *lm.tokenizer(f" bake{ending}")["input_ids"]] for ending in ("d", "s")]
    assert found == pytest.approx([log_probability(lm, whole, 1) for whole in wholes], abs=1e-4)
