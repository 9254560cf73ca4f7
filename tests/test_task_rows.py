"""What is in a data file is what is rendered and scored, in every format, whatever other rows or an older file hold."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalrun.errors import TaskError
from evalrun.scoring import rendered
from evalrun.tasks import builder, data_rows, local_documents, task_file
from helpers import write_rows

YAML = """\
task: mine
data: data/mine.{suffix}
output_type: multiple_choice
doc_to_text: {text}
doc_to_choice: {choices}
doc_to_target: {target}
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""
TABLE = [  # one row of each: a prompt's column, as it is written, and what a prompt must say
    (["1945-09-02", "1990-10-03"], ["1945-09-02", "1990-10-03"]),
    (["2024-01-31T12:00:00Z", "2024-01-31T00:00:00Z"], ["2024-01-31T12:00:00Z", "2024-01-31T00:00:00Z"]),
    (["2", "12"], ["2", "12"]),
    (["²", "007"], ["²", "007"]),
    (["ten", "1"], ["ten", "1"]),
    (["null", "None"], ["null", "None"]),
    (["true", "maybe"], ["true", "maybe"]),
    (["[1, 2]", '"a"'], ["[1, 2]", '"a"']),
    (["1e5", "1.50"], ["1e5", "1.50"]),
    ([2, 12], ["2", "12"]),
    ([0.5, 0.1234567890123456], ["0.5", "0.1234567890123456"]),
    ([-7, 123456789012345678], ["-7", "123456789012345678"]),
]


def mine(folder: Path, suffix: str = "jsonl", **parts: str) -> Any:
    """The built task of `data/mine.SUFFIX`."""
    parts = {"text": '"{{prompt}}"', "choices": '["yes", "no"]', "target": "0"} | parts
    path = folder / "conf" / "task" / "mine.yaml"
    path.write_text(YAML.format(suffix=suffix, **parts) + parts.get("more", ""))
    return builder.build(task_file.resolve(["mine"]), None)["mine"]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """The same rows in the format that a path's ending names."""
    frame = pd.DataFrame(rows)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix in (".csv", ".tsv"):
        frame.to_csv(path, index=False, sep="," if path.suffix == ".csv" else "\t")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    else:
        write_rows(path, rows)


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv", "parquet"])
@pytest.mark.parametrize("text", ['"{{prompt}}"', "prompt"])
def test_prompts_are_what_the_file_says_in_every_format(workspace: Path, suffix: str, text: str) -> None:
    for written, said in TABLE:
        write(workspace / "data" / f"mine.{suffix}", [{"prompt": one} for one in written])
        task = mine(workspace, suffix, text=text)
        assert [request.args[0] for request in rendered(task, None)][::2] == said, written
        assert not task.multiple_input


def test_choices_keep_their_types_and_objects_their_keys(workspace: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "a", "n": [0.5, 1], "o": {"B": "x", "A": "y"}, "id": 12345678901234567890, "late": 1},
        {"prompt": "b", "n": [2, 1], "o": {"A": "x", "B": "y", "C": "z"}, "id": 1, "late": "tail", "new": True},
    ]
    write_rows(workspace / "data" / "mine.jsonl", rows)
    task = mine(workspace, choices="\"{{n | map('string') | list}}\"", text='"{{o.values() | list}} {{id}} {{late}}"')
    assert [r.args for r in rendered(task, None)] == [
        ("['x', 'y'] 12345678901234567890 1", one) if place < 2 else ("['x', 'y', 'z'] 1 tail", one)
        for place, one in enumerate([" 0.5", " 1", " 2", " 1"])
    ]
    assert [list(doc) for doc in task.eval_docs] == [["prompt", "n", "o", "id", "late", "new"]] * 2


def test_a_type_that_changes_late_in_a_large_file(workspace: Path) -> None:
    path = workspace / "data" / "mine.jsonl"
    row = {"prompt": "x" * 2000, "note": 1}
    path.write_text("\n".join([json.dumps(row)] * 6000 + [json.dumps(row | {"note": "late", "more": [None]})]))
    assert path.stat().st_size > 12_000_000
    (documents,) = local_documents.read({"test": path}, None).values()
    assert [documents[0]["note"], documents[6000]["note"], documents[5]["more"]] == [1, "late", None]


def test_rows_are_those_of_the_file_now_though_its_time_is_an_older_ones(workspace: Path) -> None:
    path = workspace / "data" / "mine.jsonl"
    golds = []
    for answer in (0, 1):
        write_rows(path, [{"prompt": "a", "answer": answer}])
        os.utime(path, (1_600_000_000, 1_600_000_000))
        task = mine(workspace, target="answer")
        golds.append([task.doc_to_target(doc) for doc in task.eval_docs])
    assert golds == [[0], [1]]


def test_a_file_that_changes_under_the_command_is_said(workspace: Path) -> None:
    path = workspace / "data" / "mine.jsonl"
    write_rows(path, [{"prompt": "a"}])
    mine(workspace)
    (file,) = task_file.resolve(["mine"])
    assert file.digest
    write_rows(path, [{"prompt": "b"}])
    builder._built.clear()
    with pytest.raises(TaskError, match=r"'data/mine.jsonl' was changed while it was read: start again"):
        builder.build([file], None)


def test_what_a_tasks_code_does_to_a_row_stays_there(workspace: Path) -> None:
    path = workspace / "data" / "mine.jsonl"
    write_rows(path, [{"a": [1, {"b": 2}]}])
    (documents,) = local_documents.read({"test": path}, None).values()
    documents[0]["a"][1]["b"] = 3
    next(iter(documents))["a"].append(4)
    assert documents[0] == {"a": [1, {"b": 2}]}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=4)
    | st.sampled_from(["1990-10-03", "5", "null", "[1]", '"a"']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@given(st.lists(st.fixed_dictionaries({"q": st.text(max_size=5)}, optional={"x": VALUES, "y": VALUES}), min_size=1))
def test_any_rows_are_read_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    folder = tmp_path_factory.getbasetemp()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    whole = [{name: row.get(name) for name in columns} for row in rows]
    allowed = contextlib.suppress(TaskError)  # as the rows are, or not at all
    for path, text in (
        (folder / "any.jsonl", "\n".join(map(json.dumps, rows))),
        (folder / "any.json", json.dumps(rows, indent=1)),
    ):
        path.write_text(text)
        for code in (None, len):  # for code of a task's own, rows go through `datasets`
            with contextlib.nullcontext() if code is None else allowed:
                (documents,) = local_documents.read({"test": path}, code).values()
                assert repr(list(documents)) == repr(whole)


def test_only_what_was_misread_has_a_new_name(workspace: Path) -> None:
    """A digest from before the rows were read to the letter stays, where prompts have stayed what they were."""
    import hashlib

    def is_new(row: dict[str, Any], **parts: str) -> bool:
        write_rows(workspace / "data" / "mine.jsonl", [row, row])
        mine(workspace, **parts)
        (file,) = task_file.resolve(["mine"])
        config = {k: v for k, v in file.config.items() if k not in ("metadata", "dataset_kwargs", "tag")}
        known = [json.dumps(config, sort_keys=True), *(task_file.sha256(path) for path in file.data_files)]
        return file.digest != hashlib.sha256("\n".join(known).encode()).hexdigest()

    assert not is_new({"prompt": "a", "n": 1, "s": "5", "o": {"a": [1.5]}, "b": True})
    assert is_new({"prompt": "2024-01-31"})
    assert not is_new({"prompt": "On 2024-01-31"})
    assert not is_new({"prompt": "a", "date": "2024-01-31"})  # which no template names
    assert is_new({"prompt": "a", "n": [1, 0.5]}, text='"{{n}} {{prompt}}"')
    assert is_new({"prompt": "a", "n": 2**64}, text='"{{n}} {{prompt}}"')
    assert is_new({"prompt": "a", "n": [1, "null"]}, text='"{{n}} {{prompt}}"')
    assert is_new({"prompt": "12"})
    assert not is_new({"prompt": "12"}, text='"What is {{prompt}}?"')


@pytest.mark.parametrize(
    ("parts", "near"),
    [
        ({"text": "promt"}, "'promt', which doc_to_text names: the nearest is 'prompt'"),
        ({"text": "Prompt"}, "the nearest is 'prompt'"),
        ({"target": "anwser"}, "'anwser', which doc_to_target names: the nearest is 'answer'"),
        ({"text": "prompt", "target": "answer"}, None),
        ({"text": "Once"}, None),
        ({"text": "\"{{'promt'}}\""}, None),
        ({"text": '""'}, None),
    ],
)
def test_a_word_that_is_almost_a_column_is_no_prompt(workspace: Path, parts: dict[str, str], near: str | None) -> None:
    write_rows(workspace / "data" / "mine.jsonl", [{"prompt": f"Is {n} a number?", "answer": 0} for n in range(3)])
    with contextlib.nullcontext() if near is None else pytest.raises(TaskError, match=near):
        mine(workspace, **parts)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_quotes_in_a_table_close_or_are_told(tmp_path: Path, separator: str) -> None:
    path = tmp_path / ("rows.tsv" if separator == "\t" else "rows.csv")
    good = ['"a"|b', '"Yes| he\nsaid"|x', '"""No"" she said"|5" wide', 'it "is"|"y"']
    path.write_text("\n".join(good).replace("|", separator))
    assert [list(row.values()) for row in data_rows.read(path)] == [
        [f"Yes{separator} he\nsaid", "x"],
        ['"No" she said', '5" wide'],
        ['it "is"', "y"],
    ]
    for wrong in ('"Yes| x\nNo|"y"', '"Yes" he said|x', 'Yes|"x\nNo|y', '"Yes|x\n"No|y'):
        path.write_text(f"a|b\nc|d\n{wrong}\n".replace("|", separator))
        with pytest.raises(TaskError, match="line 3 has a text that begins with a double quote"):
            list(data_rows.read(path))


PACKING = {".gz": gzip.compress, ".zst": lambda content: pa.compress(content, codec="zstd", asbytes=True)}


@pytest.mark.parametrize("packing", PACKING)
@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        ("txt", "Ein Käse,\nnoch einer.\n"),
        ("jsonl", '{"text": "Käse"}\n{"text": "b"}\n'),
        ("json", '[{"text": "Käse"}]'),
        ("csv", 'text,n\n"Käse, alt",1\n'),
    ],
)
def test_compressed_files_are_read_as_those_inside(tmp_path: Path, packing: str, suffix: str, content: str) -> None:
    plain, packed = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}{packing}"
    plain.write_bytes(b"\xef\xbb\xbf" + content.encode())
    half = len(content) // 2  # in two parts, as tools that append write them
    packed.write_bytes(
        b"".join(PACKING[packing](part) for part in (plain.read_bytes()[:half], plain.read_bytes()[half:]))
    )
    expected = [row | ({"file": packed.name} if "file" in row else {}) for row in data_rows.read(plain)]
    assert list(data_rows.read(packed)) == expected
    assert [row["text"] for row in data_rows.read(tmp_path)] == 2 * [row["text"] for row in expected]
    packed.write_bytes(packed.read_bytes()[:-4])
    kind = {".gz": "gzip", ".zst": "zstd"}[packing]
    with pytest.raises(
        TaskError, match=rf"b\.{suffix}\{packing}' cannot be unpacked as {kind} \(Trunc.*\): fetch or pack"
    ):
        list(data_rows.read(packed))
    packed.write_bytes(PACKING[packing]("text\nKäse\n".encode("latin-1")))
    with pytest.raises(
        TaskError, match=rf"b\.{suffix}\{packing}' is not UTF-8 text{r' .byte 6.' if suffix == 'txt' else ''}: save"
    ):
        list(data_rows.read(packed))


def test_a_compression_that_is_not_read_is_said(workspace: Path) -> None:
    with pytest.raises(TaskError, match=r"'mine': data file 'data/mine.jsonl.bz2' is compressed as \.bz2: pack it as"):
        mine(workspace, "jsonl.bz2")
