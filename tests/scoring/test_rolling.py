"""Whole texts are scored after one token for their beginning, whatever the tokenizer puts round them by itself."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers as hf
from lm_eval.api.instance import Instance

from evalrun.checkpoints import token_keys, tokenizer
from evalrun.scoring import departures, open_lm
from made_tokenizers import pieces, save
from random_models import CONF, spread
from scoring.whole_texts import TEXTS, keys_by_tokenizer

WINDOW = 24
KINDS = {"story": "loglikelihood_rolling", "choice": "multiple_choice"}
ADDED = list(product((False, True), (False, True)))  # at the beginning, at the end


def rolled(lm: Any, texts: tuple[str, ...] = TEXTS) -> list[float]:
    asked = [Instance("loglikelihood_rolling", {}, (t,), 0, metadata=("story", i, 1)) for i, t in enumerate(texts)]
    return [float(value) for value in lm.loglikelihood_rolling(asked)]


def plain(lm: Any, ids: list[int]) -> float:
    """By plain transformers: windows that each predict as many new tokens as fit, the last one with all before it."""
    whole, total = [1, *ids], 0.0
    for first in range(1, len(whole), WINDOW):
        last = min(first + WINDOW, len(whole))
        begin = first - 1 if last - first == WINDOW else max(0, last - 1 - WINDOW)
        with torch.no_grad():
            logprobs = lm.model(torch.tensor([whole[begin : last - 1]])).logits[0].double().log_softmax(-1)
        total += sum(float(logprobs[i - 1 - begin, whole[i]]) for i in range(first, last))
    return total


@pytest.mark.parametrize("name", ["shared_prefix", "lm_eval"])
@pytest.mark.parametrize(("begin", "end"), ADDED)
def test_a_text_has_one_beginning_and_no_end(name: str, begin: bool, end: bool, tmp_path: Path) -> None:
    raw = pieces(begin=begin, end=end)
    shape = hf.LlamaConfig(
        vocab_size=raw.get_vocab_size(), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=WINDOW,
    )  # fmt: skip
    made = tokenizer.load(save(raw, tmp_path, "PreTrainedTokenizerFast", "llama"), remote_code=False)
    lm = open_lm(spread(lambda: hf.LlamaForCausalLM(shape)), made, replace(CONF, name=name), lambda number: None)
    ids = [raw.encode(text, add_special_tokens=False).ids for text in TEXTS]
    assert len(ids[1]) > 2 * WINDOW
    assert rolled(lm) == pytest.approx([plain(lm, one) for one in ids], abs=1e-3)
    assert lm.tok_encode("the old") == [1] * begin + raw.encode("the old", add_special_tokens=False).ids
    assert rolled(lm, ("",)) == [0.0]


def test_only_results_that_change_are_named_anew(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, keys = keys_by_tokenizer(workspace, monkeypatch, "adds_tokens")
    assert keys("adds nothing") == keys("adds nothing", known=False)
    save(pieces(), folder, "PreTrainedTokenizerFast")
    named, before = keys("adds one"), keys("adds one", known=False)
    assert named[:2] == before[:2]
    assert named[2] != before[2]
    shutil.rmtree(folder)  # what is gone is still found done
    assert keys("adds one") == named
    assert keys("never seen") == keys("never seen", known=False)


@pytest.mark.parametrize("by", ["file", "class"])
def test_the_tokenizer_that_is_followed_decides(by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that is told to add no beginning, over a file that adds one."""
    folder = save(pieces(), tmp_path, "LlamaTokenizer", "llama", add_bos_token=False)
    identity = "files:x" + (token_keys.mark(folder, None) if by == "file" else "")
    assert token_keys.adds(folder, identity, None) is bool(tokenizer.added(tokenizer.load(folder, False, by)))
    monkeypatch.setattr(token_keys, "_known", {})
    (folder / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["own.Tokens", null]}}')
    assert token_keys.adds(folder, identity, None)  # such code is not run to know


def test_it_is_said_once_and_kept_with_the_result(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    tasks = {name: SimpleNamespace(OUTPUT_TYPE=kind) for name, kind in KINDS.items()}
    both = tokenizer.load(save(pieces(end=True), tmp_path / "both", "PreTrainedTokenizerFast"), False)
    none = tokenizer.load(save(pieces(begin=False), tmp_path / "none", "PreTrainedTokenizerFast"), False)
    begins = tokenizer.load(save(pieces(), tmp_path / "begins", "PreTrainedTokenizerFast"), False)
    for _ in range(2):
        said = departures.token_settings(both, tasks, None, "file")
        assert said["story"] == {"tokens_by": "file", "tokens_left_out": ["<s>", "</s>"]}
        assert said["choice"] == {"tokens_by": "file", "tokens_left_out": ["</s>"]}
        assert departures.token_settings(none, tasks, None, "file") == {name: {"tokens_by": "file"} for name in KINDS}
        assert departures.token_settings(begins, {"choice": tasks["choice"]}, None, "file") == {
            "choice": {"tokens_by": "file"}
        }
    assert caplog.text.count("without the <s> and </s> that the tokenizer adds to each") == 1
    assert caplog.text.count("choice: prompts and choices are read without the </s> that the tokenizer puts") == 1
