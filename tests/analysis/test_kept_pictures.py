"""Pictures are drawn when what they show has changed, and never shown when it has."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from shaping import conf_of

from evalrun.core.atomic import write_files
from evalrun.reporting import figure_files
from evalrun.reporting.build import run_analysis
from evalrun.reporting.drawing import Drawing, Words
from evalrun.reporting.kept_pictures import MADE, KeptPictures
from evalrun.statistics.findings import analyze_table


@pytest.fixture(scope="module")
def study(tidy):
    table = tidy.grid(models=["tiny-l"], tasks=["a", "b"], steps=[1, 2, 4, 8])
    return analyze_table(table, conf_of(methods=["ols"], items=False), "x")


@pytest.fixture
def draw(monkeypatch, tmp_path):
    """Draws a study's pictures into the folder: the names of those that were drawn now, in order."""
    names = []

    def each(work, jobs, pays):
        names.extend(name for name, *_ in jobs)
        return [work(*job) for job in jobs]

    monkeypatch.setattr(figure_files, "each", each)
    monkeypatch.setattr(figure_files, "evidence_figure", evidence)

    def drawn(study, figures="all", formats=("svg",)):
        names.clear()
        monkeypatch.setattr(figure_files, "EVERY_FORMAT", formats)
        write_files(tmp_path, figure_files.drawn(study, figures, tmp_path))
        return list(names)

    return drawn


def evidence(rows, found, task, axis):
    """A picture of which each number can be read."""
    return Drawing(200, 20, words=[Words(f"{task} {rows['value'].tolist()}", 0, 10, "#000000")])


def pictures(folder):
    return {path.name: path.read_bytes() for path in (folder / "figures").rglob("*.*g")}


def test_only_the_pictures_of_a_number_that_changed_are_drawn_again(study, draw, tmp_path):
    assert draw(study) == ["accuracy", "shapes", "evidence/a", "evidence/b"]
    before = pictures(tmp_path)
    assert draw(study) == []
    assert pictures(tmp_path) == before
    is_one = (study.table["task"] == "b") & (study.table["step"] == 4)
    other = study.table.assign(value=np.where(is_one, study.table["value"] + 1e-9, study.table["value"]))
    assert draw(replace(study, table=other)) == ["accuracy", "shapes", "evidence/b"]
    now = pictures(tmp_path)
    assert now["a.png"] == before["a.png"]
    assert draw(replace(study, table=other[other["task"] == "a"])) == ["accuracy", "shapes"]


def test_what_no_picture_shows_draws_none(study, draw):
    draw(study)
    assert draw(replace(study, choice=replace(study.choice, alpha=0.01), notes=["another"])) == []
    assert draw(replace(study, table=study.table.assign(run_id="another", n=7.0))) == []
    assert draw(replace(study, choice=replace(study.choice, axis="flops"))) == ["accuracy", "evidence/a", "evidence/b"]
    assert draw(replace(study, shapes=study.shapes.assign(label="flat"))) != []


def test_formats_that_were_not_asked_for_before_are_made(study, draw, tmp_path):
    draw(study, "paper", ("svg", "png"))
    assert {"accuracy.png", "shapes.svg"} == set(pictures(tmp_path)) - {"accuracy.svg"}
    assert "shapes" in draw(study, "all", ("svg", "png"))
    assert {"shapes.png", "a.png"} <= set(pictures(tmp_path))


@pytest.mark.parametrize("harm", ["altered", "gone", "receipt of nothing", "receipt of others", "another version"])
def test_a_picture_that_is_not_as_it_was_made_is_drawn_again(study, draw, tmp_path, monkeypatch, harm):
    draw(study)
    picture = tmp_path / "figures" / "evidence" / "a.png"
    before = picture.read_bytes()
    if harm == "altered":
        picture.write_bytes(before[:-1] + b"?")
    elif harm == "gone":
        picture.unlink()
    elif harm == "receipt of nothing":
        (tmp_path / MADE).write_text('{"evidence/a": {"key": 3}}')
    elif harm == "receipt of others":
        (tmp_path / "mine.txt").write_bytes(b"")
        receipts = json.loads((tmp_path / MADE).read_text())
        for one in receipts.values():
            one["files"] = {"figures/../mine.txt": hashlib.sha256(b"").hexdigest()}
        (tmp_path / MADE).write_text(json.dumps(receipts))
    else:
        monkeypatch.setattr("evalrun.core.receipt._code", lambda: "another")
    every = harm not in ("altered", "gone")
    assert draw(study) == (["accuracy", "shapes", "evidence/a", "evidence/b"] if every else ["evidence/a"])
    assert picture.read_bytes() == before


def test_the_receipt_stays_in_its_folder(tidy, tmp_path):
    table = tidy.grid(models=["tiny-l"], tasks=["a"], steps=[1, 2, 4])
    for figures in ("paper", "none"):
        found = run_analysis(table, conf_of(methods=["ols"], items=False, figures=figures), "x", tmp_path, {})
        assert MADE not in found.files  # which are filed in MLflow
        assert (tmp_path / MADE).exists() == (figures == "paper")


def test_a_table_that_is_gone_lends_its_digest_to_no_other(tmp_path):
    kept = KeptPictures(tmp_path)
    keys = []
    for value in range(50):  # each takes the place of the one before in memory
        assert kept.find(f"{value}", (pd.DataFrame({"value": [value]}),)) is None
        keys.append(kept._told((pd.DataFrame({"value": [value]}),)))
    assert len(set(keys)) == len(keys)
