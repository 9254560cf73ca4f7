"""What a tokenizer puts after every text is neither in a prompt nor scored, and only such results are named anew."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from lm_eval.api.instance import Instance
from tokenizers import processors

from evalrun.checkpoints import token_ends, token_keys, tokenizer
from evalrun.scoring import open_lm
from evalrun.scoring.trie_cache import TrieCache
from made_tokenizers import END, byte_level, pieces, save
from random_models import CONF, spread
from scoring.whole_texts import keys_by_tokenizer

BEGIN, CLOSE = 1, 2  # of `pieces`
PAIRS = [("the old man", " walks"), ("the old man", " talks home"), ("she ", "walks"), ("", "walks home")]
PAIRS += [("she walk", "ed home"), ("she walk", "s home"), ("talks </s>", " walks</s>")]


def scorer(folder: Path, rows: int, **conf: Any) -> Any:
    shape = hf.LlamaConfig(
        vocab_size=rows, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=96,
    )  # fmt: skip
    model = spread(lambda: hf.LlamaForCausalLM(shape))
    return open_lm(model, tokenizer.load(folder, False), replace(CONF, **conf), lambda number: None)


def answers(lm: Any) -> list[float]:
    asked = [Instance("loglikelihood", {}, pair, i % 2, metadata=("mine", i // 2, 1)) for i, pair in enumerate(PAIRS)]
    return [value for value, _ in lm.loglikelihood(asked)]


@pytest.mark.parametrize("name", ["shared_prefix", "lm_eval"])
@pytest.mark.parametrize(("begin", "encoding"), list(product((False, True), ("joint", "separate"))))
def test_a_choice_is_scored_on_its_own_tokens(name: str, begin: bool, encoding: str, tmp_path: Path) -> None:
    raw, without = pieces(begin=begin, end=True), pieces(begin=begin)
    save(raw, tmp_path / "ends", "PreTrainedTokenizerFast", "llama")
    save(without, tmp_path / "plain", "PreTrainedTokenizerFast", "llama")
    lm = scorer(tmp_path / "ends", raw.get_vocab_size(), name=name, encoding=encoding)
    found = answers(lm)
    assert found == answers(scorer(tmp_path / "plain", raw.get_vocab_size(), name=name, encoding=encoding))
    whole = [BEGIN] * begin + without.encode("the old man walks", add_special_tokens=False).ids
    start = len([BEGIN] * begin + without.encode("the old man", add_special_tokens=False).ids)
    with torch.no_grad():
        logprobs = lm.model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
    by_hand = sum(float(logprobs[i - 1, whole[i]]) for i in range(start, len(whole)))
    if encoding == "joint":
        assert found[0] == pytest.approx(by_hand, abs=1e-3)
    prompts, mask = lm.tok_batch_encode(["the old man", "the old"])  # as texts are generated after
    assert prompts[0].tolist() == without.encode("the old man").ids
    assert CLOSE not in prompts[mask.bool()]


def test_every_kind_of_tokenizer_is_kept_from_it(tmp_path: Path) -> None:
    """By its file, its class, code of transformers' in Python; one that adds no end is left alone."""
    raw = byte_level()
    raw.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), processors.RobertaProcessing((END, 0), (END, 0))]
    )
    words = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the"])}
    hf.BertTokenizer(vocab=words).save_pretrained(tmp_path / "bert")
    hf.ByT5Tokenizer().save_pretrained(tmp_path / "bytes")
    save(raw, tmp_path / "roberta", "GPT2Tokenizer", "gpt2")
    save(pieces(end=True), tmp_path / "llama", "LlamaTokenizer", "llama")
    save(pieces(), tmp_path / "begins", "LlamaTokenizer", "llama")
    for name, end in (("bert", "[SEP]"), ("bytes", "</s>"), ("roberta", END), ("llama", "</s>"), ("begins", None)):
        folder = tmp_path / name
        for by in ("file", "class"):
            plain, made = hf.AutoTokenizer.from_pretrained(folder), tokenizer.load(folder, False, by)
            before, own = (one("the a")["input_ids"] for one in (plain, made))
            off = tokenizer.left_off(made)
            assert not tokenizer.ending(made)
            assert not off or token_ends.may_be(folder)
            if by == "class":
                assert off == ([end] if end else [])
                assert own == (before[:-1] if end else before)
                assert (TrieCache(plain, None)._tokenizer == TrieCache(made, None)._tokenizer) is (
                    not end or name == "bytes"
                )


def test_lm_eval_scores_the_end_in_place_of_a_choice(tmp_path: Path) -> None:
    raw = pieces(end=True)
    lm = scorer(save(raw, tmp_path, "PreTrainedTokenizerFast", "llama"), raw.get_vocab_size(), name="lm_eval")
    lm.tokenizer = hf.AutoTokenizer.from_pretrained(tmp_path)
    (ends, walks) = raw.encode("the old man").ids, raw.encode(" walks", add_special_tokens=False).ids
    assert len(walks) == 1
    assert lm._encode_pair("the old man", " walks") == (ends, [CLOSE])


def test_code_of_its_own_is_left_as_it_is(tmp_path: Path) -> None:
    folder = save(pieces(end=True), tmp_path, "PreTrainedTokenizerFast", auto_map={"AutoConfig": "own.Config"})
    made = tokenizer.load(folder, False)
    assert tokenizer.ending(made) == ["</s>"]
    assert not tokenizer.left_off(made)
    assert not token_keys.ends(folder, "own", None)


def test_a_look_at_the_files_reads_no_vocabulary(tmp_path: Path) -> None:
    folder = save(pieces(), tmp_path, "PreTrainedTokenizerFast")
    file = folder / "tokenizer.json"
    text = file.read_text()
    assert not token_ends.may_be(folder)
    file.write_text('{"vocab": {"post_processor": 7}, ' + text[1:])
    assert not token_ends.may_be(folder)
    file.write_text('{"post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 1], "cls": ["[CLS]", 2]}, broken')
    assert token_ends.may_be(folder)


def test_only_results_that_change_are_named_anew(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, keys = keys_by_tokenizer(workspace, monkeypatch, "ends_texts")
    assert keys("ends nothing") == keys("ends nothing", known=False)
    save(pieces(end=True), folder, "PreTrainedTokenizerFast")
    named, before = keys("ends one"), keys("ends one", known=False)
    assert (named[0], named[2]) == (before[0], before[2])
    assert named[1] != before[1]
    shutil.rmtree(folder)  # what is gone is still found done
    assert keys("ends one") == named
