"""Texts that a model without numbers generates are counted and refused; nothing can be drawn from it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from evalrun import scoring
from evalrun.errors import CheckpointError
from evalrun.tasks import builder, task_file
from helpers import write_rows
from made_tokenizers import pieces
from scoring.test_scorable import scorer

TASK = """task: told
data: data/told.jsonl
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["."], max_gen_toks: 3, do_sample: SAMPLE, temperature: HEAT}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
"""


def told(place: Path, sample: bool) -> Any:
    (place / "conf" / "task").mkdir(parents=True)
    text = TASK.replace("SAMPLE", str(sample).lower()).replace("HEAT", "1.0" if sample else "0.0")
    (place / "conf" / "task" / "told.yaml").write_text(text)
    write_rows(place / "data" / "told.jsonl", [{"question": q, "answer": "walks"} for q in ("the old man", "the dog")])
    return builder.build(task_file.resolve(["told"]), None)["told"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["shared_prefix", "lm_eval"])
def test_generated_texts_of_a_diverged_model_have_no_number(
    name: str, value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    task, lm = told(tmp_path, sample=False), scorer(tmp_path / "model", pieces(), name=name)
    sound = scoring.score(lm, {"told": task}, None, 0)["told"]
    assert (sound.lost, scoring.refused({"told": sound}, 0.0)) == (0, {})
    with torch.no_grad():
        lm.model.model.norm.weight.fill_(value)
    found = scoring.score(lm, {"told": task}, None, 0)["told"]
    assert (found.lost, found.n) == (2, 2)
    assert list(scoring.refused({"told": found}, 0.0)) == ["told"]
    said = scoring.why_lost("mine step 4", {"told": found}, lm.model)
    assert said.startswith("mine step 4 has no number for 2 of 2 items (100.0%) of told: ")
    assert "model.norm.weight holds NaN or infinity" in said


def test_no_text_is_drawn_from_what_is_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    task, lm = told(tmp_path, sample=True), scorer(tmp_path / "model", pieces())
    with torch.no_grad():
        lm.model.model.norm.weight.fill_(math.nan)
    with pytest.raises(CheckpointError, match="no text can be drawn from this checkpoint, because what it predicts is"):
        scoring.score(lm, {"told": task}, None, 0)
