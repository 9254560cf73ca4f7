"""Texts that are written together are those that lm-eval writes where each request is alone in its batch."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lm_eval.api.instance import Instance

from evalrun import scoring
from evalrun.errors import CheckpointError, TaskError
from evalrun.scoring import attention, shared_lm
from evalrun.scoring.generation import prompt_tree, shared_texts, token_draws
from evalrun.scoring.generation.decode_step import DecodeStep
from evalrun.scoring.lm_eval_model import CheckpointLM
from evalrun.scoring.shared_prefix import SharedPrefixLM
from helpers import whole_word_tokenizer
from made_tokenizers import byte_level, pieces
from random_models import CONF, GROUPED, SHAPE, SHARED, VOCABULARY, WINDOW, spread
from scoring.test_lost_texts import told
from scoring.test_scorable import scorer

QUICK = ("gpt-neox",)
LETTERS = 290  # tokens of a byte-level tokenizer: every byte, and a few pieces of words


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    shared_texts._checked.clear()
    shared_lm._said.clear()
    monkeypatch.setattr(prompt_tree, "WORTH", 16)  # so that short prompts share, too
    monkeypatch.setattr(shared_texts, "AT_ONCE", 5)  # so that texts join and leave


def asked(prompts: Sequence[str], repeats: int = 1, **kwargs: Any) -> list[Instance]:
    """Requests for texts, each as often as it has samples."""
    each = [
        Instance("generate_until", {}, (prompt, {"max_gen_toks": 6, "until": []} | kwargs), 0, metadata=("told", i, 1))
        for i, prompt in enumerate(prompts)
    ]
    return [request for request in each for _ in range(repeats)]


def words(rng: random.Random, count: int) -> str:
    return " ".join(f"w{rng.randrange(VOCABULARY - 2)}" for _ in range(count))


def prompts(seed: int = 0) -> list[str]:
    """With a common beginning and without, one that is the beginning of others, one beyond the window, two equal."""
    rng = random.Random(seed)
    trunk = words(rng, 30)
    some = [(f"{trunk} " if i else "") + words(rng, 1 + 5 * i) for i in range(4)]
    return [*some, f"{some[3]} {words(rng, 2)}", trunk, words(rng, 2 * WINDOW), some[0]]


def make(build: Callable[[], Any], tokenizer: Any = None, **conf: Any) -> SharedPrefixLM:
    given = whole_word_tokenizer(VOCABULARY) if tokenizer is None else tokenizer
    return SharedPrefixLM(spread(build), given, replace(CONF, **conf), lambda count: None)


def alone(lm: SharedPrefixLM, requests: Sequence[Any]) -> list[Any]:
    """What lm-eval's own code gives for each request by itself."""
    return [CheckpointLM.generate(lm, [request])[0] for request in requests]


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.release) for n in SHARED])
def test_every_supported_architecture_writes_lm_evals_texts(name: str) -> None:
    lm = make(SHARED[name])
    requests = asked(prompts(), until=["w7", "w11 w3"])
    found = lm.generate(requests)
    assert lm.used == "shared_prefix"
    assert lm.counts.checked >= 4
    assert found == alone(lm, requests)


def neox(size: int = LETTERS) -> Any:
    return hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**(SHAPE | {"vocab_size": size}), intermediate_size=64))


@pytest.fixture(scope="module")
def letters() -> Any:
    """A model that writes bytes, broken characters among them."""
    raw = byte_level(size=LETTERS)
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|endoftext|>", bos_token="<|endoftext|>")
    return make(neox, tokenizer)


TEXTS = st.text(st.sampled_from("the walk;1 \né東"), min_size=1, max_size=20)


@pytest.mark.release
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(
    several=st.lists(TEXTS, min_size=1, max_size=4),
    trunk=st.sampled_from(["", "the old man walks home; "]),
    limit=st.sampled_from([1, 6, 14, WINDOW - 4]),
    rng=st.randoms(use_true_random=False),
)
def test_stops_inside_and_across_tokens_end_a_text_where_lm_eval_ends_it(
    letters: Any, several: list[str], trunk: str, limit: int, rng: random.Random
) -> None:
    free = letters.generate(asked([trunk + one for one in several], max_gen_toks=limit))
    written = [one.whole for one in free if one.whole.strip()]
    cuts = [(text, rng.randrange(len(text))) for text in written]
    stops = [text[at : at + rng.randrange(1, 4)] for text, at in cuts]  # that are sure to be written
    requests = asked([trunk + one for one in several], max_gen_toks=limit, until=[*stops, "\n\n"])
    found = letters.generate(requests)
    assert letters.used == "shared_prefix"
    assert found == alone(letters, requests)
    assert {one.finish for one in found} <= {"stop", "eos", "length"}


def test_a_text_that_ends_at_once_and_several_ends(letters: Any) -> None:
    requests = asked(["the old man", "the dog", "he talked"])
    first = {one.tokens[0] for one in letters.generate(requests) if one.tokens}
    ends = asked(["the old man", "the dog", "he talked"], eos_token_id=sorted(first))
    found = letters.generate(ends)
    assert [(len(one.tokens), one.finish) for one in found if one.tokens] == [(1, "eos")] * 3
    assert found == alone(letters, ends)
    letters.model.generation_config.eos_token_id = sorted(first)
    try:
        assert letters.generate(requests) == found
    finally:
        letters.model.generation_config.eos_token_id = 0


def test_each_token_runs_once(letters: Any) -> None:
    trunk = "the old man walks home and talks to the dog ; "
    requests = asked([trunk + end for end in ("he", "she walked", "he")], repeats=4)
    letters.generate(requests)
    found = letters.generate(requests)
    distinct = {tuple(letters.tok_encode(request.args[0])) for request in requests}
    prefixes = {prompt[:end] for prompt in distinct for end in range(1, len(prompt) + 1)}
    written = {one.args[0]: len(text.tokens) - 1 for one, text in zip(requests, found, strict=True)}
    assert letters.counts.body_tokens == len(prefixes) + sum(written.values())
    drawn = asked([trunk + end for end in ("he", "she walked")], repeats=4, do_sample=True, temperature=1.0)
    found = letters.generate(drawn)
    assert letters.counts.body_tokens == len(prefixes) + sum(len(text.tokens) - 1 for text in found)


def test_samples_are_the_same_whatever_is_asked_beside_them(letters: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    how = {"do_sample": True, "temperature": 1.3, "top_p": 0.9}
    requests = asked(["the old man walks", "the dog", "the old man talks"], repeats=3, **how)
    found = letters.generate(requests)
    assert letters.used == "shared_prefix"
    assert len({one.tokens for one in found}) > 6
    assert letters.generate(requests[3:6]) == found[3:6]
    monkeypatch.setattr(shared_texts, "AT_ONCE", 1)
    letters.replace_model(letters.model)
    assert letters.generate(list(reversed(requests))) == found[8:5:-1][::-1] + found[3:6] + found[:3]
    letters.seed = 1
    try:
        assert letters.generate(requests) != found
    finally:
        letters.seed = 0


@pytest.mark.parametrize("how", [(1.0, 50, 1.0), (0.7, 0, 0.8), (2.0, 4, 0.6), (1.0, 0, 1.0)])
def test_draws_have_the_probabilities_of_transformers_processors(how: tuple[float, int, float]) -> None:
    logits = torch.randn(1, 200, generator=torch.Generator().manual_seed(1)) * 3
    logits[0, :9] = logits.max() - 1  # equals, also at an edge
    temperature, top_k, top_p = how
    warped = hf.TemperatureLogitsWarper(temperature)(None, logits) if temperature != 1 else logits
    warped = hf.TopKLogitsWarper(top_k)(None, warped) if top_k else warped
    warped = hf.TopPLogitsWarper(top_p)(None, warped) if top_p < 1 else warped
    expected = warped.softmax(-1)[0].double().numpy()
    at = torch.arange(4000, dtype=torch.float64) / 4000
    drawn = token_draws.TokenDraw(temperature, top_k, top_p).draw(logits.expand(4000, -1), at)
    found = np.bincount(drawn.numpy(), minlength=200) / 4000
    assert np.abs(found - expected).max() < 1 / 2000
    assert (found[expected == 0] == 0).all()


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"num_beams": 2}, "texts are written with num_beams=2"),
        ({"repetition_penalty": 1.3}, "texts are written with repetition_penalty=1.3"),
        ({"max_length": 40}, "texts are written with max_length=40"),
    ],
)
def test_settings_that_are_not_done_here_are_left_to_lm_eval_by_name(
    letters: Any, how: dict[str, Any], reason: str
) -> None:
    requests = asked(["the old man", "the dog"], **how)
    found = letters.generate(requests)
    assert letters.used == f"lm_eval: {reason}"
    assert found == CheckpointLM.generate(letters, requests)
    letters.generate(asked(["the dog"]))
    assert letters.used == "shared_prefix"


def test_what_a_checkpoint_brings_with_it_counts(letters: Any) -> None:
    letters.model.generation_config.repetition_penalty = 1.2
    try:
        letters.generate(asked(["the dog"]))
    finally:
        letters.model.generation_config.repetition_penalty = None
    assert letters.used == "lm_eval: texts are written with repetition_penalty=1.2"


def test_a_fault_in_the_attention_is_found_and_the_texts_are_lm_evals(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = make(SHARED["gpt-neox"])
    sound = DecodeStep._summed
    monkeypatch.setattr(DecodeStep, "_summed", lambda self, *args: sound(self, *args) * (1.05 if self.above else 1))
    requests = asked(prompts())
    found = lm.generate(requests)
    assert lm.used.startswith("lm_eval: a self-check found another text (the largest logit before token ")
    assert [one.text for one in found] == [one.text for one in CheckpointLM.generate(lm, requests)]


@pytest.mark.release
def test_tokens_that_are_equally_likely_are_ties_and_no_fault() -> None:
    lm = make(SHARED["gpt-neox"])
    head = lm.model.get_output_embeddings().weight
    with torch.no_grad():
        head[1::2] = head[::2]  # each token has a twin
        head[1::2] *= 1 + 1e-7
    lm.generate(asked(prompts()))
    assert lm.used == "shared_prefix"


@pytest.mark.release
def test_verify_compares_whole_texts_and_drawn_ones(letters: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "_conf", replace(CONF, verify=3))
    for how in ({}, {"do_sample": True, "temperature": 1.0}):
        requests = asked(["the old man walks", "the dog", "he"], **how)
        letters.generate(requests)
        assert letters.counts.checked >= 3
    monkeypatch.setattr(token_draws, "shares", lambda *args: np.full(args[-1], 0.5))
    monkeypatch.setattr(shared_texts, "shares", lambda *args: np.full(args[-1], 0.5))
    plain = token_draws.TokenDraw.draw
    calls: list[int] = []

    def wrong(self: Any, logits: Any, at: Any) -> Any:
        calls.append(1)
        return plain(self, logits, at * 0 + 0.01 if len(calls) == 3 else at)

    monkeypatch.setattr(token_draws.TokenDraw, "draw", wrong)
    with pytest.raises(CheckpointError, match="verify found a wrong result"):
        letters.generate(requests)


@pytest.mark.release
def test_memory_that_runs_out_changes_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = make(SHARED["llama"])
    requests = asked(prompts(), repeats=2, do_sample=True, temperature=1.0)
    expected = lm.generate(requests)
    plain = attention.hidden_states

    def short(model: Any, step: Any, device: Any) -> Any:
        if isinstance(step, DecodeStep) and len(step.tokens) > 2:
            raise MemoryError
        return plain(model, step, device)

    lm.replace_model(lm.model)
    monkeypatch.setattr(attention, "hidden_states", short)
    assert lm.generate(requests) == expected
    assert lm.used == "shared_prefix"


def test_a_prompt_that_is_no_number_spoils_no_other() -> None:
    lm = make(SHARED["llama"])
    sound = asked(["w1 w2 w3 w4", "w1 w2 w5", "w6"])
    expected = lm.generate(sound)
    with torch.no_grad():
        lm.model.get_input_embeddings().weight[2 + 9] = math.nan
    lm.replace_model(lm.model)
    lm.lost_texts = 0
    mixed = asked(["w1 w2 w3 w4", "w9 w2", "w1 w2 w5", "w1 w2 w9 w1", "w6"])
    found = lm.generate(mixed)
    assert lm.used == "shared_prefix"
    assert [found[i] for i in (0, 2, 4)] == expected
    assert lm.lost_texts == 2


def test_a_limit_that_leaves_no_room_is_a_sentence(letters: Any) -> None:
    with pytest.raises(TaskError, match="task 'told' asks for up to 96 tokens, and the model reads 96 at once"):
        letters.generate(asked(["the dog"], max_gen_toks=WINDOW))


@pytest.mark.parametrize("name", ["shared_prefix", "lm_eval"])
def test_items_hold_tokens_and_why_each_text_ended(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    task, lm = told(tmp_path, sample=False), scorer(tmp_path / "model", pieces(), name=name)
    table = scoring.score(lm, {"told": task}, None, 0)["told"].table
    for row in table.to_pylist():
        ((tokens,), (finish,)) = row["tokens"], row["finish"]
        assert finish == ("length" if len(tokens) == 3 else "stop")
        whole = lm.tok_decode(tokens)
        assert json.loads(row["response"]) == [whole.split(".")[0]]
    assert lm.used == name
    requests: Any = task.instances
    assert [one.generated for one in requests] == [[], []]  # nothing of a checkpoint stays


@pytest.mark.release
def test_grouped_heads_and_a_window_that_slides_over_shared_pieces() -> None:
    lm = make(lambda: hf.MistralForCausalLM(hf.MistralConfig(**GROUPED, sliding_window=12)))
    rng = random.Random(3)
    trunk = words(rng, 40)
    requests = asked([f"{trunk} {words(rng, 1 + i)}" for i in range(4)], max_gen_toks=14)
    assert lm.generate(requests) == alone(lm, requests)
    assert lm.used == "shared_prefix"
