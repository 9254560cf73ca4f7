"""A tokenizer has the tokens of its own file, whatever class it is filed under; results tell the two apart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from transformers import AutoTokenizer

from evalrun.checkpoints import token_keys, tokenizer
from helpers import shared_dir
from made_tokenizers import END, byte_level, pieces, save

NFC = normalizers.NFC()
TEXTS = ("if x:\n\n    walk() (walk) 2024", "cafe\u0301 IT'S", " a", "the dog", "", "東京 1,000\r\n", f"a{END}b")
# Files whose rules are not those of the class: file, class's name, type of the model.
DEPARTING: dict[str, tuple[Callable[[], Tokenizer], str | None, str]] = {
    "threes as GPT-2": (lambda: byte_level("threes"), "GPT2Tokenizer", "llama"),
    "threes as Qwen 2": (lambda: byte_level("threes"), "Qwen2Tokenizer", "llama"),
    "threes without a name": (lambda: byte_level("threes"), None, "gpt2"),
    "digits as GPT-2": (lambda: byte_level("digits"), "GPT2Tokenizer", "llama"),
    "lower case": (lambda: byte_level(normalizer=normalizers.Lowercase()), "GPT2Tokenizer", "gpt2"),
    "no NFC": (byte_level, "GPTNeoXTokenizer", "gpt_neox"),
    "begins with a token": (lambda: byte_level(normalizer=NFC, begin=True), "GPTNeoXTokenizer", "gpt_neox"),
    "prepends": (lambda: pieces(prepend=True), "LlamaTokenizer", "llama"),
}  # fmt: skip
AGREEING: dict[str, tuple[Callable[[], Tokenizer], str | None, str]] = {
    "the file's own": (lambda: byte_level("threes"), "PreTrainedTokenizerFast", "gpt_neox"),
    "GPT-2": (byte_level, "GPT2Tokenizer", "gpt2"),
    "GPT-NeoX": (lambda: byte_level(normalizer=NFC), "GPTNeoXTokenizer", "gpt_neox"),
    "Llama": (pieces, "LlamaTokenizer", "llama"),
    "bytes as Llama": (lambda: byte_level("threes"), "LlamaTokenizerFast", "llama"),
}


def laid_out(
    kind: tuple[Callable[[], Tokenizer], str | None, str], folder: Path, **config: Any
) -> tuple[Path, Tokenizer]:
    make, name, model_type = kind
    raw = make()
    return save(raw, folder, name, model_type, **config), raw


@pytest.mark.parametrize("name", DEPARTING)
def test_the_file_is_followed(name: str, tmp_path: Path) -> None:
    folder, raw = laid_out(DEPARTING[name], tmp_path / "one")
    by_class = AutoTokenizer.from_pretrained(folder)
    loaded = tokenizer.load(folder, remote_code=False)
    assert [loaded(text)["input_ids"] for text in TEXTS] == [raw.encode(text).ids for text in TEXTS]
    assert (loaded.bos_token_id, loaded.eos_token_id) == (by_class.bos_token_id, by_class.eos_token_id)
    found = tokenizer.departure_of(loaded)
    assert found is not None
    assert found.first is not None
    assert by_class(found.first.text)["input_ids"] != raw.encode(found.first.text).ids
    assert token_keys.mark(folder, None) == token_keys.MARK

    asked = tokenizer.load(folder, remote_code=False, by="class")
    assert [asked(text)["input_ids"] for text in TEXTS] == [by_class(text)["input_ids"] for text in TEXTS]
    assert tokenizer.departure_of(asked) is not None


@pytest.mark.parametrize("name", AGREEING)
def test_a_class_that_agrees_is_left_alone_and_so_are_its_keys(name: str, tmp_path: Path) -> None:
    folder, raw = laid_out(AGREEING[name], tmp_path / "one")
    loaded = tokenizer.load(folder, remote_code=False)
    assert [loaded(text)["input_ids"] for text in TEXTS] == [raw.encode(text).ids for text in TEXTS]
    found = tokenizer.departure_of(loaded)
    assert found is None or found.among(TEXTS) == (0, None)
    assert token_keys.mark(folder, None) == ""


def test_the_tokenizer_of_pythia_is_as_its_file_has_it(tmp_path: Path) -> None:
    file = shared_dir() / "data" / "tokenizer" / "20B_tokenizer.json"
    raw = Tokenizer.from_file(str(file))
    folder = save(raw, tmp_path, "GPTNeoXTokenizer", "gpt_neox", add_prefix_space=False)
    loaded = tokenizer.load(folder, remote_code=False)
    assert [loaded(text)["input_ids"] for text in TEXTS] == [raw.encode(text).ids for text in TEXTS]
    assert tokenizer.departure_of(loaded) is None


def test_what_its_settings_say_is_no_departure(tmp_path: Path) -> None:
    raw = byte_level()
    added = {"additional_special_tokens": ["<new>"]}
    folder = save(raw, tmp_path, "GPT2Tokenizer", "gpt2", add_prefix_space=True, **added)
    loaded = tokenizer.load(folder, remote_code=False)
    assert tokenizer.departure_of(loaded) is None
    assert loaded("the dog")["input_ids"] == raw.encode(" the dog").ids
    assert loaded("<new>")["input_ids"] == [raw.get_vocab_size()]


def test_without_a_file_of_its_own_there_is_nothing_to_compare(tmp_path: Path) -> None:
    folder, _ = laid_out(AGREEING["GPT-2"], tmp_path / "one")
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges))
    loaded = tokenizer.load(folder, remote_code=False)
    assert loaded("the dog")["input_ids"] == byte_level().encode("the dog").ids
    assert tokenizer.departure_of(loaded) is None
    assert token_keys.mark(folder, None) == ""


@pytest.fixture(scope="module")
def parted(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, Tokenizer]]:
    made = []
    for name in ("threes as GPT-2", "prepends", "no NFC"):
        folder, raw = laid_out(DEPARTING[name], tmp_path_factory.mktemp("parted"))
        made.append((tokenizer.load(folder, remote_code=False), raw))
    return made


@given(text=st.text(st.sampled_from("abIé\u0301 \n\t0129'(=.東🙂▁")))
def test_any_text_has_the_files_tokens(text: str, parted: list[tuple[Any, Tokenizer]]) -> None:
    for loaded, raw in parted:
        assert loaded(text)["input_ids"] == raw.encode(text).ids
        assert loaded(text, add_special_tokens=False)["input_ids"] == raw.encode(text, add_special_tokens=False).ids


def test_each_tokenizer_is_its_own_whatever_was_loaded_before(tmp_path: Path) -> None:
    first, raw = laid_out(DEPARTING["threes as GPT-2"], tmp_path / "first")
    loaded = tokenizer.load(first, remote_code=False)
    assert tokenizer.load(shutil.copytree(first, tmp_path / "copy"), remote_code=False) is loaded
    changed = {
        "a token more": lambda one: one.add_tokens(["walk()"]),
        "another rule": lambda one: setattr(one, "pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=True)),
    }
    for name, change in changed.items():
        other = Tokenizer.from_str(raw.to_str())
        change(other)
        folder = save(other, tmp_path / name, "GPT2Tokenizer", "llama")
        ids = tokenizer.load(folder, remote_code=False)("if walk() 2024")["input_ids"]
        assert ids == other.encode("if walk() 2024").ids != loaded("if walk() 2024")["input_ids"], name
    said = json.loads((first / "tokenizer_config.json").read_text())
    (first / "tokenizer_config.json").write_text(json.dumps(said | {"bos_token": "<new>"}))
    assert tokenizer.load(first, remote_code=False).bos_token == "<new>"


def test_the_answer_is_kept_and_asked_for_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = laid_out(DEPARTING["digits as GPT-2"], tmp_path / "one")
    monkeypatch.setattr(token_keys, "_known", {})
    monkeypatch.delitem(token_keys.sys.modules, "torch")
    assert token_keys.mark(folder, str(tmp_path / "cache")) == token_keys.MARK
    monkeypatch.setattr(token_keys, "_known", {})
    monkeypatch.setattr(token_keys, "_elsewhere", lambda *_: pytest.fail("asked again"))
    assert token_keys.mark(folder, str(tmp_path / "cache")) == token_keys.MARK
