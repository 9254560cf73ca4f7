"""Mistakes in a task file: said before anything is scored, at any depth, with the nearest name; never a traceback."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalrun import scoring
from evalrun.errors import EvalrunError, TaskError
from evalrun.tasks import builder, lm_eval_names, scores, shape, task_file, task_yaml

ACC = {"metric": "acc", "aggregation": "mean", "higher_is_better": True}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"metric_list": [ACC | {"metric": "acc_nrom"}]}, "'acc_nrom', .* did you mean 'acc_norm'"),
        ({"metric_list": [ACC | {"aggregation": "men"}]}, "aggregation: men .* did you mean 'mean'"),
        ({"metric_list": [{"metric": "acc", "agregation": "mean"}]}, "'agregation' in entry 1 .* 'aggregation'"),
        ({"metric_list": [{"metric": "perplexity"}]}, "'perplexity', which a task of output_type"),
        ({"metric_list": [{"metric": "likelihood"}]}, "a pair that no aggregation"),
        ({"metric_list": [{"metric": "f1", "aggregation": "mean"}]}, "'f1', which takes f1 or matthews_corrcoef"),
        ({"metric_list": [{"metric": "brier_score", "higher_is_better": True}]}, "less is better: write false"),
        ({"metric_list": [ACC, ACC]}, "'acc' twice"),
        ({"metric_list": []}, "empty metric_list"),
        ({"metric_list": ["acc"]}, "'acc' as entry 1"),
        ({"metric_list": [ACC | {"higher_is_better": "yes"}]}, "must be true or false"),
        ({"fewshot_config": {"samplr": "first_n"}}, "'samplr' in fewshot_config.*did you mean 'sampler'"),
        ({"fewshot_config": {"sampler": "first"}}, "sampler 'first' .*did you mean 'first_n'"),
        ({"fewshot_config": {"fewshot_indices": [1, 2]}}, "takes and never uses"),
        ({"fewshot_config": {"samples": "rows"}}, "fewshot_config.samples: 'rows'"),
        ({"filter_list": [{"name": "x", "filter": [{"function": "tak_first"}]}]}, "did you mean 'take_first'"),
        ({"filter_list": [{"name": "x", "filter": [{"function": "regex", "regex": "a"}]}]}, "'regex' in entry 1"),
        ({"filter_list": [{"name": "x", "filter": [{"function": "lowercase"}]}]}, "'lowercase', which is of texts"),
        ({"generation_kwargs": {"untill": ["."]}}, "did you mean 'until'"),
        ({"output_type": "multiple-choice"}, "did you mean 'multiple_choice'"),
        ({"target_delimiter": None}, 'a text: "" for none'),
        ({"doc_to_choice": [1, 2]}, "put numbers, yes and no in quotes"),
        ({"doc_to_text": "-"}, "has no doc_to_text"),
        ({"num_fewshot": True}, "a whole number, 0 or more"),
        ({"num_fewshot": -1}, "a whole number, 0 or more"),
        ({"metadata": "mine"}, "metadata: 'mine'"),
        ({"process_results": "mine"}, "must be a !function"),
        ({"profiles": {"corrected": ["x"]}}, "do not map names to keys"),
        ({3: "x"}, "'3'"),
        ({"data": None}, "either data"),
        ({"data": {"dev": "data/alpha.jsonl"}}, "test_split: dev"),
        ({"data": {"dev": "data/alpha.jsonl"}, "test_split": "test"}, "test_split: test, of which .*it has dev"),
    ],
)  # fmt: skip
def test_one_sentence_for_each_mistake(workspace: Path, changes: dict[Any, Any], expected: str) -> None:
    path = workspace / "conf" / "task" / "alpha.yaml"
    content = yaml.safe_load(path.read_text()) | changes
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value != "-"}))
    with pytest.raises(TaskError, match=expected) as caught:
        task_file.resolve(["alpha"])
    assert all(str(path) in problem or "task 'alpha'" in problem for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "is empty"),
        (b"# later\n", "is empty"),
        (b"task: alpha\n---\ntask: alpha\n", "take out the line ---"),
        (b"task: alpha\nmetric_list:\n\t- {metric: acc}\n", "put spaces where tabs stand"),
        ("task: alpha\ndescription: Zürich\n".encode("latin-1"), "save it as UTF-8"),
        (b"task: alpha\ninclude: alpha.yaml\n", "includes itself"),
    ],
)
def test_a_file_that_is_no_task_at_all(workspace: Path, text: bytes, expected: str) -> None:
    (workspace / "conf" / "task" / "alpha.yaml").write_bytes(text)
    with pytest.raises(EvalrunError, match=f"alpha.yaml.*{expected}"):
        task_file.resolve(["alpha"])


@pytest.mark.parametrize(("suffix", "text"), [("csv", "question,choices,answer\n"), ("json", "[]"), ("jsonl", " \n")])
def test_a_data_file_without_rows(workspace: Path, suffix: str, text: str) -> None:
    path = workspace / "conf" / "task" / "alpha.yaml"
    path.write_text(path.read_text().replace("alpha.jsonl", f"alpha.{suffix}"))
    (workspace / "data" / f"alpha.{suffix}").write_text(text)
    with pytest.raises(TaskError, match=f"'data/alpha.{suffix}' has no rows"):
        builder.build(task_file.resolve(["alpha"]), None)


def test_a_template_that_cannot_be_read_is_one_of_the_task_file(workspace: Path) -> None:
    path = workspace / "conf" / "task" / "alpha.yaml"
    path.write_text(path.read_text().replace("{{question}}", "{{question"))
    with pytest.raises(TaskError, match=f"{path} cannot be built: a template cannot be read, unexpected end"):
        builder.build(task_file.resolve(["alpha"]), None)


def test_all_mistakes_of_a_file_at_once(workspace: Path) -> None:
    path = workspace / "conf" / "task" / "alpha.yaml"
    path.write_text(path.read_text() + "fewshot_config: {samplr: x}\nnum_fewshot: many\n")
    with pytest.raises(TaskError) as caught:
        task_file.resolve(["alpha"])
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("num_fewshot: 0\nnum_fewshot: 2\n", "'num_fewshot' twice, at line 9 and line 10"),
        ("fewshot_config: {split: a, split: b}\n", "'split' twice"),
        ("tag: &a [*a]\n", "too deep"),
        (f"tag: {'[' * 5000}{']' * 5000}\n", "not valid YAML"),
        ("metadata: {day: 2024-13-01}\n", "not valid YAML"),
        ("process_docs: !function nothing\n", "!function MODULE.NAME"),
        ("include: [alpha.yaml]\n", "includes itself"),
    ],
)
def test_yaml_that_says_two_things_or_none(workspace: Path, text: str, expected: str) -> None:
    path = workspace / "conf" / "task" / "alpha.yaml"
    path.write_text(path.read_text().replace('metadata: {version: 1.0, title: "Alpha"}\n', "") + text)
    with pytest.raises(EvalrunError, match=expected):
        task_file.resolve(["alpha"])


def test_files_that_include_each_other(workspace: Path) -> None:
    folder = workspace / "conf" / "task"
    (folder / "alpha.yaml").write_text("include: beta.yaml\n")
    (folder / "beta.yaml").write_text("include: alpha.yaml\n")
    with pytest.raises(EvalrunError, match="includes it in turn"):
        task_file.resolve(["alpha"])


def test_a_merged_key_may_be_set_again(workspace: Path) -> None:
    path = workspace / "conf" / "task" / "alpha.yaml"
    path.write_text(path.read_text().replace("metadata: {", "metadata: {<<: {title: Old},"))
    assert task_file.resolve(["alpha"])[0].title == "Alpha"


def test_lm_evals_own_files_are_as_they_are() -> None:
    """Of all the tasks that it ships, those few that it would be wrong to copy are known."""
    root = lm_eval_names.folder() / "tasks"
    paths = sorted(root.rglob("*.yaml"))
    allowed = lm_eval_names.task_keys() | shape.OWN_KEYS
    odd: list[str] = []
    for path in random.Random(0).sample(paths, 400):
        read = task_yaml.parts(path)
        whole = task_yaml.merged(read)
        if "group" in read[-1][1] or "class" in whole:
            continue
        odd += [fault for _, content in read for fault in shape.faults(content, allowed)]
        if "task" in read[-1][1] and not odd:
            odd += scores.faults(whole)
    known = ("'weight_by_size'", "ACP_grammar_filter", "'average'", "'ignore_", "'regexes_to_ignore'", "'high_is")
    assert [fault for fault in odd if not any(word in fault for word in known)] == []


FULL: dict[str, Any] = {
    "task": "alpha",
    "data": "data/alpha.jsonl",
    "output_type": "multiple_choice",
    "description": "Say which.\n",
    "doc_to_text": "{{question}}",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "answer",
    "target_delimiter": " ",
    "fewshot_delimiter": "\n\n",
    "fewshot_config": {"sampler": "first_n"},
    "num_fewshot": 1,
    "metric_list": [ACC, ACC | {"metric": "acc_norm"}],
    "filter_list": [{"name": "none", "filter": [{"function": "take_first"}]}],
    "metadata": {"version": 1.0, "title": "Alpha"},
}
JUNK = st.one_of(
    *(st.none(), st.booleans(), st.integers(-2, 5), st.floats(allow_nan=True), st.dates()),
    st.sampled_from(
        ["", " ", "{{", "{{nosuch}}", "answer", "question", "2", "[1, 2]", "acc", "first_n", "test", "x.y"]
    ),
    st.lists(st.sampled_from(["a", 1, None]), max_size=3),
    st.dictionaries(st.sampled_from(["a", "metric", "split", 1]), st.sampled_from(["a", 1, None]), max_size=2),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a config."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, one in inner for found in [(*path, key), *places(one, (*path, key))]]


@settings(suppress_health_check=list(HealthCheck))
@given(where=st.sampled_from(places(FULL)), junk=JUNK, how=st.sampled_from(["value", "key", "gone"]))
def test_whatever_stands_in_a_task_file_it_works_or_is_one_sentence(
    workspace: Path, where: tuple[Any, ...], junk: Any, how: str
) -> None:
    config = copy.deepcopy(FULL)
    holder: Any = config
    for key in where[:-1]:
        holder = holder[key]
    if how == "value":
        holder[where[-1]] = junk
    elif how == "gone" or isinstance(holder, list):
        del holder[where[-1]]
    else:
        holder[str(junk) if isinstance(junk, list | dict) else junk] = holder.pop(where[-1])
    (workspace / "conf" / "task" / "alpha.yaml").write_text(yaml.safe_dump(config))
    try:
        task = builder.build(task_file.resolve(["alpha"]), None)["alpha"]
        scoring.rendered(task, 2)
        problems = ["alpha works"]
    except EvalrunError as error:
        problems = error.problems
    assert problems
    assert all("alpha" in problem and "Traceback" not in problem for problem in problems)
