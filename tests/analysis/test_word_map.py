"""Words from tokens: every token counted once, whatever a tokenizer makes of white space, marks and bytes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as hf
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors

from evalrun.checkpoints.word_beginnings import word_beginnings
from evalrun.core.errors import AnalysisError
from evalrun.statistics.words.word_map import CLOSING, WordMap, word_map
from made_tokenizers import byte_level, pieces
from random_models import spread

TEXT = "the old  man\n\n  walks 🙂 ok, (he\ttalked)... \n "
KINDS = {"bytes": byte_level(), "threes": byte_level("threes"), "metaspace": pieces(begin=False)}
KINDS |= {"trimmed": byte_level(), "across": pieces(begin=False, prepend=True)}
KINDS["trimmed"].post_processor = processors.ByteLevel(trim_offsets=True)


def token_table(tokenizer: Tokenizer, texts: list[str], seed: int = 0) -> pd.DataFrame:
    rows = []
    for number, text in enumerate(texts):
        found = tokenizer.encode(text, add_special_tokens=False)
        rows += [(number, i, token, *found.offsets[i]) for i, token in enumerate(found.ids)]
    frame = pd.DataFrame(rows, columns=["doc_id", "position", "token", "start", "end"], dtype=np.int64)
    return frame.assign(nats=np.random.default_rng(seed).exponential(size=len(frame)))


def by_loop(tokens: pd.DataFrame, texts: list[str]) -> dict[tuple[int, int], float]:
    """The rule, token by token: the word of its first character that is no white space, or the next one."""
    found: dict[tuple[int, int], float] = {}
    for row in tokens.itertuples():
        text = texts[row.doc_id]
        at = row.start
        while at < len(text) and text[at].isspace():
            at += 1
        is_inside = at > 0 and at < len(text) and not text[at - 1].isspace()
        number = len(text[:at].split()) - is_inside
        found[row.doc_id, number] = found.get((row.doc_id, number), 0.0) + row.nats
    return found


def test_white_space_is_the_next_words_and_marks_are_the_words_they_touch() -> None:
    for name in ("bytes", "trimmed", "metaspace"):
        words = word_map(token_table(KINDS[name], [TEXT]), {0: TEXT}).words
        assert words["word"].tolist() == ["the", "old", "man", "walks", "🙂", "ok,", "(he", "talked)...", ""], name
        assert words["whole"].all()
        assert [TEXT[row.start : row.end] for row in words[:-1].itertuples()] == words["word"].tolist()[:-1]
        assert (words["start"].iloc[-1], words["end"].iloc[-1]) == (len(TEXT) - 3, len(TEXT))
        assert words["n_tokens"].iloc[4] == 5  # a space, and the four bytes of one character


@pytest.mark.parametrize("kind", KINDS)
@given(texts=st.lists(st.text(alphabet="thew a.\n🙂é\t\u3000", min_size=1), min_size=1, max_size=4))
def test_the_sums_are_those_of_the_rule(kind: str, texts: list[str]) -> None:
    tokens = token_table(KINDS[kind], texts)
    found = word_map(tokens, dict(enumerate(texts)))
    nats = found.sums(tokens["nats"].to_numpy())
    assert np.nansum(nats) == pytest.approx(tokens["nats"].sum(), rel=1e-12)
    named = dict(zip(zip(found.words["doc_id"], found.words["word_id"], strict=True), nats, strict=True))
    assert {key: value for key, value in named.items() if not np.isnan(value)} == pytest.approx(by_loop(tokens, texts))
    spelt = [word for number in sorted(set(tokens["doc_id"])) for word in texts[number].split()]
    assert found.words.loc[found.words["word"] != "", "word"].tolist() == spelt


def test_a_token_of_several_words_is_the_first_ones_and_none_is_whole() -> None:
    text = "by the way home"
    tokens = pd.DataFrame({
        "doc_id": 7, "token": [3, 4, 5], "start": [0, 9, 10], "end": [8, 10, 15], "nats": [2.0, 1.0, 0.5],
    })  # fmt: skip
    found = word_map(tokens, {7: text})
    assert found.words["whole"].tolist() == [False, False, False, True]
    assert found.sums(tokens["nats"].to_numpy())[[0, 2, 3]].tolist() == [2.0, 1.0, 0.5]
    assert np.isnan(found.sums(tokens["nats"].to_numpy())[1])


def test_tokens_without_a_place_and_the_closing_row_are_no_words() -> None:
    tokens = pd.DataFrame({
        "doc_id": [0, 0, 0], "token": [1, 5, CLOSING], "start": [-1, 0, 3], "end": [-1, 3, 3], "nats": [4.0, 1.0, 0.0],
    })  # fmt: skip
    found = word_map(tokens, {0: "old"})
    assert found.words["word"].tolist() == ["old", ""]
    assert found.sums(tokens["nats"].to_numpy()).tolist() == [1.0, 4.0]


def test_another_text_is_refused() -> None:
    tokens = token_table(KINDS["bytes"], ["the old man"])
    with pytest.raises(AnalysisError, match="another than was scored"):
        word_map(tokens, {0: "the old"})
    with pytest.raises(AnalysisError, match="text 0 is not among"):
        word_map(tokens, {})


# eos, a, b, " a", " b", and a line end alone and with a mark before it, which says that the word has ended.
SPELT = ["<eos>", "a", "b", " a", " b", "\n", ".\n"]
BEGINS = np.array([text[0].isspace() for text in SPELT])
TRAILS = np.array([text[-1].isspace() for text in SPELT])
ENDS = BEGINS | np.array([True] + [False] * 6)


@pytest.fixture(scope="module")
def model() -> hf.GPTNeoXForCausalLM:
    shape = hf.GPTNeoXConfig(
        vocab_size=len(SPELT), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32,
    )  # fmt: skip
    return spread(lambda: hf.GPTNeoXForCausalLM(shape)).double()


def next_tokens(model: hf.GPTNeoXForCausalLM, ids: list[list[int]]) -> np.ndarray:
    """(texts, vocabulary) probabilities of what follows texts of one length, after the end of text."""
    with torch.no_grad():
        return model(torch.tensor([[0, *one] for one in ids])).logits[:, -1].softmax(-1).numpy()


def scored(model: hf.GPTNeoXForCausalLM, ids: list[int]) -> tuple[WordMap, pd.DataFrame, np.ndarray]:
    """A text's words, its tokens and their boundaries as a scorer hands them out."""
    spelt = [SPELT[token] for token in ids]
    ends = np.cumsum([len(one) for one in spelt])
    rows = []
    for i, token in enumerate([*ids, CLOSING]):
        chances = next_tokens(model, [ids[:i]])[0]
        begins = (token == CLOSING or BEGINS[token]) and not (i > 0 and TRAILS[ids[i - 1]])
        mass = chances[ENDS].sum() if begins else (chances[~BEGINS].sum() if i == 0 else np.nan)
        nats = 0.0 if token == CLOSING else -np.log(chances[token])
        at = ends[-1] if token == CLOSING else ends[i] - len(spelt[i])
        rows.append((0, i, token, at, ends[min(i, len(ids) - 1)], nats, -np.log(mass)))
    columns = ["doc_id", "position", "token", "start", "end", "nats", "boundary_nats"]
    tokens = pd.DataFrame(rows, columns=columns)
    found = word_map(tokens, {0: "".join(spelt)})
    return found, tokens, found.corrected(tokens["nats"].to_numpy(), tokens["boundary_nats"].to_numpy())


def test_the_correction_is_the_papers_ratio_by_enumeration(model: hf.GPTNeoXForCausalLM) -> None:
    """p(words so far, ended) is summed over every continuation by a token; a word's is the ratio of two such."""
    ids = [1, 2, 3, 4, 2, 1, 3]  # "ab a bba a"
    word_ends = [2, 3, 6, 7]
    _, _, corrected = scored(model, ids)

    def ended(count: int) -> float:
        joint = np.prod([next_tokens(model, [ids[:i]])[0, ids[i]] for i in range(count)])
        return float(sum(joint * next_tokens(model, [ids[:count]])[0, token] for token in np.flatnonzero(ENDS)))

    begun = [float(next_tokens(model, [[]])[0, ~BEGINS].sum()), *map(ended, word_ends[:-1])]
    expected = [-np.log(ended(end) / start) for end, start in zip(word_ends, begun, strict=True)]
    np.testing.assert_allclose(corrected, expected, rtol=1e-9)


def test_words_after_a_context_are_a_distribution(model: hf.GPTNeoXForCausalLM) -> None:
    """All words of up to three tokens, the end of the text, and what is longer: one in all."""
    context, words, rest = [1, 3], [], 0.0
    chances = next_tokens(model, [context])[0]
    begun, open_ones = chances[ENDS].sum(), [([*context, int(t)], chances[t]) for t in np.flatnonzero(BEGINS)]
    rest += chances[0]
    for _ in range(3):
        longer = []
        for ids, joint in open_ones:
            after, text = next_tokens(model, [ids])[0], "".join(SPELT[token] for token in ids[2:])
            is_word = bool(text.strip())
            if is_word:
                words.append(ids)
            else:
                rest += joint * after[0]
            if not (is_word and text[-1].isspace()):
                going = np.flatnonzero(~ENDS) if is_word else range(1, len(SPELT))
                longer += [([*ids, int(token)], joint * after[token]) for token in going]
        open_ones = longer
    rest += sum(joint for _, joint in open_ones)
    each = [scored(model, ids) for ids in words]
    total = sum(np.exp(-corrected[-1]) for _, _, corrected in each)
    assert total + rest / begun == pytest.approx(1, rel=1e-9)


def test_a_token_that_ends_in_white_space_says_that_the_word_has_ended(model: hf.GPTNeoXForCausalLM) -> None:
    ids = [1, 6, 2, 3]  # "a.", line end within the token, "b", " a"
    found, tokens, corrected = scored(model, ids)
    assert found.words["word"].tolist() == ["a.", "b", "a"]
    nats, boundary = tokens["nats"].to_numpy(), tokens["boundary_nats"].to_numpy()
    assert corrected[0] == pytest.approx(nats[0] + nats[1] - boundary[0])
    assert corrected[1] == pytest.approx(nats[2] + boundary[3])


def test_what_ends_unseen_has_no_corrected_nats(model: hf.GPTNeoXForCausalLM) -> None:
    _, tokens, corrected = scored(model, [1, 3, 4])
    open_end = tokens.iloc[:-1]
    found = word_map(open_end, {0: "a a b"})
    less = found.corrected(open_end["nats"].to_numpy(), open_end["boundary_nats"].to_numpy())
    assert np.isnan(less[-1])
    np.testing.assert_allclose(less[:-1], corrected[:-1])


@pytest.mark.parametrize("kind", ["bytes", "metaspace"])
def test_the_tokens_that_begin_a_word(kind: str) -> None:
    raw = KINDS[kind]
    end, spelt_out = ("<|endoftext|>", "Ċ") if kind == "bytes" else ("</s>", "\n")
    made = hf.PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=end)
    found = word_beginnings(made, raw.get_vocab_size() + 10)
    spelt = {token: raw.id_to_token(token) for token in range(raw.get_vocab_size())}
    marks = ("Ġ", "Ċ", "ĉ", "č", "▁", "\n", " ", "<0x0A>", "<0x20>", "<0x09>", "<0x0D>", "<0x0B>", "<0x0C>")
    control = tuple(chr(256 + code) for code in (11, 12, 28, 29, 30, 31)) + tuple(f"<0x{n:02X}>" for n in range(28, 32))
    expected = {token for token, text in spelt.items() if text.startswith((*marks, *control))}
    assert set(np.flatnonzero(found.begins)) == expected
    assert found.trails[raw.token_to_id(spelt_out)]
    assert not found.trails[raw.token_to_id("a")]
    assert set(np.flatnonzero(found.ends)) == expected | {raw.token_to_id(end)}
    assert set(np.flatnonzero(found.goes_on)) == set(spelt) - expected | {raw.token_to_id(end)}
    assert not (found.begins | found.goes_on)[-10:].any()
