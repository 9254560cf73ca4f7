"""What cannot be scored is named by task, item and choice; what can be is scored without a beginning-of-text token."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from lm_eval.api.instance import Instance

from evalrun.checkpoints import tokenizer
from evalrun.errors import TaskError
from evalrun.scoring import open_lm
from made_tokenizers import byte_level, pieces, save
from random_models import CONF, spread

WINDOW = 24


def scorer(folder: Path, raw: Any, rows: int | None = None, name: str = "shared_prefix", **config: Any) -> Any:
    """A scorer of a small Llama; `rows` of its embedding, as many as the tokenizer has tokens unless said."""
    shape = hf.LlamaConfig(
        vocab_size=rows or raw.get_vocab_size(), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=WINDOW, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    made = tokenizer.load(save(raw, folder, "PreTrainedTokenizerFast", "llama", **config), remote_code=False)
    return open_lm(spread(lambda: hf.LlamaForCausalLM(shape)), made, replace(CONF, name=name), lambda number: None)


def asked(*pairs: tuple[str, str]) -> list[Instance]:
    return [
        Instance("loglikelihood", {}, pair, place % 2, metadata=("mine", place // 2, 1))
        for place, pair in enumerate(pairs)
    ]


NEITHER = {"bos_token": None, "eos_token": None}


@pytest.mark.parametrize("name", ["shared_prefix", "lm_eval"])
def test_without_a_beginning_or_end_of_text_prompts_are_scored(name: str, tmp_path: Path) -> None:
    raw = pieces(begin=False)
    lm = scorer(tmp_path, raw, name=name, **NEITHER)
    pairs = [("the old man", " walks"), ("the old man", " talks home")]
    found = [value for value, _ in lm.loglikelihood(asked(*pairs))]
    for value, (context, continuation) in zip(found, pairs, strict=True):
        start, ids = len(raw.encode(context).ids), raw.encode(context + continuation).ids
        with torch.no_grad():
            logprobs = lm.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        assert value == pytest.approx(sum(float(logprobs[i - 1, ids[i]]) for i in range(start, len(ids))), abs=1e-4)
    with pytest.raises(TaskError, match=r"task 'mine', item 1, choice 2, 'walks', has nothing before it .* bos_token"):
        lm.loglikelihood(asked(pairs[0], ("", "walks")))
    rolling = [Instance("loglikelihood_rolling", {}, ("the dog walks",), 0, metadata=("story", 4, 1))]
    with pytest.raises(TaskError, match=r"task 'story', item 5, 'the dog walks', has nothing before it"):
        lm.loglikelihood_rolling(rolling)


@pytest.mark.parametrize("name", ["shared_prefix", "lm_eval"])
def test_what_cannot_be_scored_is_named(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    raw = byte_level()
    last = raw.get_vocab_size() - 1
    piece = raw.decode([last])
    lm = scorer(tmp_path, raw, rows=last, name=name)
    fine = ("the old", " dog")
    lm.loglikelihood(asked(fine, fine))
    with pytest.raises(
        TaskError, match=rf"item 2, choice 1, '{piece}', has the token .* number {last}, .* 0 to {last - 1}"
    ):
        lm.loglikelihood(asked(fine, fine, ("the", piece)))
    with pytest.raises(
        TaskError, match=rf"item 1, choice 2, ' dog', has the token .* number {last}.* \(2 requests in all\)"
    ):
        lm.loglikelihood(asked(fine, (f"the{piece} ", " dog"), ("the", piece)))
    rolling = [Instance("loglikelihood_rolling", {}, (f"the {piece}",), 0, metadata=("story", 0, 1))]
    with pytest.raises(TaskError, match=rf"task 'story', item 1, .* number {last}"):
        lm.loglikelihood_rolling(rolling)
    with pytest.raises(TaskError, match=rf"item 1, choice 2, .*, has \d+ tokens, and the model reads {WINDOW} at once"):
        lm.loglikelihood(asked(fine, ("the", " the old man" * WINDOW)))
    with pytest.raises(TaskError, match="item 1, choice 1, '', gives no token of its own"):
        lm.loglikelihood(asked(("the old", ""), fine))
    assert "shared prefixes" not in caplog.text
