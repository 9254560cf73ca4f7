"""What a stage of training did: a planted loss is found, none is seldom found; tuning from several starts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_items import MadeStore

from evalrun.commands.table_input import config_of
from evalrun.core.columns import STAGE_COLUMNS, TABLE_COLUMNS
from evalrun.reporting.build import run_analysis
from evalrun.reporting.tuning_section import what_stages_did, where_tuning_starts
from evalrun.statistics.findings import analyze_table
from evalrun.statistics.tuning.stage_rows import stage_marks
from evalrun.statistics.tuning.what_tuning_did import PairTesting, tuning_sentences, what_tuning_did

N = 400
PRETRAINING = ({"step": 1}, {"step": 2}, {"step": 4})


def sft(own: int, start: int = 4) -> dict[str, Any]:
    """A checkpoint of tuning, from a step of pretraining."""
    begin = {"stage_step": own, "stage_from": start, "stage_tokens": start * 4096}
    return {"step": start + own, "tokens": start * 4096 + own * 100, "stage": f"sft@{start}", "trunk": "", **begin}


def study(tidy: Any, values: Any, places: Any, tasks: int = 1, **given: Any) -> tuple[pd.DataFrame, MadeStore]:
    """Tables and items of one model; values(task, place) are 0 and 1 of the items.

    Args:
        tidy: The fixture.
        values: Of each task and place.
        places: What is said of each checkpoint.
        tasks: How many.
        **given: Said of all.
    """
    rows, frames = [], {}
    for task in range(tasks):
        for at, place in enumerate(places):
            right, run = values(task, at), f"{given.get('model', 'tiny-s')}-{at}"
            name = f"t{task}"
            said = {"task": name, "title": f"T{task}", "run_id": run, "task_key": f"{run}-{name}", "weights": run}
            rows.append({**place, **said, "value": right.mean(), "n": len(right), **given})
            ids = [f"h{i}" for i in range(len(right))]
            frames[run, name] = pd.DataFrame({"doc_id": np.arange(len(right)), "doc_hash": ids, "acc": right})
    table = tidy.table(rows)
    for name in STAGE_COLUMNS:
        table[name] = [row.get(name, "" if STAGE_COLUMNS[name].dtype == "str" else np.nan) for row in rows]
    return table, MadeStore(frames)


def test_a_planted_loss_is_found_and_what_stayed_is_not(tidy: Any) -> None:
    """Of four tasks tuning breaks one: 80 of 400 right answers get lost; the others lose and gain 20 each."""
    random = np.random.default_rng(0)
    base = [(random.random(N) < 0.6).astype(float) for _ in range(4)]

    def values(task: int, at: int) -> Any:
        right = base[task].copy()
        if at >= 3:
            lost = np.flatnonzero(base[task] == 1)[: 80 if task == 2 else 20]
            gained = np.flatnonzero(base[task] == 0)[: 0 if task == 2 else 20]
            right[lost], right[gained] = 0, 1
        return right

    table, items = study(tidy, values, [*PRETRAINING, sft(1), sft(2)], tasks=4)
    found = what_tuning_did(table, PairTesting(items))
    assert found["verdict"].tolist() == [*["no difference shown"] * 2, "worse", "no difference shown"]
    row = found.iloc[2]
    assert (row["fell"], row["rose"], row["n"]) == (80, 0, N)
    assert row["difference"] == pytest.approx(-80 / N)
    assert (row["stage_before"], row["stage_before_step"], row["stage_step"]) == ("pretraining", 4, 2)
    assert row["q"] == pytest.approx(4 * row["p"])  # one correction over the four
    (sentence,) = tuning_sentences(found, 0.05)
    assert sentence.startswith("Stage sft made T2 in tiny-s (")
    assert ") worse and nothing better; 3 of 4 comparisons show no difference (q" in sentence


@pytest.mark.simulation
def test_a_tuning_that_does_nothing_is_seldom_accused(tidy: Any) -> None:
    """400 studies of six tasks in which each item is answered anew with its own probability: at most 5 % accuse one."""
    random, accused = np.random.default_rng(1), 0
    for _ in range(400):
        p = random.beta(2, 2, (6, 200))
        drawn = random.random((6, 2, 200)) < p[:, None]
        table, items = study(tidy, lambda task, at, d=drawn: d[task, at].astype(float), [{"step": 4}, sft(1)], tasks=6)
        accused += bool(what_tuning_did(table, PairTesting(items))["verdict"].isin(["worse", "better"]).any())
    assert accused / 400 < 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5


def test_more_pretraining_that_makes_the_tuned_model_worse_is_said(tidy: Any) -> None:
    """Before tuning 0.5, 0.6, 0.7 of the items, after it 0.7, 0.8, 0.4."""
    places = [*PRETRAINING, sft(2, 1), sft(2, 2), sft(2, 4)]
    levels = (0.5, 0.6, 0.7, 0.7, 0.8, 0.4)
    order = np.random.default_rng(2).permutation(N)
    table, items = study(tidy, lambda _, at: (order < levels[at] * N).astype(float), places)
    for at, start in ((3, 1), (4, 2)):
        table.loc[at, ["model", "trunk"]] = f"tiny-s+sft@{start}", "tiny-s"
    found = analyze_table(table, config_of({}).analysis, "tiny", items=items)
    grid = found.tuning.starts.table
    assert grid[["start_step", "before", "after"]].to_numpy().tolist() == [[1, 0.5, 0.7], [2, 0.6, 0.8], [4, 0.7, 0.4]]
    fall = found.tuning.starts.falls.iloc[0]
    assert (fall["falls"], fall["peak_step"], fall["trough_step"]) == (True, 2, 4)
    section = where_tuning_starts(found)
    assert section is not None
    assert section.rows[-1][5].kind == "number yes"
    # The branches are in no curve, and tuning in no regression: three checkpoints of pretraining, one of tuning.
    assert sorted(found.table["step"]) == [1, 2, 4, 6]
    assert set(found.table["model"]) == {"tiny-s"}
    assert found.effects.loc[found.effects["method"] == "ols", "n"].unique().tolist() == [3]
    assert any("of pretraining alone" in note for note in found.notes)
    assert what_stages_did(found) is not None


def test_a_stage_with_one_start_is_no_grid(tidy: Any) -> None:
    table, items = study(tidy, lambda *_: np.arange(N) % 2.0, [*PRETRAINING, {**sft(1), "stage": "sft"}])
    found = analyze_table(table, config_of({}).analysis, "tiny", items=items)
    assert found.tuning.starts.table.empty
    assert found.tuning.did["verdict"].tolist() == ["no difference shown"]
    assert where_tuning_starts(found) is None


def test_marks_stand_where_stages_begin(tidy: Any) -> None:
    table, _ = study(tidy, lambda *_: np.ones(4), [*PRETRAINING, sft(1), sft(2)])
    assert stage_marks(table, "tokens") == [(4 * 4096.0, "sft@4")]
    assert stage_marks(table[list(TABLE_COLUMNS)], "tokens") == []


def test_a_study_without_stages_has_no_trace_of_them(tidy: Any, tmp_path: Any) -> None:
    models = ("tiny-s", "tiny-m")
    table = tidy.table([{"step": 2**i, "value": 0.4 + i / 20, "model": m} for m in models for i in range(4)])
    found = run_analysis(table, config_of({"items": False}).analysis, "tiny", tmp_path, {})
    names = {path.name for path in tmp_path.rglob("*")}
    assert not {name for name in names if "stage" in name}
    assert "stage" not in (tmp_path / "results.csv").read_text().splitlines()[0].split(",")
    assert "each stage" not in found.files["report.html"].read_text()
