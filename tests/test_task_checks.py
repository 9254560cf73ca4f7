"""What can be wrong with a row is said with the row, before a checkpoint is fetched; and digits mean what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalrun.errors import TaskError
from evalrun.scoring import rendered
from evalrun.tasks import builder, first_row, task_file
from helpers import write_rows

NUMBERS = {"prompt": "One and one is", "choices": ["1", "2", "3"]}
LISTS = {"prompt": "The list is", "choices": ["[1, 0]", "[0, 1]"]}


def build(folder: Path, rows: list[Any], **keys: str) -> Any:
    """The task over these rows; each key as it stands in the YAML."""
    keys = {
        "output_type": "multiple_choice",
        "doc_to_text": '"{{prompt}}"',
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
    } | keys
    if keys["output_type"] != "multiple_choice":
        del keys["doc_to_choice"]
    write_rows(folder / "data" / "mine.jsonl", rows)
    lines = ["task: mine", "data: data/mine.jsonl", *(f"{key}: {value}" for key, value in keys.items())]
    lines += ["metric_list:", "  - {metric: acc, aggregation: mean, higher_is_better: true}"]
    (folder / "conf" / "task" / "mine.yaml").write_text("\n".join(lines) + "\n")
    return builder.build(task_file.resolve(["mine"]), None)["mine"]


def right(task: Any) -> list[str]:
    """The text of each row's right choice."""
    found = []
    for doc in task.eval_docs:
        target = task.doc_to_target(doc)
        found.append(task.doc_to_choice(doc)[target] if isinstance(target, int) else target)
    return found


@pytest.mark.parametrize(
    ("row", "target", "said"),
    [
        (NUMBERS | {"answer": "2"}, "answer", "2"),
        (NUMBERS | {"answer": 2}, "answer", "3"),
        (NUMBERS | {"answer": 2}, '"{{answer}}"', "3"),
        (NUMBERS | {"answer": "2"}, '"{{answer | int}}"', "3"),
        (NUMBERS | {"answer": "2"}, '"{{choices.index(answer)}}"', "2"),
        (NUMBERS | {"choices": ["0", "1", "2"], "answer": "2"}, '"{{answer}}"', "2"),  # the index of that very choice
        (NUMBERS | {"choices": ["one", "two"], "answer": "1"}, '"{{answer}}"', "two"),
        (NUMBERS | {"choices": ["²", "007"], "answer": "007"}, '"{{answer}}"', "007"),
        (NUMBERS | {"choices": ["²", "007"], "answer": "²"}, '"{{answer}}"', "²"),
        (LISTS | {"answer": "[1, 0]"}, "answer", "[1, 0]"),
    ],
)
def test_digits_that_are_answers(workspace: Path, row: dict[str, Any], target: str, said: str) -> None:
    assert right(build(workspace, [row], doc_to_target=target)) == [said]


@pytest.mark.parametrize("row", [NUMBERS | {"answer": "2"}, NUMBERS | {"answer": "3"}, LISTS | {"answer": "[1, 0]"}])
def test_a_digit_that_is_a_choice_and_the_index_of_another_is_refused(workspace: Path, row: dict[str, Any]) -> None:
    with pytest.raises(TaskError) as caught:
        build(workspace, [NUMBERS | {"answer": 0}, row], doc_to_target='"{{answer}}"')
    assert str(caught.value) == (
        f"task 'mine': row 2 of 'data/mine.jsonl' has answer '{row['answer']}', which is the text of a choice but "
        "which a template makes an index: write doc_to_target: answer for the text of the choice, or "
        '"{{answer | int}}" for an index that counts from 0.'
    )


def test_lm_evals_own_files_keep_their_meaning_of_a_digit(workspace: Path) -> None:
    rows = [{"ctx_a": "a", "ctx_b": "b", "activity_label": "c", "endings": ["1", "2", "0", "3"], "label": "2"}]
    write_rows(workspace / "data" / "mine.jsonl", rows)
    (workspace / "conf" / "task" / "mine.yaml").write_text(
        "include: hellaswag/hellaswag.yaml\ntask: mine\ndata: data/mine.jsonl\n"
    )
    task = builder.build(task_file.resolve(["mine"]), None)["mine"]
    assert task.doc_to_target(task.eval_docs[0]) == 2


@pytest.mark.parametrize("text", ['"{{n}}"', "n"])
@pytest.mark.parametrize("last", [7, "seven"])
def test_contexts_by_index_are_those_whose_target_is_no_choice(workspace: Path, text: str, last: object) -> None:
    """WinoGrande's form stays; numerals among choices that the target names are prompts."""
    rows = [{"n": 1, "choices": ["He was", "She was"], "answer": "glad"}] * 2
    task = build(workspace, rows, doc_to_text=text)
    assert task.multiple_input == 2
    assert [r.args for r in rendered(task, None)][:2] == [("He was", " glad"), ("She was", " glad")]
    rows = [{"n": n, "choices": ["one", "two"], "answer": "two"} for n in (1, 0, last)]
    task = build(workspace, rows, doc_to_text=text)
    assert not task.multiple_input
    assert [r.args[0] for r in rendered(task, None)][::2] == ["1", "0", str(last)]


def test_an_integer_in_a_template_is_read_with_its_neighbours(workspace: Path) -> None:
    task = build(workspace, [{"a": 1, "b": 2, "choices": ["one", "two"], "answer": 1}], doc_to_text='"{{a}}{{b}}"')
    assert [r.args for r in rendered(task, None)] == [("12", " one"), ("12", " two")]


@pytest.mark.parametrize(
    ("row", "keys", "said"),
    [
        ({"answer": 1.0}, {}, r'answer 1.0, which is neither a whole number.*doc_to_target: "{{answer \| int}}"'),
        ({"answer": None}, {}, "has nothing in 'answer', which the target names"),
        ({"prompt": None}, {}, "has nothing in 'prompt', which the prompt names"),
        ({"prompt": None}, {"doc_to_text": "prompt"}, "has nothing in 'prompt', which the prompt names"),
        ({"prompt": " \n"}, {}, "has a prompt of white space alone"),
        ({"prompt": ["a"]}, {"doc_to_text": "prompt"}, "renders to a prompt of type list"),
        ({"choices": [0.5, 1]}, {}, r"no texts, \[0.5, 1\].*\"{{choices \| map\('string'\) \| list}}\""),
        (
            {"choices": [True, False]},
            {"doc_to_choice": '"{{choices}}"'},
            r"no texts, \[True, False\].*{{choices \| map",
        ),
        ({"choices": ["a", None]}, {}, "has null among 'choices'"),
        ({"choices": ["true", "false"], "answer": True}, {}, "answer True, which as an index is the choice 'false'"),
        ({"choices": "ab"}, {}, "where a list of two or more choices"),
        ({"answer": ""}, {"output_type": "loglikelihood"}, "has an empty target"),
        ({"answer": None}, {"output_type": "loglikelihood"}, "has nothing in 'answer'"),
        ({"answer": None}, {"output_type": "loglikelihood", "doc_to_target": '" {{answer}}"'}, "nothing in 'answer'"),
        ({"answer": ["a"]}, {"output_type": "loglikelihood"}, r"a target of type list, \['a'\]"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_rows_that_cannot_be_scored(
    workspace: Path, row: dict[str, Any], keys: dict[str, str], said: str, first: bool
) -> None:
    good = {"prompt": "a", "choices": ["a", "b"], "answer": "a"}
    rows = [good | row] if first else [good, good, good | row]
    with pytest.raises(TaskError, match=f"row {len(rows)} of 'data/mine.jsonl'.*{said}"):
        build(workspace, rows, **keys)


def test_a_missing_column_in_a_list_of_choices_is_told(workspace: Path) -> None:
    with pytest.raises(TaskError, match=r"doc_to_choice gives no list of texts, as where a column .* is missing"):
        build(workspace, [{"prompt": "p", "a": "x", "answer": 0}], doc_to_choice='"{{[a, b]}}"')


@pytest.mark.parametrize("metric", ["word_perplexity", "bits_per_byte", "byte_perplexity"])
def test_blank_lines_of_a_corpus_count_nothing(workspace: Path, metric: str) -> None:
    rows = [{"prompt": "", "answer": "a b"}, {"prompt": "", "answer": ""}]
    write_rows(workspace / "data" / "mine.jsonl", rows)
    lines = ["task: mine", "data: data/mine.jsonl", "output_type: loglikelihood_rolling", 'doc_to_text: ""']
    lines += ["doc_to_target: answer", f"metric_list: [{{metric: {metric}}}]"]
    (workspace / "conf" / "task" / "mine.yaml").write_text("\n".join(lines) + "\n")
    if metric == "word_perplexity":
        with pytest.raises(TaskError, match="row 2 .*has an empty target, which word_perplexity counts as one word"):
            builder.build(task_file.resolve(["mine"]), None)
    else:
        assert len(builder.build(task_file.resolve(["mine"]), None)["mine"].eval_docs) == 2


READ = '"{{answer | int}}"'


@pytest.mark.parametrize(
    ("answer", "keys", "said"),
    [
        (None, {}, "has None where doc_to_target asks for a number by `int`, which would make 0 of it"),
        ("", {}, r"has '' where doc_to_target.*write int\(0\) where 0 is meant"),
        ("b", {"doc_to_target": '"{{answer | int}}"'}, "has 'b' where doc_to_target"),
        ("b", {"doc_to_target": '"{{answer|int - 1}}"'}, "has 'b' where doc_to_target"),
        ("b", {"doc_to_target": "\"{{[answer] | map('int') | first}}\""}, "has 'b' where doc_to_target"),
        (
            "b",
            {"doc_to_target": '"{{choices[0]}}"', "doc_to_text": '"{{answer | float}}"'},
            "'b' where doc_to_text.*float",
        ),
        (float("nan"), {}, "has nan where doc_to_target"),
        ("1", {"doc_to_target": "answer"}, r'none of its choices.*doc_to_target: "{{answer \| int}}" for an index'),
        (0.5, {"doc_to_target": "answer"}, "neither a whole number, counted from 0, nor a choice's text\\.$"),
    ],
)
def test_what_is_no_number_is_not_the_index_0(workspace: Path, answer: Any, keys: dict[str, str], said: str) -> None:
    row = {"prompt": "a", "choices": ["x", "y"], "answer": answer}
    with pytest.raises(TaskError, match=f"row 1 of 'data/mine.jsonl' .*{said}"):
        build(workspace, [row], **({"doc_to_target": READ} | keys))


@pytest.mark.parametrize(
    ("answer", "target", "index"),
    [
        ("1", READ, 1),
        ("1.0", READ, 1),
        (1.0, READ, 1),
        (True, READ, 1),
        ("b", '"{{answer | int(1)}}"', 1),
        (None, '"{{answer | int(default=0)}}"', 0),
        ("0x1", '"{{answer | int(base=16)}}"', 1),
        ("b", "\"{{'ab'.index(answer) if answer in 'ab' else answer | int}}\"", 1),
    ],
)
def test_what_is_a_number_is_read(workspace: Path, answer: Any, target: str, index: int) -> None:
    task = build(workspace, [{"prompt": "a", "choices": ["x", "y"], "answer": answer}], doc_to_target=target)
    assert task.doc_to_target(task.eval_docs[0]) == index


def test_texts_that_are_scored_whole_are_texts(workspace: Path) -> None:
    rows = [{"prompt": "p", "answer": one} for one in ("[1, 2]", "12", "²")] + [{"prompt": "p", "answer": 5}]
    for target in ("answer", '"{{answer}}"'):
        task = build(workspace, rows, output_type="loglikelihood", doc_to_target=target)
        assert [r.args[1] for r in rendered(task, None)] == ["[1, 2]", "12", "²", "5"]


@pytest.mark.parametrize(
    ("text", "row", "name"),
    [
        ("{{q | trim}}", {"q": None}, "q"),
        ("{{'Q: ' ~ q}}", {"q": None}, "q"),
        ("{{q.said}}", {"q": {"said": None}}, "q.said"),
        ("{% for one in q %}{{one}} {% endfor %}", {"q": ["a", None]}, "q"),
        ("{{q | join(' ')}}", {"q": ["a", None]}, "q"),
        ("{{q}}", {"q": float("nan")}, "q"),
        ("q", {"q": float("nan")}, "q"),
    ],
)
def test_a_null_is_not_written_as_a_word(workspace: Path, text: str, row: dict[str, Any], name: str) -> None:
    good = {"q": {"said": "b"} if "said" in text else ["a", "b"] if "for" in text or "join" in text else "b"}
    rest = {"choices": ["a", "b"], "answer": 0}
    with pytest.raises(TaskError, match=f"row 2 of 'data/mine.jsonl' has nothing in '{name}', which the prompt names"):
        build(workspace, [good | rest, row | rest], doc_to_text=f'"{text}"')


@pytest.mark.parametrize(
    "text",
    [
        "{% if q %}{{q}} {% endif %}{{p}}",
        "{{q or ''}}{{p}}",
        "{% if q is not none %}{{q}} {% endif %}{{p}}",
        "{% if q == none %}{% else %}{{q}} {% endif %}{{p}}",
        "{{q | default('', true)}}{{p}}",
    ],
)
def test_a_null_that_a_template_looks_out_for_stops_nothing(workspace: Path, text: str) -> None:
    rest = {"p": "x", "choices": ["a", "b"], "answer": 0}
    task = build(workspace, [{"q": None} | rest, {"q": "so"} | rest], doc_to_text=f'"{text}"')
    assert [task.doc_to_text(row).replace(" ", "") for row in task.eval_docs] == ["x", "sox"]


@pytest.mark.parametrize(
    ("row", "keys", "said"),
    [
        ({"choices": ["Yes", "No"], "answer": True}, {}, "answer True, which as an index is the choice 'No'"),
        ({"answer": False}, {"doc_to_choice": "['Correct.', 'wrong']"}, "answer False, .* the choice 'Correct.'"),
        ({"choices": ["a", "b", "c"], "answer": [True, False, True]}, {}, r"answers \[True, False, True\], .* places"),
        ({}, {"doc_to_text": '"Q: {prompt}"'}, "names in single braces.*write {{prompt}}"),
        ({}, {"doc_to_text": "\"{{promt | default('')}}\""}, "no column 'promt'.*nearest is 'prompt'"),
        ({"choices": "a b"}, {"doc_to_choice": '"{{choices}}"'}, "doc_to_choice gives no list of texts"),
    ],
)
def test_rows_that_would_be_scored_otherwise_than_written(
    workspace: Path, row: dict[str, Any], keys: dict[str, str], said: str
) -> None:
    with pytest.raises(TaskError, match=said):
        build(workspace, [{"prompt": "x", "choices": ["a", "b"], "answer": 0} | row], **keys)


@pytest.mark.parametrize(("choices", "said"), [(["No", "Yes"], "Yes"), (["Paris", "Rome"], "Rome")])
def test_a_truth_value_that_is_the_index_it_says(workspace: Path, choices: list[str], said: str) -> None:
    assert right(build(workspace, [{"prompt": "x", "choices": choices, "answer": True}])) == [said]


def test_a_prompt_that_is_the_same_in_all_rows_is_said(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"question": f"What is {n}?", "choices": ["a", "b"], "answer": 0} for n in range(3)]
    build(workspace, rows, doc_to_text='"Question:"', doc_to_choice='"{{choices}}"', doc_to_target="answer")
    assert "the prompt is 'Question:' in all 3 rows" in caplog.text
    caplog.clear()
    build(workspace, rows, doc_to_text='"{{question}}"', doc_to_choice='"{{choices}}"', doc_to_target="answer")
    assert "the prompt is" not in caplog.text


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ('"{{quest}}"', "row 1 of 'data/mine.jsonl' has no column 'quest', which doc_to_text names: did you mean"),
        ('"{{a_c}} {{question}}"', "no column 'a_c', which doc_to_text names: did you mean 'a_b'?"),
        ('"{{a_b}}{{later}}"', None),  # of another row: null in this one
        ("\"{{quest | default('')}}{{question | regex_replace('a', 'b')}}\"", None),
        ("question", None),
    ],
)
def test_a_template_that_names_no_column_is_told_before_anything_is_read(
    workspace: Path, template: str, said: str | None
) -> None:
    row = NUMBERS | {"question": "x", "a b": "y"}
    rows = [row, row | {"later": "z"}]
    (workspace / "data" / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = f"data: data/mine.jsonl\noutput_type: multiple_choice\ndoc_to_text: {template}\ndoc_to_choice: choices\n"
    text += "process_docs: !function evalrun.task_columns.plain_names\ndoc_to_target: 0\n"
    (workspace / "conf" / "task" / "mine.yaml").write_text(text)
    found = list(first_row.problems(task_file.resolve(["mine"])))
    assert len(found) == (said is not None)
    assert said is None or said in found[0]
