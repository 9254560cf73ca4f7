"""Plans outlive the process that made them, and nothing that changes them is overlooked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evalrun.scoring import trie, trie_cache
from evalrun.scoring.trie import TokenRequest
from evalrun.scoring.trie_cache import TrieCache
from helpers import whole_word_tokenizer

REQUESTS: list[TokenRequest] = [([1, 2, 3], [4]), ([1, 2], [5, 6])]


@pytest.fixture(autouse=True)
def another_process() -> None:
    trie_cache.forget()


class Counter:
    """Tokenises, and counts how often it was asked to."""

    calls = 0

    def __call__(self) -> trie_cache.Coded:
        self.calls += 1
        return REQUESTS, [1]


def test_a_plan_is_made_once(tmp_path: Path) -> None:
    tokenizer, tokens = whole_word_tokenizer(20), Counter()
    first = TrieCache(tokenizer, str(tmp_path)).get("text", 8, tokens)
    assert TrieCache(tokenizer, str(tmp_path)).get("text", 8, tokens) is first
    trie_cache.forget()
    again = TrieCache(tokenizer, str(tmp_path)).get("text", 8, tokens)
    assert tokens.calls == 1
    assert again.request_parted.tolist() == [0, 1]
    for name, array in first.arrays().items():
        np.testing.assert_array_equal(array, again.arrays()[name])
        assert again.arrays()[name].dtype == np.int64


def test_another_text_window_tokenizer_or_rule_is_another_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Counter()
    TrieCache(whole_word_tokenizer(20), str(tmp_path)).get("text", 8, tokens)
    TrieCache(whole_word_tokenizer(20), str(tmp_path)).get("texts", 8, tokens)
    TrieCache(whole_word_tokenizer(20), str(tmp_path)).get("text", 9, tokens)
    TrieCache(whole_word_tokenizer(21), str(tmp_path)).get("text", 8, tokens)
    monkeypatch.setattr(trie, "LONGEST_ROW", 17)
    TrieCache(whole_word_tokenizer(20), str(tmp_path)).get("text", 8, tokens)
    assert tokens.calls == 5 == len(list(tmp_path.iterdir()))


@pytest.mark.parametrize("damage", [b"", b"not an archive", None])
def test_a_damaged_file_is_made_again(tmp_path: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer, tokens = whole_word_tokenizer(20), Counter()
    TrieCache(tokenizer, str(tmp_path)).get("text", 8, tokens)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-60] if damage is None else damage)
    trie_cache.forget()
    TrieCache(tokenizer, str(tmp_path)).get("text", 8, tokens)
    assert tokens.calls == 2
    assert "damaged" in caplog.text
    trie_cache.forget()
    TrieCache(tokenizer, str(tmp_path)).get("text", 8, tokens)
    assert tokens.calls == 2


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    tokens = Counter()
    TrieCache(whole_word_tokenizer(20), str(tmp_path / "file")).get("text", 8, tokens)
    TrieCache(whole_word_tokenizer(20), None).get("other", 8, tokens)
    assert tokens.calls == 2
