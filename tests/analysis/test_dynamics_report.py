"""Items over training in the report: the section, its pictures and sentences, the tables and figures beside it."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_items import MadeStore, items_frame, learned_at, made_course, made_curve, table_rows
from PIL import Image
from test_item_parts import crossing

from evalrun.commands.table_input import config_of
from evalrun.reporting.build import run_analysis
from evalrun.reporting.dynamics_words import choice_name, percent, q_said, tokens_text
from evalrun.reporting.heat_map_figure import picture
from evalrun.statistics.dynamics.distractors import POSITION, TEXT, ItemWords
from evalrun.statistics.dynamics.heat_maps import HeatMap, heat_map
from evalrun.statistics.dynamics.item_classes import follow, states

HOSTILE = "<script>alert(1)</script>"
MISLED = [0, 0, 0, 1, 2, 4, 5, 6, 5, 4, 2, 1, 0]  # of 7 items, at each step


def made_task(task, n=100):
    """Per-item results of two models whose items turn to the second choice and back, and their rows."""
    random = np.random.default_rng(1)
    gold, known = random.integers(0, 4, n), random.random(n) < 2 / 3
    frames, runs, values = {}, [], []
    for model in ("small", "large"):
        for place, share in enumerate(MISLED):
            logprobs = random.normal(-5, 1, (n, 4))
            logprobs[np.flatnonzero(known), gold[known]] += 8
            logprobs[np.arange(n) % 7 < share, 1] += 20
            run = f"{task}-{model}-{place}"
            frames[run, task] = items_frame(logprobs, gold)
            runs.append((run, model, 2**place))
            values.append(float(frames[run, task]["acc"].mean()))
    return MadeStore(frames), table_rows(runs, values, task)


def report(table, store, out, **settings):
    conf = config_of({"items": True, "methods": ["ols"], "draws": 99, **settings}).analysis
    return run_analysis(table, conf, "made", out, {}, items=store)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    store, rows = made_task("turning")
    out = tmp_path_factory.mktemp("report")
    return report(rows.assign(title=HOSTILE), store, out), out


def test_the_page_says_and_shows_what_items_do(made):
    page = made[0].files["report.html"].read_text()
    section = page[page.index("<h2>Items over training</h2>") :]
    assert HOSTILE not in page
    said = " ".join(re.sub(r"<[^>]+>", " ", section).split())
    assert "large loses items that it knew, more than guesses and slips explain (q &lt; .001)" in said
    assert "The items that return are those that were lost" in said
    assert "the second choice where it is wrong" in said
    pictures = [base64.b64decode(one) for one in re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", section)]
    assert [Image.open(io.BytesIO(one)).size for one in pictures] == [(len(MISLED), 100)] * 2
    assert "Viterbi" in page


def test_the_tables_and_the_figure_lie_beside_it(made):
    files, out = made[0].files, made[1]
    classes = pd.read_csv(files["tables/items_classes.csv"])
    assert classes.groupby("model")["items"].sum().eq(100).all()
    assert list(classes.columns[:2]) == ["task", "title"]
    for name in ("losses", "transitions", "agreement", "returned", "distractors"):
        assert len(pd.read_csv(files[f"tables/items_{name}.csv"])), name
    assert Image.open(out / "figures/items/turning.png").size[0] > 600


def test_what_is_not_asked_for_is_not_there_and_what_was_is_removed(tmp_path):
    store, rows = made_task("turning", n=30)
    first = report(rows, store, tmp_path)
    assert "figures/items/turning.png" in first.files
    for items, without in ((store, {"item_dynamics": False}), (None, {"items": False})):
        again = report(rows, items, tmp_path, **without)
        assert not any("items_" in name or "figures/items" in name for name in again.files)
        assert not (tmp_path / "figures/items/turning.png").exists()
        assert not (tmp_path / "tables/items_classes.csv").exists()
        assert "Items over training" not in again.files["report.html"].read_text()


def colours(task, keys):
    """Texts of four choices, the second of which is shown with what HTML and mathematics make of it."""
    choices = ("red", f"{HOSTILE} $\\nothing{{", "blue", "grey")
    return ItemWords((choices,) * len(keys), {"trap": (choices[1],) * len(keys)}, ("?",) * len(keys))


def test_the_answer_that_took_over_is_shown_with_its_text(tmp_path):
    store, rows = made_task("turning")
    conf = config_of({"items": True, "methods": ["ols"], "draws": 99, "figures": "paper"}).analysis
    found = run_analysis(rows, conf, "made", tmp_path, {}, items=store, words=colours)
    page = found.files["report.html"].read_text()
    section = page[page.index("<h2>Which answer took over</h2>") :]
    assert HOSTILE not in page
    assert "wrong, as in column trap" in section
    assert "wrong, “&lt;script&gt;alert(1)&lt;/script&gt; $\\nothing{”" in section
    (picture,) = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", section)
    assert b"<svg" in base64.b64decode(picture)
    texts = pd.read_csv(found.files["tables/items_distractors.csv"]).query("by == 'text'")
    most = texts.sort_values("change").iloc[-1]
    assert most["value"].startswith(HOSTILE)
    assert most["low"] > 0.3
    assert not any("told apart by their places alone" in note for note in found.notes)


def test_texts_that_cannot_be_had_are_noted(tmp_path):
    store, rows = made_task("turning", n=60)
    conf = config_of({"items": True, "methods": ["ols"], "draws": 99, "figures": "none"}).analysis
    none = ItemWords((), {}, (), "No texts of choices: gone.")
    found = run_analysis(rows, conf, "made", tmp_path, {}, items=store, words=lambda *_: none)
    assert "Answers of Turning are told apart by their places alone. No texts of choices: gone." in found.notes


def test_a_part_that_the_mean_hides_is_said_drawn_and_tabled(tmp_path):
    store, rows, words = crossing()
    conf = config_of({"items": True, "methods": ["ols"], "draws": 99, "item_parts": ["template", "subject"]}).analysis
    hostile = replace(words, columns={"template": tuple(f"{one} {HOSTILE}" for one in words.columns["template"])})
    found = run_analysis(rows, conf, "made", tmp_path, {}, items=store, words=lambda *_: hostile)
    page = " ".join(found.files["report.html"].read_text().split())
    findings = page[: page.index("<h2>Parts of tasks</h2>")]
    assert HOSTILE not in page
    assert "The mean of Made hides a part that falls while the whole does not: where template=trap" in findings
    section = page[page.index("<h2>Parts of tasks</h2>") :]
    (picture,) = re.findall(r'data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)"', section)
    assert base64.b64decode(picture).count(b"template=") == 2
    assert found.files["figures/parts/made-template.svg"].read_bytes() == base64.b64decode(picture)
    parts = pd.read_csv(found.files["tables/items_parts.csv"])
    assert parts["hidden"].tolist() == [False, True]
    assert len(pd.read_csv(found.files["tables/items_part_curves.csv"])) == 2 * len(rows)
    assert (
        "Parts: task 'made' has no column 'subject': choose from: difficulty, gold_position, prompt_length, template."
        in " ".join(found.notes)
    )
    level, calm, _ = crossing(apart=False)
    again = run_analysis(calm, conf, "made", tmp_path, {}, items=level, words=lambda *_: words)
    page = " ".join(again.files["report.html"].read_text().split())
    assert "Of 1 task, divided by template, no part is shown to fall where its task as a whole does not." in page
    without = config_of({"items": True, "methods": ["ols"], "draws": 99}).analysis
    run_analysis(calm, without, "made", tmp_path, {}, items=level)
    assert not (tmp_path / "figures/parts/made-template.svg").exists()
    assert not (tmp_path / "tables/items_parts.csv").exists()


def test_items_that_cannot_be_followed_are_noted(tmp_path):
    store, rows = made_task("turning", n=30)
    for frame in store.frames.values():
        frame["doc_id"] = 0
    found = report(rows, store, tmp_path, figures="none")
    assert "Turning: task 'turning' cannot be followed item by item: items cannot be told apart: a doc_id repeats." in (
        found.notes
    )


def test_items_stand_in_the_order_in_which_they_are_learned():
    at = np.random.default_rng(0).integers(0, 31, 1000)
    right, _ = made_course(learned_at(at, 30), 4, 1)
    curve = made_curve(right)
    courses = follow(right, states(np.full(1000, 0.25), 0.05, 0.05, 30))
    found = heat_map(curve, courses)
    assert found.shares.shape == (240, 30)
    assert found.shares.mean() == pytest.approx(right.mean(), abs=0.02)
    share = found.shares.mean(axis=1)
    assert np.corrcoef(share, np.arange(240))[0, 1] < -0.95
    small = HeatMap("m", found.tokens, found.steps, 2, np.array([[0.0, 1.0]], np.float32))
    pixels = np.asarray(Image.open(io.BytesIO(picture(small.shares))).convert("L"))
    assert pixels[0, 0] > pixels[0, 1] + 60  # also in grey, right is the darker


def test_words():
    assert [tokens_text(n) for n in (0.5, 1234, 2.1e9, 3e11, 1.5e12, np.inf, np.nan)] == [
        *("0.5", "1.23k", "2.1B", "300B", "1.5T", "∞", "–"),
    ]
    assert (percent(-0.034), percent(np.nan)) == ("−3 %", "–")
    assert (q_said(0.0001), q_said(0.034)) == ("q < .001", "q = .034")
    assert choice_name(POSITION, "2") == "the second choice where it is wrong"
    assert choice_name(TEXT, "x" * 50) == f"the wrong choice “{'x' * 39}…”"
