"""The pages of a task's items: what packing keeps, what the page shows of it, when it is there and when it is not."""

from __future__ import annotations

import base64
import json
import re
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_items import made_course, made_curve, made_grid
from test_dynamics_report import HOSTILE, made_task, report

from evalrun.commands.table_input import config_of
from evalrun.core.errors import ConfigError
from evalrun.reporting.build import run_analysis
from evalrun.reporting.item_page import page_name, render_items
from evalrun.reporting.item_words import words_of
from evalrun.statistics.dynamics import packed_items
from evalrun.statistics.dynamics.choice_shares import MISSING, order, share_codes
from evalrun.statistics.dynamics.distractors import ItemWords
from evalrun.statistics.dynamics.item_classes import CLASSES
from evalrun.statistics.dynamics.item_dynamics import ItemSettings, item_dynamics
from evalrun.statistics.dynamics.item_grid import read_grid
from evalrun.statistics.dynamics.item_sheet import tables_of
from evalrun.statistics.dynamics.packed_items import pack
from helpers import TASK, make_rows, write_rows

SETTINGS = ItemSettings(guess=None, slip=0.05, alpha=0.05, correction="fdr_bh", seed=0)


def shares_of(codes):
    """As item_data.js reads them."""
    squeezed = (np.asarray(codes, dtype=np.float64) - 128) / 127
    with np.errstate(divide="ignore"):
        odds = 2 * squeezed / (1 - np.abs(squeezed))
    return np.where(np.asarray(codes) == MISSING, np.nan, 1 / (1 + np.exp(-odds)))


def chunks_of(html):
    """Name -> what the page holds, unpacked."""
    found = re.findall(r'<script type="application/octet-stream" data-name="([\w-]+)">([A-Za-z0-9+/=]*)</script>', html)
    return {name: zlib.decompress(base64.b64decode(content)) for name, content in found}


def answers_of(content, items, steps):
    fours = np.frombuffer(content, np.uint8)
    codes = np.stack([fours >> shift & 3 for shift in (0, 2, 4, 6)], axis=1).ravel()[: items * steps]
    return codes.reshape(items, steps)


def followed(n=100):
    """A task of two models, packed, with the rows and items that it is from."""
    store, rows = made_task("turning", n)
    grid = read_grid(rows, tables_of(store), with_shares=True)
    found = item_dynamics(grid, [], tables_of(store), None, SETTINGS)
    return store, grid, found, pack(grid, found.courses, found.items)


def test_a_probability_in_a_byte_is_as_near_as_is_said():
    p = np.concatenate([np.linspace(0, 1, 5001), 1 / (1 + np.exp(-np.linspace(-12, 12, 999)))])
    with np.errstate(divide="ignore"):
        logprobs = np.log(np.column_stack([p, 1 - p])) - 3
    n = len(p)
    codes = share_codes(logprobs, np.full(n, 2), np.zeros(n, dtype=np.int64))[:, 0]
    assert np.abs(shares_of(codes) - p).max() < 0.004
    assert codes.min() == 1  # 0 is kept for none
    assert (shares_of(codes[:1]), shares_of(codes[5000:5001])) == (0, 1)  # what is certain stays so
    inner = (p > 1e-6) & (p < 1 - 1e-6)
    kept, true = shares_of(codes)[inner], p[inner]
    x = np.log(true / (1 - true))
    assert (np.abs(np.log(kept / (1 - kept)) - x) <= (np.abs(x) + 2) ** 2 / 508 * 1.1 + 1e-9).all()


def test_the_right_choice_stands_first_and_what_is_not_there_is_missing():
    shares = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.25, 0.25, 0.0], [0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4]])
    with np.errstate(divide="ignore"):
        logprobs = np.log(shares)
    logprobs[1, 3] = -np.inf  # of three choices
    logprobs[3] = np.nan
    gold = np.array([2, 1, -1, 0])
    codes = share_codes(logprobs, np.array([4, 3, 4, 4]), gold)
    assert order(gold, 4).tolist() == [[2, 0, 1], [1, 0, 2], [0, 1, 2], [0, 1, 2]]
    assert shares_of(codes[0]) == pytest.approx([0.3, 0.1, 0.2], abs=0.004)
    assert shares_of(codes[1][:2]) == pytest.approx([0.25, 0.5], abs=0.004)
    assert shares_of(codes[2]) == pytest.approx([0.1, 0.2, 0.3], abs=0.004)
    assert codes[1, 2] == MISSING
    assert (codes[3] == MISSING).all()
    assert share_codes(np.zeros((3, 1)), np.zeros(3, dtype=np.int64), np.full(3, -1)) is None  # free answers


def test_what_a_page_holds_is_what_was_found():
    store, grid, found, packed = followed()
    html = render_items(packed, "Turning", "made", None, [])
    chunks = chunks_of(html)
    about = json.loads(chunks["about"])
    assert about["ids"] == list(range(100))
    for place, (curve, course) in enumerate(zip(grid.curves, found.courses, strict=True)):
        codes = answers_of(chunks[f"answers-{place}"], 100, len(curve.steps))
        assert (codes == curve.right.T).all()
        names = [CLASSES[code] for code in np.frombuffer(chunks[f"class-{place}"], np.uint8)]
        own = found.items[found.items["model"] == curve.model]
        assert names == own["class"].tolist()
        ages = np.frombuffer(chunks[f"age-{place}"], "<f4")
        np.testing.assert_allclose(ages, own["age"], rtol=1e-6)
        right = shares_of(np.frombuffer(chunks[f"right-{place}"], np.uint8).reshape(100, -1))
        wrong = shares_of(np.frombuffer(chunks[f"others-{place}"], np.uint8).reshape(2, 100, -1))
        for step, run in enumerate(curve.run_ids):
            logprobs = np.stack(store.frames[run, "turning"]["logprobs"])
            p = np.exp(logprobs - logprobs.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            places = order(grid.gold, 4)
            ordered = np.take_along_axis(p, places, axis=1)
            np.testing.assert_allclose(right[:, step], ordered[:, 0], atol=0.004)
            np.testing.assert_allclose(wrong[:, :, step].T, ordered[:, 1:], atol=0.004)
            last = 1 - right[:, step] - wrong[:, :, step].sum(axis=0)
            np.testing.assert_allclose(last, 1 - ordered.sum(axis=1), atol=0.01)
        rank = np.frombuffer(chunks[f"rank-{place}"], "<u4")
        assert sorted(rank) == list(range(100))
        gained = np.where(course.gained < 0, 99, course.gained)[np.argsort(rank)]
        assert (np.diff(gained) >= 0).all()


def test_ties_and_lost_answers_are_told_apart():
    right, margin = made_course(np.zeros((5, 7), dtype=bool), 2, 1)
    right[2, 3], right[4, 6] = 0.5, np.nan
    grid = made_grid([replace(made_curve(np.nan_to_num(right), margin), right=right)], 2)
    found = item_dynamics(grid, [], lambda *_: None, None, SETTINGS)
    codes = answers_of(zlib.decompress(pack(grid, found.courses, found.items).chunks["answers-0"]), 7, 5)
    assert (codes[3, 2], codes[6, 4]) == (2, 3)
    assert (np.where(np.isin(codes, (0, 1)), codes, 0) == np.where(np.isin(right.T, (0, 1)), right.T, 0)).all()


def test_large_tasks_keep_fewer_checkpoints_and_say_so(monkeypatch):
    _, grid, found, _ = followed()
    monkeypatch.setattr(packed_items, "_MOST_OTHERS", 2000)  # of 2 models x 13 checkpoints x 100 items x 2 choices
    packed = pack(grid, found.courses, found.items)
    assert [curve["others"] for curve in packed.about["curves"]] == [[0, 3, 6, 9, 12]] * 2
    html = render_items(packed, "Turning", "made", None, [])
    assert "those of wrong choices stand at 5 of 13 checkpoints" in html
    assert len(chunks_of(html)["others-0"]) == 1000
    monkeypatch.setattr(packed_items, "_MOST_ANSWERS", 1400)
    packed = pack(grid, found.courses, found.items)
    assert [curve["steps"] for curve in packed.about["curves"]] == [[1, 4, 16, 64, 256, 1024, 4096]] * 2
    assert "of 13 checkpoints 7 are shown" in render_items(packed, "Turning", "made", None, [])


def test_nothing_that_an_item_says_is_html():
    _, _, _, packed = followed(30)
    evil = f"</script>{HOSTILE}<b>"
    words = ItemWords(((evil,) * 4,) * 30, {evil: (evil,) * 30}, (evil,) * 30)
    html = render_items(packed, evil, evil, words, [evil])
    assert HOSTILE not in html
    assert html.count("<b>") == 3  # its own
    texts = json.loads(chunks_of(html)["texts"])
    assert texts["prompts"][0] == evil
    assert texts["columns"] == {evil: [evil] * 30}
    assert not re.search(r'(?:src|href)="(?!#)', html)  # nothing from elsewhere


def with_pages(out, words=None, **settings):
    store, rows = made_task("turning", n=30)
    conf = config_of({"items": True, "methods": ["ols"], "draws": 99, "figures": "none", **settings}).analysis
    return run_analysis(rows, conf, "made", out, {}, items=store, words=words)


def told(task, keys):
    """Texts of its items."""
    n = len(keys)
    return ItemWords((("red", "green", "blue", "grey"),) * n, {"kind": ("a",) * n}, ("Which?",) * n)


def test_the_report_links_the_page_of_each_task_as_its_setting_says(tmp_path):
    made = with_pages(tmp_path, told)
    page = tmp_path / "items/turning.html"
    assert made.files["items/turning.html"] == page
    assert list(made.files).index("report.html") < list(made.files).index(
        "items/turning.html"
    )  # MLflow opens the first
    assert json.loads(chunks_of(page.read_text())["texts"])["prompts"] == ["Which?"] * 30
    assert made.files["report.html"].read_text().count('<a class="beside" href="items/turning.html">Turning</a>') == 2
    made = with_pages(tmp_path, item_pages="answers")
    assert json.loads(chunks_of(page.read_text())["texts"])["prompts"] == []
    assert "Prompts and choices are left out" in page.read_text()
    made = with_pages(tmp_path, item_pages="none")
    assert not page.exists()
    assert "items/turning.html" not in made.files["report.html"].read_text()
    with pytest.raises(ConfigError, match=r"analysis\.item_pages is 'promts': did you mean 'prompts'"):
        config_of({"item_pages": "promts"})


def test_texts_that_cannot_be_had_are_a_sentence(tmp_path):
    with_pages(tmp_path, words_of(config_of({}), fetch=False))
    html = (tmp_path / "items/turning.html").read_text()
    assert "No prompts and choices: " in html
    assert "turning" in html


def test_a_task_whose_own_code_fails_has_no_texts_and_its_report_does_not_fail(tmp_path, monkeypatch):
    def broken(file):
        raise ZeroDivisionError("of the task's")

    monkeypatch.setattr("evalrun.tasks.item_texts.item_texts", broken)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/task").mkdir(parents=True)
    (tmp_path / "conf/task/mine.yaml").write_text(TASK.format(name="mine", title="Mine"))
    write_rows(tmp_path / "data/mine.jsonl", make_rows(12))
    found = words_of(config_of({}))("mine", followed(30)[1].keys)
    assert found.why == "No texts of choices: ZeroDivisionError: of the task's."


def test_reports_without_items_have_no_pages(tmp_path):
    rows = made_task("turning", n=30)[1]
    assert not any(name.startswith("items/") for name in report(rows, None, tmp_path, items=False).files)
    assert not (tmp_path / "items").exists()


def test_tasks_of_nearly_one_name_have_pages_of_their_own():
    names = ["a b", "a_b", "a/b", "../a_b", "A" * 300]
    assert len({page_name(name) for name in names}) == len(names)
    assert page_name("arc_easy") == "items/arc_easy.html"
    assert all(Path(page_name(name)).parts[:-1] == ("items",) for name in names)
