"""Texts that were written before a kill are not written again, and are the same texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evalrun.scoring.generation.generated import Done, Generated
from evalrun.scoring.kept_answers import KeptAnswers
from made_tokenizers import pieces
from scoring.test_lost_texts import told
from scoring.test_scorable import scorer

KEYS = {"told": "ab" * 32, "other": "cd" * 32}


class KilledError(Exception):
    """As if the process had ended here."""


class Writer:
    """Writes a text for each request, numbered by how often it was asked for; the last first, as servers do."""

    lost_texts = 0

    def __init__(self, most: int = 1_000) -> None:
        self.most, self.asked = most, list[str]()

    def generate(self, requests: Sequence[Any], done: Done | None = None) -> list[Generated]:
        assert done is not None
        texts: list[Generated] = []
        for place, request in enumerate(requests):
            sample = sum(one is request for one in requests[:place])
            texts.append(Generated(f"{request.args[0]} {sample}", "whole\n", (place,), "eos"))
        for place in reversed(range(len(requests))):
            if len(self.asked) == self.most:
                raise KilledError
            self.asked.append(texts[place].text)
            done(place, texts[place])
        return texts


def request(prompt: str, task: str = "told", doc_id: int = 0) -> Any:
    return SimpleNamespace(args=(prompt, {"until": ["\n"]}), task_name=task, doc_id=doc_id)


def test_what_was_written_before_a_kill_is_kept_and_goes_when_its_task_is_done(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    a, b, c = request("a"), request("b", doc_id=1), request("c", "other")
    asked = [a, b, b, b, c]  # three samples of b
    whole = ["a 0", "b 0", "b 1", "b 2", "c 0"]
    with pytest.raises(KilledError):
        KeptAnswers(tmp_path, KEYS).generate(Writer(most=2), asked)
    (file,) = (path for path in (tmp_path / "answers").glob("told*"))
    file.write_bytes(file.read_bytes() + b'["torn')  # as a kill in the middle of a line leaves it
    with pytest.raises(KilledError):  # b's samples are written again, as the samples that they were; c is not
        KeptAnswers(tmp_path, KEYS).generate(Writer(most=2), asked)
    assert "2 texts of 5 kept" in caplog.text
    writer = Writer()
    found = KeptAnswers(tmp_path, KEYS).generate(writer, asked)
    assert [text.text for text in found] == whole
    assert [text.whole for text in found] == ["whole\n"] * 5
    assert writer.asked == ["b 2", "b 1", "b 0", "a 0"]
    kept, idle = KeptAnswers(tmp_path, KEYS), Writer(most=0)
    assert kept.generate(idle, asked) == found  # the line after the torn one is whole
    kept.forget("told")
    assert [path.name[:5] for path in (tmp_path / "answers").iterdir()] == ["other"]
    kept.forget("other")
    assert not list(tmp_path.iterdir())


def test_an_answer_is_kept_for_its_own_prompt_settings_and_result(tmp_path: Path) -> None:
    KeptAnswers(tmp_path, KEYS).generate(Writer(), [request("a")])
    for other, keys in (
        (request("a "), KEYS),
        (request("a", doc_id=1), KEYS),
        (request("a"), {**KEYS, "told": "ab" * 6 + "ef" * 26}),  # the same file, another key
    ):
        writer = Writer()
        KeptAnswers(tmp_path, keys).generate(writer, [other])
        assert len(writer.asked) == 1
    changed = request("a")
    changed.args = ("a", {"until": ["\n"], "temperature": 1.0})
    for force in (False, True):  # forced: what was kept is gone
        writer = Writer()
        KeptAnswers(tmp_path, KEYS, anew=force).generate(writer, [changed])
        assert len(writer.asked) == 1


def test_answers_of_a_damaged_checkpoint_are_not_kept(tmp_path: Path) -> None:
    writer = Writer()
    writer.lost_texts = 1
    KeptAnswers(tmp_path, KEYS).generate(writer, [request("a")])
    assert not (tmp_path / "answers").exists()


def test_lm_evals_own_path_tells_of_each_text_as_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    task, lm = told(tmp_path, sample=False), scorer(tmp_path / "model", pieces(), name="lm_eval")
    task.build_all_requests(limit=None)
    asked = [*task.instances, task.instances[0]]
    for one in asked:
        one.task_name = "told"
    kept = KeptAnswers(tmp_path, KEYS)
    first = kept.generate(lm, asked)
    assert first == lm.generate(asked)
    assert KeptAnswers(tmp_path, KEYS).generate(Writer(most=0), asked) == first
