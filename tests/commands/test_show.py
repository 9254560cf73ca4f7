"""`show`: the items of a task are the requests that a run scores, with tokens parted where the scorer parts them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import normalizers

from evalrun import cli
from evalrun.commands.show.render import drawn
from evalrun.config.schema import ScorerConf
from evalrun.scoring import rendered
from evalrun.tasks import builder, task_file
from helpers import make_checkpoint, make_rows, shared_dir, write_rows
from made_tokenizers import END, byte_level, save


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert cli.main(["show", *words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_items_are_the_requests_of_a_run(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(capsys, "task=alpha", "model=toy/toy-s", "limit=5", "num_fewshot=2")
    (task,) = found["tasks"]
    assert task["rows"] == 12
    assert task["metrics"] == ["acc"]
    assert task["chance"] == pytest.approx(sum(1 / len(row["choices"]) for row in make_rows(12)) / 12)  # type: ignore[arg-type]
    (built,) = builder.build(task_file.resolve(["alpha"]), 2).values()
    requests = [request.args for request in rendered(built, None) if request.doc_id < 5]
    assert [(c["context"], c["text"]) for item in task["items"] for c in item["choices"]] == requests
    assert task["items"][0]["choices"][0]["context"].count("\n\n") == 2  # two examples
    right = [[choice["right"] for choice in item["choices"]].index(True) for item in task["items"]]
    assert right == [row["answer"] for row in make_rows(5)]


@pytest.mark.parametrize("encoding", ["joint", "separate"])
def test_tokens_are_parted_as_lm_eval_parts_them(
    workspace: Path, capsys: pytest.CaptureFixture[str], encoding: str
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from evalrun.scoring import CheckpointLM

    file = workspace / "conf" / "task" / "alpha.yaml"
    file.write_text(file.read_text().replace('"{{question}}"', '"{{question}} : "'))  # a space to be moved
    found = shown(capsys, "task=alpha", "model=toy/toy-s", f"scorer.encoding={encoding}")
    folder = workspace / "models" / "toy-s" / "step8"
    assert found["tokenizer"]["folder"] == "models/toy-s/step8"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    conf = ScorerConf("lm_eval", "auto", None, "cpu", 1, 1, 1, None, 0, False, 0, encoding)
    lm = CheckpointLM(AutoModelForCausalLM.from_pretrained(folder), tokenizer, conf, lambda _: None)
    for item in found["tasks"][0]["items"]:
        for choice in item["choices"]:
            for tokens, mine in zip(
                lm._encode_pair(choice["context"], choice["text"]),
                (choice["context_tokens"], choice["tokens"]),
                strict=True,
            ):
                assert [tokenizer.decode([token]) for token in tokens] == mine


def test_the_page(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(workspace / "data" / "alpha.jsonl", [{"question": "the cat ", "choices": ["sat", "zebra"], "answer": 0}])
    assert cli.main(["show", "task=alpha,beta", "model=toy/toy-s"]) == 0
    page = capsys.readouterr().out
    assert "alpha  Alpha\n  file      conf/task/alpha.yaml\n  data      data/alpha.jsonl, 1 row\n" in page
    assert "item 1 of 1\n  prompt, 2 tokens: the | cat ||\n  │ the cat·\n  choices\n" in page
    assert "  ✓ ·sat     1 token: sat\n    ·zebra   1 token: <unk>\n" in page
    assert "the prompt ends in white space and a choice begins with it, so two stand there" in page
    assert "25% of these tokens are <unk>, which toy-s reads in place of words" not in page  # one of six
    assert "17% of these tokens are <unk>" in page
    assert "the model reads 512: none is cut" in page
    assert page.count("item 1 of") == 2  # of a set one item each
    assert "\x1b" not in page  # no terminal, no colour


def test_a_note_about_the_join_fits_what_is_scored(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(workspace / "data" / "w.jsonl", [{"text": "the cat", "next": "sat"}] * 2)
    metric = "metric_list:\n  - {metric: METRIC, aggregation: mean, higher_is_better: true}\n"
    said = {}
    for kind, name in (("loglikelihood", "acc"), ("generate_until", "exact_match")):
        (workspace / "conf" / "task" / "w.yaml").write_text(
            f'task: w\ndata: data/w.jsonl\noutput_type: {kind}\ndoc_to_text: "{{{{text}}}}"\n'
            f'doc_to_target: "{{{{next}}}}"\n{metric.replace("METRIC", name)}generation_kwargs: {{until: ["."]}}\n'
        )
        (task,) = shown(capsys, "task=w", "model=toy/toy-s")["tasks"]
        said[kind] = " ".join(task["notes"])
    assert "begin doc_to_target with one" in said["loglikelihood"]
    assert "no space stands" not in said["generate_until"]  # the model writes there itself


def test_choices_that_part_from_each_other_are_shown_as_they_are_scored(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(byte_level(), make_checkpoint(workspace / "runs" / "mine" / "step1", seed=0), "PreTrainedTokenizerFast")
    rows = [{"question": "she walk", "choices": ["ed", "ing"], "answer": 0}] * 2
    write_rows(workspace / "data" / "alpha.jsonl", [*rows, {"question": "", "choices": ["he", "she"], "answer": 0}])
    file = workspace / "conf" / "task" / "alpha.yaml"
    file.write_text(file.read_text() + 'target_delimiter: ""\n')
    (task,) = shown(capsys, "task=alpha", "model=local", "path=runs/mine")["tasks"]
    spelt = [[choice["tokens"] for choice in item["choices"]] for item in task["items"]]
    assert spelt[0] == [[" walked"], [" walking"]]
    notes = " ".join(task["notes"])
    assert "in 2 of 3 items a token spans the end of the prompt" in notes
    assert "gives no token of its own" not in notes
    assert "tokenizer.json" not in notes
    assert END not in notes  # it stands before the third item's texts, and for no word


def test_the_tokens_shown_are_those_of_the_file(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = byte_level(normalizer=normalizers.Lowercase())
    save(raw, make_checkpoint(workspace / "runs" / "mine" / "step1", seed=0), "GPT2Tokenizer")
    write_rows(workspace / "data" / "alpha.jsonl", [{"question": "she", "choices": ["Walks", "talks"], "answer": 0}])
    words = ("task=alpha", "model=local", "path=runs/mine")
    found = {}
    for by in ("file", "class"):
        (task,) = shown(capsys, *words, f"scorer.tokens_by={by}")["tasks"]
        found[by] = task["items"][0]["choices"][0]["tokens"]
        assert (
            "1 of 2 texts have other tokens by tokenizer.json than by transformers' GPT2Tokenizer" in task["notes"][0]
        )
    assert found["file"] == [" walks"] != found["class"]


def test_white_space_is_drawn_where_it_matters() -> None:
    assert drawn("a b ").plain == "a b·"
    assert drawn("a  b\tc\nd").plain == "a··b→c⏎\nd"
    assert drawn(" a b", start=True).plain == "·a b"
    assert drawn(" a b", everything=True).plain == "·a·b"
    assert drawn("a\u00a0b\u200bc").plain == "a\\xa0b\\u200bc"


def test_without_a_tokenizer_the_rest_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data = shared_dir() / "data" / "tasks"
    assert cli.main(["show", "task=truthfulqa_mc2,lambada_openai,arc_challenge", f"data_dir={data}"]) == 1
    told = capsys.readouterr()
    assert "not shown: no tokenizer is on this machine: train the embedded suite" in told.out
    assert "its score is computed by code of its own" in told.out  # MC2 has several right answers
    assert "perplexity, acc (loglikelihood)" in told.out
    assert "  scored\n    ·signs\n" in told.out  # what is scored, and no choice to be marked
    assert told.err.startswith("evalrun: task 'arc_challenge': ")  # the others are shown all the same
    assert told.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no task is given"),
        (("task=alpha", "model=toy/toy-s,toy/toy-m"), "show takes one model=, not several"),
        (("task=alpha", "limit=0"), "limit is 0"),
        (("alpha",), "if it is a task, write task=alpha"),
    ],
)
def test_requests_that_cannot_be_right(
    workspace: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["show", *words]) == 2
    assert said in capsys.readouterr().err


def test_one_faulty_task_of_a_set_hides_no_other(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "data" / "alpha.jsonl").unlink()
    (workspace / "conf" / "task" / "both.yaml").write_text("group: both\ntask: [alpha, beta]\n")
    assert cli.main(["show", "task=both", "--json"]) == 1
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert [task["name"] for task in found["tasks"]] == ["beta"]
    (problem,) = found["problems"]
    assert "alpha.jsonl' is not there" in problem
    assert said.err == f"evalrun: {problem}\n"


def test_a_named_model_without_a_tokenizer(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "task=alpha", "model=pythia-70m", "offline=true", "limit=1"]) == 0
    assert "tokens    not shown: the tokenizer of pythia-70m is not here" in capsys.readouterr().out
