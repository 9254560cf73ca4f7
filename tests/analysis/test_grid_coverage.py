"""How much of a study's grid is there: what is missing, left out or disputed is counted and named, in few words."""

import numpy as np
import pandas as pd
import pytest

from evalrun.statistics.coverage import coverage_sentences, grouped, measure_coverage
from evalrun.statistics.table import prepare


def measured(table, wanted=None, settled=()):
    prepared = prepare(table, None)
    return measure_coverage(prepared.seen, prepared.table, prepared.disagreeing, wanted, settled)


def test_a_whole_grid_has_one_pattern_and_no_sentence(tidy):
    coverage = measured(tidy.grid())
    assert coverage.tasks[["runs", "steps", "cells", "there", "missing"]].to_numpy().tolist() == [[3, 6, 18, 18, 0]] * 2
    assert coverage.tasks["gaps"].tolist() == ["", ""]
    assert len(coverage.cells) == 0
    assert coverage_sentences(coverage) == []


def test_36_of_180_cells_are_counted_and_named(tidy):
    """Six models x ten steps x three tasks, a fifth of the cells gone, not the same ones in each task."""
    models = [f"m{i}" for i in range(6)]
    whole = tidy.grid(models=models, steps=[2**i for i in range(10)], tasks=["a", "b", "c"])
    gone = np.random.default_rng(3).choice(180, 36, replace=False)
    coverage = measured(whole.drop(index=gone))
    assert coverage.count("cells") == 180
    assert coverage.count("missing") == 36
    assert coverage_sentences(coverage) == [
        "Of 180 cells of the grid (3 tasks x 60 checkpoints) 36 have no result: “Coverage” says which."
    ]
    named = {tuple(row) for row in coverage.cells[["task", "model", "step"]].to_numpy()}
    assert named == {tuple(row) for row in whole.loc[gone, ["task", "model", "step"]].to_numpy()}
    assert set(coverage.cells["state"]) == {"missing"}


def test_what_was_settled_without_is_not_missing(tidy):
    """Of two cells that are absent one was not needed; one that is there counts, whatever was said of it."""
    table = tidy.grid(models=["m0", "m1"], steps=[1, 2, 4, 8], tasks=["a", "b"])
    absent = (table["task"] == "a") & (table["model"] == "m0") & table["step"].isin([2, 4])
    cells = [("a", "m0", None, 2), ("b", "m0", None, 2)]
    coverage = measured(table[~absent], [(m, None, s) for m in ("m0", "m1") for s in (1, 2, 4, 8)], cells)
    tasks = coverage.tasks.set_index("task")
    assert tasks.loc["a", ["there", "missing", "settled"]].tolist() == [6, 1, 1]
    assert tasks.loc["b", ["there", "missing", "settled"]].tolist() == [8, 0, 0]
    assert tasks.loc["a", "gaps"] == "settled: m0 at step 2; missing: m0 at step 4"
    first, second = coverage_sentences(coverage)
    assert first.startswith("Of 16 cells of the grid 1 was not computed, because until=settled")
    assert "1 has no result" in second


def test_what_is_left_out_says_why_and_what_is_disputed_is_there(tidy):
    table = tidy.grid(steps=[0, 1, 2, 4, 8], tasks=["a"])
    table.loc[(table["model"] == "tiny-m") & table["step"].isin([2, 8]), "weights"] = "f" * 64
    table.loc[(table["model"] == "tiny-s") & (table["step"] == 4), "value"] = np.nan
    again = table[(table["model"] == "tiny-l") & (table["step"] == 4)].assign(value=lambda rows: rows["value"] + 0.2)
    coverage = measured(pd.concat([table, again], ignore_index=True))
    row = coverage.tasks.iloc[0]
    assert row[["cells", "there", "left_out", "missing", "disputed"]].tolist() == [15, 10, 5, 0, 1]
    assert "left out (0 tokens): every model at step 0" in row["gaps"]
    assert "left out (its weights are another step’s): tiny-m at step 2" in row["gaps"]
    assert "left out (no value): tiny-s at step 4" in row["gaps"]
    assert "the last is kept): tiny-l at step 4" in row["gaps"]
    assert coverage_sentences(coverage) == []  # a note tells of each


def test_a_task_that_lacks_the_metric_is_not_forgotten(tidy):
    table = tidy.grid(tasks=["a", "b"])
    table.loc[table["task"] == "b", ["metric", "primary"]] = ["f1", False]
    tasks = measured(table).tasks.set_index("task")
    assert tasks.loc["b", ["there", "left_out"]].tolist() == [0, 18]
    assert tasks.loc["b", "gaps"] == "left out (it has another metric alone): every cell"


def test_the_grid_that_was_asked_for_is_the_grid(tidy):
    table = tidy.grid(models=["tiny-s"], steps=[1, 2], tasks=["a"])
    wanted = [(model, None, step) for model in ("tiny-s", "tiny-x") for step in (1, 2, 4)]
    row = measured(table, wanted).tasks.iloc[0]
    assert row[["runs", "steps", "cells", "there", "missing"]].tolist() == [2, 3, 6, 2, 4]
    assert row["gaps"] == "missing: every model at step 4, tiny-x at every step"


def test_models_with_steps_of_their_own_lack_none_of_the_others(tidy):
    one, other = (tidy.grid(models=[m], steps=s, tasks=["a"]) for m, s in (("p", [1, 2, 4]), ("q", [3, 9, 27])))
    assert measured(pd.concat([one, other], ignore_index=True)).count("missing") == 0
    three = tidy.grid(tasks=["a"]).query("not (model == 'tiny-s' and step == 8)").reset_index(drop=True)
    assert measured(three).tasks["gaps"].tolist() == ["missing: tiny-s at step 8"]


def test_seeds_are_runs_of_their_own(tidy):
    table = tidy.grid(models=["tiny-s"], tasks=["a"], seeds=[1, 2, 3]).drop(index=[0])
    row = measured(table.reset_index(drop=True)).tasks.iloc[0]
    assert row[["runs", "cells", "missing"]].tolist() == [3, 18, 1]
    assert row["gaps"] == "missing: tiny-s seed 1 at step 1"


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ({"a": [1, 2], "b": [1, 2], "c": [1, 2]}, "every cell"),
        ({"a": [1], "b": [1], "c": [1]}, "every model at step 1"),
        ({"a": [1, 2]}, "a at every step"),
        ({"a": [1], "b": [1]}, "a and b at step 1"),
        ({"a": [1], "b": [1, 2], "c": [1]}, "every model at step 1, b at every step"),
    ],
)
def test_cells_are_named_in_few_words(missing, words):
    grid = {(model, -1.0): [1, 2] for model in "abc"}
    assert grouped({(model, -1.0): steps for model, steps in missing.items()}, grid) == words
