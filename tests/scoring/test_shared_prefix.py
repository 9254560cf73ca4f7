"""The shared-prefix scorer gives lm-eval's answers, for every architecture, or leaves the model to lm-eval."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers as hf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from evalrun.errors import CheckpointError, TaskError
from evalrun.scoring import attention, head, self_check, shared_lm, shared_prefix, trie
from evalrun.scoring.encode import encode
from evalrun.scoring.lm_eval_model import CheckpointLM
from evalrun.scoring.shared_prefix import SharedPrefixLM
from helpers import shared_dir, whole_word_tokenizer
from random_models import CONF, FALCON, GROUPED, SHARED, VOCABULARY, WINDOW, assert_same, requests, spread

LEFT: dict[str, tuple[Callable[[], Any], str]] = {
    "mpt": (  # ALiBi
        lambda: hf.MptForCausalLM(
            hf.MptConfig(vocab_size=VOCABULARY, d_model=32, n_layers=3, n_heads=4, max_seq_len=WINDOW)
        ),
        "3 of its 3 layers do not attend through",
    ),
    "falcon of one billion": (  # ALiBi, another
        lambda: hf.FalconForCausalLM(hf.FalconConfig(**FALCON | {"alibi": True}, new_decoder_architecture=False)),
        "a bias for the distance (ALiBi)",
    ),
    "mamba": (  # a state space
        lambda: hf.MambaForCausalLM(hf.MambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=3)),
        "3 of its 3 layers do not attend through",
    ),
}


@pytest.fixture(autouse=True)
def nothing_checked_yet() -> None:
    shared_prefix._checked.clear()
    shared_lm._said.clear()


def make(build: Callable[[], Any], **conf: Any) -> SharedPrefixLM:
    """A scorer of such a model."""
    return SharedPrefixLM(spread(build), whole_word_tokenizer(VOCABULARY), replace(CONF, **conf), lambda count: None)


@pytest.mark.parametrize("name", SHARED)
def test_every_supported_architecture_gives_lm_evals_answers(name: str) -> None:
    lm = make(SHARED[name])
    found = lm.score_tokens(requests())
    assert lm.used == "shared_prefix"
    assert lm.counts.passes > 3  # so that keys and values were kept from pass to pass
    assert lm.counts.checked > 1
    assert_same(found, lm._reference(requests()))


@pytest.mark.parametrize("name", LEFT)
def test_what_cannot_be_shared_is_left_to_lm_eval(name: str, caplog: pytest.LogCaptureFixture) -> None:
    build, reason = LEFT[name]
    lm = make(build)
    asked = [request for request in requests() if len(request[0]) < WINDOW]
    assert_same(lm.score_tokens(asked), lm._reference(asked), 0.0)
    assert lm.used.startswith("lm_eval: ")
    assert reason in lm.used
    lm.score_tokens(asked)
    assert len([record for record in caplog.records if record.name.startswith("evalrun")]) == 1  # said once
    assert lm.model.config._attn_implementation != attention.NAME


@pytest.fixture(scope="module")
def neox() -> SharedPrefixLM:
    return make(SHARED["gpt-neox"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_random_prefix_trees_by_the_definition(neox: SharedPrefixLM, data: st.DataObject) -> None:
    """Each request alone, by one plain forward pass and a log-softmax."""
    token = st.integers(0, 3)
    drawn = data.draw(
        st.lists(
            st.tuples(
                st.lists(token, min_size=1, max_size=2 * WINDOW),
                st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=5),
            ),
            min_size=1,
            max_size=12,
        )
    )
    neox._budget = data.draw(st.integers(1, 200))
    found = neox.score_tokens(drawn)
    for (context, continuation), (logprob, greedy) in zip(drawn, found, strict=True):
        tokens = [*context, *continuation][-(WINDOW + 1) :]
        with torch.no_grad():
            logprobs = neox.model(torch.tensor([tokens[:-1]])).logits[0].log_softmax(-1)[-len(continuation) :]
        exact = sum(float(row[token]) for row, token in zip(logprobs, continuation, strict=True))
        assert logprob == pytest.approx(exact, abs=1e-3)
        assert greedy == (logprobs.argmax(-1).tolist() == continuation)


def test_the_work_is_that_of_the_distinct_tokens(neox: SharedPrefixLM) -> None:
    asked = requests(items=40)
    neox._budget = 64
    neox.score_tokens([*asked, *asked])  # asking twice costs nothing
    inputs = [[*context, *continuation][-(WINDOW + 1) : -1] for context, continuation in asked]
    prefixes = {tuple(tokens[:length]) for tokens in inputs for length in range(1, len(tokens) + 1)}
    scored = {
        tuple(tokens[: len(tokens) - back])
        for tokens, (_, continuation) in zip(inputs, asked, strict=True)
        for back in range(len(continuation))
    }
    assert neox.counts.nodes == len(prefixes)
    assert neox.counts.body_tokens <= 1.05 * len(prefixes)
    assert neox.counts.head_rows == len(scored)
    assert neox.counts.requests == 2 * len(asked)


def test_progress_adds_up_to_the_requests() -> None:
    lm = make(SHARED["gpt-neox"])
    ticks: list[int] = []
    lm._tick = ticks.append
    lm.score_tokens(requests())
    assert sum(ticks) == len(requests())
    assert len(ticks) > 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["gpt-neox", "gemma2", "gpt-oss", "granite", "bloom", "gpt-j"])
def test_half_precision_differs_as_lm_eval_does_from_itself(name: str, dtype: torch.dtype) -> None:
    lm = make(lambda: SHARED[name]().to(dtype))
    found = lm.score_tokens(requests())
    assert lm.used == "shared_prefix"
    alone, batched = make(lambda: SHARED[name]().to(dtype), batch_size=1), lm
    own = [x for x, _ in alone._reference(requests())]
    noise = max(abs(a - b) for a, (b, _) in zip(own, batched._reference(requests()), strict=True))
    exact = [x for x, _ in make(SHARED[name])._reference(requests())]
    ours = max(abs(a - b) for (a, _), b in zip(found, exact, strict=True))
    theirs = max(abs(a - b) for a, b in zip(own, exact, strict=True))
    assert ours <= 2 * max(theirs, noise)  # no further from the exact value than lm-eval's own


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["gpt-neox", "gemma2", "gpt-oss", "granite", "bloom", "gpt-j"])
def test_a_log_softmax_in_half_precision_is_rounded_as_lm_evals(name: str, dtype: torch.dtype) -> None:
    """So that choices tie where they tied in a study that was computed so."""
    lm = make(lambda: SHARED[name]().to(dtype), softmax_dtype=None)
    found = lm.score_tokens(requests())
    assert lm.used == "shared_prefix"
    assert all(float(torch.tensor(logprob, dtype=dtype)) == logprob for logprob, _ in found)
    expected = lm._reference(requests())
    assert sum(a == b for (a, _), (b, _) in zip(found, expected, strict=True)) > 0.5 * len(found)
    assert max(abs(a - b) / abs(b) for (a, _), (b, _) in zip(found, expected, strict=True)) < 0.05


@pytest.mark.parametrize(
    ("conf", "dtype", "reason"),
    [
        ({"logits_cache": True}, torch.float32, "logits_cache"),
        ({}, torch.float64, "its precision is torch.float64"),
    ],
)
def test_settings_that_ask_for_lm_evals_own_path_get_it(conf: dict[str, Any], dtype: torch.dtype, reason: str) -> None:
    lm = make(lambda: SHARED["gpt-neox"]().to(dtype), **conf)
    lm.score_tokens(requests()[:6])
    assert reason in lm.used


def out_of_memory_above(patch: pytest.MonkeyPatch, tokens: int, error: Exception) -> list[int]:
    """Let passes of more than so many tokens fail as they do when memory runs out."""
    real, sizes = attention.forward, []

    def run(body: Any, step: attention.Step, device: Any) -> Any:
        size = step.work.stop - step.work.start
        sizes.append(size)
        if size > tokens:
            raise error
        return real(body, step, device)

    patch.setattr(attention, "forward", run)
    return sizes


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError(), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")],
)
def test_out_of_memory_halves_the_budget_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    monkeypatch.setattr(shared_lm, "LONGEST_ROW", 16)
    monkeypatch.setattr(trie, "LONGEST_ROW", 16)
    lm = make(SHARED["gpt-neox"], token_budget=400)
    expected = lm._reference(requests())
    sizes = out_of_memory_above(monkeypatch, 120, error)
    assert_same(lm.score_tokens(requests()), expected)
    assert max(sizes) > 120
    assert "going on with passes of 100 tokens" in caplog.text
    again = len(sizes)
    lm.score_tokens(requests(1))
    assert max(sizes[again:]) <= 100  # what was learnt is kept


def test_no_memory_at_all_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = make(SHARED["gpt-neox"], token_budget=1024)
    out_of_memory_above(monkeypatch, 0, torch.OutOfMemoryError())
    with pytest.raises(CheckpointError, match="no memory left on cpu even for passes of 256 tokens"):
        lm.score_tokens(requests())
    assert lm.model.config._attn_implementation != attention.NAME


def distort(patch: pytest.MonkeyPatch, by: float) -> None:
    """Let the shared path be wrong by a little in everything that it says."""
    real = shared_prefix.Head.__call__
    patch.setattr(shared_prefix.Head, "__call__", lambda *a: (lambda found: (found[0] + by, found[1]))(real(*a)))


def test_a_self_check_that_fails_leaves_the_model_to_lm_eval(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = make(SHARED["gpt-neox"])
    expected = lm._reference(requests())
    distort(monkeypatch, 0.01)
    assert_same(lm.score_tokens(requests()), expected, 0.0)
    assert "a self-check found another result (log-likelihood" in lm.used


def test_longer_inputs_are_checked_again(neox: SharedPrefixLM) -> None:
    shared_prefix._checked.clear()
    short = [request for request in requests() if len(request[0]) < 40]
    checked = []
    for asked in (short, short[:9], requests(), short):
        neox.score_tokens(asked)
        checked.append(neox.counts.checked > 0)
    assert checked == [True, False, True, False]


def test_verify_scores_again_and_fails_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = make(SHARED["gpt-neox"], verify=1000)
    lm.score_tokens(requests())
    assert lm.counts.checked >= len(requests())
    assert 0 < lm.counts.difference < 1e-4
    distort(monkeypatch, 0.01)
    with pytest.raises(CheckpointError, match=r"scorer.verify found a wrong result: log-likelihood -?\d+\.\d+ instead"):
        lm.score_tokens(requests())


def test_weights_that_are_not_numbers_are_not_blamed_on_sharing() -> None:
    lm = make(SHARED["gpt-neox"], verify=5)
    with torch.no_grad():
        lm.model.get_output_embeddings().weight[3] = float("nan")
    found = lm.score_tokens(requests())
    assert lm.used == "shared_prefix"
    assert all(math.isnan(logprob) for logprob, _ in found)


@pytest.mark.parametrize("name", ["gpt-neox", "qwen2"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_one_row_that_is_no_number_reaches_nobody_else(name: str, value: float) -> None:
    """Each request alone says which answers are numbers; a NaN in the row of the padding token is met too."""
    lm = make(SHARED[name])
    asked = requests()
    bad = asked[4][0][-1]
    with torch.no_grad():
        lm.model.get_input_embeddings().weight[[0, bad]] = value
    found = lm.score_tokens(asked)
    assert lm.used == "shared_prefix"
    alone = []
    for context, continuation in asked:
        tokens = [*context, *continuation][-(WINDOW + 1) :]
        with torch.no_grad():
            logprobs = lm.model(torch.tensor([tokens[:-1]])).logits[0].log_softmax(-1)[-len(continuation) :]
        alone.append(sum(float(row[token]) for row, token in zip(logprobs, continuation, strict=True)))
    assert 0 < sum(map(math.isnan, alone)) < len(alone)
    assert [value for value, _ in found] == pytest.approx(alone, abs=1e-3, nan_ok=True)
    shuffled = lm.score_tokens(asked[::-1])[::-1]
    assert [value for value, _ in shuffled] == pytest.approx(alone, abs=1e-3, nan_ok=True)
    assert [value for value, _ in lm._reference(asked)] == pytest.approx(alone, abs=1e-3, nan_ok=True)


def test_a_masked_vocabulary_is_an_answer() -> None:
    """Minus infinity in the bias of the head, as masks of tokens are made, also where it fills a block."""
    lm = make(lambda: hf.PhiForCausalLM(hf.PhiConfig(**GROUPED)))
    with torch.no_grad():
        lm.model.lm_head.bias[: VOCABULARY // 2] = -math.inf
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head, "BLOCK", VOCABULARY // 4)
        found = [value for value, _ in lm.score_tokens(requests())]
    assert lm.used == "shared_prefix"
    assert -math.inf in found
    assert any(map(math.isfinite, found))
    assert found == pytest.approx([value for value, _ in lm._reference(requests())], abs=1e-4)


def test_a_checkpoint_says_the_same_wherever_in_a_sweep_it_stands() -> None:
    """To the bit: after one that was refused, one that is all NaN, one that ran out of memory, or none."""
    builds = {seed: make(SHARED["llama"]).model for seed in range(3)}
    with torch.no_grad():
        for seed, model in builds.items():
            torch.manual_seed(seed)
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.02)
        builds[2].get_input_embeddings().weight.fill_(math.nan)
    alone = {}
    for seed, model in builds.items():
        lm = make(SHARED["llama"])
        lm.replace_model(model)
        alone[seed] = repr(lm.score_tokens(requests()))
    lm = make(SHARED["llama"])
    for seed in (2, 0, 1, 0, 2, 1):
        lm.replace_model(builds[seed])
        assert repr(lm.score_tokens(requests())) == alone[seed]
        lm._budget, lm._left = 16, "something that one checkpoint did"


def test_other_code_with_the_same_config_is_checked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    class Scaled(hf.GPTNeoXForCausalLM):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            out = super().forward(*args, **kwargs)
            out.logits = out.logits * 0.1
            return out

    plain, scaled = make(SHARED["gpt-neox"]), make(lambda: Scaled(SHARED["gpt-neox"]().config))
    plain.score_tokens(requests())
    assert_same(scaled.score_tokens(requests()), scaled._reference(requests()), 0.0)
    assert "a self-check found another result" in scaled.used
    plain.replace_model(scaled.model)  # as a session that took the two for one would do
    assert_same(plain.score_tokens(requests()), scaled._reference(requests()), 0.0)


def test_the_next_checkpoint_takes_the_place_of_this_one() -> None:
    lm = make(SHARED["gpt-neox"])
    before = lm.score_tokens(requests())
    other = make(SHARED["gpt-neox"]).model
    with torch.no_grad():
        other.get_output_embeddings().weight.neg_()
    lm.replace_model(other)
    after = lm.score_tokens(requests())
    assert before != after
    assert_same(after, lm._reference(requests()))
    assert lm.counts.checked == self_check.PROBED_REQUESTS  # each checkpoint a little, an architecture once more


def instances(pairs: list[tuple[str, str]]) -> list[Any]:
    return [SimpleNamespace(args=pair, task_name="made") for pair in pairs]


TEXTS = [
    ("w1 w2", " w3 w4"), ("w1 w2 ", "w3"), ("w1 w2  ", " w3"), ("", "w5 w6"), ("", "<eos> w5"), ("<eos> w1", " w2"),
    ("w1 w2\n", "w3"), ("w1", " w3 w4 w5"), ("w1 w2", " w3"), ("w1 w2", " w3"),
]  # fmt: skip


@pytest.mark.parametrize("encoding", ["joint", "separate"])
@pytest.mark.parametrize("real", [False, True])
def test_texts_become_lm_evals_tokens(encoding: str, real: bool) -> None:
    lm = make(SHARED["gpt-neox"], encoding=encoding)
    if real:
        file = shared_dir() / "data" / "tokenizer" / "20B_tokenizer.json"
        end = "<|endoftext|>"
        lm.tokenizer = hf.PreTrainedTokenizerFast(tokenizer_file=str(file), bos_token=end, eos_token=end)
    texts = [(a.replace("<eos>", lm.tokenizer.eos_token), b.replace("<eos>", lm.tokenizer.eos_token)) for a, b in TEXTS]
    seen: list[Any] = []
    lm._loglikelihood_tokens = lambda requests, **_: seen.extend((a, b) for _, a, b in requests)  # type: ignore[method-assign]
    HFLM.loglikelihood(lm, instances(texts), disable_tqdm=True)
    assert [(list(a), list(b)) for a, b in encode(lm, texts, encoding == "separate")] == seen


def test_texts_are_scored_as_lm_eval_scores_them(caplog: pytest.LogCaptureFixture) -> None:
    lm = make(SHARED["gpt-neox"])
    texts = [*TEXTS, (" ".join(f"w{i % 90}" for i in range(3 * WINDOW)), " w1 w2")]
    expected = CheckpointLM.loglikelihood(lm, instances(texts), disable_tqdm=True)
    caplog.clear()
    assert_same(lm.loglikelihood(instances(texts)), expected)
    said = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert any("1 of 11 prompts with their continuations are longer than the model's window of 96" in m for m in said)
    assert lm.loglikelihood([]) == []


def test_a_continuation_without_a_token_is_one_sentence(neox: SharedPrefixLM) -> None:
    pairs = [("w1", " w2"), ("w1", "")]
    asked = [Instance("loglikelihood", {}, pair, i, metadata=("mine", 0, 1)) for i, pair in enumerate(pairs)]
    with pytest.raises(TaskError, match="task 'mine', item 1, choice 2, '', gives no token of its own"):
        neox.loglikelihood(asked)
