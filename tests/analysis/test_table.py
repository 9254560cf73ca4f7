import numpy as np
import pandas as pd
import pytest

from evalrun.core.columns import TABLE_COLUMNS
from evalrun.errors import AnalysisError
from evalrun.statistics.row_groups import row_groups
from evalrun.statistics.table import prepare


def test_a_clean_table_passes_whole_and_sorted(tidy):
    table = tidy.grid()
    prepared = prepare(table.sample(frac=1, random_state=1), None)
    assert prepared.notes == []
    assert list(prepared.table.columns) == list(TABLE_COLUMNS)
    assert len(prepared.table) == len(table)
    pd.testing.assert_frame_equal(prepared.table, prepare(table, None).table)


def test_the_input_is_not_changed(tidy):
    table = tidy.grid()
    before = table.copy()
    prepare(table, None)
    pd.testing.assert_frame_equal(table, before)


def test_primary_metric_of_each_task(tidy):
    table = tidy.table(
        [
            {"task": "a", "metric": "acc", "primary": True},
            {"task": "a", "metric": "logprob", "primary": False},
            {"task": "b", "metric": "mc2", "primary": True},
        ]
    )
    assert prepare(table, None).table[["task", "metric"]].to_numpy().tolist() == [["a", "acc"], ["b", "mc2"]]


def test_a_named_metric_lists_the_tasks_without_it(tidy):
    table = tidy.table([{"task": "a", "metric": "acc"}, {"task": "b", "metric": "mc2"}])
    prepared = prepare(table, "acc")
    assert set(prepared.table["task"]) == {"a"}
    assert prepared.notes == ["Left out, having no metric 'acc': b."]


def test_a_metric_that_no_task_has_names_the_nearest(tidy):
    with pytest.raises(AnalysisError, match="no task has the metric 'accuracy': choose from: acc"):
        prepare(tidy.table([{"metric": "acc_norm"}, {"metric": "acc"}]), "accuracy")
    with pytest.raises(AnalysisError, match="did you mean 'acc_norm'"):
        prepare(tidy.table([{"metric": "acc_norm"}]), "acc_nrm")


def test_several_primary_metrics_of_one_task(tidy):
    table = tidy.table([{"step": 1}, {"step": 2}, {"step": 2, "metric": "f1"}])
    prepared = prepare(table, None)
    assert set(prepared.table["metric"]) == {"acc"}
    assert "several primary metrics" in prepared.notes[0]


@pytest.mark.parametrize("primary", ["True", "true", 1, np.True_])
def test_primary_as_a_store_may_give_it(tidy, primary):
    assert len(prepare(tidy.table([{"primary": primary}]), None).table) == 1


def test_no_primary_metric_at_all(tidy):
    with pytest.raises(AnalysisError, match=r"analysis\.metric="):
        prepare(tidy.table([{"primary": False}]), None)


def test_empty_table(tidy):
    with pytest.raises(AnalysisError, match="no results to analyse"):
        prepare(tidy.table([]), None)


def test_missing_columns(tidy):
    with pytest.raises(AnalysisError, match="lacks the columns tokens, run_id"):
        prepare(tidy.grid().drop(columns=["tokens", "run_id"]), None)


def test_equal_duplicates_are_merged(tidy):
    prepared = prepare(tidy.table([{"value": 0.4}, {"value": 0.4}]), None)
    assert len(prepared.table) == 1
    assert prepared.notes == ["1 result is there more than once with one value; each counts once."]


@pytest.mark.parametrize(("later", "which"), [(2, "latest"), (1, "last")])
def test_of_duplicates_that_disagree_the_latest_is_kept_and_told(tidy, later, which):
    prepared = prepare(tidy.table([{"value": 0.4}, {"value": 0.45, "finished_ms": later}]), None)
    assert prepared.table["value"].tolist() == [0.45]
    assert prepared.notes == [f"tiny-s step 1, tiny_obey: 2 results disagree (0.4, 0.45); the {which}, 0.45, is kept."]
    assert prepared.disagreeing[["model", "step", "task", "why"]].to_numpy().tolist() == [
        ["tiny-s", 1, "tiny_obey", f"0.4, 0.45: the {which} is kept"]
    ]


def test_results_that_differ_in_the_last_places_are_one(tidy):
    """Perplexities of one checkpoint from two machines: 6.00667 and 6.00612."""
    table = tidy.table([{"value": 6.00667}, {"value": 6.00612}])
    prepared = prepare(table, None)
    assert prepared.table["value"].tolist() == [6.00612]
    assert len(prepared.disagreeing) == 0
    assert prepared.notes == [
        "1 result is there more than once with values that differ by 0.0092 % at most, within "
        "analysis.same_within=0.001: each counts once, with its latest value."
    ]
    assert "2 results disagree (6.00667, 6.00612)" in prepare(table, None, same_within=0.00005).notes[0]


def test_disagreements_of_one_checkpoint_are_one_note(tidy):
    rows = [{"task": task, "value": value} for task in ("a", "b", "c", "d") for value in (0.1, 0.2)]
    prepared = prepare(tidy.table(rows), None)
    assert prepared.notes == [
        "tiny-s step 1: the results of 4 tasks disagree (a: 0.1, 0.2, b: 0.1, 0.2, c: 0.1, 0.2 and 1 more); "
        "the last of each is kept."
    ]
    assert len(prepared.disagreeing) == 4


def test_what_its_sources_gave_beside_is_told_of_a_result(tidy):
    kept = {"step": 1, "value": 0.5, "disputed": "acc is 0.625 in b.json"}
    gone = {"step": 2, "value": np.nan, "disputed": "acc is 0.5 in a.json, 0.625 in b.json"}
    prepared = prepare(tidy.table([kept, gone]), None)
    assert prepared.table["step"].tolist() == [1]
    assert prepared.notes == [
        "tiny-s step 2, tiny_obey: left out, because acc is 0.5 in a.json, 0.625 in b.json.",
        "tiny-s step 1, tiny_obey: kept, though acc is 0.625 in b.json.",
    ]
    assert prepared.seen["why"].tolist() == ["", "acc is 0.5 in a.json, 0.625 in b.json"]
    assert prepared.disagreeing["why"].tolist() == ["acc is 0.625 in b.json"]


def test_seeds_are_no_duplicates(tidy):
    prepared = prepare(tidy.table([{"seed": 1, "value": 0.4}, {"seed": 2, "value": 0.5}]), None)
    assert len(prepared.table) == 2
    assert prepared.notes == []


def test_many_disagreements_are_counted_not_listed(tidy):
    rows = [{"step": step, "value": value} for step in range(1, 31) for value in (0.1, 0.2)]
    notes = prepare(tidy.table(rows), None).notes
    assert len(notes) == 13
    assert notes[-1] == "... and 18 more of this kind."


def test_shared_weights_leave_the_latest_step_and_name_the_others(tidy):
    table = tidy.grid(tasks=["a", "b"])
    table.loc[(table["model"] == "tiny-m") & table["step"].isin([2, 8, 32]), "weights"] = "f" * 64
    prepared = prepare(table, None)
    kept = prepared.table[prepared.table["model"] == "tiny-m"]
    assert sorted(kept["step"].unique()) == [1, 4, 16, 32]
    assert prepared.notes == [
        "tiny-m steps 2 and 8: left out, because their weights are those of the final step 32 (digest ffffffffffff): "
        "a fault of the published checkpoints."
    ]


@pytest.mark.parametrize(("shared", "finals"), [([2, 8], None), ([2, 8, 32], {"tiny-m": 64})])
def test_shared_weights_without_the_final_step_leave_none(tidy, shared, finals):
    table = tidy.grid(tasks=["a", "b"])
    table.loc[(table["model"] == "tiny-m") & table["step"].isin(shared), "weights"] = "f" * 64
    prepared = prepare(table, None, finals)
    kept = prepared.table[prepared.table["model"] == "tiny-m"]
    assert not set(shared) & set(kept["step"])
    assert len(prepared.notes) == 1
    assert "left out, because they have the same weights and nothing tells which step" in prepared.notes[0]
    assert prepared.notes[0].startswith("tiny-m steps 2")


def test_shared_weights_are_looked_for_within_a_seed(tidy):
    table = tidy.grid(tasks=["a"], models=["tiny-s"], seeds=[1, 2])
    table.loc[(table["seed"] == 1) & table["step"].isin([1, 32]), "weights"] = "e" * 64
    prepared = prepare(table, None)
    assert len(prepared.table) == len(table) - 1
    assert "tiny-s seed 1 step 1: left out" in prepared.notes[0]


def test_models_that_share_weights_are_kept_but_told(tidy):
    table = tidy.grid(tasks=["a"])
    table.loc[table["step"] == 1, "weights"] = "d" * 64
    prepared = prepare(table, None)
    assert len(prepared.table) == len(table)
    assert prepared.notes == [
        "tiny-l step 1, tiny-m step 1 and tiny-s step 1 have the same weights (digest dddddddddddd); all are kept."
    ]


def test_unknown_weights_are_not_compared(tidy):
    table = tidy.grid()
    table["weights"] = None
    assert prepare(table, None).notes == []


def test_step_zero_is_left_out_and_named(tidy):
    prepared = prepare(tidy.grid(steps=[0, 1, 2], tasks=["a"]), None)
    assert 0 not in set(prepared.table["step"])
    assert prepared.notes == [
        "Left out, because 0 tokens have no logarithm: tiny-l step 0, tiny-m step 0 and tiny-s step 0."
    ]


def test_only_step_zero_leaves_nothing(tidy):
    with pytest.raises(AnalysisError, match="no result is left to analyse: Left out, because 0 tokens"):
        prepare(tidy.table([{"step": 0}]), None)


@pytest.mark.parametrize("value", [np.nan, np.inf, None])
def test_missing_values_are_left_out_and_named(tidy, value):
    prepared = prepare(tidy.table([{"step": 1, "value": value}, {"step": 2}]), None)
    assert len(prepared.table) == 1
    assert prepared.notes == ["tiny-s step 1, tiny_obey: left out, having no value."]


def test_different_numbers_of_items_are_told(tidy):
    prepared = prepare(tidy.table([{"step": 1, "n": 50}, {"step": 2, "n": 600}]), None)
    assert prepared.notes == ["tiny_obey: checkpoints were scored on different numbers of items, 50 to 600."]


def test_a_missing_title_is_the_task(tidy):
    assert prepare(tidy.table([{"title": None}]), None).table["title"].tolist() == ["tiny_obey"]


def test_tasks_are_sorted_as_people_count(tidy):
    tasks = prepare(tidy.table([{"task": t, "title": t} for t in ("task 10", "Task 2", "a")]), None).table["task"]
    assert tasks.tolist() == ["a", "Task 2", "task 10"]


def test_rows_are_grouped_as_a_frame_is(tidy):
    table = tidy.grid().sample(frac=1, random_state=0)[["task", "model", "step", "value"]]
    groups = row_groups(table, "task", "model")
    frames = dict(list(table.groupby(["task", "model"], sort=False)))
    assert list(groups) == list(frames)
    assert all(groups[key] == frame.to_dict("records") for key, frame in frames.items())
    assert list(row_groups(table, "step")) == table["step"].unique().tolist()
