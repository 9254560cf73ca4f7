"""What is worked out about items once is what lm-eval's evaluator works out for each checkpoint."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate

from evalrun import scoring
from evalrun.core.errors import TaskError
from evalrun.scoring.asked_items import asked_items
from evalrun.scoring.generation.generated import Generated
from evalrun.scoring.requests import FEWSHOT_SEED
from evalrun.tasks import builder, task_file
from helpers import write_rows

WORDS = ["mat", "tree", "hill", "at", "sea", "sun"]
MULTIPLE_CHOICE = """task: made
dataset_path: json
output_type: multiple_choice
data: {test: data/made.jsonl, train: data/examples.jsonl}
test_split: test
fewshot_split: train
num_fewshot: 1
doc_to_text: "{{question}}"
doc_to_choice: choices
doc_to_target: answer
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
  - {metric: mcc, aggregation: matthews_corrcoef, higher_is_better: true}
  - {metric: brier_score, aggregation: brier_score, higher_is_better: false}
"""
GENERATE = """task: made
dataset_path: json
output_type: generate_until
data: {test: data/made.jsonl}
test_split: test
doc_to_text: "{{question}}"
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: ["."], max_gen_toks: 4}
filter_list:
  - {name: whole, filter: [{function: take_first}]}
  - {name: last, filter: [{function: regex, regex_pattern: "(\\\\w+)$"}, {function: take_first}]}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""


class ByLength(LM):
    """A model that answers by the lengths of what it reads, another for each number that it is made with."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.parted: set[tuple[str, int]] = set()
        self.lost_texts = 0

    def _nats(self, *texts: str) -> float:
        return -1.0 - (sum(map(len, texts)) * self.number % 17) / 3

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        return [(self._nats(*r.args), len(r.args[1]) % 2 == 0) for r in requests]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        raise NotImplementedError

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        return [f"the {WORDS[len(r.args[0]) * self.number % len(WORDS)]}" for r in requests]

    def generate(self, requests: Sequence[Any]) -> list[Generated]:
        return [Generated(text, text, None, "stop") for text in self.generate_until(requests)]

    keeps = None


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "task").mkdir(parents=True)
    rows = [
        {"question": f"the {WORDS[i % 6]} is{' on' * (i % 5)}", "choices": WORDS[i % 3 : i % 3 + 3], "answer": i % 3}
        for i in range(25)
    ]
    write_rows(Path("data/made.jsonl"), rows)
    write_rows(Path("data/examples.jsonl"), [{**row, "question": f"once {row['question']}"} for row in rows[:4]])
    return tmp_path


def built(text: str) -> Any:
    """A task of one's own."""
    Path("conf/task/made.yaml").write_text(text)
    return builder.build(task_file.resolve(["made"]), None)["made"]


@pytest.mark.parametrize("text", [MULTIPLE_CHOICE, GENERATE], ids=["choices", "texts"])
@pytest.mark.parametrize("limit", [None, 7])
def test_each_checkpoint_has_the_numbers_and_items_of_lm_evals_evaluator(text: str, limit: int | None) -> None:
    task = built(text)
    for number in (3, 5):
        found = scoring.score(ByLength(number), {"made": task}, limit, 50, "first")["made"]  # type: ignore[arg-type]
        task.set_fewshot_seed(seed=FEWSHOT_SEED)  # as lm-eval's command does
        plain: Any = evaluate(lm=ByLength(number), task_dict={"tasks": {"made": task}}, limit=limit, bootstrap_iters=50)
        numbers = {key: value for key, value in plain["results"]["made"].items() if "," in key and value != "N/A"}
        many = len(task.instances[0].filtered_resps) > 1 or text == GENERATE
        mine = {
            f"{name.rpartition('_')[0] if many else name}{kind},{name.rpartition('_')[2] if many else 'none'}": value
            for kind, some in (("", found.metrics), ("_stderr", found.stderrs))
            for name, value in some.items()
        }
        assert mine == pytest.approx(numbers, rel=1e-12)
        assert (found.n, found.num_fewshot) == (plain["n-samples"]["made"]["effective"], plain["n-shot"]["made"])
        samples = sorted(plain["samples"]["made"], key=lambda sample: (sample["filter"], sample["doc_id"]))
        for row, sample in zip(found.items.to_dict("records"), samples, strict=True):
            same = ("doc_id", "filter", "doc_hash", "prompt_hash", "target_hash")
            assert [row[key] for key in same] == [sample[key] for key in same]
            assert row["target"] == json.dumps(sample["target"])
            metric = sample[sample["metrics"][0]]
            assert row[sample["metrics"][0]] == (metric if isinstance(metric, (int, float)) else json.dumps(metric))


def test_the_second_checkpoint_renders_no_template(monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_eval import utils

    task, plain = built(MULTIPLE_CHOICE), utils.apply_template
    rendered: list[Any] = []
    scoring.score(ByLength(3), {"made": task}, None, 0)  # type: ignore[arg-type]
    monkeypatch.setattr(utils, "apply_template", lambda *args: rendered.append(args) or plain(*args))
    scoring.score(ByLength(5), {"made": task}, None, 0)  # type: ignore[arg-type]
    assert rendered == []
    task.doc_to_text(task.eval_docs[0])
    assert len(rendered) == 1  # it would have been seen


def test_other_rows_and_other_templates_are_not_taken_for_remembered_ones() -> None:
    from evalrun.scoring.asked_items import remembered

    task = built(MULTIPLE_CHOICE)
    items = asked_items(task, None)
    other = {"question": "a", "choices": ["x", "y"], "answer": 1}
    with remembered(task, items):
        assert task.doc_to_choice(items[4].doc) is items[4].choices
        assert task.doc_to_choice(copy.deepcopy(items[4].doc)) == items[4].choices
        assert (task.doc_to_choice(other), task.doc_to_target(other)) == (["x", "y"], 1)
        assert task.doc_to_choice(items[4].doc, ["p", "q"]) == ["p", "q"]
        assert task.doc_to_target(items[4].doc, "{{question}}") == items[4].doc["question"]
    assert not {"doc_to_choice", "doc_to_target"} & vars(task).keys()


def test_code_that_writes_into_its_row_finds_it_unwritten_at_the_next_checkpoint() -> None:
    task = built(MULTIPLE_CHOICE)
    task.config.process_results = lambda doc, results: {"acc": len(doc.pop("choices"))}
    for number in (3, 5):
        found = scoring.score(ByLength(number), {"made": task}, None, 0)["made"]  # type: ignore[arg-type]
        assert found.metrics["acc"] == 3


@pytest.mark.parametrize(
    ("line", "why"),
    [('doc_to_image: "{{question}}"', "pictures")],
)
def test_what_lm_evals_evaluator_refuses_is_refused_by_name(line: str, why: str) -> None:
    with pytest.raises(TaskError, match=f"task 'made' .*{why}"):
        built(f"{MULTIPLE_CHOICE}{line}\n")
