"""Continuous metrics: each against its definition, and against lm-eval's own where it has the same."""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalrun.statistics.items.continuous import METRICS, continuous, per_item
from helpers import WORDS, write_rows

LOGPROB = st.floats(-60, -1e-3)


def items_of(logprobs, gold, chars=None, **columns):
    acc = [float(int(np.argmax(one)) == right) for one, right in zip(logprobs, gold, strict=True)]
    frame = pd.DataFrame({"target": [json.dumps(right) for right in gold], "logprobs": logprobs, "acc": acc})
    frame["prediction"] = [int(np.argmax(one)) for one in logprobs]
    if chars is not None:
        frame["choice_chars"] = chars
        frame["choice_bytes"] = [[1 + 2 * size for size in one] for one in chars]  # a space, and letters of two bytes
    return frame.assign(**columns)


def naively(logprobs, gold, chars):
    """The metrics of one item, as the module's docstring has them."""
    p = [np.exp(one) for one in logprobs]
    q = [one / sum(p) for one in p]
    wrong = [one for place, one in enumerate(q) if place != gold]
    each = np.array(logprobs) / np.array(chars)
    best = np.flatnonzero(each == each.max())  # of those that tie, each may be the answer
    return {
        "gold_logprob": logprobs[gold],
        "gold_logprob_choices": np.log(q[gold]),
        "margin": q[gold] - max(wrong, default=0),
        "brier": sum((one - (place == gold)) ** 2 for place, one in enumerate(q)),
        "acc_norm": float(gold in best) / len(best),
        "gold_bits_per_byte": -logprobs[gold] / (1 + 2 * chars[gold]) / np.log(2),
        "wrong_bits_per_byte": (logprobs[gold] - sum(logprobs)) / max(_others(chars, gold), 1) / np.log(2),
    }


def _others(chars, gold):
    return sum(1 + 2 * size for place, size in enumerate(chars) if place != gold)


def corpus(logprobs, gold, chars):
    """Bits per byte of all right, and of all wrong choices."""
    rows = list(zip(logprobs, gold, chars, strict=True))
    right = sum(-one[place] for one, place, _ in rows) / sum(1 + 2 * size[place] for _, place, size in rows)
    wrong = sum(one[place] - sum(one) for one, place, _ in rows)
    wrong /= max(sum(_others(size, place) for _, place, size in rows), 1)
    return {"gold_bits_per_byte": right / np.log(2), "wrong_bits_per_byte": wrong / np.log(2)}


@st.composite
def ragged(draw):
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=8))
    logprobs = [draw(st.lists(LOGPROB, min_size=size, max_size=size)) for size in sizes]
    chars = [draw(st.lists(st.integers(1, 40), min_size=size, max_size=size)) for size in sizes]
    return logprobs, [draw(st.integers(0, size - 1)) for size in sizes], chars


@given(ragged())
def test_every_metric_is_its_definition(drawn):
    logprobs, gold, chars = drawn
    values, note = per_item(items_of(logprobs, gold, chars))
    expected = pd.DataFrame([naively(*one) for one in zip(*drawn, strict=True)])
    if max(map(len, logprobs)) == 1:
        assert "no choices to compare" in note
        expected.loc[:, ~expected.columns.isin(["gold_logprob", "gold_bits_per_byte"])] = np.nan
    else:
        assert note == ""
    if min(map(len, logprobs)) == 1:  # an item has no wrong choice
        expected["wrong_bits_per_byte"] = np.nan
    pd.testing.assert_frame_equal(values, expected[list(METRICS)], rtol=1e-9, atol=1e-12)
    found = continuous(items_of(logprobs, gold, chars))
    assert found.n == len(gold)
    ratios = corpus(logprobs, gold, chars)
    for name, (mean, error) in found.metrics.items():
        if name in ratios:
            assert np.isnan(mean) or mean == pytest.approx(ratios[name], rel=1e-9)
            continue
        assert mean == pytest.approx(expected[name].mean(), rel=1e-9, abs=1e-12, nan_ok=True)
        sem = expected[name].std(ddof=1) / np.sqrt(len(gold))
        assert error == pytest.approx(sem, rel=1e-9, abs=1e-12, nan_ok=True)


def test_lm_eval_has_the_same_accuracy_by_length_and_brier_score(workspace: Path):
    """On items whose choices differ in length, with a delimiter that is no part of it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from evalrun import scoring
    from evalrun.config.schema import ScorerConf
    from evalrun.tasks import builder, task_file

    text = (workspace / "conf" / "task" / "alpha.yaml").read_text()
    metrics = "".join(
        f"  - {{metric: {name}, aggregation: {how}, higher_is_better: {better}}}\n"
        for name, how, better in (
            ("acc", "mean", "true"),
            ("acc_norm", "mean", "true"),
            ("brier_score", "brier_score", "false"),
        )
    )
    (workspace / "conf" / "task" / "long.yaml").write_text(
        text.replace("alpha", "long").split("metric_list:")[0] + 'target_delimiter: "  "\n' + f"metric_list:\n{metrics}"
    )
    random = np.random.default_rng(3)
    rows = [
        {"question": " ".join(random.choice(WORDS, 4)), "answer": int(random.integers(3)),
         "choices": [" ".join(random.choice(WORDS, size)) for size in random.permutation([1, 3, 6])]}
        for _ in range(60)
    ]  # fmt: skip
    write_rows(workspace / "data" / "long.jsonl", rows)
    folder = workspace / "models" / "toy-s" / "step4"
    lm = scoring.CheckpointLM(
        AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder),
        ScorerConf("lm_eval", "auto", "float32", "cpu", 8, False, 100), lambda rows: None,
    )  # fmt: skip
    score = scoring.score(lm, builder.build(task_file.resolve(["long"]), None), None, 100)["long"]
    assert [list(one) for one in score.items["choice_chars"]] == [
        [len(choice) for choice in row["choices"]] for row in rows
    ]
    sizes = [[len(f"  {choice}".encode()) for choice in row["choices"]] for row in rows]
    assert [list(one) for one in score.items["choice_bytes"]] == sizes
    values, note = per_item(score.items)
    assert note == ""
    right = [
        (one[row["answer"]], size[row["answer"]])
        for one, size, row in zip(score.items["logprobs"], sizes, rows, strict=True)
    ]
    bits = -sum(nats for nats, _ in right) / sum(size for _, size in right) / np.log(2)
    assert continuous(score.items).metrics["gold_bits_per_byte"][0] == pytest.approx(bits, rel=1e-12)
    assert values["acc_norm"].tolist() == score.items["acc_norm"].tolist()
    assert (score.items["acc_norm"] != score.items["acc"]).any()  # or the test would show nothing
    found = continuous(score.items).metrics
    assert found["acc_norm"] == pytest.approx((score.metrics["acc_norm"], score.stderrs["acc_norm"]))
    assert found["brier"][0] == pytest.approx(score.metrics["brier_score"])


TWO = [[-1.0, -2.0], [-3.0, -1.0], [-2.0, -2.5]]


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (items_of(TWO, [[0, 1], [0], [1]], acc=1.0), "not the number of a choice"),
        (items_of(TWO, ["a", "b", "c"]).drop(columns="prediction"), "not the number of a choice"),
        (items_of(TWO, [2, -1, 5]), "not the number of a choice"),
        (items_of(TWO, [0, 1, 0], acc=[0.2, 0.7, 1.0]), "graded already"),
        (pd.DataFrame({"target": ['"x"'], "logprobs": [[]], "response": ["['x']"]}), "no log-probabilities"),
        (pd.DataFrame({"target": ["0"]}), "no log-probabilities"),
        (items_of(TWO, [0, 1, 0]).iloc[:0], "no log-probabilities"),
        (items_of([[-np.inf, -np.inf]] * 2, [0, 1]), "no finite log-probability"),
    ],
)
def test_what_has_no_right_choice_is_missing_and_says_why(items, said):
    found = continuous(items)
    assert said in found.note
    assert found.n == 0
    assert np.isnan([number for pair in found.metrics.values() for number in pair]).all()


def test_a_text_to_score_has_its_log_probability_alone():
    """LAMBADA's target is the text."""
    found = continuous(items_of([[-1.0], [-3.0]], [" word", " other"], acc=[1, 0]))
    assert found.metrics["gold_logprob"] == (-2.0, 1.0)
    assert np.isnan(found.metrics["brier"][0])
    assert "no choices" in found.note


def test_of_two_choices_the_accuracy_tells_which_is_right():
    """WinoGrande's target is the text after its two contexts."""
    texts = items_of(TWO, [0, 0, 1]).assign(target='" text"')
    pd.testing.assert_frame_equal(per_item(texts)[0], per_item(items_of(TWO, [0, 0, 1]))[0])


def test_items_that_cannot_be_scored_are_left_out_and_counted():
    items = items_of([*TWO, [-1.0, -np.inf]], [0, 1, 9, 0])
    found = continuous(items)
    assert found.n == 2
    assert found.note == (
        "2 of 4 items left out; the lengths of the choices are not known: no acc_norm; "
        "the bytes of the choices are not known: no bits per byte"
    )
    assert found.metrics["gold_logprob"][0] == -1.0
    one = continuous(items_of(TWO[:1], [0]))
    assert one.metrics["gold_logprob"][0] == -1.0
    assert np.isnan(one.metrics["gold_logprob"][1])  # one item has no standard error


def test_older_items_lack_lengths_and_nothing_else():
    found = continuous(items_of(TWO, [0, 1, 0]))
    lengths = ("acc_norm", "gold_bits_per_byte", "wrong_bits_per_byte")
    assert np.isnan([found.metrics[name][0] for name in lengths]).all()
    assert all(np.isfinite(found.metrics[name]).all() for name in METRICS if name not in lengths)


def test_log_probabilities_without_the_question_are_no_choices():
    doubled = items_of([[*one, -9.0, -0.1] for one in TWO], [0, 1, 0], acc_mutual_info=[1.0, 0.0, 1.0])
    plain, _ = per_item(items_of(TWO, [0, 1, 0]))
    pd.testing.assert_frame_equal(per_item(doubled)[0], plain)


def test_the_first_filter_counts():
    first, second = items_of(TWO, [0, 1, 0], filter="first"), items_of(TWO, [1, 0, 1], filter="second")
    both = continuous(pd.concat([first, second], ignore_index=True))
    assert both.metrics["brier"] == continuous(first).metrics["brier"]
    assert both.n == 3


def test_far_apart_log_probabilities_do_not_overflow():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = continuous(items_of([[-1e4, -1.0], [-1.0, -1e4]], [0, 0]))
    assert found.metrics["gold_logprob_choices"][0] == pytest.approx(-4999.5)
    assert found.metrics["brier"][0] == pytest.approx(1.0)
