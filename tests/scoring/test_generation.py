"""Texts that a checkpoint writes are those of lm-eval's own decoding, however they are made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalrun import scoring
from made_tokenizers import pieces
from scoring.test_lost_texts import told
from scoring.test_scorable import scorer


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
    asked: Any = task.instances
    assert [one.generated for one in asked] == [[], []]  # nothing of a checkpoint stays
