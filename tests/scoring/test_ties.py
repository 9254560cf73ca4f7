"""Accuracy says nothing of the order of choices, and a log-likelihood that is no number is never a right answer."""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lm_eval.api.model import LM

from evalrun import scoring
from evalrun.scoring.whole_texts import ReadText
from evalrun.tasks import builder, right_answers, task_file
from helpers import TASK, write_rows

NAN, INF = math.nan, math.inf
LENGTHS = {"mat": 3, "tree": 4, "hill": 4, "at": 2}  # acc_norm: "tree" and "hill" are equally long


class Told(LM):
    """A model whose log-likelihoods are given: text of the choice -> nats; of an empty prompt, 0."""

    def __init__(self, answers: Mapping[str, float]) -> None:
        super().__init__()
        self.answers = answers
        self.parted: set[tuple[str, int]] = set()
        self.lost_texts = 0

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        return [(self.answers[r.args[1].strip()] if r.args[0] else 0.0, False) for r in requests]

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        raise NotImplementedError

    max_length = 8

    def read_texts(self, requests: Any, rule: Any) -> dict[str, ReadText]:
        return {request.args[0]: ReadText(-self.answers["rolling"], 2) for request in requests}

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "task").mkdir(parents=True)
    return tmp_path


METRICS = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info")


def task_of(rows: Sequence[Mapping[str, Any]], name: str = "made", metrics: Sequence[str] = METRICS) -> Any:
    """A task of one's own over such rows."""
    write_rows(Path(f"data/{name}.jsonl"), list(rows))
    text = TASK.format(name=name, title=name).replace(
        "  - {metric: acc, aggregation: mean, higher_is_better: true}\n",
        "".join(
            f"  - {{metric: {metric}, aggregation: {metric if metric == 'f1' else 'mean'}, higher_is_better: true}}\n"
            for metric in metrics
        ),
    )
    Path(f"conf/task/{name}.yaml").write_text(text)
    return builder.build(task_file.resolve([name]), None)[name]


def score(task: Any, answers: Mapping[str, float]) -> scoring.Score:
    return scoring.score(Told(answers), {"made": task}, None, 10)["made"]  # type: ignore[arg-type]


def row(choices: Sequence[str], answer: Any) -> dict[str, Any]:
    return {"question": "the cat sat on the", "choices": list(choices), "answer": answer}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_accuracy_does_not_change_when_choices_are_permuted(data: st.DataObject) -> None:
    values = st.sampled_from([-4.0, -6.0, -8.0, -INF, NAN])
    answers = {text: data.draw(values) for text in LENGTHS}
    rows, permuted = [], []
    for _ in range(data.draw(st.integers(2, 4))):
        choices = data.draw(st.permutations(list(LENGTHS)))[: data.draw(st.integers(2, 4))]
        other = data.draw(st.permutations(choices))
        right = data.draw(st.sampled_from(choices))
        rows.append(row(choices, choices.index(right)))
        permuted.append(row(other, other.index(right)))
    one, two = score(task_of(rows), answers), score(task_of(permuted), answers)
    assert one.metrics == two.metrics
    assert one.stderrs == two.stderrs
    assert (one.ties, one.lost) == (two.ties, two.lost)


def test_a_tie_is_worth_its_share_and_its_standard_error_follows() -> None:
    rows = [row(["mat", "tree"], 0), row(["tree", "mat"], 0), row(["mat", "tree", "hill"], 2), row(["mat", "at"], 0)]
    found = score(task_of(rows), {"mat": -4.0, "tree": -4.0, "hill": -4.0, "at": -5.0})
    own = [0.5, 0.5, 1 / 3, 1.0]
    assert found.items["acc"].tolist() == own
    assert found.metrics["acc"] == pytest.approx(statistics.mean(own))
    assert found.stderrs["acc"] == pytest.approx(statistics.stdev(own) / 2)
    assert found.ties == {"acc": 3, "acc_norm": 1, "acc_bytes": 1, "acc_mutual_info": 3}
    assert found.items["acc_norm"].tolist() == [0.0, 1.0, 0.5, 1.0]  # -4 / 3 is less than -4 / 4, and -5 / 2 than both


def test_a_metric_without_a_direction_is_lm_evals_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    task_of([row(["mat", "tree"], 0)])
    Path("conf/task/made.yaml").write_text(
        Path("conf/task/made.yaml").read_text().replace(", aggregation: mean, higher_is_better: true", "")
    )
    task = builder.build(task_file.resolve(["made"]), None)["made"]
    assert score(task, {"mat": -1.0, "tree": -2.0}).higher_is_better
    assert caplog.text == ""


def test_ties_may_be_left_to_the_first_choice() -> None:
    task = task_of([row(["mat", "tree"], 0), row(["tree", "mat"], 0), row(["tree", "mat"], 1)], metrics=["acc"])
    found = scoring.score(Told({"mat": -4.0, "tree": -4.0}), {"made": task}, None, 10, "first")["made"]  # type: ignore[arg-type]
    assert found.items["acc"].tolist() == [1.0, 1.0, 0.0]
    assert found.ties == {"acc": 3}


def test_where_one_choice_is_above_all_others_the_numbers_are_lm_evals() -> None:
    from lm_eval.evaluator import evaluate

    task = task_of([row(["mat", "tree"], 0), row(["hill", "mat", "at"], 1), row(["at", "tree"], 1)])
    answers = {"mat": -4.0, "tree": -4.5, "hill": -3.9, "at": -3.0}
    found = score(task, answers)
    plain = evaluate(lm=Told(answers), task_dict={"tasks": {"made": task}}, bootstrap_iters=0)
    assert plain is not None
    assert found.ties == {}
    assert found.metrics == {m: plain["results"]["made"][f"{m},none"] for m in METRICS}


def test_several_right_answers_share_a_tie_and_enter_chance() -> None:
    task = task_of([row(["mat", "tree", "hill"], [0, 2]), row(["at", "tree"], [1])], metrics=["acc"])
    assert score(task, dict.fromkeys(LENGTHS, -1.0)).items["acc"].tolist() == [2 / 3, 0.5]
    assert builder.chance(task) == pytest.approx((2 / 3 + 1 / 2) / 2)


@pytest.mark.parametrize(("answer", "value"), [(2, 0.5), ("mat", 1.0)])
def test_a_right_choice_whose_text_stands_earlier_too(answer: Any, value: float) -> None:
    """An index means one of the two, which the model cannot tell apart; a text means either."""
    task = task_of([row(["mat", "tree", "mat"], answer)], metrics=["acc"])
    assert score(task, LENGTHS).metrics["acc"] == 0.0  # the tree is likeliest
    assert score(task, {"mat": -1.0, "tree": -2.0}).metrics["acc"] == value


def test_equal_choices_are_named_when_the_task_is_read(caplog: pytest.LogCaptureFixture) -> None:
    task_of([row(["mat", "tree"], 0), row(["same", "same"], 1), row(["at", "mat", "at"], 0)], "twice")
    assert "task 'twice': 2 of 3 rows hold the same choice twice, the first row 2 ('same')" in caplog.text
    caplog.clear()
    task_of([row(["mat", "tree"], 0)], "once")
    assert caplog.text == ""


def test_the_only_place_of_the_right_choice_is_named_where_ties_matter(caplog: pytest.LogCaptureFixture) -> None:
    always = task_of([row(["mat", "tree"], 1), row(["at", "tree", "hill"], 1)])
    caplog.clear()  # that the prompts are alike is said when the task is read
    builder.warn_of_ties(always, "made", "tiny step 1", {}, 2)
    assert caplog.text == ""
    builder.warn_of_ties(always, "made", "tiny step 1", {"acc": 1}, 2)
    assert "says the same" not in caplog.text
    assert "the right choice is the second of every item, so lm-eval would count every tie as wrong" in caplog.text
    mixed = task_of([row(["mat", "tree"], 1), row(["at", "tree"], 0)], "mixed")
    caplog.clear()
    builder.warn_of_ties(mixed, "mixed", "tiny step 1", {"acc": 2}, 2)
    assert caplog.messages == [
        "tiny step 1 says the same of several choices in 2 of 2 items of mixed, as a model does whose head is zero"
    ]
    assert (right_answers.only_place(always), right_answers.only_place(mixed)) == (1, None)


def test_a_metric_of_the_choices_taken_is_named_where_it_hangs_on_a_tie(caplog: pytest.LogCaptureFixture) -> None:
    task = task_of([row(["mat", "tree"], 1), row(["at", "tree"], 1), row(["tree", "at"], 0)], metrics=["f1"])
    found = score(task, {"mat": -4.0, "tree": -4.0, "at": -5.0})
    assert found.ties == {"f1": 1}
    assert found.metrics["f1"] == pytest.approx(2 / 3)  # one found, one missed by the tie: lm-eval's number
    builder.warn_of_ties(task, "made", "tiny step 1", found.ties, found.n)
    assert "made: f1 takes the first of equally likely choices, as lm-eval does, in 1 of 3 items" in caplog.text


@pytest.mark.parametrize(
    ("answers", "lost", "acc"),
    [
        ({"mat": NAN, "tree": NAN, "at": NAN}, 2, 0.5),
        ({"mat": NAN, "tree": -3.0, "at": -2.0}, 1, 0.0),  # never chosen, but said
        ({"mat": INF, "tree": -3.0, "at": -2.0}, 1, 0.0),
        ({"mat": -INF, "tree": -3.0, "at": -2.0}, 0, 0.0),  # what a model never says is no fault
        ({"mat": -INF, "tree": -INF, "at": -2.0}, 1, 0.25),  # but of two such it says nothing
        ({"mat": -1.0, "tree": -3.0, "at": -2.0}, 0, 0.5),
    ],
)
def test_what_is_no_number_is_counted_and_never_chosen(answers: dict[str, float], lost: int, acc: float) -> None:
    found = score(task_of([row(["mat", "tree"], 0), row(["tree", "at"], 0)], metrics=["acc"]), answers)
    assert (found.lost, found.metrics["acc"]) == (lost, acc)


def test_texts_scored_whole_are_looked_at_too() -> None:
    Path("conf/task/whole.yaml").write_text(
        "task: whole\ndata: data/whole.jsonl\noutput_type: loglikelihood_rolling\ndoc_to_text: ''\n"
        "doc_to_target: '{{text}}'\nmetric_list:\n  - {metric: bits_per_byte}\nmetadata: {version: 1.0}\n"
    )
    write_rows(Path("data/whole.jsonl"), [{"text": "the cat"}, {"text": "the dog"}])
    task = builder.build(task_file.resolve(["whole"]), None)["whole"]
    assert score(task, {"rolling": -20.0}).lost == 0
    assert score(task, {"rolling": NAN}).lost == 2


def test_a_share_that_may_be_lost_is_the_users_word(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    task = task_of([row(["mat", "tree"], 0), *[row(["tree", "at"], 0)] * 3], metrics=["acc"])
    found = {"made": score(task, {"mat": NAN, "tree": -3.0, "at": -2.0})}
    assert scoring.refused(found, 0.2).keys() == {"made"}
    assert scoring.refused(found, 0.25) == {}
