"""Names for MLflow: legal, distinct, and unchanged where they can be."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name, _validate_tag_name

from evalrun.core.plain_names import slug
from evalrun.tracking.slugs import file_path, free_key, metric_key, stderr_key, task_slug


def test_plain_names_stay() -> None:
    assert metric_key("acc", "memo_trap") == "acc/memo_trap"
    assert stderr_key("acc_norm", "arc.easy-v2") == "acc_norm_stderr/arc.easy-v2"
    assert file_path("figures/fit.png") == "figures/fit.png"
    assert free_key("slope/memo_trap") == "slope/memo_trap"


@given(st.text(), st.text())
def test_any_name_is_legal(metric: str, task: str) -> None:
    for key in (metric_key(metric, task), stderr_key(metric, task), free_key(metric)):
        _validate_metric_name(key)
        assert len(key) <= 250
    _validate_tag_name(f"evalrun.about.{task_slug(task)}")
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", slug(task))
    assert not {"", ".", ".."} & set(file_path(task).split("/"))


@given(st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), unique=True, max_size=20))
def test_no_two_names_meet(names: list[tuple[str, str]]) -> None:
    keys = [metric_key(metric, task) for metric, task in names]
    keys += [stderr_key(metric, task) for metric, task in names]
    keys += [f"{own}/{task_slug(task)}" for own in ("n", "chance") for task in {task for _, task in names}] + [
        "acc/mean"
    ]
    assert len(set(keys)) == len(keys)


@given(st.sampled_from(["acc_stderr", "n", "chance", "n_stderr", "acc"]), st.sampled_from(["mean", "x", "mean_"]))
def test_our_own_names_are_not_taken(metric: str, task: str) -> None:
    ours = {"acc/mean", "n/x", "chance/x", "acc_stderr/x", stderr_key("n", "x")}
    if (metric, task) != ("acc", "x"):
        assert metric_key(metric, task) not in ours
