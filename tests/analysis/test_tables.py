import csv
import io
import re

import numpy as np
import pandas as pd
import pytest

from evalrun.core.columns import TABLE_COLUMNS
from evalrun.reporting import regression_table
from evalrun.reporting.csv_text import as_csv
from evalrun.reporting.terminal_table import effects_text
from evalrun.statistics.regression.equivalence import with_equivalence
from evalrun.statistics.regression.interactions import RegressionSettings, fit_interactions

PAPER = RegressionSettings("nominal", "tokens", ["ols"], ["fdr_bh"], 0.05, draws=99, seed=0)


@pytest.fixture
def effects(tidy):
    return with_equivalence(fit_interactions(tidy.grid(), PAPER), tidy.grid(), PAPER, 0.05)


@pytest.fixture
def untested(tidy):
    table = pd.concat([tidy.grid(tasks=["a_b"]), tidy.grid(tasks=["c"], models=["tiny-s"])])
    table = table.assign(title="100% & <script>_x|y^~\\{}#$")
    return with_equivalence(fit_interactions(table, PAPER), table, PAPER, 0.05)


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_columns_and_values(effects):
    lines = read(regression_table.effects_csv(effects))
    assert list(lines[0]) == regression_table.CSV_COLUMNS
    assert len(lines) == 6
    assert [float(line["t"]) for line in lines] == pytest.approx(effects["t"].tolist(), rel=1e-12)
    assert lines[0]["df"] == "14"


def test_missing_numbers_are_empty_in_csv(untested):
    lines = [
        line
        for line in read(regression_table.effects_csv(untested))
        if line["task"] == "c" and line["effect"] != "tokens"
    ]
    assert {line["t"] for line in lines} == {""}
    assert {line["note"] for line in lines} == {"only one model size: not fitted"}


def test_results_csv_is_the_tidy_table(tidy):
    table = tidy.grid(seeds=[1, 2])
    back = pd.read_csv(io.StringIO(regression_table.results_csv(table)))
    assert list(back.columns) == list(TABLE_COLUMNS)
    np.testing.assert_array_equal(back["value"], table["value"])
    assert read(regression_table.results_csv(table))[0]["seed"] == "1"


def test_latex_escapes(untested):
    text = regression_table.effects_latex(untested, "fdr_bh", 0.05)
    assert r"100\% \& \textless{}script\textgreater{}\_x|y\textasciicircum{}\textasciitilde{}" in text
    assert r"\textbackslash{}\{\}\#\$" in text
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    assert all(len(re.findall(r"(?<!\\)&", line)) == 6 for line in body.splitlines()[1:])
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    assert " -- & -- " in text


def test_latex_marks_significant_effects(effects):
    text = regression_table.effects_latex(effects, "fdr_bh", 0.05)
    assert text.count(r"\textbf{") == (effects["q"] < 0.05).sum() > 0


def test_markdown(untested):
    text = regression_table.effects_markdown(untested, "fdr_bh", 0.05)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 5 for row in rows)
    assert "<script>" not in text
    assert r"\_x\|y" in text
    assert "- c, parameters, interaction: only one model size: not fitted" in text


def test_text_fits_a_terminal(tidy):
    table = pd.concat([tidy.grid(tasks=["a_task_with_a_name_that_is_far_too_long_for_it"]), tidy.grid()])
    table = pd.concat([table, tidy.grid(tasks=["one"], models=["tiny-s"])])
    effects = fit_interactions(table, PAPER)
    effects["t"] *= 100
    long = ["* q < 0.05, corrected over 9 tests by a correction whose name is far too long for a line of a terminal."]
    text = effects_text(effects, {"one": "too few points"}, long, 0.05)
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "a_task_with_a_..." in text
    assert "one, parameters, interaction: only one model size: not fitted" in text
    head, rule, *rows = text.splitlines()[:6]
    assert " ".join(head.split()) == "task parameters t (q) tokens t (q) interaction t (q) shape"
    assert set(rule) == {"-", " "}
    assert len(rows) == 4
    effects["t"] /= 100
    names = [f"OpenWebText_{n}gram" for n in (1, 2, 3)]
    family = fit_interactions(pd.concat([tidy.grid(tasks=[name]) for name in names]), PAPER)
    shown = effects_text(family, dict.fromkeys(names, "inverted-U"), [], 0.05, 100, beside=family)
    assert all(name in shown for name in names)  # rather than cut to one name, and OLS stands below
    assert shown.count("  by OLS") == 3
    few = effects_text(family, dict.fromkeys(names, "flat"), [], 0.05, 110, beside=family)
    assert "OLS t" in few.splitlines()[0]
    narrow = effects_text(effects, {"one": "U-shaped"}, long, 0.05, 80, beside=effects)
    assert max(len(line) for line in narrow.splitlines()) <= 80


def test_notes_are_told_once(tidy):
    effects = fit_interactions(tidy.table([{}]), PAPER)
    assert regression_table.unfitted(effects) == ["tiny_obey: only one model size and only one training step"]
    many = fit_interactions(tidy.grid(tasks=[f"t{k}" for k in range(9)], steps=[4]), PAPER)
    told = regression_table.unfitted(many)  # 27 rows
    assert told == [
        "t0, t1, t2, t3 and 5 more, parameters: only one training step: parameters fitted alone",
        "t0, t1, t2, t3 and 5 more, tokens, interaction: only one training step: not fitted",
    ]


@pytest.mark.parametrize(
    ("q", "text"), [(0.0, "<0.001"), (0.0004, "<0.001"), (0.0006, "0.001"), (0.012, "0.012"), (1.0, "1.000")]
)
def test_q(q, text):
    assert regression_table.q_text(q) == text


ODD = pd.DataFrame(
    {
        "text": ["plain", 'a "quoted", one', "two\nlines", "", None, "cr\rhere", " space", "ünïcode", "'", "a;b"],
        "number": [0.1, -0.0, 0.0, np.nan, np.inf, -np.inf, 1e22, 1e-7, 14067712.0, 1 / 3],
        "whole": pd.array([1, None, 3, 4, 5, 6, 7, 8, 9, -10], dtype="Int64"),
        "int": range(10),
        "truth": [True, False] * 5,
        "mixed": pd.Series([1, True, 1.0, "1", None, np.nan, -0.0, "x,y", ("a", 1), pd.NA], dtype=object),
        'a "name", odd': 1.5,
    }
)


@pytest.mark.parametrize(
    "frame",
    [
        ODD,
        ODD[:0],
        ODD[["text"]],
        ODD.assign(text=ODD["text"].astype(object)),
        ODD.assign(day=pd.Timestamp("2020-01-01"), small=np.float32(0.1)),
        ODD.assign(kind=ODD["text"].astype("category")),
    ],
    ids=["odd", "no row", "one column", "object", "left to pandas", "category"],
)
def test_csv_is_what_pandas_writes(frame):
    assert as_csv(frame) == frame.to_csv(index=False, lineterminator="\n")
