"""`new-task`: what columns look like in the wild, each scored as it is meant, without a look at the YAML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from evalrun import cli
from evalrun.commands.new_task import preview
from evalrun.commands.new_task.guess import guess
from evalrun.commands.new_task.to_yaml import text
from evalrun.errors import ConfigError, TaskError
from evalrun.scoring import rendered
from evalrun.tasks import builder, task_file
from helpers import write_rows


def write(path: Path, data: list[dict[str, Any]]) -> Path:
    """Rows in the format that the file's name says."""
    import pandas as pd

    if path.suffix == ".jsonl":
        write_rows(path, data)
    elif path.suffix == ".json":
        path.write_text(json.dumps(data, indent=1))
    elif path.suffix == ".parquet":
        pd.DataFrame(data).to_parquet(path)
    else:
        pd.DataFrame(data).to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


ABCD = [
    {"question": "Which is hot?", "A": "ice", "B": "fire", "C": "snow", "answer": "B"},
    {"question": "Which is wet?", "A": "rain", "B": "fire", "C": "sand", "answer": "A"},
]
ASKED = "Question: {}\nAnswer:"
# name -> rows, prompt of the first row, what is scored after it, index of the right one
FORMS: dict[str, tuple[str, list[dict[str, Any]], str, list[str], int]] = {
    "the README's": (
        "a.jsonl",
        [{"prompt": "Paris is in", "choices": ["France", "Kenya"], "answer": 0},
         {"prompt": "x", "choices": ["b", "c"], "answer": 1}],
        "Paris is in", [" France", " Kenya"], 0,
    ),
    "letters": ("a.csv", ABCD, ASKED.format("Which is hot?"), [" ice", " fire", " snow"], 1),
    "numbers": (
        "a.tsv",
        [{"question": "2+2=", "A": 3, "B": 4, "answer": "B"}, {"question": "2+1=", "A": 3, "B": 4, "answer": "A"}],
        "2+2=", [" 3", " 4"], 1,
    ),
    "counts from 1": (
        "a.json",
        [{"sentence": "A cat", "option1": "meows", "option2": "barks", "answer": 1},
         {"sentence": "A dog", "option1": "meows", "option2": "barks", "answer": 2}],
        "A cat", [" meows", " barks"], 0,
    ),
    "COPA": (
        "a.jsonl",
        [{"premise": "He fell because", "choice1": "he slept", "choice2": "he tripped", "label": 1},
         {"premise": "It rained, so", "choice1": "we got wet", "choice2": "we flew", "label": 0}],
        "He fell because", [" he slept", " he tripped"], 1,
    ),
    "the prize's": (
        "a.csv",
        [{"prompt": "Say:", "classes": "[' yes', \" no'\"]", "answer_index": 1},
         {"prompt": "Or:", "classes": "[' yes', ' no']", "answer_index": 0}],
        "Say:", [" yes", " no'"], 1,
    ),
    "JSON in CSV": (
        "a.csv",
        [{"text": "The city is", "options": '["Par\\u00eds", "Lyon"]', "correct": "Lyon"},
         {"text": "It is", "options": '["a", "b"]', "correct": "a"}],
        "The city is", [" París", " Lyon"], 1,
    ),
    "ARC": (
        "a.jsonl",
        [{"question": "Hot?", "choices": {"text": ["ice", "fire"], "label": ["A", "B"]}, "answerKey": "B"},
         {"question": "Cold?", "choices": {"text": ["ice", "sun", "tea"], "label": ["1", "2", "3"]}, "answerKey": "1"}],
        ASKED.format("Hot?"), [" ice", " fire"], 1,
    ),
    "TruthfulQA": (
        "a.parquet",
        [{"question": "What?", "mc1_targets": {"choices": ["one thing", "two"], "labels": [0, 1]}},
         {"question": "Who?", "mc1_targets": {"choices": ["a", "b"], "labels": [1, 0]}}],
        ASKED.format("What?"), [" one thing", " two"], 1,
    ),
    "objects": (
        "a.jsonl",
        [{"query": "Which", "choices": [{"label": "A", "text": "one"}, {"label": "B", "text": "two"}], "answer": "B"}],
        "Which", [" one", " two"], 1,
    ),
    "SciQ": (
        "a.jsonl",
        [{"question": "What burns?", "distractor1": "ice", "distractor2": "sand", "correct_answer": "wood"}],
        ASKED.format("What burns?"), [" wood", " ice", " sand"], 0,
    ),
    "BoolQ": (
        "a.jsonl",
        [{"passage": "It rains.", "question": "is it wet", "answer": True},
         {"passage": "Sun.", "question": "is it wet", "answer": False}],
        "It rains.\nQuestion: is it wet\nAnswer:", [" no", " yes"], 1,
    ),
    "labels": (
        "a.csv",
        [{"text": f"Film {i} is", "label": ("good", "bad")[i % 2]} for i in range(6)],
        "Film 0 is", [" bad", " good"], 1,
    ),
    "odd names": (
        "a.jsonl",
        [{"my question": "Hot?", "opt-a": "ice", "opt-b": "fire", "the.answer": "fire"},
         {"my question": "Cold?", "opt-a": "ice", "opt-b": "fire", "the.answer": "ice"}],
        ASKED.format("Hot?"), [" ice", " fire"], 1,
    ),
    "Chinese": (
        "a.jsonl",
        [{"question": "法国的首都是", "choices": ["巴黎", "里昂"], "answer": 0},
         {"question": "肯尼亚的首都是", "choices": ["蒙巴萨", "内罗毕"], "answer": 1}],
        "法国的首都是", ["巴黎", "里昂"], 0,
    ),
    "a space already": (
        "a.jsonl",
        [{"prompt": "Say ", "choices": ["one", "two"], "answer": "two"},
         {"prompt": "So ", "choices": ["x", "y"], "answer": "x"}],
        "Say ", ["one", "two"], 1,
    ),
    "letters with marks": (
        "a.jsonl",
        [{"prompt": "Say", "choices": ["x", "y", "z"], "answer": "(b)"},
         {"prompt": "So", "choices": ["x", "y", "z"], "answer": "C."}],
        "Say", [" x", " y", " z"], 1,
    ),
    "some have fewer": (
        "a.csv",
        [{"question": "Hot?", "A": "ice", "B": "fire", "C": None, "answer": "B"},
         {"question": "Wet?", "A": "sun", "B": "fire", "C": "rain", "answer": "C"}],
        ASKED.format("Hot?"), [" ice", " fire"], 1,
    ),
    "an empty cell among numbers": (
        "a.csv",
        [{"question": "2+2=", "A": "3", "B": "", "C": "4", "D": "5", "answer": "C"},
         {"question": "2+3=", "A": "3", "B": "4", "C": "5", "D": "", "answer": "C"}],
        "2+2=", [" 3", " 4", " 5"], 1,
    ),
    "words that pandas drops, numbers that it rewrites": (
        "a.csv",
        [{"question": "How many?", "A": "None", "B": "007", "C": "1e5", "answer": "B"},
         {"question": "Which?", "A": "NA", "B": "1.10", "C": "null", "answer": "A"}],
        ASKED.format("How many?"), [" None", " 007", " 1e5"], 1,
    ),
    "truth values as choices": (
        "a.csv",
        [{"question": "Is it?", "A": "true", "B": "false", "answer": "B"},
         {"question": "Is it?", "A": "true", "B": "false", "answer": "A"}],
        ASKED.format("Is it?"), [" true", " false"], 1,
    ),
    "MedQA": (
        "a.jsonl",
        [{"question": "It burns", "options": {"A": "ice", "B": "wood", "C": "tea"}, "answer_idx": "B"},
         {"question": "It melts", "options": {"A": "ice", "C": "tea"}, "answer_idx": "A"}],
        "It burns", [" ice", " wood", " tea"], 1,
    ),
    "MedMCQA": (
        "a.jsonl",
        [{"question": "It is", "opa": "x", "opb": "y", "opc": "z", "cop": 2},
         {"question": "It was", "opa": "x", "opb": "y", "opc": "z", "cop": 0}],
        "It is", [" x", " y", " z"], 2,
    ),
    "numbers by value": (
        "a.jsonl",
        [{"question": "2+2=", "choices": [3, 4], "answer": 4}, {"question": "2+1=", "choices": [3, 4], "answer": 3}],
        "2+2=", [" 3", " 4"], 1,
    ),
    "truth values in a list": (
        "a.jsonl",
        [{"q": "Fire is cold:", "choices": [True, False], "answer": False},
         {"q": "Ice is cold:", "choices": [True, False], "answer": True}],
        "Fire is cold:", [" true", " false"], 1,
    ),
    "numbers, some of them whole": (
        "a.jsonl",
        [{"q": "Half is", "choices": [0.5, 1], "answer": 0}, {"q": "One is", "choices": [2, 1], "answer": 1}],
        "Half is", [" 0.5", " 1"], 0,
    ),
    "dates": (
        "a.jsonl",
        [{"q": "The war ended", "choices": ["1945-09-02", "1944-01-01"], "answer": "1945-09-02"},
         {"q": "The wall fell", "choices": ["1990-10-03", "1989-11-09"], "answer": "1989-11-09"}],
        "The war ended", [" 1945-09-02", " 1944-01-01"], 0,
    ),
    "numerals to spell": (
        "a.jsonl",
        [{"prompt": "2", "choices": ["one", "two"], "answer": 1},
         {"prompt": "1", "choices": ["one", "two"], "answer": 0}],
        "2", [" one", " two"], 1,
    ),
    "BLiMP": (
        "a.jsonl",
        [{"sentence_good": "He walks.", "sentence_bad": "He walk.", "field": "syntax", "pair_id": 0},
         {"sentence_good": "I walk.", "sentence_bad": "I walks.", "field": "syntax", "pair_id": 1}],
        "", [" He walks.", " He walk."], 0,
    ),
    "COPA with its word for what is asked": (
        "a.jsonl",
        [{"premise": "I fell.", "question": "cause", "choice1": "I slept.", "choice2": "I slid.", "label": 1},
         {"premise": "I ran.", "question": "effect", "choice1": "I won.", "choice2": "I flew.", "label": 0}],
        "I fell.", [" I slept.", " I slid."], 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_scored_as_it_is_meant(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name, data, prompt, scored, right = FORMS[form]
    found = preview.read(write(tmp_path / name, data))
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / "mine.yaml").write_text(text("mine", name, guess(found)))
    (task,) = builder.build(task_file.resolve(["mine"]), None).values()
    assert len(task.eval_docs) == len(data)
    requests = [request for request in rendered(task, None) if request.doc_id == 0]
    assert [request.args for request in requests] == [(prompt, choice) for choice in scored]
    target = task.doc_to_target(task.eval_docs[0])
    assert (target if isinstance(target, int) else task.doc_to_choice(task.eval_docs[0]).index(target)) == right


def test_many_texts_are_scored_without_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = [{"text": f"The fox {i}", "completion": f"jumps {i}"} for i in range(40)]
    config = yaml.safe_load(text("mine", "a.jsonl", guess(preview.read(write(tmp_path / "a.jsonl", data)))))
    assert config["output_type"] == "loglikelihood"
    assert config["doc_to_target"] == " {{completion}}"
    assert "doc_to_choice" not in config


def test_a_semicolon_parts_as_well_and_no_example_is_the_item_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text(
        "\ufeffquestion;A;B;answer\nhot, or;ice;fire;B\nwet, or;rain;sun;A\ndry, or;x;y;A\n"
    )
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / "mine.yaml").write_text(text("mine", "a.csv", guess(preview.read(Path("a.csv")))))
    (task,) = builder.build(task_file.resolve(["mine"]), 2).values()
    asked = [str(request.args[0]).split("\n\n") for request in rendered(task, None)][::2]
    every = {"hot, or fire", "wet, or rain", "dry, or x"}
    for *examples, question in asked:
        assert {*examples} == {one for one in every if not one.startswith(question)}
    with pytest.raises(TaskError, match="num_fewshot is 3, but 3 rows can be examples: give at most 2"):
        builder.build(task_file.resolve(["mine"]), 3)


def guessed(tmp_path: Path, data: list[dict[str, Any]]) -> str:
    return text("mine", "a.jsonl", guess(preview.read(write(tmp_path / "a.jsonl", data))))


def test_doubts_are_comments(tmp_path: Path) -> None:
    two = [{"prompt": "x", "choices": ["a", "b", "c"], "answer": 1}] * 2
    assert "# Not sure: 'answer' is never 0 and never the number of choices" in guessed(tmp_path, two)
    assert '"{{answer | int - 1}}"' in guessed(tmp_path, two)  # what to write then
    numbers = [{"text": f"film {i}", "label": i % 2} for i in range(8)]
    assert "# Not sure: write the words that 0, 1 stand for" in guessed(tmp_path, numbers)
    gap = [{"sentence": "The _ is big", "option1": "cat", "option2": "dog", "answer": "1"}]
    assert "# Not sure: 'sentence' has a gap '_'" in guessed(tmp_path, gap)
    ambiguous = [{"prompt": "2+0=", "choices": ["2", "1"], "answer": 2}]
    assert '"{{(choices).index(answer | string)}}"' in guessed(tmp_path, ambiguous)
    country = [{"country": "France", "choices": ["Paris", "Lyon"], "answer": 0}]
    assert 'such as "About {{country}}:"' in guessed(tmp_path, country)


def test_a_prompt_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data: list[dict[str, Any]] = [
        {"id": f"n {i}", "prompt": f"p {i}", "choices": ["a", "b"], "answer": i % 2} for i in range(9)
    ]
    whole = guessed(tmp_path, data)
    data[6]["prompt"] = None
    with pytest.raises(ConfigError, match="the prompt's column 'prompt' has nothing in row 7"):
        guessed(tmp_path, data)
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / "mine.yaml").write_text(whole)  # as of a row beyond those that are looked at
    with pytest.raises(TaskError, match="row 7 .* has nothing in 'prompt', which the prompt names"):
        builder.build(task_file.resolve(["mine"]), None)


def test_the_command(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = [{"id": i, "prompt": "the cat", "choices": ["sat", "ran"], "answer": i % 2} for i in range(1500)]
    data[3] = data[1]
    write(workspace / "data" / "cats.jsonl", data)
    assert cli.main(["new-task", "cats", "data/cats.jsonl", "model=toy/toy-s"]) == 0
    said = capsys.readouterr().out
    assert "conf/task/cats.yaml is written, from the first 1,000 rows of data/cats.jsonl\n" in said
    assert "  answer    column 'answer', an index that counts from 0\n" in said
    assert "  not used  id\n" in said
    assert "  repeated  1 row equals an earlier one" in said
    assert said.count("item ") == 3
    assert "  ✓ ·sat   1 token: sat\n" in said
    assert "\nnext\n  python -m evalrun show task=cats limit=10\n  python -m evalrun -m " in said
    file = workspace / "conf" / "task" / "cats.yaml"
    assert "data: data/cats.jsonl\n" in file.read_text()  # as it was typed

    file.write_text("kept: true\n")
    assert cli.main(["new-task", "cats", "data/cats.jsonl"]) == 2
    assert "add --force to write it anew" in capsys.readouterr().err
    assert file.read_text() == "kept: true\n"
    assert cli.main(["new-task", "cats", "data/cats.jsonl", "--force", "limit=1"]) == 0
    assert capsys.readouterr().out.count("item ") == 1

    with (workspace / "data" / "cats.jsonl").open("a") as end:
        end.write('{"prompt": "cut o')
    assert cli.main(["new-task", "cats", "data/cats.jsonl", "--force"]) == 1  # beyond the rows that were looked at
    told = capsys.readouterr()
    assert "line 1501 is not valid JSON" in told.err
    assert "cannot be scored yet: mend it or the data" in told.out


@pytest.mark.parametrize(
    ("words", "content", "code", "said"),
    [
        ("x", "", 2, "new-task takes a name and a data file"),
        ("x nowhere.jsonl", "", 2, "'nowhere.jsonl' is not there"),
        (
            "x data.txt",
            "a",
            2,
            "is held-out text, for which there is nothing to guess: write data: data.txt and output_type",
        ),
        ("x data.xml", "a", 2, "must end in one of .jsonl, .json, .csv, .tsv, .parquet"),
        ("data.jsonl x", "", 2, "The name comes first: new-task x data.jsonl."),
        ("a/b data.jsonl", "{}", 2, "'a/b' cannot name a task"),
        ("neqa data.jsonl", "{}", 2, "'neqa' is a task of conf/task already"),
        ("piqa data.jsonl", "{}", 2, "'piqa' is a task of conf/task already"),
        ("swag data.jsonl", "{}", 2, "'swag' is a task of lm-eval already"),
        ("x data.jsonl", "", 1, "has no rows"),
        ("x data.jsonl", '{"a": 1}\n{"a": ', 1, "line 2 is not valid JSON"),
        ("x data.json", '[{"a": 1},\n{"a" 2}]', 1, "line 2 is not valid JSON"),
        ("x data.jsonl", '"a"', 1, "where an object with a key for each column is expected"),
        ("x data.csv", "a\n\xe9", 1, "is not UTF-8 text"),
        ("x data.parquet", "PAR", 1, "cannot be read as Parquet"),
        (
            "x data.jsonl",
            '{"id": 1, "url": "z"}',
            2,
            "has the columns 'id', 'url', and none of them says what is right",
        ),
        (
            "x data.jsonl",
            '{"prompt": "a", "choices": ["b", "c"], "z": "q"}',
            2,
            "none of the others says which of them",
        ),
        (
            "x data.jsonl",
            '{"prompt": "a", "choices": ["b", "c"], "answer": 2}\n{"prompt": "d", "choices": ["e", "f"], "answer": 0}',
            2,
            "row 1 has answer 2, out of range of its 2 choices, which are numbered from 0 to 1: mend it there",
        ),
        (
            "x data.csv",
            "prompt,A,B,answer\na,b,c,B\nd,e,f,D\n",
            2,
            "row 2 has answer 'D', which is none of its 2 choices, ['e', 'f']",
        ),
        ("x data.jsonl", '{"n": 1, "choices": ["b", "c"], "answer": 0}', 2, "none of them is a prompt"),
        ("x data.jsonl --forse", "{}", 2, "did you mean '--force'?"),
        ("x data.csv", "a,b\n1,2,3\n", 1, "line 2 has 3 fields where the header names 2"),
        ("x data.csv", 'a,b\n1,2\n"Yes, he said,2\nNo,1\n', 1, "line 3 has a text that begins with a double quote"),
        ("x data.csv", 'a,b\n"Yes" he said,2\nNo,1\n', 1, "does not end with one before ',' or the line's end"),
        ("x data.csv", "a,b\n1,2\n,\n", 1, "line 3 has nothing in any column"),
        ("x data.jsonl", '[{"a": 1}]\n[{"a": 2}]', 1, "line 1 is a list: name the file .json"),
        ("x data.jsonl", '{"a": 1, "a": 2}', 1, "line 1 has the key 'a' twice: take one out"),
        ("x data.jsonl", '{"a": "\\ud83d"}', 1, "line 1 holds half of a character"),
        ("x data.csv", "a,b,a\n1,2,3\n", 1, "the header names 'a' twice: rename one of the columns"),
        ("x data.json", '{"data": [{"a": 1}]}', 1, "save what is under 'data' alone"),
        ("x data.json", '{"q": ["a", "b"], "answer": [0, 1]}', 1, "column by column"),
        ("x data.json", "5", 1, "row 1 is 5, where an object"),
        ("x data.jsonl", '{"q": "a", "choices": [["b"], ["c"]], "answer": [[0]]}', 2, "which is no list of texts"),
        ("x data.jsonl", '{"q": {"stem": "a"}, "answer": "b"}', 2, "'q' (an object with 'stem')"),
        ("x .", "", 2, "'.' is a folder: name one file in it, choose from: data.csv, "),
        ("x https://a.b/c.csv", "", 2, "is an address"),
        ("x dat.csv", "", 2, "did you mean 'data.csv'?"),
        ("x a.xlsx", "", 2, "save the table as .csv in UTF-8"),
        ("1e5 data.csv", "", 2, "because task=1e5 is read as a value"),
        ("x.yaml data.csv", "", 2, "leave out its ending, 'x'"),
        ("d\xeda data.csv", "", 2, "use the letters A to Z"),
    ],
)
def test_mistakes(
    words: str, content: str, code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for suffix in ("jsonl", "json", "csv", "parquet", "txt"):
        (tmp_path / f"data.{suffix}").write_bytes(content.encode("latin-1"))
    assert cli.main(["new-task", *words.split()]) == code
    told = capsys.readouterr()
    assert said in told.err
    assert told.err.startswith("evalrun: ")
    assert told.err.count("\n") == 1
    assert not list(tmp_path.rglob("*.yaml"))  # nothing is written
