"""`python -m evalrun compare RUN RUN`, on results that are in a store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

import evalrun
from analysis.made_runs import Recipe, answers
from evalrun.config.schema import TrackingConf
from evalrun.core.records import TaskResult
from evalrun.tracking import Store
from tracking.conftest import make_cell, make_result

Compare = Callable[..., tuple[int, str, str]]
RECIPE = Recipe(tasks=2, points=8, items=200, timing=0.05, level=0.05, passing=0.05)
BROKEN = replace(RECIPE, damaged_from=5, damage=2.5)
TASKS = ("neqa", "memo_trap")


def filed_run(
    folder: Path, model: str, recipe: Recipe, draw: int, steps: list[int] | None = None, **given: Any
) -> list[tuple[TaskResult, Path]]:
    """The results of a run, on both tasks at steps 1, 2, 4, ...; or at some steps of its own."""
    seed, suite = given.pop("seed", None), given.pop("suite", "local")
    rows = answers(recipe, np.random.default_rng(draw))
    found = []
    for point, step in enumerate(steps or [2**point for point in range(recipe.points)]):
        cell = make_cell(model, step, 1000, seed=seed, suite=suite)
        for task, values in zip(TASKS, (one[:, point] for one in rows), strict=True):
            changes = {
                "metrics": {"acc": float(values.mean())},
                "stderrs": {"acc": float(values.std(ddof=1) / np.sqrt(len(values)))},
                "run_key": f"{suite}-{model}-{step}-{seed}",
                "weights": f"{suite}-{model}-{step}-{seed}",
                "n": len(values),
                "title": {"neqa": "Negated questions", "memo_trap": "Memo <trap>"}[task],
                **given,
            }
            result, path = make_result(folder / suite, task, cell, **changes)
            items = {"doc_id": range(len(values)), "doc_hash": [f"h{i}" for i in range(len(values))], "acc": values}
            pd.DataFrame({**items, "filter": "none"}).to_parquet(path)
            key = hashlib.sha256(f"{result.run_key}{task}{given.get('settings')}".encode()).hexdigest()
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found.append((TaskResult(**{**vars(result), "key": key, "items_sha256": digest}), path))
    return found


@pytest.fixture(scope="module")
def filed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with seeds of a recipe, of a damaged one, and runs that cannot be compared."""
    folder = tmp_path_factory.mktemp("runs")
    store = Store(TrackingConf(uri=None, root=str(folder / "mlruns")))
    store.check()
    results = [one for seed in range(3) for one in filed_run(folder, f"base-{seed}", RECIPE, seed)]
    results += [one for seed in range(3) for one in filed_run(folder, f"mix-{seed}", BROKEN, 10 + seed)]
    results += [one for seed in range(3) for one in filed_run(folder, "old", RECIPE, 20 + seed, seed=seed)]
    few = replace(RECIPE, points=3)
    results += filed_run(folder, "short", few, 30, [300, 600, 900])
    results += filed_run(folder, "odd", few, 31, [3, 24, 100])
    results += filed_run(folder, "lone", replace(RECIPE, points=1), 32, [8])
    results += filed_run(folder, "half", few, 33, [1, 8, 64], settings={"scorer": "x", "dtype": "float16"})
    results += filed_run(folder, "shots", few, 34, [1, 8, 64], settings={
        "scorer": "shared_prefix", "dtype": "float32", "limit": None, "num_fewshot": 5,
    })  # fmt: skip
    results += filed_run(folder, "base-0", few, 35, [1, 8, 64], suite="twin")
    store.deliver_many(results)
    return folder


@pytest.mark.release
def test_a_damaged_recipe_is_found_and_filed(compare: Compare, filed: Path) -> None:
    code, out, err = compare("a=runs/base-*", "b=runs/mix-*", "suite=local", "analysis.draws=999", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["allows_for"] == "seeds"
    assert "about the recipes" in found["claim"]
    for task in found["tasks"]:
        assert task["verdict"] == "worse"
        assert task["decided_step"] in (16, 32, 64)  # 32, or a checkpoint beside it
        assert f"from step {task['decided_step']:.0f} on" in task["sentence"]
    page = Path(found["files"]["report.html"]).read_text()
    assert "Memo &lt;trap&gt;" in page
    assert "Memo <trap>" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert r"\toprule" in Path(found["files"]["tasks.tex"]).read_text()
    points = pd.read_csv(found["files"]["points.csv"])
    assert len(points) == 16
    runs = mlflow.MlflowClient(f"sqlite:///{filed}/mlruns/mlflow.db")
    experiment = runs.get_experiment_by_name("local-report")
    (run, *_) = runs.search_runs([experiment.experiment_id])
    assert run.data.tags["evalrun.comparison"] == "runs"
    assert {one.path for one in runs.list_artifacts(run.info.run_id)} >= {"report.html", "tasks.csv", "figures"}
    assert run.data.metrics["difference/neqa"] == pytest.approx(found["tasks"][0]["difference"], abs=0.5)


@pytest.mark.release
def test_the_library_gives_the_same_and_writes_nothing(filed: Path) -> None:
    found = evalrun.compare_runs(["base-0", "base-1", "base-2"], "old", suite="local", root=filed, draws=499)
    assert not (found.tasks["verdict"] != "no difference shown").any()
    tasks = evalrun.compare("base-0", "base-1", suite="local", root=filed, draws=499)
    assert list(tasks["task"]) == list(found.tasks["task"])


@pytest.mark.release
def test_points_that_not_all_runs_have_are_interpolated_and_said(compare: Compare) -> None:
    code, out, _ = compare("base-0", "odd", "suite=local", "analysis.draws=499")
    said = " ".join(out.split())
    assert code == 0
    assert "At 3 of 3 points not every run has a checkpoint" in said
    assert "about these two trained models and not about their recipes" in said
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.release
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("base-0", "mixx-1", "suite=local"), 2, "no results of a run 'mixx-1' in the store: did you mean 'mix-1'?"),
        (("base-0", "mix-0"), 2, "'base-0' is in the suites local and twin: add suite=NAME."),
        (("mix-0", "mix-0"), 2, "both names mean the run mix-0: name two that differ."),
        (("a=mix-*", "b=mix-0"), 2, "A and B both have the run mix-0: name two that differ."),
        (("mix-0", "mix-1@8"), 2, "'mix-0' is a run and 'mix-1@8' a checkpoint"),
        (("mix-0",), 2, "compare takes two runs, not 1"),
        (("mix-0", "mix-1", "at=stpes"), 2, "at='stpes' is nothing to match runs by: "),
        (("mix-0", "mix-1", "at=loss"), 1, "at=loss needs to know which loss (no task of them has one)"),
        (("mix-0", "half"), 2, "the runs were scored differently (mix-0 by shared_prefix float32; half by x float16)"),
        (("mix-0", "lone"), 1, "lone has results of one checkpoint alone (step 8): evaluate more of it"),
        (("mix-0", "short"), 1, "the runs have no two points of training in common: by tokens A goes from"),
        (("mix-0", "shots"), 1, "neqa is left out: asked with 5 and no examples."),
        (("mix-0", "mix-1", "seeds_from=short"), 2, "seeds_from='short' has no model with two other seeds or more"),
        (("mix-0", "mix-1", "step=8"), 2, "compare takes no step=: name runs as they are in the store"),
        (("mix-0", "mix-1", "analysis.seed_shift=-1"), 2, "analysis.seed_shift is -1.0: it must be 0 or more."),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    compare: Compare, words: tuple[str, ...], code: int, said: str
) -> None:
    found, out, err = compare(*words)
    assert (found, out) == (code, "")
    assert said in err
    assert err.count("evalrun:") == 1
