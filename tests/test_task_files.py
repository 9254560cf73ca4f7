"""Task files: sets, lm-eval names, local data, and every way that a file or its data can be wrong."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from evalrun.errors import ConfigError, EvalrunError, TaskError
from evalrun.tasks import builder, task_faults, task_file
from helpers import make_rows, shared_dir, write_rows


def names(*asked: str) -> list[str]:
    return [file.name for file in task_file.resolve(asked)]


def test_the_papers_twelve() -> None:
    assert len(names("paper")) == 12
    assert names("paper", "memo_trap").count("memo_trap") == 1


def test_titles_causes_and_sources_of_the_papers_twelve() -> None:
    causes = {"strong prior", "unwanted imitation", "distractor task", "spurious few-shot"}
    for file in task_file.resolve(["paper"]):
        assert file.metadata["cause"] in causes
        assert file.metadata["source"]
        assert file.metadata["rows"] > 0


def test_any_name_that_lm_eval_knows() -> None:
    (file,) = task_file.resolve(["openbookqa"])
    assert file.path.is_relative_to(task_file.lm_eval_tasks())
    assert file.config["dataset_path"]


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'memo_trap'"):
        names("memo_trp")
    with pytest.raises(ConfigError, match="did you mean 'hellaswag'"):
        names("hellaswg")


def test_lm_evals_groups_and_tags_are_unfolded() -> None:
    assert {"arc_challenge"} < set(names("ai2_arc"))


def test_a_users_task_and_set(workspace: Path) -> None:
    (workspace / "conf" / "task" / "both.yaml").write_text("group: both\ntask: [alpha, beta]\n")
    assert names("both") == ["alpha", "beta"]
    (workspace / "conf" / "task" / "loop.yaml").write_text("group: loop\ntask: [loop]\n")
    with pytest.raises(ConfigError, match="contains itself"):
        names("loop")


def test_the_digest_follows_what_determines_the_items(workspace: Path) -> None:
    def digest() -> str:
        return task_file.resolve(["alpha"])[0].digest

    first = digest()
    assert digest() == first
    file = workspace / "conf" / "task" / "alpha.yaml"
    file.write_text(file.read_text().replace('title: "Alpha"', 'title: "Another"'))
    assert digest() == first  # a title changes no number
    file.write_text(file.read_text() + 'description: "Say: "\n')
    changed = digest()
    assert changed != first
    write_rows(workspace / "data" / "alpha.jsonl", make_rows(13))
    assert digest() not in (first, changed)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("doc_to_text:", "doc_to_txt:"), "doc_to_txt.*did you mean 'doc_to_text'"),
        (("data: data/alpha.jsonl", "data: data/nowhere.jsonl"), "nowhere.jsonl' is not there"),
        (("data: data/alpha.jsonl", "data: data/alpha.xlsx"), "must end in one of"),
        (("data: data/alpha.jsonl", "fewshot_delimiter: x"), "needs an output_type and either data"),
        (("task: alpha", "task: [alpha"), "not valid YAML"),
        (("task: alpha", "include: nothing.yaml"), "neither beside it nor in lm-eval"),
        (("doc_to_target: answer", "doc_to_target: !function code.target"), "trust_task_code=true"),
    ],
)
def test_mistakes_in_a_task_file(workspace: Path, change: tuple[str, str], said: str) -> None:
    file = workspace / "conf" / "task" / "alpha.yaml"
    file.write_text(file.read_text().replace(*change))
    with pytest.raises(EvalrunError, match=said):
        names("alpha")


def test_all_mistakes_of_a_set_at_once(workspace: Path) -> None:
    (workspace / "data" / "alpha.jsonl").unlink()
    file = workspace / "conf" / "task" / "beta.yaml"
    file.write_text(file.read_text().replace("doc_to_text", "doc_to_txt"))
    (workspace / "conf" / "task" / "both.yaml").write_text("group: both\ntask: [beta, alpha, beta]\n")
    with pytest.raises(TaskError) as caught:
        names("both")
    beta, alpha = caught.value.problems
    assert "did you mean 'doc_to_text'?" in beta
    assert "alpha.jsonl' is not there" in alpha
    assert pickle.loads(pickle.dumps(caught.value)).problems == [beta, alpha]  # as it comes from a worker


def build(name: str = "alpha", **options: bool) -> dict[str, object]:
    return builder.build(task_file.resolve([name], None, options.get("trust", False)), None)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "is empty"),
        ([{"question": "a", "choices": ["a", "b"]}], "row 1 .* has no column 'answer'"),
        ([{"prompt": "a", "choices": ["a", "b"], "answer": 0}], "a column .* is missing, 'question'"),
        ([*make_rows(3), {"question": "a", "choices": ["a", "b"], "answer": 2}], "row 4 .* answer index 2, but its 2"),
        ([*make_rows(3), {"question": "a", "choices": ["a", "b"], "answer": -1}], "row 4 .* answer index -1"),
        ([{"question": "a", "choices": ["a"], "answer": 0}], "two or more choices"),
        ([{"question": "a", "choices": ["a", ""], "answer": 0}], "empty choice"),
        (["text"], 'row 1 is "text", where an object'),
    ],
)
def test_data_that_cannot_be_scored(workspace: Path, rows: list[object], said: str) -> None:
    write_rows(workspace / "data" / "alpha.jsonl", rows)
    with pytest.raises(TaskError, match=said):
        build()


def test_half_a_data_file(workspace: Path) -> None:
    path = workspace / "data" / "alpha.jsonl"
    path.write_text(path.read_text()[:-30])
    with pytest.raises(TaskError, match=r"data/alpha.jsonl': line 12 is not valid JSON"):
        build()


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "json"])
def test_other_data_formats(workspace: Path, suffix: str) -> None:
    import pandas as pd

    frame = pd.DataFrame(make_rows(6))
    path = workspace / "data" / f"alpha.{suffix}"
    if suffix == "parquet":
        frame.to_parquet(path)
    elif suffix == "json":
        frame.to_json(path, orient="records")
    else:
        frame["choices"] = frame["choices"].map(str)
        frame.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
    file = workspace / "conf" / "task" / "alpha.yaml"
    file.write_text(file.read_text().replace("alpha.jsonl", f"alpha.{suffix}"))
    task = build()["alpha"]
    assert [task.doc_to_choice(doc) for doc in task.eval_docs] == [row["choices"] for row in make_rows(6)]  # type: ignore[attr-defined]


def test_a_trusted_function_runs_and_its_code_is_part_of_the_digest(workspace: Path) -> None:
    folder = workspace / "conf" / "task"
    (folder / "code.py").write_text("def target(doc):\n    return doc['answer']\n")
    file = folder / "alpha.yaml"
    file.write_text(file.read_text().replace("doc_to_target: answer", "doc_to_target: !function code.target"))
    first = task_file.resolve(["alpha"], None, True)[0].digest
    task = build(trust=True)["alpha"]
    assert [task.doc_to_target(doc) for doc in task.eval_docs] == [row["answer"] for row in make_rows(12)]  # type: ignore[attr-defined]
    (folder / "code.py").write_text("def target(doc):\n    return 0\n")
    assert task_file.resolve(["alpha"], None, True)[0].digest != first


def test_a_fault_of_trusted_code_is_told_with_its_line(workspace: Path) -> None:
    folder = workspace / "conf" / "task"
    (folder / "code.py").write_text("def process(doc, results):\n    return {'acc': 1 / doc['answer']}\n")
    file = folder / "alpha.yaml"
    file.write_text(file.read_text() + "process_results: !function code.process\n")
    files = task_file.resolve(["alpha"], None, True)
    task: Any = builder.build(files, None)["alpha"]
    doc = next(doc for doc in task.eval_docs if doc["answer"] == 0)
    said = rf"^toy step 1: division by zero \(ZeroDivisionError\) at line 2 of '{folder / 'code.py'}', .* task 'alpha'"
    with pytest.raises(TaskError, match=said), task_faults.faults_named(files, "toy step 1"):
        task.process_results(doc, [])
    with pytest.raises(ZeroDivisionError), task_faults.faults_named(files, "toy step 1"):
        1 / 0  # noqa: B018  (a fault of evalrun's own keeps its traceback)


def test_a_fault_of_a_metric_is_one_of_its_task(workspace: Path) -> None:
    files = task_file.resolve(["alpha"])
    task: Any = builder.build(files, None)["alpha"]
    said = r"^toy step 1: .* where lm-eval makes metrics of the answers to task alpha"
    with pytest.raises(TaskError, match=said), task_faults.faults_named(files, "toy step 1"):
        task.process_results(task.eval_docs[0], [("no number", False)])


def test_what_cannot_be_generated_is_a_fault_of_its_task(workspace: Path) -> None:
    files = task_file.resolve(["alpha"])

    def generate_until(error: Exception) -> None:
        raise error

    said = r"^toy step 1: a \(ValueError\) where the model writes its answers to task alpha: look at generation_kwargs"
    with pytest.raises(TaskError, match=said), task_faults.faults_named(files, "toy step 1"):
        generate_until(ValueError("a."))
    with pytest.raises(MemoryError), task_faults.faults_named(files, "toy step 1"):
        generate_until(MemoryError())


def test_local_release_files_stand_in_for_the_hub() -> None:
    folder = shared_dir() / "data" / "tasks"
    for name, rows in (("memo_trap", 936), ("neqa", 300), ("truthfulqa_mc1", 817)):
        (file,) = task_file.resolve([name], str(folder))
        assert file.config["dataset_path"] == "json"
        task = builder.build([file], None)[name]
        assert len(task.eval_docs) == rows == file.metadata["rows"]
    with pytest.raises(TaskError, match=r"sig-figs_classification.jsonl' is not there"):
        task_file.resolve(["sig_figs"], str(folder))


def test_prize_classes_are_parsed_as_python_lists() -> None:
    """Splitting on the quote mark, as the first study did, breaks two rows of memo-trap."""
    (file,) = task_file.resolve(["memo_trap"], str(shared_dir() / "data" / "tasks"))
    task = builder.build([file], None)["memo_trap"]
    for row in (203, 493):
        choices = task.doc_to_choice(task.eval_docs[row])
        assert len(choices) == 2
        assert all(choice.startswith(" ") for choice in choices)


def test_without_the_hub_a_task_says_so() -> None:
    with pytest.raises(TaskError, match=r"on the hub, which cannot be reached.*data_dir"):
        builder.build(task_file.resolve(["modus_tollens"]), None)


def test_chance_is_the_mean_share_of_a_guess(workspace: Path) -> None:
    task = build()["alpha"]
    shares = [1 / len(row["choices"]) for row in make_rows(12)]  # type: ignore[arg-type]
    assert builder.chance(task) == pytest.approx(sum(shares) / len(shares))
