"""Means over groups of tasks: lm-eval's where those are right, and errors that hold where tasks share items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lm_eval.api.group import Group
from lm_eval.api.metrics import aggregate_subtask_metrics, pooled_sample_stderr
from lm_eval.config.group import AggMetricConfig

from evalrun.core.task_group import TaskGroup, outermost, tasks_of
from evalrun.statistics.group_means import COLUMNS, group_means, newest
from evalrun.statistics.items.shared_items import shared_items
from evalrun.statistics.regression.interactions import fit_interactions
from evalrun.statistics.regression.model_frame import RegressionSettings
from evalrun.statistics.table import prepare
from evalrun.tasks.group_tree import task_groups

CHOICE = RegressionSettings("nominal", "tokens", ["ols"], ["fdr_bh"], 0.05, 99, 0)
AB = {"both": TaskGroup("both", "Both", ("a", "b"))}


def sized(by_size: bool) -> dict[str, TaskGroup]:
    return {"both": TaskGroup("both", "Both", ("a", "b"), {"acc": by_size})}


def rows_of(tidy: Any, answers: Mapping[str, Sequence[float]], **given: Any) -> pd.DataFrame:
    """One checkpoint's rows: task -> its answers."""
    own = pd.DataFrame({task: pd.Series(answer) for task, answer in answers.items()}).agg(["mean", "sem", "count"]).T
    return tidy.table(
        [
            {"task": task, "value": row["mean"], "stderr": row["sem"], "n": row["count"], **given}
            for task, row in own.iterrows()
        ]
    )


class Answers:
    """Per-item results: task -> document -> answer."""

    def __init__(self, tasks: Mapping[str, Mapping[str, float]]) -> None:
        self.tasks = tasks
        self.asked: list[str] = []

    def __call__(self, run_id: str, task: str, columns: Sequence[str]) -> pd.DataFrame | None:
        self.asked.append(task)
        if task not in self.tasks:
            return None
        own = self.tasks[task]
        frame = pd.DataFrame({"doc_id": range(len(own)), "doc_hash": list(own), "acc": list(own.values())})
        return frame[[name for name in columns if name in frame]]


def of_lm_eval(rows: pd.DataFrame, by_size: bool) -> tuple[float, float]:
    """What lm-eval's own Group makes of the same results."""
    group = Group("both", aggregate_metric_list=[AggMetricConfig("acc", weight_by_size=by_size)])
    found = {}
    for row in rows.to_dict("records"):
        task = type("Leaf", (), {"task_name": row["task"]})()
        group.add(task)
        key, error = "acc,none", "acc_stderr,none"
        found[row["task"]] = {key: row["value"], error: row["stderr"], "sample_len": int(row["n"])}
    group.get_all_tasks = lambda recursive=True: list(group)  # type: ignore[method-assign]
    said = group.aggregate(found)  # type: ignore[arg-type]
    return said["acc,none"], said["acc_stderr,none"]  # type: ignore[typeddict-item]


def test_equal_to_lm_evals_aggregates_where_those_are_right(tidy: Any) -> None:
    draw = np.random.default_rng(1)
    alike = rows_of(tidy, {task: draw.integers(0, 2, 40).astype(float) for task in "ab"})
    unlike = rows_of(tidy, {"a": draw.integers(0, 2, 40).astype(float), "b": draw.integers(0, 2, 11).astype(float)})
    for rows in (alike, unlike):
        for by_size in (True, False):
            (found,) = group_means(rows, sized(by_size)).table.to_dict("records")
            value, error = of_lm_eval(rows, by_size)
            assert found["value"] == pytest.approx(value, abs=1e-12)
            assert found["weighted"] == ("by size" if by_size else "by task")
            if rows is alike or not by_size:
                assert found["stderr"] == pytest.approx(error, abs=1e-12)
    (found,) = group_means(unlike, AB).table.to_dict("records")  # both are there, whatever the group states
    sizes, values = list(unlike["n"]), list(unlike["value"])
    assert found["by_size"] == pytest.approx(aggregate_subtask_metrics(values, sizes, True), abs=1e-12)
    assert found["by_task"] == pytest.approx(aggregate_subtask_metrics(values, sizes, False), abs=1e-12)
    assert list(group_means(unlike, AB).table) == COLUMNS


def test_lm_evals_error_of_a_mean_by_size_is_biased_where_sizes_and_spreads_differ(tidy: Any) -> None:
    """By definition: the variance of a weighted sum of means, of tasks whose spreads are known."""
    sizes, spreads = np.array([1000, 4]), np.array([0.1, 1.0])
    errors = spreads / np.sqrt(sizes)
    rows = tidy.table(
        [{"task": t, "n": n, "stderr": e, "value": 0.5} for t, n, e in zip("ab", sizes, errors, strict=True)]
    )
    (found,) = group_means(rows, sized(True)).table.to_dict("records")
    true = np.sqrt((sizes * spreads**2).sum()) / sizes.sum()
    assert found["stderr"] == pytest.approx(true, abs=1e-15)
    theirs = float(pooled_sample_stderr(list(errors), list(sizes)))
    assert theirs < 0.98 * true
    one_each = [0.1, 0.2], [1, 1]
    with pytest.raises(ZeroDivisionError):
        pooled_sample_stderr(*one_each)


def test_of_tasks_that_ask_the_same_documents_the_error_is_that_of_the_documents_means(tidy: Any) -> None:
    draw = np.random.default_rng(2)
    documents = [f"d{i}" for i in range(50)]
    easy = draw.normal(size=50)
    answers = {t: dict(zip(documents, (easy + draw.normal(size=50) > 0).astype(float), strict=True)) for t in "abc"}
    rows = rows_of(tidy, {task: list(own.values()) for task, own in answers.items()})
    groups = {"all": TaskGroup("all", "All", ("a", "b", "c"))}
    (found,) = group_means(rows, groups, shared_items(rows, Answers(answers), "abc")).table.to_dict("records")
    means = pd.DataFrame(answers).mean(axis=1)
    assert found["by_task_stderr"] == pytest.approx(means.std(ddof=1) / np.sqrt(50), abs=1e-12)
    assert found["by_size_stderr"] == pytest.approx(found["by_task_stderr"], abs=1e-12)
    (apart,) = group_means(rows, groups).table.to_dict("records")
    assert apart["by_task_stderr"] < 0.8 * found["by_task_stderr"]  # as if they were 150 documents


def test_documents_in_common_are_counted_and_no_others(tidy: Any) -> None:
    draw = np.random.default_rng(3)
    a = {f"d{i}": float(draw.integers(0, 2)) for i in range(30)}
    b = {f"d{i}": a.get(f"d{i}", float(draw.integers(0, 2))) for i in range(20, 80)}
    other = {f"e{i}": float(draw.integers(0, 2)) for i in range(25)}
    answers = {"a": a, "b": b, "c": other}
    rows = rows_of(tidy, {task: list(own.values()) for task, own in answers.items()})
    groups = {"all": TaskGroup("all", "All", ("a", "b", "c"), {"acc": True})}
    reader = Answers(answers)
    shared = shared_items(rows, reader, "abc")
    (found,) = group_means(rows, groups, shared).table.to_dict("records")
    sizes = {task: len(own) for task, own in answers.items()}
    total = sum(sizes.values())
    scaled = {
        task: {d: (x - np.mean(list(own.values()))) * np.sqrt(sizes[task] / (sizes[task] - 1)) for d, x in own.items()}
        for task, own in answers.items()
    }
    sums = [sum(own.get(d, 0.0) for own in scaled.values()) for d in {*a, *b, *other}]  # by document, over all
    assert found["stderr"] == pytest.approx(np.sqrt(np.sum(np.square(sums))) / total, abs=1e-12)
    assert reader.asked.count("c") == 1  # its results are not read: it shares nothing


def test_no_error_where_shared_items_are_not_known(tidy: Any) -> None:
    same = {f"d{i}": float(i % 2) for i in range(10)}
    rows = pd.concat(
        [rows_of(tidy, {"a": list(same.values()), "b": list(same.values())}, step=s, run_id=f"r{s}") for s in (1, 2)]
    )

    def items(run_id: str, task: str, columns: Sequence[str]) -> pd.DataFrame | None:
        return None if (run_id, task) == ("r2", "b") else Answers({"a": same, "b": same})(run_id, task, columns)

    shared = shared_items(rows, items, "ab")
    table = group_means(rows, AB, shared).table.set_index("step")
    assert np.isfinite(table.loc[1, "stderr"])
    assert np.isnan(table.loc[2, "stderr"])
    assert table.loc[2, "value"] == 0.5
    assert shared.notes == (
        "tiny-s step 2: no standard error of a mean over a and b, which ask the same items: what b scored on each is "
        "not known.",
    )


def test_no_mean_is_made_of_fewer_tasks(tidy: Any) -> None:
    rows = tidy.table([{"task": t, "step": s} for t in "ab" for s in (1, 2) if (t, s) != ("b", 2)])
    found = group_means(rows, AB)
    assert found.table["value"].notna().tolist() == [True, False]
    assert found.table["missing"].tolist() == ["", "b"]
    assert found.notes == ["The group 'both' of 2 tasks has no mean at 1 of 2 checkpoints: tiny-s step 2 lacks b."]
    found = group_means(rows[rows["task"] == "a"], AB)
    assert found.table.empty
    assert found.notes == ["The group 'both' has no mean: 1 of its 2 tasks have no result at any checkpoint (b)."]
    assert group_means(tidy.table([{"task": "c"}]), AB).notes == []  # nobody asked for it


def test_metrics_of_different_kinds_are_not_averaged(tidy: Any) -> None:
    rows = tidy.table([{"task": "a"}, {"task": "b", "metric": "perplexity", "higher_is_better": False}])
    found = group_means(rows, AB)
    assert found.table.empty
    assert found.notes == ["The group 'both' has no mean: its tasks have different metrics (acc: a; perplexity: b)."]
    rows = tidy.table([{"task": "a"}, {"task": "b"}, {"task": "both"}])
    assert group_means(rows, AB).notes == ["The group 'both' has no mean: a task has the same name; rename the group."]
    rows = tidy.table([{"task": "a"}, {"task": "b", "n": 0}])
    found = group_means(rows, sized(True))
    assert np.isnan(found.table["value"].iloc[0])
    assert found.table["by_task"].iloc[0] == 0.5
    assert "how many items a task has is not known" in found.notes[0]


def test_a_mean_is_over_the_tasks_that_a_group_holds_at_any_depth(tidy: Any) -> None:
    """As lm-eval has it: not the mean of the means of the groups in it."""
    groups = {
        "top": TaskGroup("top", "Top", ("left", "c", "right")),
        "left": TaskGroup("left", "Left", ("a", "b")),
        "right": TaskGroup("right", "Right", ("b", "d")),
    }
    assert tasks_of(groups, "top") == ("a", "b", "c", "d")  # b once
    assert outermost(groups) == ["top"]
    rows = tidy.table([{"task": t, "value": v} for t, v in zip("abcd", (0.0, 1.0, 0.4, 0.2), strict=True)])
    table = group_means(rows, groups).table.set_index("task")
    assert table["value"].to_dict() == pytest.approx({"top": 0.4, "left": 0.5, "right": 0.6})
    assert table["tasks"].to_dict() == {"top": 4, "left": 2, "right": 2}
    circle = {"x": TaskGroup("x", "X", ("y", "a")), "y": TaskGroup("y", "Y", ("x", "b"))}
    assert tasks_of(circle, "x") == ("b", "a")  # as tags of different times may say


def test_the_table_of_groups_can_stand_where_one_of_tasks_does(tidy: Any) -> None:
    rows = tidy.grid()
    groups = {"tiny": TaskGroup("tiny", "Tiny", ("tiny_obey", "tiny_recall"))}
    table = group_means(newest(pd.concat([rows, rows])), groups).table
    assert len(table) == len(rows) / 2
    prepared = prepare(table, None)
    effects = fit_interactions(prepared.table, CHOICE)
    assert set(effects["task"]) == {"tiny"}
    assert effects["p"].notna().any()


# GPT-2's accuracies of Warstadt et al. 2020 (raw_results/summary/models_summary.jsonl of alexwarstadt/blimp):
# phenomenon -> the authors' mean, and the tasks' values in the order of conf/task/blimp_phenomena.yaml.
BLIMP = {
    "anaphor_agreement": (0.993, [0.994, 0.992]),
    "argument_structure": (0.8177777778, [0.766, 0.849, 0.782, 0.807, 0.659, 0.842, 0.893, 0.902, 0.86]),
    "binding": (0.8094285714, [0.737, 1.0, 0.948, 0.984, 0.775, 0.754, 0.468]),
    "control_raising": (0.8192, [0.784, 0.911, 0.792, 0.72, 0.889]),
    "determiner_noun_agreement": (0.95825, [0.988, 0.977, 0.957, 0.953, 0.949, 0.927, 0.94, 0.975]),
    "ellipsis": (0.8935, [0.915, 0.872]),
    "filler_gap_dependency": (0.8127142857, [0.842, 0.956, 0.871, 0.968, 0.938, 0.551, 0.563]),
    "irregular_forms": (0.919, [0.977, 0.861]),
    "island_effects": (0.72725, [0.894, 0.722, 0.81, 0.854, 0.523, 0.871, 0.355, 0.789]),
    "npi_licensing": (0.7682857143, [0.654, 0.648, 0.643, 0.945, 0.785, 0.971, 0.732]),
    "quantifiers": (0.79025, [0.995, 0.424, 0.87, 0.872]),
    "subject_verb_agreement": (0.8635, [0.795, 0.657, 0.928, 0.924, 0.967, 0.91]),
}


def test_means_of_blimp_are_its_authors(tidy: Any) -> None:
    """67 tasks, 12 phenomena, 1: the whole is the mean of tasks, .830, and not that of phenomena, .848."""
    groups = task_groups(["blimp_phenomena"])
    assert set(tasks_of(groups, "blimp_phenomena")) == set(tasks_of(task_groups(["blimp"]), "blimp"))
    rows = [
        {"task": task, "value": value, "n": 1000}
        for name, (_, values) in BLIMP.items()
        for task, value in zip(groups[f"blimp_{name}"].members, values, strict=True)
    ]
    found = group_means(tidy.table(rows), groups).table.set_index("task")["value"]
    assert found["blimp_phenomena"] == pytest.approx(0.830238806, abs=1e-9)
    for name, (mean, _) in BLIMP.items():
        assert found[f"blimp_{name}"] == pytest.approx(mean, abs=1e-9)


@pytest.mark.simulation
def test_the_errors_are_those_of_repeated_draws(tidy: Any) -> None:
    """Tasks of unequal size and spread that share a third of their documents: z has the variance of 1."""
    draw = np.random.default_rng(4)
    scores: dict[str, list[float]] = {"by_size": [], "by_task": []}
    truth = {"a": 0.5, "b": 0.5}
    for _ in range(400):
        ability = draw.normal(size=300)
        answers = {
            "a": {f"d{i}": float(ability[i] + draw.normal() > 0) for i in range(150)},
            "b": {f"d{i}": float(ability[i] + draw.normal() > 0) for i in range(100, 300)},
        }
        rows = rows_of(tidy, {task: list(own.values()) for task, own in answers.items()})
        (found,) = group_means(rows, AB, shared_items(rows, Answers(answers), "ab")).table.to_dict("records")
        for name in scores:
            scores[name].append((found[name] - truth["a"]) / found[f"{name}_stderr"])
    for name, z in scores.items():
        assert np.mean(np.abs(z) < 1.96) == pytest.approx(0.95, abs=0.03), name
        assert np.std(z) == pytest.approx(1.0, abs=0.09), name
