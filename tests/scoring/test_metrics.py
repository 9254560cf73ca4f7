"""Metrics: standard errors are lm-eval's, several right answers are scored, each metric has a direction of its own."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api import metrics as theirs
from lm_eval.api.registry import higher_is_better_registry

from evalrun import scoring
from evalrun.config.schema import ScorerConf
from evalrun.core import directions
from evalrun.core.records import higher_of
from evalrun.errors import TaskError
from evalrun.scoring import bootstrap
from evalrun.tasks import builder, scores, task_file
from helpers import write_rows

CONF = ScorerConf("lm_eval", "auto", "float32", "cpu", 8, False, 100)


def labels(count: int, kinds: int) -> list[tuple[int, int]]:
    rng = random.Random(3)
    return [(rng.randrange(kinds), rng.randrange(kinds)) for _ in range(count)]


@pytest.mark.parametrize(
    ("metric", "items"),
    [
        (theirs.f1_score, labels(23, 2)),
        (theirs.f1_score, [(0, 0), (0, 0), (0, 1)]),
        (theirs.matthews_corrcoef, labels(23, 2)),
        (theirs.matthews_corrcoef, labels(40, 4)),
        (theirs.perplexity, [-1.5, -0.2, -7.0, -3.3]),
        (theirs.median, [3.0, 1.0, 2.0, 8.0, 1.5]),
        (theirs.nanmean, [1.0, float("nan"), 0.5, 4.0, 2.0, 0.0, 9.0, 1.0, 2.0]),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_bootstrapped_standard_errors_are_lm_evals(
    metric: Any, items: list[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    expected = theirs.bootstrap_stderr(metric, items, 2000)
    capfd.readouterr()
    with bootstrap.in_process():
        found = theirs.stderr_for_metric(metric, 2000)(items)  # type: ignore[misc]
    assert found == pytest.approx(expected, rel=1e-9)
    assert capfd.readouterr() == ("", "")


def test_metrics_of_texts_and_blocks_of_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [("the cat sat", "the cat sat"), ("a dog ran", "a cat ran on"), ("yes", "no")]
    assert bootstrap.stderr(theirs.ter, items, 100) == pytest.approx(theirs.bootstrap_stderr(theirs.ter, items, 100))
    whole = bootstrap.stderr(theirs.perplexity, [-1.0, -2.0, -4.0], 2000)
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 50)
    assert bootstrap.stderr(theirs.perplexity, [-1.0, -2.0, -4.0], 2000) == whole


def scored(folder: Path, name: str = "alpha", num_fewshot: int | None = None) -> scoring.Score:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    checkpoint = folder / "models" / "toy-s" / "step4"
    lm = scoring.CheckpointLM(
        AutoModelForCausalLM.from_pretrained(checkpoint).eval(),
        AutoTokenizer.from_pretrained(checkpoint), CONF, lambda rows: None,
    )  # fmt: skip
    return scoring.score(lm, builder.build(task_file.resolve([name]), num_fewshot), None, 200)[name]


ROWS = [
    {"question": "the cat", "choices": ["dog", "sat", "ran"], "answer": [0, 1]},
    {"question": "a dog", "choices": ["under", "mat", "tree"], "answer": [2]},
    {"question": "which answer", "choices": ["yes", "no", "is"], "answer": [1, 2]},
]


@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.parametrize("texts", [False, True])
def test_rows_with_one_and_with_several_right_answers(workspace: Path, first: int, texts: bool) -> None:
    rows: list[dict[str, Any]] = [*ROWS, {"question": "on the mat", "choices": ["a", "b"], "answer": 1}]
    rows = [rows[3], *rows[:3]] if first else rows
    right = [row["answer"] if isinstance(row["answer"], list) else [row["answer"]] for row in rows]
    if texts:
        rows = [row | {"answer": [row["choices"][i] for i in r]} for row, r in zip(rows, right, strict=True)]
    write_rows(workspace / "data" / "alpha.jsonl", rows)
    path = workspace / "conf" / "task" / "alpha.yaml"
    metrics = "".join(f"\n  - {{metric: {name}, aggregation: mean}}" for name in ("acc_norm", "acc_mutual_info"))
    text = path.read_text().replace("higher_is_better: true}", "higher_is_better: true}" + metrics)
    path.write_text(text.replace("doc_to_target: answer", 'doc_to_target: "{{answer}}"'))
    items = scored(workspace).items
    found = [items.loc[i, "prediction"] in right[i] for i in range(4)]
    assert items["acc"].tolist() == [float(one) for one in found]
    mutual = []
    for i in range(4):
        both, count = items.loc[i, "logprobs"], len(rows[i]["choices"])
        gains = [both[k] - both[count + k] for k in range(count)]
        mutual.append(float(gains.index(max(gains)) in right[i]))
    assert items["acc_mutual_info"].tolist() == mutual
    assert set(items["prediction"]) <= {0, 1, 2}
    assert scored(workspace, num_fewshot=1).n == 4


@pytest.mark.parametrize(
    ("rows", "metric", "expected"),
    [
        (ROWS, "f1", "row 1 has several right answers, of which f1"),
        (ROWS, "brier_score", "row 1 has several right answers, of which brier"),
        ([{**ROWS[0], "answer": 1}, {**ROWS[1], "answer": 2}], "f1", "row 1 has 3 choices, and f1 is of two"),
        ([{**ROWS[0], "answer": 1}, {"question": "a", "choices": ["b", "c"], "answer": 1}], "brier_score", "equal num"),
        ([{**ROWS[0], "answer": []}], "acc", "row 1 has no right answer"),
    ],
)  # fmt: skip
def test_metrics_that_the_rows_do_not_allow(workspace: Path, rows: list[Any], metric: str, expected: str) -> None:
    write_rows(workspace / "data" / "alpha.jsonl", rows)
    path = workspace / "conf" / "task" / "alpha.yaml"
    usual = "{metric: acc, aggregation: mean, higher_is_better: true}"
    path.write_text(path.read_text().replace(usual, f"{{metric: {metric}}}"))
    with pytest.raises(TaskError, match=expected):
        builder.build(task_file.resolve(["alpha"]), None)


CLOZE = """task: cloze
data: data/cloze.jsonl
output_type: loglikelihood
doc_to_text: "{{question}}"
doc_to_target: "{{target}}"
metric_list:
  - {metric: acc}
  - {metric: perplexity}
"""


def test_each_metric_has_its_own_direction(workspace: Path) -> None:
    write_rows(
        workspace / "data" / "cloze.jsonl", [{"question": "the cat", "target": word} for word in (" sat", " dog")]
    )
    (workspace / "conf" / "task" / "cloze.yaml").write_text(CLOZE)
    score = scored(workspace, "cloze")
    assert (score.primary, score.higher_is_better, score.lower) == ("acc", True, ["perplexity"])
    assert score.stderrs["perplexity"] > 0


def test_directions_under_filters_and_of_results_that_do_not_say() -> None:
    shape = {"metric_list": [{"metric": "ter"}, {"metric": "mine", "aggregation": "perplexity"}, {"metric": "acc"}],
             "filter_list": [{"name": "strip"}]}  # fmt: skip
    found = scores.directions(shape, ["ter_strip", "mine_strip", "acc_strip"], {"ter": False, "mine": None})
    assert found == {"ter_strip": False, "mine_strip": False, "acc_strip": True}
    assert [higher_of(m, "acc", True, None) for m in ("acc", "perplexity", "ter_strip")] == [True, False, False]
    assert [higher_of(m, "loss", False, None) for m in ("acc", "loss")] == [True, False]
    assert [higher_of(m, "acc", True, ["loss"]) for m in ("acc", "loss")] == [True, False]
    for name in higher_is_better_registry:
        assert directions.is_lower_better(name) is not higher_is_better_registry.get(name)
