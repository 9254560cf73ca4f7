"""Every number in the report's sentences is one of the frames', and the sections show what the frames hold."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from made_study import summary
from test_run import conf

from evalrun.reporting import html_page
from evalrun.reporting.sections import references, sections
from evalrun.reporting.sentences import findings, listed
from evalrun.reporting.table_files import latex_table, table_files
from evalrun.statistics.findings import analyze_table
from evalrun.statistics.items.continuous import METRICS


@pytest.fixture(scope="module")
def study(tidy):
    return analyze_table(tidy.grid(), conf(), "tiny")


def items_of(_run, _task, columns):
    """Fifty items that are answered the worse, the later (by name) the run."""
    rng = np.random.default_rng(len(str(_run)))
    right = rng.random(50) < 0.5
    found = pd.DataFrame(
        {
            "doc_id": range(50),
            "doc_hash": [str(i) for i in range(50)],
            "prompt_hash": "p",
            "filter": "none",
            "target": "0",
            "prediction": np.where(right, 0, 1),
            "acc": right.astype(float),
            "logprobs": [[-1.0, -2.0] if one else [-2.0, -1.0] for one in right],
        }
    )
    return found[[name for name in columns if name in found]]


def test_the_counts_are_those_of_the_table(study):
    first, others = (sentence for sentence in summary(study) if sentence.startswith("By "))
    found = study.headline["q"] < 0.05
    assert first.startswith(f"By OLS {found.sum()} of {study.headline['p'].notna().sum()} effects are significant")
    for method, name in (("cr2", "CR2 errors"), ("gee", "GEE")):
        rows = study.effects[(study.effects["method"] == method) & study.effects["p"].notna()]
        assert f"{(rows['q'] < 0.05).sum()} of {len(rows)} by {name}" in others


def test_findings_stand_under_what_they_are_of(study):
    found = dict(findings(study))
    assert list(found) == ["Over training", "Over size", "Size, training and both", "How far this holds"]
    assert all(found.values())
    assert any("curves fall" in sentence for sentence in found["Over training"])
    assert any(sentence.startswith("By OLS") for sentence in found["Size, training and both"])
    page = html_page.render(study, {})
    places = [page.index(f"<h3>{heading}</h3>") for heading in found]
    assert places == sorted(places)


def test_one_model_is_told_as_one(tidy):
    table = tidy.grid()
    alone = analyze_table(table[table["model"] == table["model"].iloc[0]], conf(methods=["ols", "cluster"]), "tiny")
    told = " ".join(summary(alone))
    assert "the only model" in told
    assert "the largest model" not in told
    assert "0 of 0" not in told
    assert "No effect could be tested by errors clustered by model" in told


def test_models_of_one_size_have_no_largest(tidy):
    table = tidy.grid().assign(n_params=1e6, n_params_nominal=1e6, n_params_nonembedding=1e6)
    assert "the largest model" not in " ".join(summary(analyze_table(table, conf(methods=["ols"]), "tiny")))


def test_the_largest_fall_is_told(study):
    told = next(sentence for sentence in summary(study) if "peak" in sentence)
    found = study.falls[study.falls["falls"]]
    top = found.sort_values("changes").iloc[-1]
    assert told.startswith(f"{len(found)} of {len(study.falls)} curves")
    assert f"by {top['fall']:.3g} ({top['low']:.3g} to {top['high']:.3g}" in told
    assert f"step {top['peak_step']:.0f}" in told


def test_one_method_is_not_compared(tidy):
    alone = analyze_table(tidy.grid(), conf(methods=["ols"], corrections=["fdr_bh"]), "tiny")
    assert not [sentence for sentence in summary(alone) if "other methods" in sentence]
    assert {"Which effects stand", "How many are significant"}.isdisjoint({s.title for s in sections(alone)})
    assert next(iter(references(alone))) == "OLS"


def test_sections_hold_the_frames(study):
    made = {section.title: section for section in sections(study)}
    stand = made["Which effects stand"]
    assert len(stand.rows) == study.effects.groupby(["task", "effect"]).ngroups
    assert all(len(row) == len(section.heads) for section in made.values() for row in section.rows)
    marked = sum("yes" in cell.kind for row in stand.rows for cell in row)
    assert marked == (study.effects["q"] < 0.05).sum()
    counts = [[cell.text for cell in row] for row in made["How many are significant"].rows]
    ols = study.effects[study.effects["method"] == "ols"]
    assert counts[0][2:] == [str((ols[name] < 0.05).sum()) for name in ("p", "q_fdr_bh", "q_fdr_by", "q_holm")]


def test_items_give_continuous_metrics_and_paired_falls(tidy):
    table = tidy.grid()
    table["run_id"] = [f"{model}-{step}" for model, step in zip(table["model"], table["step"], strict=True)]
    study = analyze_table(table, conf(items=True, methods=["ols"]), "tiny", items=items_of)
    assert len(study.continuous) == len(table) * (len(METRICS) - 3)  # no lengths of choices: acc_norm and bits per byte
    assert set(study.artefacts["task"]) == set(table["task"])
    value = study.continuous[study.continuous["metric"] == "gold_logprob"]["value"]
    assert value.between(-2, -1).all()
    lost = analyze_table(table, conf(items=True, methods=["ols"]), "tiny", items=lambda *_: None)
    assert any("No continuous metrics of any task: no items are in the store" in note for note in lost.notes)


def test_latex_is_whole_and_escaped(study):
    made = table_files(study, study.table)
    for name, text in made.items():
        if name.endswith(".tex"):
            assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
            body = text[text.index(r"\midrule") : text.index(r"\bottomrule")].splitlines()[1:]
            assert len({len(re.findall(r"(?<!\\)&", line)) for line in body}) <= 1, name
    text = latex_table(pd.DataFrame({"a": ["50% & <b>_"], "n": [np.nan]}), {"a": ("A", str), "n": ("N", str)})
    assert r"50\% \& \textless{}b\textgreater{}\_ & -- \\" in text


def test_lists_are_cut_with_a_count():
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(list("abcdefgh"), 2) == "a, b and 6 more"
