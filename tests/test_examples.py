"""Examples are other items: never the asked one, by content, and otherwise those of lm-eval."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalrun.errors import TaskError
from evalrun.scoring import rendered
from evalrun.tasks import builder, task_file
from helpers import write_rows

BASE = """\
task: mine
output_type: multiple_choice
doc_to_text: "{{prompt}}"
doc_to_choice: choices
doc_to_target: answer
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""
ROWS: list[dict[str, Any]] = [
    {"prompt": f"The word {word} is", "choices": ["none", word], "answer": 1} for word in "ba be bi bo bu by".split()
]
SPLITS = {
    "one file": "data: data/a.jsonl\n",
    "test alone": "data: {test: data/a.jsonl}\ntest_split: test\n",
    "validation named": "data: {validation: data/a.jsonl}\nvalidation_split: validation\nfewshot_split: validation\n",
    "one file twice": "data: {train: data/a.jsonl, test: data/a.jsonl}\ntraining_split: train\ntest_split: test\n",
    "the first": "data: {test: data/a.jsonl}\ntest_split: test\nfewshot_config: {split: test, sampler: first_n}\n",
    "the first, unnamed": "data: {test: data/a.jsonl}\ntest_split: test\nfewshot_config: {sampler: first_n}\n",
    "a dataset": "dataset_path: json\ndataset_kwargs: {data_files: {test: data/a.jsonl}}\ntest_split: test\n",
}


def build(folder: Path, more: str, shots: int | None, rows: list[Any] | None = None) -> Any:
    """The built task, and its file."""
    write_rows(folder / "data" / "a.jsonl", ROWS if rows is None else rows)
    (folder / "conf" / "task" / "mine.yaml").write_text(BASE + more)
    (file,) = task_file.resolve(["mine"])
    return builder.build([file], shots)["mine"], file


def examples(task: Any) -> list[tuple[str, list[str]]]:
    """Each asked item as it would read as an example, and the examples in its prompt."""
    found = {}
    for request in rendered(task, None):
        *shown, asked = str(request.args[0]).split("\n\n")
        found[request.doc_id] = (f"{asked} {request.doc['choices'][request.doc['answer']]}", shown)
    return list(found.values())


@pytest.mark.parametrize("splits", SPLITS)
@pytest.mark.parametrize("repeated", [False, True])
def test_no_item_is_its_own_example(workspace: Path, splits: str, repeated: bool) -> None:
    rows = [{"id": n} | row for n, row in enumerate(ROWS[:4] * 2 if repeated else ROWS)]
    task, _ = build(workspace, SPLITS[splits], 3, rows)
    found = examples(task)
    assert len(found) == len(rows)
    assert all(len(shown) == 3 and asked not in shown for asked, shown in found)
    if "first" in splits and not repeated:
        each = [f"{row['prompt']} {row['choices'][1]}" for row in ROWS]
        assert [shown for _, shown in found] == [[one for one in each if one != asked][:3] for asked in each]


@given(st.lists(st.integers(0, 4), min_size=6, max_size=12), st.integers(1, 3), st.sampled_from(sorted(SPLITS)))
def test_the_law_of_examples(
    tmp_path_factory: pytest.TempPathFactory, picked: list[int], shots: int, splits: str
) -> None:
    """As many as asked, none the asked item; or a sentence that says how many there can be, which then is so."""
    folder = tmp_path_factory.mktemp("law")
    (folder / "conf" / "task").mkdir(parents=True)
    (folder / "data").mkdir()
    rows = [{"id": n} | ROWS[one] for n, one in enumerate(picked)]
    most = len(rows) - max(picked.count(one) for one in picked)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        if shots > most:
            with pytest.raises(TaskError, match=f"num_fewshot is {shots}, but .* give at most {most}"):
                build(folder, SPLITS[splits], shots, rows)
            return
        task, _ = build(folder, SPLITS[splits], shots, rows)
        assert all(len(shown) == shots and asked not in shown for asked, shown in examples(task))


def test_what_lm_eval_draws_rightly_stays(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    from lm_eval.api.task import ConfigurableTask

    task, file = build(workspace, SPLITS["test alone"], 2)
    with caplog.at_level(logging.WARNING):
        mine = examples(task)
    config = dict(file.config) | {"dataset_path": "json", "num_fewshot": 2}
    theirs = ConfigurableTask(config=config)
    theirs.set_fewshot_seed(1234)
    theirs.build_all_requests(limit=None)
    drawn = {request.doc_id: str(request.args[0]).split("\n\n")[:-1] for request in theirs.instances}
    leaks = [place for place, (asked, _) in enumerate(mine) if asked in drawn[place]]
    assert leaks
    assert [shown for place, (_, shown) in enumerate(mine) if place not in leaks] == [
        drawn[place] for place in drawn if place not in leaks
    ]
    said = f"mine: lm-eval would show the asked item among its own examples in {len(leaks)} of its prompts"
    assert [record.message for record in caplog.records if said in record.message]
    assert builder.noted(task) == {"fewshot_replaced": len(leaks)}


def test_names_of_results_change_only_where_the_asked_item_could_be_shown(workspace: Path) -> None:
    for splits in SPLITS:
        _, file = build(workspace, SPLITS[splits], None)
        assert file.digest_for(None) == file.digest_for(0) == file.digest
        right = splits == "one file" or splits == "the first"
        assert (file.digest_for(2) == file.digest) == right, splits
    _, file = build(workspace, SPLITS["one file"], None, [{"id": n} | row for n, row in enumerate(ROWS[:3] * 2)])
    assert file.digest_for(2) != file.digest
    write_rows(workspace / "data" / "b.jsonl", ROWS[3:])
    apart = "data: {train: data/b.jsonl, test: data/a.jsonl}\ntraining_split: train\ntest_split: test\n"
    _, file = build(workspace, apart, None, ROWS[:3])
    assert file.digest_for(2) == file.digest
    _, file = build(workspace, apart + "num_fewshot: 2\n", None, ROWS[2:])
    assert file.digest_for(None) == file.digest_for(3) != file.digest


def test_written_examples_are_used_with_a_file(workspace: Path) -> None:
    samples = [{"prompt": f"The name {one} is", "choices": ["no", "yes"], "answer": 1} for one in "AB"]
    more = f"num_fewshot: 2\nfewshot_config: {{sampler: first_n, samples: {json.dumps(samples)}}}\n"
    for data in ("data: data/a.jsonl\n", "data: {test: data/a.jsonl}\ntest_split: test\n"):
        task, file = build(workspace, data + more, None)
        assert {tuple(shown) for _, shown in examples(task)} == {("The name A is yes", "The name B is yes")}
        assert (file.digest_for(None) == file.digest) == ("{" in data)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"answer": -1}, "has answer index -1, but its 2 choices"),
        ({"prompt": None}, "has nothing in 'prompt', which the prompt names"),
        ({"answer": None}, "has nothing in 'answer', which the target names"),
        ({"choices": ["a", ""]}, "has an empty choice"),
    ],
)
def test_rows_that_become_examples_are_checked(workspace: Path, row: dict[str, Any], said: str) -> None:
    write_rows(workspace / "data" / "b.jsonl", [ROWS[0], ROWS[1] | row])
    more = "data: {train: data/b.jsonl, test: data/a.jsonl}\ntraining_split: train\ntest_split: test\n"
    task, _ = build(workspace, more, 2, ROWS[2:])
    with pytest.raises(TaskError, match=f"task 'mine': row 2 of its examples {said}"):
        rendered(task, None)


def test_of_several_right_answers_an_example_shows_the_first(workspace: Path) -> None:
    task, _ = build(workspace, "data: data/a.jsonl\n", 1, [row | {"answer": [1, 0]} for row in ROWS])
    assert all(str(request.args[0]).split("\n\n")[0].split()[-1] != "none" for request in rendered(task, None))
