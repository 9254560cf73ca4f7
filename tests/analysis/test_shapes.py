import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats
from shaping import describe_shapes, find_falls, shapes_over_size

from evalrun.statistics.shapes.labels import COLUMNS, LABELS, OVER_SIZE_COLUMNS, headlines, label_of, of_largest

EMERGENT = [0.25, 0.26, 0.24, 0.25, 0.26, 0.25, 0.27, 0.80, 0.92]


def only(table, **changes):
    described = describe_shapes(table, **changes)
    assert list(described.columns) == COLUMNS
    assert len(described) == 1
    return described.iloc[0]


@pytest.mark.parametrize(
    ("values", "label"),
    [
        ([0.2, 0.3, 0.4, 0.5, 0.6, 0.7], "positive"),
        ([0.7, 0.6, 0.5, 0.4, 0.3, 0.2], "inverse"),
        ([0.7, 0.5, 0.3, 0.3, 0.5, 0.9], "U-shaped"),
        ([0.3, 0.5, 0.8, 0.8, 0.5, 0.3], "inverted-U"),
        (EMERGENT, "emergent"),
        ([0.8, 0.79, 0.81, 0.8, 0.8, 0.8, 0.55, 0.4], "late drop"),
        ([0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.5, 0.4], "late drop"),
        ([0.5, 0.51, 0.49, 0.5, 0.52, 0.5], "undecided"),
        ([0.5, 0.5, 0.5], "flat"),
        ([0.1, 0.9], "too few points"),
        ([0.1], "too few points"),
    ],
)
def test_each_label(tidy, values, label):
    assert only(tidy.curve(values))["label"] == label


def test_a_blip_in_a_long_rise_is_no_turn(tidy):
    # The dip of 0.1 is 7 standard errors deep, but an eighth of the range.
    values = [0.1, 0.3, 0.5, 0.4, 0.7, 0.9]
    assert only(tidy.curve(values, stderr=0.01))["label"] == "positive"


@pytest.mark.parametrize(
    ("values", "label"),
    [
        ([0.1, 0.3, 0.7, 0.4, 0.7, 0.9], "positive"),
        ([0.02, 0.10, 0.50, 0.98, 0.72, 0.95, 1, 1], "positive"),
        ([0.02, 0.98, 0.72, 1.00], "positive"),  # GPT-3 on syllogisms, over size
        ([0.9, 0.7, 0.3, 0.6, 0.3, 0.1], "inverse"),
        ([0.3, 0.6, 0.3, 0.6, 0.3, 0.6, 0.3, 0.6], "non-monotonic"),
        ([0.6, 0.3, 0.6, 0.3, 0.6, 0.3, 0.6, 0.3], "non-monotonic"),
    ],
)
def test_a_u_lies_below_where_it_began_and_ends_above_its_turn(tidy, values, label):
    described = only(tidy.curve(values, stderr=0.01))
    assert described["label"] == label
    assert described["falls"]
    assert described["rises"]
    other = ", and rises from " if label == "inverse" else ", and falls from "
    assert other in described["sentence"] or label == "non-monotonic"


def test_a_move_that_no_test_of_shape_sees_is_no_u(tidy):
    """One bad checkpoint in a level curve, and a bowl."""
    assert only(tidy.curve([0.7, 0.7, 0.1, 0.7, 0.7, 0.7, 0.7, 0.7], stderr=0.01))["label"] == "non-monotonic"
    assert only(tidy.curve([0.7, 0.5, 0.3, 0.2, 0.2, 0.3, 0.5, 0.7], stderr=0.01))["label"] == "U-shaped"
    assert only(tidy.curve([0.7, 0.2, 0.2, 0.7], stderr=0.01))["label"] == "U-shaped"  # too few points for the tests


def test_moves_below_the_smallest_change_are_none(tidy):
    """However many items show them; of a metric that is no share the change is one of its size."""
    values = [0.500, 0.520, 0.534, 0.520, 0.500]
    assert only(tidy.curve(values, stderr=0.0005))["label"] == "flat"
    assert only(tidy.curve(values, stderr=0.0005), smallest_change=0.03)["label"] == "inverted-U"
    described = only(tidy.curve([20.0, 20.5, 21.5], stderr=0.01, higher_is_better=False))
    assert described["smallest_change"] == pytest.approx(0.05 * 20.5)
    assert described["label"] == "inverse"
    assert only(tidy.curve([20.0, 20.5, 20.9], stderr=0.01))["label"] == "flat"


def test_one_error_rate_holds_over_all_curves(tidy):
    """A move that a single curve may show is none among twenty flat ones, and one again where half of them move."""
    lone, flat, sure = [0.5, 0.5, 0.568], [0.5, 0.5, 0.5], [0.2, 0.5, 0.8]

    def labels(*curves):
        return describe_shapes(pd.concat([tidy.curve(own, model=f"m{i:02d}") for i, own in enumerate(curves)]))

    assert only(tidy.curve(lone))["label"] == "undecided"
    tight = {"stderr": 0.017}
    assert only(tidy.curve(lone, **tight))["label"] == "positive"
    made = [tidy.curve(own, model=f"m{i:02d}", **tight) for i, own in enumerate([lone] + [flat] * 19)]
    among = describe_shapes(pd.concat(made))
    assert among["label"].iloc[0] == "undecided"
    assert among["threshold_z"].iloc[0] == pytest.approx(stats.norm.ppf(1 - 0.05 / 4 / 20 / 2))
    assert among["q"].iloc[0] > 0.05
    made = [tidy.curve(own, model=f"m{i:02d}", **tight) for i, own in enumerate([lone] + [sure] * 10 + [flat] * 9)]
    among = describe_shapes(pd.concat(made))
    assert among["label"].iloc[0] == "positive"
    assert among["threshold_z"].iloc[0] == pytest.approx(stats.norm.ppf(1 - 0.05 * 11 / 20 / 4 / 2))
    holm = describe_shapes(pd.concat(made), correction="holm")
    assert holm["label"].iloc[0] == "undecided"
    assert (labels(flat, sure)["q"] <= 0.05).tolist() == [False, True]


def test_the_threshold_is_bonferroni_over_all_pairs_and_the_trend(tidy):
    described = only(tidy.curve([0.5] * 8))
    assert described["pairs"] == 28
    assert described["threshold_z"] == pytest.approx(stats.norm.ppf(1 - 0.05 / 29 / 2))


def test_a_move_counts_only_beyond_the_threshold(tidy):
    z = stats.norm.ppf(1 - 0.05 / 4 / 2)
    for factor, label in ((1.01, "positive"), (0.99, "undecided")):
        rise = factor * z * np.sqrt(2) * 0.02
        described = only(tidy.curve([0.5, 0.5 + rise / 2, 0.5 + rise], stderr=0.02))
        assert described["label"] == label
        assert described["rise_z"] == pytest.approx(factor * z)


def test_a_late_step_is_emergent_only_after_half_of_the_axis(tidy):
    late = [0.25, 0.25, 0.25, 0.25, 0.25, 0.9, 0.9]
    early = [0.25, 0.25, 0.25, 0.9, 0.9, 0.9, 0.9, 0.9]
    assert only(tidy.curve(late))["label"] == "emergent"
    assert only(tidy.curve(early))["label"] == "positive"


def test_a_rise_spread_over_many_gaps_is_not_emergent(tidy):
    values = [0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.4, 0.55, 0.7, 0.85]
    assert only(tidy.curve(values))["label"] == "positive"


def test_emergence_does_not_depend_on_how_densely_it_is_sampled(tidy):
    dense = np.interp(np.linspace(0, 8, 33), range(9), EMERGENT)
    table = tidy.table([{"step": 2 ** (i / 4), "tokens": 4096 * 2 ** (i / 4), "value": v} for i, v in enumerate(dense)])
    assert only(table)["label"] == "emergent"


def test_emergence_needs_three_level_checkpoints(tidy):
    assert only(tidy.curve([0.25, 0.25, 0.9]))["label"] == "positive"


def test_the_points_of_a_u(tidy):
    described = only(tidy.curve([0.41, 0.2, 0.06, 0.3, 1.0], model="tiny-l"))
    assert described[["from_step", "turn_step", "to_step"]].tolist() == [1, 4, 16]
    assert described[["from_value", "turn_value", "to_value"]].tolist() == [0.41, 0.06, 1.0]
    assert described["lowest_step"] == 4
    assert described["highest_step"] == 16
    assert (
        described["sentence"]
        == "Obey in tiny-l: falls from 0.41 (step 1) to 0.06 (step 4), then rises to 1.00 (step 16): U-shaped"
    )


@pytest.mark.parametrize(
    ("values", "label"),
    [
        ([0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.6, 0.8], "non-monotonic"),  # it recovers
        ([0.8, 0.8, 0.8, 0.6, 0.6, 0.6, 0.4, 0.4], "inverse"),  # half of the fall comes early
        ([0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45], "inverse"),  # falls all along
        ([0.8, 0.8, 0.5, 0.5], "inverse"),  # two good checkpoints are no plateau
        ([0.5, 0.6, 0.7, 0.8, 0.8, 0.7, 0.6, 0.5], "inverted-U"),  # turns in the middle
    ],
)
def test_what_is_no_late_drop(tidy, values, label):
    assert only(tidy.curve(values, stderr=0.01))["label"] == label


def test_the_points_of_a_late_drop(tidy):
    described = only(tidy.curve([0.8, 0.79, 0.81, 0.8, 0.8, 0.8, 0.55, 0.4]))
    assert described[["from_step", "turn_step", "to_step"]].tolist() == [1, 32, 128]
    assert described["sentence"].endswith("stays near 0.80 until step 32, then falls to 0.40 (step 128): late drop")
    restless = only(tidy.curve([0.8, 1.0, 0.83, 0.77, 0.99, 0.98, 0.04, 0.0], stderr=0.06))
    assert "lies between 0.77 and 1.00 until step 32, then falls to 0.00 (step 128)" in restless["sentence"]
    rising = only(tidy.curve([0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.5, 0.4]))
    assert "rises from 0.30 (step 1) to 0.80 (step 32), then falls to 0.40 (step 128)" in rising["sentence"]


def test_a_trend_that_no_pair_shows(tidy):
    values = 0.5 + 0.05 * np.linspace(0, 1, 12)
    described = only(tidy.curve(values, stderr=0.0125))
    x = np.arange(12) - 5.5
    assert described["trend_z"] == pytest.approx((x * values).sum() / 0.0125 / np.sqrt((x**2).sum()))
    assert described["rise_z"] < described["threshold_z"]
    slope = 0.06 * np.linspace(0, 1, 12)
    assert only(tidy.curve(0.5 + slope, stderr=0.0125))["label"] == "positive"
    assert only(tidy.curve(0.5 - slope, stderr=0.0125))["label"] == "inverse"


def test_flat_is_an_equivalence_test(tidy):
    values = [0.50, 0.51, 0.49, 0.505]
    described = only(tidy.curve(values, stderr=0.01))
    assert described["range_upper"] == pytest.approx(0.02 + stats.norm.ppf(0.95) * np.sqrt(2) * 0.01)
    assert described["label"] == "flat"
    assert describe_shapes(tidy.curve(values, stderr=0.01), smallest_change=0.04)["label"].tolist() == ["undecided"]


def test_training_noise_is_shared_by_a_task(tidy):
    rng = np.random.default_rng(3)
    parts = [tidy.curve(0.5 + rng.normal(0, 0.05, 8), model=f"m{i}", stderr=0.001) for i in range(8)]
    described = describe_shapes(pd.concat(parts))
    assert set(described["label"]) == {"undecided"}
    assert described["training_noise"].between(0.03, 0.07).all()
    assert described["threshold_z"].iloc[0] > stats.norm.ppf(1 - 0.05 / 29 / 2)
    assert (described["note"] == "").all()
    assert only(parts[0])["note"].startswith("training noise not measured")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([0.2, 0.4, 0.6], "rises from 0.20 (step 1) to 0.60 (step 4): positive"),
        ([0.6, 0.4, 0.2], "falls from 0.60 (step 1) to 0.20 (step 4): inverse"),
        ([0.5, 0.51, 0.5], "lies between 0.500 and 0.510: undecided"),
        ([0.5, 0.5, 0.5], "stays at 0.500: flat"),
        ([0.5], "1 checkpoint: too few points"),
        (EMERGENT, "stays near 0.25 until step 64, then rises to 0.92 (step 256): emergent"),
    ],
)
def test_sentences(tidy, values, sentence):
    assert only(tidy.curve(values))["sentence"] == f"Obey in tiny-s: {sentence}"


def test_where_lower_is_better_a_fall_is_positive(tidy):
    described = only(tidy.curve([40.0, 20.0, 10.0, 5.0], stderr=0.5, higher_is_better=False, metric="perplexity"))
    assert described["label"] == "positive"
    assert described["sentence"].endswith("falls from 40.00 (step 1) to 5.00 (step 8) (lower is better): positive")
    u_shaped = only(tidy.curve([10.0, 30.0, 10.0], stderr=0.5, higher_is_better=False))
    assert u_shaped["label"] == "U-shaped"
    assert "rises from 10.00 (step 1) to 30.00 (step 2), then falls to 10.00" in u_shaped["sentence"]


def test_a_standard_error_of_zero_is_replaced(tidy):
    # 5 of 5 right has no spread in the sample; taken at its word, any later error would be infinitely significant.
    described = only(tidy.curve([1.0, 1.0, 0.8, 1.0], stderr=0.0, n=5))
    assert described["label"] == "undecided"
    assert np.isfinite(described[["fall_z", "rise_z"]].astype(float)).all()


def test_missing_standard_errors_are_plus_four(tidy):
    described = only(tidy.curve([0.2, 0.5, 0.9], stderr=np.nan, n=100))
    p = (np.array([0.2, 0.9]) * 100 + 2) / 104
    assert described["rise_z"] == pytest.approx(0.7 / np.sqrt((p * (1 - p) / 104).sum()))


def test_no_standard_error_to_be_had(tidy):
    smooth = only(tidy.curve([-9.0, -7.1, -5.0, -2.9, -1.0], stderr=np.nan, n=np.nan))
    rough = only(tidy.curve([-9.0, -3.0, -9.5, -2.0, -9.0], stderr=np.nan, n=np.nan))
    assert smooth["label"] == "positive"
    assert rough["label"] == "undecided"
    assert only(tidy.curve([-3.0] * 5, stderr=np.nan, n=np.nan))["label"] == "flat"


def test_one_row_for_each_task_model_and_seed(tidy):
    described = describe_shapes(tidy.grid(seeds=[1, 2]))
    assert len(described) == 2 * 3 * 2
    assert set(described["label"]) <= set(LABELS)


def test_headlines_tell_of_the_largest_model(tidy):
    parts = [tidy.curve([0.2, 0.5, 0.8], model="tiny-s"), tidy.curve([0.8, 0.5, 0.2], model="tiny-l")]
    described = describe_shapes(pd.concat(parts))
    assert headlines(described) == {"tiny_obey": "Obey in tiny-l: falls from 0.80 (step 1) to 0.20 (step 4): inverse"}
    assert label_of(of_largest(described)["tiny_obey"]) == "inverse"


def test_headlines_count_seeds(tidy):
    curves = [[0.2, 0.5, 0.8], [0.2, 0.5, 0.8], [0.5, 0.5, 0.5]]
    described = describe_shapes(pd.concat([tidy.curve(curve, seed=i) for i, curve in enumerate(curves)]))
    assert headlines(described) == {"tiny_obey": "Obey in tiny-s: of 3 seeds, positive in 2, flat in 1"}
    assert label_of(of_largest(described)["tiny_obey"]) == "mixed"


MIRROR = {
    "positive": {"inverse", "late drop"},
    "emergent": {"inverse", "late drop"},
    # A late drop need not be as large a part of the curve as the return of a U: it has no mirror of its own.
    "inverse": {"positive", "emergent", "late drop"},
    # A curve with both kinds of turn, equally long, may keep its name.
    "U-shaped": {"inverted-U", "U-shaped", "late drop"},
    "inverted-U": {"inverted-U", "U-shaped"},
    "late drop": {"positive", "emergent", "inverse", "U-shaped", "non-monotonic"},
    "non-monotonic": {"non-monotonic", "late drop"},
    "flat": {"flat"},
    "undecided": {"undecided"},
    "too few points": {"too few points"},
}


@example(percent=[17, 1, 1, 0, 5], stderr=0.0)
@given(percent=st.lists(st.integers(0, 100), min_size=1, max_size=9), stderr=st.sampled_from([0.0, 0.013, 0.1]))
def test_any_curve_gets_a_label_and_its_mirror_the_mirrored_one(tidy, percent, stderr):
    described = only(tidy.curve([value / 100 for value in percent], stderr=stderr))
    assert described["sentence"].endswith(described["label"])
    mirrored = only(tidy.curve([(100 - value) / 100 for value in percent], stderr=stderr))
    assert mirrored["label"] in MIRROR[described["label"]]


@given(order=st.permutations(range(6)))
def test_the_order_of_rows_does_not_matter(tidy, order):
    table = tidy.curve([0.7, 0.5, 0.3, 0.3, 0.5, 0.9])
    assert only(table.iloc[list(order)])["sentence"] == only(table)["sentence"]


@given(
    percent=st.lists(st.lists(st.integers(0, 100), min_size=5, max_size=5), min_size=1, max_size=6),
    stderr=st.sampled_from([0.002, 0.02]),
)
def test_labels_are_those_of_their_definitions(tidy, percent, stderr):
    """Each pair, one by one, with the variance that the frame reports."""
    parts = [tidy.curve([v / 100 for v in own], model=f"m{i}", stderr=stderr) for i, own in enumerate(percent)]
    for row, own in zip(describe_shapes(pd.concat(parts)).to_dict("records"), percent, strict=True):
        v = [value / 100 for value in own]
        error = np.sqrt(2 * (row["item_noise"] ** 2 + row["training_noise"] ** 2))
        moves = {(i, j): v[j] - v[i] for i in range(5) for j in range(i + 1, 5)}
        far = max(v) - min(v)
        counted = {
            pair: d
            for pair, d in moves.items()
            if abs(d) / error > row["threshold_z"] and abs(d) >= max(0.2 * far, 0.05) - 1e-9
        }
        rise, fall = max([0, *counted.values()]), -min([0, *counted.values()])
        assert row["rises"] == (rise > 0 or row["label"] == "positive")
        assert row["falls"] == (fall > 0 or row["label"] == "inverse")
        turns = {np.sign(counted[0, t]) for t in (1, 2, 3) if counted.get((0, t), 0) * counted.get((t, 4), 0) < 0}
        if row["label"] in ("U-shaped", "inverted-U"):
            assert (-1 if row["label"] == "U-shaped" else 1) in turns
        elif row["label"] in ("flat", "undecided"):
            assert not counted
        elif not counted:
            assert abs(row["trend_z"]) > row["threshold_z"]
        elif row["label"] == "non-monotonic":
            assert rise > 0
            assert fall > 0
        elif row["label"] == "positive":
            assert rise >= 2 * fall - 1e-9
        elif row["label"] == "inverse":
            assert fall >= 2 * rise - 1e-9
        else:
            assert (fall == 0) == (row["label"] == "emergent")
        bound = far + stats.norm.ppf(0.95) * np.sqrt(2) * row["item_noise"]
        assert row["range_upper"] == pytest.approx(bound)


def test_the_order_of_curves_is_the_tables(tidy):
    table = tidy.grid(models=("tiny-l", "tiny-s"), seeds=[3, 1])
    described = describe_shapes(table)
    expected = table.drop_duplicates(["task", "model", "seed"])[["task", "model", "seed"]]
    assert described[["task", "model", "seed"]].to_numpy().tolist() == expected.to_numpy().tolist()


def test_over_size(tidy):
    sizes = [f"m{i}" for i in range(6)]
    values = {1: [0.2, 0.3, 0.4, 0.5, 0.6, 0.7], 2: [0.7, 0.5, 0.3, 0.3, 0.5, 0.9]}
    rows = [
        {"model": model, "n_params_nominal": 10**i, "n_params": 10**i, "step": step, "value": own[i]}
        for step, own in values.items()
        for i, model in enumerate(sizes)
    ]
    found = shapes_over_size(tidy.table(rows), "nominal")
    assert list(found.columns) == OVER_SIZE_COLUMNS
    assert found["label"].tolist() == ["positive", "U-shaped"]
    assert found["step"].tolist() == [1, 2]
    assert found["tokens"].tolist() == [4096, 8192]
    assert found.loc[1, ["from_model", "turn_model", "to_model"]].tolist() == ["m0", "m2", "m5"]
    assert found.loc[0, "sentence"] == "Obey at step 1: rises from 0.20 (m0) to 0.70 (m5): positive"


def test_over_size_seeds_and_models_of_one_size_are_one_point(tidy):
    rows = [{"model": m, "n_params_nominal": s, "seed": k, "value": v} for m, s, k, v in (
        ("a", 10, 1, 0.2), ("a", 10, 2, 0.4), ("b", 10, 1, 0.6), ("c", 100, 1, 0.9), ("d", np.nan, 1, 0.1),
    )]  # fmt: skip
    found = shapes_over_size(tidy.table(rows), "nominal").iloc[0]
    assert found["points"] == 2
    assert found["label"] == "too few points"
    assert found["first_value"] == pytest.approx(0.4)
    assert found["lowest_model"] == "a / b"
    assert found["item_noise"] == pytest.approx(0.02)
    assert found["sentence"] == "Obey at step 1: 2 models: too few points"


def test_nothing_to_describe(tidy):
    empty = tidy.grid().iloc[:0]
    assert list(describe_shapes(empty).columns) == COLUMNS
    assert list(shapes_over_size(empty, "nominal").columns) == OVER_SIZE_COLUMNS
    assert shapes_over_size(tidy.grid(n_params_nominal=np.nan), "nominal").empty


def test_the_published_curves(published):
    """What the paper says of the larger models' curves, and what eight checkpoints cannot show."""
    shapes = describe_shapes(published)
    labels = shapes.pivot_table(index="task", columns="model", values="label", aggfunc="first")
    falling = {"inverse", "late drop"}
    assert set(labels.loc["truthfulqa_mc2", ["pythia-2.8b", "pythia-6.9b", "pythia-12b"]]) == {"inverse"}
    assert labels.loc["truthfulqa_mc1", "pythia-12b"] == "inverse"
    assert set(labels.loc["isp_sig_figs"]) == {"flat", "non-monotonic"}  # within .034 at 12B
    assert (shapes["falls"] == find_falls(published)["falls"]).all()
    assert not shapes.loc[shapes["label"].isin(["flat", "undecided"]), "falls"].any()
    for task in ("isp_memo_trap", "isp_pattern_matching_suppression"):
        assert set(labels.loc[task, ["pythia-2.8b", "pythia-6.9b", "pythia-12b"]]) <= falling
    assert labels.loc["isp_hindsight_neglect", "pythia-12b"] == "late drop"
    assert labels.loc["isp_resisting_correction", "pythia-12b"] == "inverted-U"
    assert set(labels.loc["isp_neqa"]) == {"undecided"}
    # Item errors alone would call these jagged curves shaped.
    noisy = shapes[shapes["task"] == "isp_modus_tollens"]
    assert (noisy["training_noise"] > 10 * noisy["item_noise"]).all()
