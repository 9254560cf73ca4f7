"""Groups: the options that they give their tasks are scored, filed apart, and never dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evalrun.config.compose import compose, hydra_session, to_config
from evalrun.errors import ConfigError, EvalrunError, TaskError
from evalrun.grid import job_keys
from evalrun.tasks import groups, task_file


def write(workspace: Path, name: str, text: str) -> None:
    (workspace / "conf" / "task" / f"{name}.yaml").write_text(text)


def shots(*names: str) -> dict[str, Any]:
    return {file.name: file.config.get("num_fewshot") for file in task_file.resolve(names)}


def test_lm_evals_groups_with_numbers_of_examples() -> None:
    found = {member.name: dict(member.options) for member in groups.members(["openllm"])}
    assert found["arc_challenge"] == {"fewshot_split": "train", "num_fewshot": 25}
    assert {name: found[name]["num_fewshot"] for name in ("hellaswag", "winogrande", "gsm8k")} == {
        "hellaswag": 10, "winogrande": 5, "gsm8k": 5,
    }  # fmt: skip
    assert found["mmlu_abstract_algebra"]["num_fewshot"] == 5
    assert found["truthfulqa_mc1"]["num_fewshot"] == 0


def test_members_written_as_mappings_and_groups_of_groups(workspace: Path) -> None:
    write(workspace, "inner", "group: inner\ntask: [beta]\nnum_fewshot: 2\n")
    write(workspace, "outer", "group: outer\ntask: [{task: alpha, num_fewshot: 1}, inner]\ndescription: 'Go. '\n")
    alpha, beta = task_file.resolve(["outer"])
    assert (alpha.config["num_fewshot"], alpha.config["description"]) == (1, "Go. ")
    assert (beta.config["num_fewshot"], beta.config["description"]) == (2, "Go. ")
    write(workspace, "outer", "group: outer\ntask: [{group: mine, task: [alpha, beta], num_fewshot: 1}]\n")
    assert shots("outer") == {"alpha": 1, "beta": 1}
    write(workspace, "outer", "group: outer\ntask: [{task: alpha, num_fewshot: 1}, inner]\nnum_fewshot: 3\n")
    assert shots("outer") == {"alpha": 1, "beta": 3}  # the nearest mapping, then the group above the others


def test_a_task_is_asked_for_in_one_way(workspace: Path) -> None:
    write(workspace, "few", "group: few\ntask: [alpha]\nnum_fewshot: 2\n")
    write(workspace, "same", "group: same\ntask: [alpha]\n")
    assert shots("alpha", "same") == {"alpha": None}
    with pytest.raises(
        TaskError, match="'alpha' is asked for twice, as its file has it and with num_fewshot: 2 in the"
    ):
        shots("alpha", "few")


def test_a_groups_options_make_another_run(workspace: Path) -> None:
    write(workspace, "few", "group: few\ntask: [alpha, beta]\nnum_fewshot: 2\n")
    write(workspace, "plain", "group: plain\ntask: [alpha, beta]\naggregate_metric_list: [{metric: acc}]\n")

    def keys(*tasks: str) -> tuple[str, dict[str, str]]:
        with hydra_session():
            config = to_config(compose(["model=toy/toy-s", f"tasks=[{','.join(tasks)}]", "step=1"]))
        return job_keys.keys_by_identity(config, "x", task_file.resolve_for(config))

    alone, grouped, few = keys("alpha", "beta"), keys("plain"), keys("few")
    assert alone == grouped
    assert few[0] != alone[0]
    assert not set(few[1].values()) & set(alone[1].values())
    assert groups.averaged(["plain", "few", "alpha"]) == ["plain"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("agregate_metric_list: [{metric: acc}]", "'agregate_metric_list' .*did you mean 'aggregate_metric_list'"),
        ("num_fewshots: 2", "did you mean 'num_fewshot'"),
        ("num_fewshot: two", "must be a whole number"),
        ("aggregate_metric_list: [{metric: acc, weigth_by_size: true}]", "did you mean 'weight_by_size'"),
        ("aggregate_metric_list: [{metric: acc, aggregation: sum}]", "must be mean"),
        ("data: x.jsonl", "'data'"),
    ],
)
def test_mistakes_in_a_group(workspace: Path, text: str, expected: str) -> None:
    write(workspace, "mine", f"group: mine\ntask: [alpha]\n{text}\n")
    with pytest.raises(ConfigError, match=expected):
        shots("mine")


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ("[{task: alpah, num_fewshot: 2}]", "'alpah'"),
        ("[{task: alpha, num_fewshots: 2}]", "did you mean 'num_fewshot'"),
        ("[{num_fewshot: 2}]", "names none"),
        ("[1]", "is no name"),
        ("[]", "one or more tasks"),
    ],
)
def test_mistakes_in_a_groups_list(workspace: Path, members: str, expected: str) -> None:
    write(workspace, "mine", f"group: mine\ntask: {members}\n")
    with pytest.raises(EvalrunError, match=expected):
        shots("mine")
