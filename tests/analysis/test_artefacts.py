"""Jumps that only counting right answers makes, told from those that the log-probabilities make too."""

import warnings

import numpy as np
import pandas as pd
import pytest

from evalrun.statistics.items.artefacts import COLUMNS, LABELS, find_artefacts, of_curves_that_move
from evalrun.statistics.items.continuous import METRICS, continuous
from evalrun.statistics.table import prepare

GRADED = [name for name, metric in METRICS.items() if metric.graded]
BEST = "gold_logprob_choices"


def world(kind, seed=0, checkpoints=10, n=400):
    """Items of two choices scored by checkpoints of which the mechanism is known.

    smooth: each doubling of the tokens adds the same to the log-odds of the right choice, so that the accuracy crosses
    from 0 to 1 at once; jump: the log-odds themselves do; opposite: both texts become likelier, the wrong one faster;
    flat: nothing is learnt.
    """
    random = np.random.default_rng(seed)
    last = checkpoints - 1
    odds = {
        "smooth": lambda i: -6 + 12 * i / last,
        "jump": lambda i: -2.5 if i < checkpoints / 2 else 2.5,
        "opposite": lambda i: 1.5 - 3 * i / last,
        "flat": lambda i: 0.2,
    }[kind]
    items, text = random.normal(0, 0.7, n), random.normal(-12, 1, n)
    rows, values = [], []
    for i in range(checkpoints):
        gold = text + (0.8 * i if kind == "opposite" else odds(i))
        wrong = gold - (odds(i) + items + random.normal(0, 0.2, n))
        right = (gold > wrong).astype(float)
        about = {"task": kind, "title": kind, "step": 2**i, "n": n}
        rows.append({**about, "value": right.mean(), "stderr": right.std(ddof=1) / np.sqrt(n)})
        found = continuous(pd.DataFrame({"target": "0", "logprobs": list(np.stack([gold, wrong], 1))}))
        for metric, (value, stderr) in found.metrics.items():
            values.append({"task": kind, "step": 2**i, "metric": metric, "value": value, "stderr": stderr})
    return rows, pd.DataFrame(values).assign(model="tiny-s", seed=np.nan)


def metric_rows(values, metric=BEST, stderr=0.01, **given):
    rows = [{"step": 2**i, "value": value} for i, value in enumerate(values)]
    about = {"task": "tiny_obey", "model": "tiny-s", "seed": np.nan, **given}
    return pd.DataFrame(rows).assign(metric=metric, stderr=stderr, **about)


def found_in(tidy, accuracy, values, metric=BEST, stderr=0.01, **given):
    table = prepare(tidy.curve(accuracy, **given), None).table
    about = {key: given[key] for key in ("model", "seed") if key in given}
    return find_artefacts(table, metric_rows(values, metric, stderr, **about))


@pytest.mark.parametrize(
    ("kind", "label"), [("smooth", "only in accuracy"), ("jump", "in both"), ("flat", "none"), ("opposite", "none")]
)
def test_the_mechanism_is_told(tidy, kind, label):
    rows, values = world(kind)
    found = find_artefacts(tidy.table(rows), values).set_index("metric")
    assert found.index.tolist() == GRADED
    if kind == "opposite":  # the right text becomes likelier, but not as fast as the wrong one
        assert found.loc["gold_logprob", "label"] == "opposite"
        found = found.drop(index="gold_logprob")
    assert set(found["label"]) == {label}


@pytest.mark.slow
def test_how_often_the_mechanism_is_told(tidy):
    tables, values = [], []
    expected = {"smooth": "only in accuracy", "jump": "in both", "flat": "none", "opposite": "none"}
    for seed in range(100):
        for kind in expected:
            rows, own = world(kind, seed)
            tables += [{**row, "task": f"{kind} {seed}"} for row in rows]
            values.append(own.assign(task=f"{kind} {seed}"))
    found = find_artefacts(tidy.table(tables), pd.concat(values, ignore_index=True))
    found["kind"] = found["task"].str.split().str[0]
    told = found[found["metric"] == BEST]
    share = (told["label"] == told["kind"].map(expected)).groupby(told["kind"]).mean()
    assert (share >= 0.97).all(), share
    raw = found[(found["metric"] == "gold_logprob") & (found["kind"] == "opposite")]
    assert (raw["label"] == "opposite").mean() >= 0.97


def naively(accuracy, value, tokens, stderr, error):
    """The jump and the label by the definitions, pair by pair."""
    from scipy.stats import norm

    k, doublings = len(accuracy), np.log2(tokens)
    pairs = [(i, j) for i in range(k) for j in range(i + 1, k)]
    windows = [(i, j) for i, j in pairs if doublings[j] - doublings[i] <= 1 + 1e-6 or j == i + 1]
    z = {pair: abs(accuracy[pair[1]] - accuracy[pair[0]]) / np.hypot(stderr, stderr) for pair in pairs}

    def size(pair):
        return abs(accuracy[pair[1]] - accuracy[pair[0]])

    def speed(pair):
        return size(pair) / max(1, doublings[pair[1]] - doublings[pair[0]])

    moves = [pair for pair in pairs if z[pair] > norm.ppf(1 - 0.025 / len(pairs))]
    jumps = [p for p in windows if z[p] > norm.ppf(1 - 0.025 / len(windows)) and speed(p) >= 0.5 * np.ptp(accuracy)]
    jumps = jumps if k >= 4 and doublings[-1] - doublings[0] >= 3 else []

    def change(pair):
        """Of the metric, in the accuracy's direction."""
        return np.sign(accuracy[pair[1]] - accuracy[pair[0]]) * (value[pair[1]] - value[pair[0]])

    largest = max(moves, key=size, default=None)
    if largest and change(largest) / np.hypot(error, error) < -1.96:
        return "opposite", largest
    if not jumps:
        return "none", largest
    jump = max(jumps, key=speed)
    enough = change(jump) / np.ptp(value) >= 0.5 * size(jump) / np.ptp(accuracy)
    return ("in both" if enough and change(jump) / np.hypot(error, error) > 1.96 else "only in accuracy"), jump


def test_labels_are_their_definitions(tidy):
    """Random curves of different lengths and unequal gaps, all at once, against a pair by pair search."""
    random = np.random.default_rng(5)
    tables, values, expected = [], [], []
    for number in range(300):
        k = int(random.integers(2, 12))
        steps = np.unique(np.round(2 ** np.sort(random.uniform(0, random.uniform(2, 12), k)) * 1000))
        rise = 1 / (1 + np.exp(-3 * (np.log2(steps) - random.uniform(10, 20))))
        accuracy = 0.2 + random.uniform(-0.2, 0.6) * rise + random.normal(0, 0.02, len(steps))
        value = (
            random.uniform(-1, 2) * rise
            + random.uniform(-0.3, 0.3) * np.log2(steps)
            + random.normal(0, 0.05, k)[: len(steps)]
        )
        name = f"t{number:03}"
        tables += [
            {"task": name, "title": name, "step": step, "value": one, "stderr": 0.02}
            for step, one in zip(steps, accuracy, strict=True)
        ]
        values.append(pd.DataFrame({"step": steps, "value": value, "task": name}))
        expected.append((*naively(accuracy, value, steps * 4096, 0.02, 0.05), steps))
    given = pd.concat(values, ignore_index=True).assign(model="tiny-s", seed=np.nan, metric=BEST, stderr=0.05)
    found = find_artefacts(tidy.table(tables), given)
    assert found["label"].tolist() == [label for label, _, _ in expected]
    assert set(found["label"]) == set(LABELS)  # or the test would show less
    for row, (_, pair, steps) in zip(found.to_dict("records"), expected, strict=True):
        shown = (np.nan, np.nan) if pair is None else (steps[pair[0]], steps[pair[1]])
        assert (row["from_step"], row["to_step"]) == pytest.approx(shown, nan_ok=True)


JUMP, LINE = [0.1, 0.1, 0.1, 0.9, 0.9, 0.9], [-5.0, -4.0, -3.0, -2.0, -1.0, 0.0]


def test_what_a_row_says(tidy):
    (row,) = found_in(tidy, JUMP, LINE, title="Obey").to_dict("records")
    assert list(row) == COLUMNS
    assert (row["label"], row["from_step"], row["to_step"]) == ("only in accuracy", 4, 8)
    assert (row["share"], row["doublings"]) == (1.0, 1.0)
    assert (row["metric_share"], row["metric_before"]) == (pytest.approx(0.2), pytest.approx(0.4))
    assert row["metric_z"] == pytest.approx(1 / np.hypot(0.01, 0.01))
    assert row["sentence"] == (
        "Obey in tiny-s: accuracy rises from 0.10 (step 4) to 0.90 (step 8), 1.00 of its range; the log-probability of "
        "the right answer among the choices goes from -3.00 to -2.00, 0.20 of its range, after 0.40 before: "
        "only in accuracy"
    )


def test_a_fall_is_a_jump_too(tidy):
    fall, line = JUMP[::-1], LINE[::-1]
    assert found_in(tidy, fall, line)["label"].item() == "only in accuracy"
    assert found_in(tidy, fall, [0, 0, 0, -5, -5, -5])["label"].item() == "in both"
    (row,) = found_in(tidy, fall, LINE).to_dict("records")
    assert row["label"] == "opposite"
    assert "moves the other way, from -5.00 to -2.00: opposite" in row["sentence"]


def test_a_metric_where_lower_is_better_is_turned_round(tidy):
    falling = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    assert found_in(tidy, JUMP, falling, "brier")["label"].item() == "in both"
    assert found_in(tidy, JUMP, falling[::-1], "brier")["label"].item() == "opposite"
    error_rate = [1 - value for value in JUMP]
    assert found_in(tidy, error_rate, falling, "brier", higher_is_better=False)["label"].item() == "in both"


def test_a_gradual_change_is_no_jump(tidy):
    (row,) = found_in(tidy, np.linspace(0.1, 0.9, 6), LINE).to_dict("records")
    assert row["label"] == "none"
    assert (row["from_step"], row["to_step"]) == (1, 32)


def test_a_metric_that_does_not_move_leaves_the_jump_to_accuracy(tidy):
    (row,) = found_in(tidy, JUMP, [-1.0] * 6).to_dict("records")
    assert (row["label"], row["metric_share"]) == ("only in accuracy", 0.0)
    assert "shows no change there" in row["sentence"]


@pytest.mark.parametrize("accuracy", [[0.5], [0.5, 0.9], [0.0] * 6, [1.0] * 6, JUMP[1:4]])
def test_little_or_constant_data_gives_rows_and_no_warning(tidy, accuracy):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (row,) = found_in(tidy, accuracy, LINE[: len(accuracy)]).to_dict("records")
        found_in(tidy, accuracy, [0.0] * len(accuracy), stderr=np.nan)
        found_in(tidy, accuracy, LINE[: len(accuracy)], stderr=np.nan, n=np.nan)
    assert row["label"] == "none"
    if len(accuracy) < 4:
        assert "too few checkpoints" in row["note"]


def test_a_metric_that_is_missing_somewhere_says_so(tidy):
    holed = [*LINE[:3], np.nan, *LINE[4:]]
    (row,) = found_in(tidy, JUMP, holed).to_dict("records")
    assert row["label"] == "none"
    assert row["note"] == "the metric is missing at one of the two checkpoints"
    (row,) = found_in(tidy, JUMP, [*LINE[:5], np.nan]).to_dict("records")
    assert (row["label"], row["note"]) == ("only in accuracy", "the metric is missing at 1 checkpoint")
    assert found_in(tidy, JUMP, [np.nan] * 6).empty
    assert found_in(tidy, JUMP, LINE, metric="acc_norm").empty  # counts right answers too
    assert list(found_in(tidy, JUMP, LINE, metric="acc_norm").columns) == COLUMNS


def test_seeds_are_curves_of_their_own(tidy):
    curves = [tidy.curve(JUMP, seed=0), tidy.curve(JUMP, seed=1)]
    table = prepare(pd.concat(curves, ignore_index=True), None).table
    values = [metric_rows(LINE, seed=0), metric_rows([0, 0, 0, 5, 5, 5], seed=1)]
    found = find_artefacts(table, pd.concat(values, ignore_index=True))
    assert found.set_index("seed")["label"].to_dict() == {0: "only in accuracy", 1: "in both"}
    assert "tiny-s seed 1: " in found["sentence"].iloc[1]


def test_of_a_curve_that_is_not_shown_to_move_nothing_is_said():
    shapes = pd.DataFrame({"task": "t", "model": ["a", "b"], "seed": np.nan, "falls": [False, True], "rises": False})
    found = pd.DataFrame({
        "task": "t", "model": ["a", "b", "a"], "seed": np.nan, "label": ["only in accuracy"] * 2 + ["none"],
        "note": ["", "", "x"],
    })  # fmt: skip
    kept = of_curves_that_move(found, shapes)
    assert kept["label"].tolist() == ["none", "only in accuracy", "none"]
    assert kept["note"].tolist() == ["the accuracy’s curve is not shown to move", "", "x"]
