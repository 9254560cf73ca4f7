"""A sweep of base and chat checkpoints whose items are answered several times, from the command to the report."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from evalrun import cli
from helpers import make_checkpoint, write_rows
from test_asking import WRITES

TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<assistant>"
SWEEP = ["model=local", "path=runs/talk", "tokens_per_step=100", "step=all", "task=writes", "chat=auto"]
DRAWN = ["samples=4", "temperature=0.9", "generation.max_gen_toks=1"]


@pytest.fixture
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A training run of two steps without a chat template and two with one."""
    monkeypatch.chdir(tmp_path)
    for step in (1, 2, 4, 8):
        folder = make_checkpoint(tmp_path / "runs" / "talk" / f"step{step}", seed=step)
        if step > 2:
            (folder / "chat_template.jinja").write_text(TEMPLATE)
    (tmp_path / "data").mkdir()
    asked = [("the cat", "sat"), ("a dog", "ran"), ("yes", "no"), ("the tree", "is")]
    write_rows(tmp_path / "data" / "writes.jsonl", [{"question": q, "answer": a} for q, a in asked * 3])
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / "writes.yaml").write_text(WRITES)
    return tmp_path


def records(folder: Path) -> dict[int, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("multirun/local/talk/*/results/*.json"))]
    return {record["cell"]["step"]: record for record in found}


@pytest.mark.release
def test_base_and_chat_make_one_report_that_says_who_was_asked_how(
    talk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["-m", *SWEEP, *DRAWN]) == 0
    said = capsys.readouterr().out
    assert "as plain text: talk step 1 to 2; by a chat template (" in said
    assert "): talk step 4 to 8): what differs between these may be due to that" in said
    found = records(talk)
    digest = hashlib.sha256(TEMPLATE.encode()).hexdigest()
    digests = [found[step]["settings"]["chat_template_sha256"] for step in (1, 2, 4, 8)]
    assert digests == [None, None, digest, digest]
    assert set(found[1]["metrics"]) == {"exact_match", "pass@1", "pass@2", "pass@4", "majority"}
    (items,) = talk.glob("multirun/local/talk/step8/results/*.parquet")
    assert [len(one) for one in pq.read_table(items).to_pydict()["sample_exact_match"]] == [4] * 12
    (table,) = talk.glob("multirun/analysis/*/local/tables/samples.csv")
    assert len(pd.read_csv(table)) == 4
    assert "Several answers to each item" in (table.parents[1] / "report.html").read_text()
    assert cli.main(["compare", "talk@2", "talk@8"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "The prompts were not made in one way (talk step 2 as plain text; talk step 8 by a chat template (" in told
    assert cli.main(["plan", *SWEEP, *DRAWN]) == 0
    assert "4 done" in capsys.readouterr().out
    template = talk / "runs" / "talk" / "step8" / "chat_template.jinja"
    template.write_text(TEMPLATE.replace("assistant", "you"))
    assert cli.main(["-m", *SWEEP, *DRAWN, "analysis.after_sweep=false"]) == 0
    again = records(talk)
    assert {step: record["key"] for step, record in again.items() if step < 8} == {
        step: record["key"] for step, record in found.items() if step < 8
    }
    assert len(list(talk.glob("multirun/local/talk/step8/results/*.json"))) == 2


def test_who_has_no_template_is_told_before_anything_is_loaded(talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-m", *SWEEP[:-1], "chat=template"]) == 2
    said = capsys.readouterr().err
    assert "the tokenizer of talk step 1 (and of 1 more of 4 checkpoints) has no chat template" in said
    assert not (talk / "multirun").exists()
    told = ["show", *SWEEP[:2], "step=8", "task=writes", "chat=template", "chat.system=Be brief."]
    assert cli.main(told) == 0
    digest = hashlib.sha256(TEMPLATE.encode()).hexdigest()
    line = f"template {digest[:8]} of the tokenizer, examples as turns, system prompt 'Be brief.'"
    assert line in " ".join(capsys.readouterr().out.split())
