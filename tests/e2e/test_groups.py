"""Groups of tasks from a nested set of the user's to MLflow, report, table at the end and library."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lm_eval.api.metrics import aggregate_subtask_metrics, unweighted_mean_stderr
from mlflow import MlflowClient

import evalrun as library
from evalrun.errors import AnalysisError, ConfigError
from helpers import TASK, Run, make_rows, write_rows

OUTER = """\
group: outer
group_alias: All of them
task:
  - alpha
  - group: inner
    task: [beta, gamma]
    aggregate_metric_list: [{metric: acc, weight_by_size: true}]
aggregate_metric_list: [{metric: acc, weight_by_size: false}]
"""
GROUPS = ["outer", "inner"]


@pytest.fixture
def nested(workspace: Path) -> Path:
    """A workspace with a third task, of more items, and a group that holds a task and a group."""
    (workspace / "conf" / "task" / "gamma.yaml").write_text(TASK.format(name="gamma", title="Gamma"))
    write_rows(
        workspace / "data" / "gamma.jsonl", [{**row, "question": f"And {row['question']}"} for row in make_rows(30)]
    )
    (workspace / "conf" / "task" / "outer.yaml").write_text(OUTER)
    return workspace


def test_from_a_nested_group_to_mlflow_report_and_library(nested: Path, evalrun: Run) -> None:
    done = evalrun("-m", "model=glob(toy/*)", "step=1,2,4,8", "task=outer")
    assert done.returncode == 0, done.stderr
    ended = [line for line in done.stdout.splitlines() if re.match(r" *(outer|alpha|inner|beta|gamma) .*to", line)]
    assert [line.split("  0")[0].rstrip() for line in ended] == [
        "outer (mean of 3)", "  alpha", "  inner (mean of 2)", "    beta", "    gamma",
    ]  # fmt: skip
    for name in (*GROUPS, "alpha", "beta", "gamma"):
        (nested / "conf" / "task" / f"{name}.yaml").unlink(missing_ok=True)  # the store alone knows them now
    again = evalrun("analyze", "analysis.methods=[ols]")
    assert again.returncode == 0, again.stderr
    (page,) = (nested / "multirun" / "analysis" / "all").rglob("report.html")
    table = pd.read_csv(page.parent / "tables" / "groups.csv")
    assert list(table["task"].unique()) == GROUPS
    assert len(table) == 2 * 2 * 4

    rows = library.results(root=nested)
    rows = rows[rows["metric"] == "acc"]
    for (group, model, step), own in table.groupby(["task", "model", "step"]):
        tasks = ["alpha", "beta", "gamma"] if group == "outer" else ["beta", "gamma"]
        there = rows[(rows["model"] == model) & (rows["step"] == step)].set_index("task").loc[tasks]
        (said,) = own.to_dict("records")
        mean = aggregate_subtask_metrics(list(there["value"]), list(there["n"]), group == "inner")
        assert said["value"] == pytest.approx(mean, abs=1e-12)
        assert said["weighted"] == ("by size" if group == "inner" else "by task")
    text = page.read_text()
    assert text.count("<details open><summary") == 1
    assert re.search(r"<b>All of them</b> <span class=\"soft\">3 tasks, acc, every task counts alike", text)
    assert "All of them, the mean acc of 3 tasks (every task counts alike), is" in text

    client = MlflowClient(f"sqlite:///{nested / 'mlruns' / 'mlflow.db'}")
    for run in client.search_runs([client.get_experiment_by_name("toy-curves").experiment_id]):
        points = {m.step: m.value for m in client.get_metric_history(run.info.run_id, "acc/outer")}
        mine = table[(table["task"] == "outer") & (table["model"] == run.data.params["model"])]
        assert points == pytest.approx(dict(zip(mine["step"], mine["value"], strict=True)))

    effects = pd.read_csv(page.parent / "effects.csv")
    assert set(effects["task"]) == {"alpha", "beta", "gamma"}  # a group is no further test
    found = library.groups(library.results(root=nested), root=nested)
    assert found["value"].to_numpy() == pytest.approx(table["value"].to_numpy(), abs=1e-12)
    shapes = library.shapes(found[found["metric"] == "acc"])
    assert set(shapes["task"]) == set(GROUPS)


def test_a_checkpoint_without_one_of_the_tasks_has_no_mean(
    nested: Path, evalrun: Run, caplog: pytest.LogCaptureFixture
) -> None:
    assert evalrun("model=toy/toy-s", "step=1", "task=outer").returncode == 0  # a single job notes groups too
    assert evalrun("model=toy/toy-s", "step=2", "task=alpha,beta").returncode == 0
    done = evalrun("analyze", "analysis.methods=[ols]")
    said = "The group 'outer' of 3 tasks has no mean at 1 of 2 checkpoints: toy-s step 2 lacks gamma."
    assert said in done.stdout
    table = library.results(root=nested)
    found = library.groups(table, root=nested, items=False).set_index(["task", "step"])
    assert np.isnan(found.loc[("outer", 2), "value"])
    assert found.loc[("outer", 2), "missing"] == "gamma"
    row = table[table["step"] == 1].set_index("task").loc[["alpha", "beta", "gamma"], "stderr"]
    assert found.loc[("outer", 1), "stderr"] == pytest.approx(unweighted_mean_stderr(list(row)), abs=1e-12)
    assert set(library.groups(table, "inner", root=nested)["task"]) == {"inner"}
    with pytest.raises(AnalysisError, match="'alpha' names tasks alone"):
        library.groups(table, "alpha", root=nested)
    with pytest.raises(ConfigError, match="unknown task 'inmer'"):
        library.groups(table, ["inmer"], root=nested)
    with pytest.raises(AnalysisError, match="no results of metric 'acc_nor': did you mean 'acc"):
        library.groups(table, metric="acc_nor", root=nested)
    assert library.groups(table[table["task"] == "alpha"], "inner", root=nested).empty
    assert "The group 'inner' has no mean: the table has no result of its tasks (beta and gamma)." in caplog.text
    text = (nested / "conf" / "task" / "gamma.yaml").read_text()
    (nested / "conf" / "task" / "delta.yaml").write_text(text.replace("task: gamma", "task: delta"))
    absent = evalrun("analyze", "task=delta")
    assert "no results of what was asked for (all of the suite, task=delta) in" in absent.stderr


def test_a_group_of_one_task_is_said(nested: Path, evalrun: Run) -> None:
    (nested / "conf" / "task" / "lone.yaml").write_text("group: lone\ntask: [alpha]\n")
    done = evalrun("plan", "model=toy/toy-s", "step=1", "task=lone")
    assert "the group 'lone' holds one task, 'alpha', and so has no mean beside that task's value" in done.stdout
