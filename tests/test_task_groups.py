"""Groups: the options that they give their tasks are scored, filed apart, and never dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evalrun.config.compose import compose, hydra_session, to_config
from evalrun.core.task_group import TaskGroup, tasks_of
from evalrun.errors import ConfigError, EvalrunError, TaskError
from evalrun.grid import job_keys
from evalrun.tasks import groups, task_file
from evalrun.tasks.group_tree import single, task_groups


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


def test_what_groups_hold_and_how_they_weigh_it(workspace: Path) -> None:
    text = "group: inner\ntask: [beta]\nmetadata: {title: Within}\n"
    write(workspace, "inner", text + "aggregate_metric_list: {metric: acc, weight_by_size: false}\n")
    text = "group: outer\ntask: [inner, {group: more, group_alias: More, task: [alpha, beta]}, alpha]\n"
    write(workspace, "outer", text + "aggregate_metric_list: [{metric: acc}, {metric: brier, weight_by_size: false}]\n")
    found = task_groups(["outer", "alpha"])
    assert found == {
        "outer": TaskGroup("outer", "outer", ("inner", "more", "alpha"), {"acc": True, "brier": False}),
        "inner": TaskGroup("inner", "Within", ("beta",), {"acc": False}),
        "more": TaskGroup("more", "More", ("alpha", "beta"), {}),
    }
    assert [found["outer"].is_by_size(metric) for metric in ("acc", "brier", "other")] == [True, False, True]
    assert not found["more"].is_by_size("acc")  # lm-eval has no mean of it
    assert tasks_of(found, "outer") == ("beta", "alpha")
    assert single(found) == ["the group 'inner' holds one task, 'beta', and so has no mean beside that task's value."]
    assert task_groups(["alpha", "beta"]) == {}


def test_groups_and_tags_of_lm_eval() -> None:
    found = task_groups(["mmlu"])
    assert next(iter(found)) == "mmlu"
    assert found["mmlu"].members == ("mmlu_stem", "mmlu_other", "mmlu_social_sciences", "mmlu_humanities")
    assert len(tasks_of(found, "mmlu")) == 57
    assert len(found["mmlu_stem"].members) == 19  # the tasks of the tag that its file names
    assert (found["mmlu_stem"].title, found["mmlu_stem"].by_size) == ("stem", {"acc": True})


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"mine": "[mine, alpha]"}, "the task set 'mine' contains itself"),
        ({"mine": "[theirs, alpha]", "theirs": "[mine, beta]"}, "the task set 'mine' contains itself"),
        ({"mine": "[{group: mine, task: [alpha, beta]}]"}, "the task set 'mine' contains itself"),
        ({"mine": "[{group: alpha, task: [alpha, beta]}]"}, "'alpha' is the name of a group and of a task: rename"),
        ({"mine": "[beta, {group: alpha, task: [beta, tiny_recall]}]"}, "'alpha' is the name of a group and of a task"),
        ({"mine": "[{group: x, task: [alpha]}, {group: y, task: [{group: x, task: [beta]}]}]"}, "two groups .*'x'"),
        ({"mine": "[alpha, bteta]"}, "unknown task 'bteta'.*did you mean"),
    ],
)
def test_groups_that_cannot_be(workspace: Path, files: dict[str, str], expected: str) -> None:
    for name, listed in files.items():
        write(workspace, name, f"group: {name}\ntask: {listed}\n")
    with pytest.raises(ConfigError, match=expected):
        task_groups(["mine"])
