"""Whole texts as a task: lm-eval's numbers, each distinct token once, errors over texts, and tokens that are kept."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.utils import get_rolling_token_windows

import evalrun
from evalrun import scoring
from evalrun.checkpoints import tokenizer
from evalrun.core.errors import ConfigError, EvalrunError
from evalrun.scoring import lm_eval_model, open_lm, self_check, shared_answers, shared_prefix, whole_texts
from evalrun.scoring.whole_texts import tokens_of_texts, windows
from evalrun.tasks import builder, task_file
from evalrun.tasks.text_rule import TextRule
from helpers import WORDS, write_rows
from made_tokenizers import byte_level, pieces, save
from random_models import CONF, spread

WINDOW = 16
STORY = """data: data/story.jsonl
output_type: loglikelihood_rolling
"""
BYTES = hf.PreTrainedTokenizerFast(tokenizer_object=byte_level())
drawn = np.random.default_rng(3)
TEXTS = [
    " ".join(drawn.choice(["the", "old", "man", "dog", "walk", "he"], size)) for size in (1, 2, 15, 16, 17, 40, 70)
]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    raw = pieces(begin=False)
    shape = hf.GPTNeoXConfig(
        vocab_size=raw.get_vocab_size(), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=WINDOW,
    )  # fmt: skip
    folder = save(raw, tmp_path_factory.mktemp("story"), "PreTrainedTokenizerFast")
    return spread(lambda: hf.GPTNeoXForCausalLM(shape)), tokenizer.load(folder, remote_code=False)


def requests(texts: list[str]) -> list[Any]:
    return [Instance("loglikelihood_rolling", {}, (t,), 0, metadata=("story", i, 1)) for i, t in enumerate(texts)]


def opened(parts: tuple[Any, Any], **settings: Any) -> Any:
    return open_lm(*parts, replace(CONF, **settings), lambda number: None)


@pytest.mark.parametrize("budget", [16, 64, 1024])
@pytest.mark.parametrize("at_once", [8, 100, 65_536])
def test_lm_evals_numbers_whatever_is_read_at_once(
    parts: tuple[Any, Any], budget: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lm_eval_model, "AT_ONCE", at_once)
    theirs = HFLM(pretrained=parts[0], tokenizer=parts[1], batch_size=3, softmax_dtype="float32")
    expected = theirs.loglikelihood_rolling(requests(TEXTS), disable_tqdm=True)
    ours = opened(parts, name="shared_prefix", token_budget=max(budget, 256), batch_size=2)
    found = ours.loglikelihood_rolling(requests(TEXTS))
    assert ours.used == "shared_prefix"
    assert found == pytest.approx(expected, abs=1e-3)
    assert opened(parts, name="lm_eval", batch_size=2).loglikelihood_rolling(requests(TEXTS)) == pytest.approx(found)


def test_a_check_of_a_long_text_holds_the_logits_of_its_end_alone(
    parts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, compared = [], []
    monkeypatch.setattr(self_check, "ENDS", 3)
    monkeypatch.setattr(shared_answers, "ENDS", 3)
    monkeypatch.setattr(shared_prefix, "_checked", {})
    ours = opened(parts, name="shared_prefix", token_budget=256, batch_size=1)
    call, compare = ours._model_call, ours._compare
    monkeypatch.setattr(ours, "_model_call", lambda inputs: sizes.append(call(inputs).shape[1]) or call(inputs))
    monkeypatch.setattr(ours, "_compare", lambda *answers: compared.append(answers) or compare(*answers))
    ours.loglikelihood_rolling(requests(TEXTS[-2:]))
    assert set(sizes[2:]) == {3}  # the first two are of the probe, which is short
    for found, theirs in compared:
        assert [value for value, _ in found] == pytest.approx([value for value, _ in theirs], abs=1e-4)
    assert ours.counts.checked > 2


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.01), (torch.float16, 0.001)])
@pytest.mark.parametrize("rule", [TextRule(), TextRule(window=12, stride=5)])
def test_small_precisions_are_near_lm_evals_and_the_truth(
    parts: tuple[Any, Any], dtype: torch.dtype, tolerance: float, rule: TextRule
) -> None:
    """The truth is of the rounded weights without further rounding; tolerances are nats a token."""
    rounded = copy.deepcopy(parts[0]).to(dtype)
    exact = copy.deepcopy(rounded).float()
    ours, truth, theirs = (
        opened((model, parts[1]), name=name, batch_size=1).read_texts(requests(TEXTS), rule)
        for model, name in ((rounded, "shared_prefix"), (exact, "shared_prefix"), (rounded, "lm_eval"))
    )
    for text in TEXTS:
        each = [found[text].nats / found[text].count for found in (ours, truth, theirs)]
        assert each[0] == pytest.approx(each[1], abs=tolerance)
        assert each[0] == pytest.approx(each[2], abs=tolerance)
    assert any(ours[text].nats != truth[text].nats for text in TEXTS)
    if rule == TextRule():
        own = HFLM(pretrained=rounded, tokenizer=parts[1], batch_size=1, softmax_dtype="float32")
        asked = own.loglikelihood_rolling(requests(TEXTS), disable_tqdm=True)
        assert [-theirs[text].nats for text in TEXTS] == pytest.approx(asked, rel=1e-6)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["the ", "old", " ", "\n\n", "é", "🦉", "  x", "12", "'s "]), min_size=60, max_size=300)
)
def test_a_long_text_has_the_same_tokens_piece_by_piece(made: list[str]) -> None:
    lm, text = SimpleNamespace(tokenizer=BYTES), "".join(made)
    (whole,) = tokens_of_texts(lm, [text], True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole_texts, "CHARACTERS", 60)
        patch.setattr(whole_texts, "OVERLAP", 30)
        patch.setattr(whole_texts, "AGREED", 4)
        before, pieces, after = tokens_of_texts(lm, ["a", text, "b"], True)
    assert (before.text, after.text) == ("a", "b")
    assert pieces.tokens.tolist() == whole.tokens.tolist()
    assert pieces.places is not None
    assert whole.places is not None
    assert pieces.places.tolist() == whole.places.tolist()


def test_a_long_text_takes_the_memory_of_a_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def told(texts: list[str], **rest: Any) -> Any:
        asked.extend(map(len, texts))
        return BYTES(texts, **rest)

    told.is_fast = True  # type: ignore[attr-defined]
    lm = SimpleNamespace(tokenizer=told)
    monkeypatch.setattr(whole_texts, "CHARACTERS", 1000)
    monkeypatch.setattr(whole_texts, "OVERLAP", 400)
    monkeypatch.setattr(whole_texts, "AGREED", 16)
    (found,) = tokens_of_texts(lm, ["the old man walks " * 1000], False)
    assert len(asked) == 18
    assert max(asked) == 1400
    assert found.tokens.tolist() == BYTES("the old man walks " * 1000)["input_ids"]
    asked.clear()
    (found,) = tokens_of_texts(lm, ["x" * 5000], False)  # one word: no place where two pieces agree that it may be cut
    assert found.tokens.tolist() == BYTES("x" * 5000)["input_ids"]


def test_the_next_checkpoint_finds_its_texts_tokenised(parts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    call = whole_texts._call
    monkeypatch.setattr(whole_texts, "_call", lambda lm, texts, places: asked.extend(texts) or call(lm, texts, places))
    lm = opened(parts, name="shared_prefix")
    first = lm.read_texts(requests(TEXTS), TextRule())
    lm.replace_model(parts[0])
    again = lm.read_texts(requests(TEXTS), TextRule())
    assert sorted(asked) == sorted(TEXTS)
    assert {text: found.nats for text, found in again.items()} == {text: found.nats for text, found in first.items()}
    placed = lm.read_texts(requests([*TEXTS[:2], "he walk"]), TextRule(surprisal=True))  # what is kept says no places
    assert sorted(asked[len(TEXTS) :]) == sorted([*TEXTS[:2], "he walk"])
    assert placed[TEXTS[1]].places is not None
    monkeypatch.setattr(whole_texts, "KEPT", first[TEXTS[0]].count)
    few = opened(parts, name="shared_prefix")
    asked.clear()
    for _ in range(2):
        few.read_texts(requests(TEXTS[:3]), TextRule())
    assert [asked.count(text) for text in TEXTS[:3]] == [1, 2, 2]


def test_the_corpus_numbers_are_lm_evals(
    parts: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / "story.yaml").write_text(STORY)
    write_rows(tmp_path / "data" / "story.jsonl", [{"text": text} for text in TEXTS])
    task = builder.build(task_file.resolve(["story"]), None)["story"]
    found = scoring.score(opened(parts, name="shared_prefix"), {"story": task}, None, 0)["story"]
    theirs = HFLM(pretrained=parts[0], tokenizer=parts[1], batch_size=3, softmax_dtype="float32")
    plain: Any = evaluate(lm=theirs, task_dict={"tasks": {"story": task}}, bootstrap_iters=0)
    numbers = plain["results"]["story"]
    for metric in ("bits_per_byte", "word_perplexity", "byte_perplexity"):
        assert found.metrics[metric] == pytest.approx(numbers[f"{metric},none"], rel=1e-5)
    samples = sorted(plain["samples"]["story"], key=lambda sample: sample["doc_id"])
    for row, sample in zip(found.items.to_dict("records"), samples, strict=True):
        log, size = sample["bits_per_byte"]
        assert (row["bytes"], row["doc_hash"], row["prompt_hash"]) == (size, sample["doc_hash"], sample["prompt_hash"])
        assert row["nats"] == pytest.approx(-log, rel=1e-5)


def test_padding_that_is_no_number_spoils_no_neighbour(parts: tuple[Any, Any]) -> None:
    model, made = copy.deepcopy(parts[0]), parts[1]
    texts = TEXTS[2:5]
    used = {token for text in texts for token in made(text, add_special_tokens=False)["input_ids"]}
    alone = opened((model, made), name="lm_eval", batch_size=1).loglikelihood_rolling(requests(texts))
    assert 0 not in used | {made.eos_token_id, made.bos_token_id}
    with torch.no_grad():
        model.get_input_embeddings().weight[0] = math.nan
    together = opened((model, made), name="lm_eval", batch_size=8).loglikelihood_rolling(requests(texts))
    assert together == pytest.approx(alone, abs=1e-3)


@pytest.mark.parametrize("size", [0, 1, WINDOW, WINDOW + 1, 3 * WINDOW + 5])
def test_windows_are_lm_evals(size: int) -> None:
    tokens = np.arange(100, 100 + size)
    theirs = [(a[: len(a) - len(b) + 1], b) for a, b in get_rolling_token_windows(tokens.tolist(), 1, WINDOW, 1)]
    assert list(windows(tokens, 1, WINDOW, WINDOW)) == theirs


@pytest.mark.parametrize("stride", [1, 5, WINDOW])
def test_a_smaller_stride_lets_each_token_see_more(parts: tuple[Any, Any], stride: int) -> None:
    lm = opened(parts, name="shared_prefix")
    (found,) = lm.read_texts(requests(TEXTS[-1:]), TextRule(stride=stride, surprisal=True)).values()
    ids = [lm.prefix_token_id, *lm.tok_encode(TEXTS[-1])]
    each = []
    for place in range(1, len(ids)):  # a naive loop: one forward for each token
        before = place if place <= WINDOW else WINDOW + 1 + (place - WINDOW - 1) // stride * stride
        stop = min(max(WINDOW, before + stride - 1) + 1, len(ids)) if place > WINDOW else WINDOW + 1
        begin = max(0, min(stop, len(ids)) - 1 - WINDOW)
        with torch.no_grad():
            logits = lm.model(torch.tensor([ids[begin:place]])).logits[0, -1].double()
        each.append(-float(logits.log_softmax(-1)[ids[place]]))
    assert found.each == pytest.approx(each, abs=1e-4)
    assert found.nats == pytest.approx(sum(each), abs=1e-3)
    starts, ends = found.places[:, 0], found.places[:, 1]
    assert "".join(TEXTS[-1][a:b] for a, b in zip(starts, ends, strict=True)).replace(" ", "") == TEXTS[-1].replace(
        " ", ""
    )


def test_a_text_is_read_once_for_all_tasks(parts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    lm = opened(parts, name="shared_prefix")
    ticks: list[int] = []
    monkeypatch.setattr(lm, "_tick", ticks.append)
    lm.read_texts(requests([*TEXTS, *TEXTS, *TEXTS]), TextRule())
    assert lm.counts.body_tokens <= sum(min(len(lm.tok_encode(text)), 10**6) + 8 for text in TEXTS)
    assert sum(ticks) == 3 * len(TEXTS)


@pytest.fixture
def workspace_with_story(workspace: Path) -> Path:
    (workspace / "conf" / "task" / "story.yaml").write_text(STORY)
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(WORDS, size)) for size in (3, 10, 30, 50)]
    write_rows(workspace / "data" / "story.jsonl", [{"text": text} for text in [*texts, texts[0]]])
    return workspace


def test_one_file_makes_a_task_with_errors_over_texts(workspace_with_story: Path, caplog: Any) -> None:
    table = evalrun.evaluate("toy/toy-s", step="2", task="story", root=workspace_with_story)
    rows = {row["metric"]: row for row in table.to_dict("records")}
    assert set(rows) == {"bits_per_byte", "nats_per_token", "word_perplexity", "byte_perplexity"}
    assert rows["bits_per_byte"]["primary"]
    assert not any(row["higher_is_better"] for row in rows.values())
    assert rows["bits_per_byte"]["n"] == 4
    assert "1 repeated text left out" in caplog.text
    found = items_of(table, workspace_with_story)
    nats, size = found["nats"], found["bytes"]
    bits = nats.sum() / size.sum() / math.log(2)
    assert rows["bits_per_byte"]["value"] == pytest.approx(bits)
    residual = (nats / math.log(2) - bits * size) / size.sum()
    assert rows["bits_per_byte"]["stderr"] == pytest.approx(math.sqrt((residual**2).sum() * 4 / 3))
    assert rows["word_perplexity"]["value"] == pytest.approx(math.exp(nats.sum() / found["words"].sum()))
    assert found["bits_per_byte"].tolist() == pytest.approx((nats / size / math.log(2)).tolist())


def items_of(table: Any, root: Path) -> pd.DataFrame:
    run_id = table["run_id"].iloc[0]
    (path,) = (root / "mlruns").rglob(f"{run_id}/artifacts/items/story.parquet")
    return pd.read_parquet(path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("stride: 0", "has stride: 0, which must be a whole number of tokens, 1 or more"),
        ("window: many", "has window: 'many', which must be a whole number of tokens, 1 or more"),
        ("surprisal: words", "has surprisal: 'words', which must be true, false or corrected"),
        ("window: 100000", "window is 100000 tokens; the model reads"),
        ("window: 8\nstride: 9", "stride is 9 tokens in windows of 8"),
    ],
)
def test_a_wrong_rule_is_one_sentence(workspace_with_story: Path, line: str, said: str) -> None:
    (workspace_with_story / "conf" / "task" / "story.yaml").write_text(STORY + line + "\n")
    with pytest.raises(EvalrunError, match=said):
        evalrun.evaluate("toy/toy-s", step="2", task="story", root=workspace_with_story)


def test_code_that_counts_words_in_its_own_way_is_taken_for_that(workspace_with_story: Path) -> None:
    task = workspace_with_story / "conf" / "task" / "story.yaml"
    (task.parent / "own.py").write_text(
        "def per_line(doc, results):\n    (found,) = results\n    return {'word_perplexity': (found, 7), "
        "'bits_per_byte': (found, len(doc['text'].encode()))}\n"
    )
    task.write_text(STORY + "process_results: !function own.per_line\n")
    kept = {"root": workspace_with_story, "trust_task_code": True}
    table = evalrun.evaluate("toy/toy-s", step="2", task="story", **kept)
    found = items_of(table, workspace_with_story)
    assert set(found["words"]) == {7}
    rows = table.set_index("metric")["value"]
    assert rows["word_perplexity"] == pytest.approx(math.exp(found["nats"].sum() / 28))
    assert rows["bits_per_byte"] == pytest.approx(found["nats"].sum() / found["bytes"].sum() / math.log(2))


def test_a_folder_of_texts_is_a_task(workspace_with_story: Path) -> None:
    folder = workspace_with_story / "data" / "books"
    (folder / "more").mkdir(parents=True)
    (folder / "a.txt").write_text("the cat sat")
    (folder / "more" / "b.txt").write_text("a dog\n")
    write_rows(folder / "c.jsonl", [{"text": "two"}, {"text": "three"}])
    (folder / "README.md").write_text("no data")
    task = workspace_with_story / "conf" / "task" / "story.yaml"
    task.write_text("data: data/books\noutput_type: loglikelihood_rolling\n")
    table = evalrun.evaluate("toy/toy-s", step="2", task="story", root=workspace_with_story)
    assert set(table["n"]) == {4}
    (folder / "a.txt").write_text("the cat sits")  # of other texts it is another result
    again = evalrun.evaluate("toy/toy-s", step="2", task="story", root=workspace_with_story)
    assert set(again["task_key"]).isdisjoint(table["task_key"])
    (folder / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(EvalrunError, match=r"a.txt' is not UTF-8 text \(byte 3\): save it as UTF-8"):
        evalrun.evaluate("toy/toy-s", step="2", task="story", root=workspace_with_story)


def test_windows_are_of_whole_texts_alone(workspace: Path) -> None:
    (workspace / "conf" / "task" / "mine.yaml").write_text("include: alpha.yaml\nstride: 4\n")
    with pytest.raises((ConfigError, EvalrunError), match="has stride: 4, which is of tasks that score whole texts"):
        evalrun.evaluate("toy/toy-s", step="2", task="mine", root=workspace)


def test_tokens_are_kept_where_asked(workspace_with_story: Path) -> None:
    (workspace_with_story / "conf" / "task" / "story.yaml").write_text(STORY + "surprisal: true\n")
    table = evalrun.evaluate("toy/toy-s", step="2", task="story", root=workspace_with_story)
    found = items_of(table, workspace_with_story)
    for row in found.to_dict("records"):
        assert len(row["token_ids"]) == len(row["token_nats"]) == len(row["token_starts"]) == row["tokens"]
        assert float(np.sum(np.asarray(row["token_nats"], dtype=float))) == pytest.approx(row["nats"], rel=1e-6)


def test_tasks_of_the_same_texts_are_scored_together() -> None:
    def asking(texts: list[str]) -> Any:
        asked = [Instance("loglikelihood_rolling", {}, (text,), 0) for text in texts]
        return SimpleNamespace(
            instances=asked, set_fewshot_seed=lambda seed: None, build_all_requests=lambda limit: None
        )

    class Asking(SimpleNamespace):
        __hash__ = object.__hash__

    tasks = {name: Asking(**vars(asking(texts))) for name, texts in {"a": ["x", "y"], "b": ["z"], "c": ["y"]}.items()}
    assert scoring.group_by_shared_prompts(tasks, None) == [["a", "c"], ["b"]]
