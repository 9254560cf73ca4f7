import numpy as np
import pandas as pd
import pytest
from shaping import run_shape_tests

from evalrun.statistics.shapes.evidence import COLUMNS

SHAPES = {
    "positive": np.linspace(0.2, 0.8, 10),
    "inverse": np.linspace(0.8, 0.2, 10),
    "U-shaped": 0.2 + 0.6 * np.linspace(-1, 1, 10) ** 2,
    "inverted-U": 0.8 - 0.6 * np.linspace(-1, 1, 10) ** 2,
    "late drop": np.where(np.arange(10) < 7, 0.8, 0.8 - 0.2 * (np.arange(10) - 6)),
    "emergent": np.where(np.arange(10) < 7, 0.25, 0.65 + 0.1 * (np.arange(10) - 7)),
    "flat": np.full(10, 0.5),
}


def only(table, **options):
    found = run_shape_tests(table, **options)
    assert list(found.columns) == COLUMNS
    assert len(found) == 1
    return found.iloc[0]


@pytest.mark.parametrize("label", SHAPES)
def test_the_tests_see_a_clear_shape(tidy, label):
    found = only(tidy.curve(SHAPES[label], stderr=0.01))
    assert found["label"] == label
    # A parabola through a jump has a dip where the curve is level.
    assert found["agrees"] == ("" if label == "emergent" else "quadratic, ") + "two lines, broken line"
    if label in ("late drop", "emergent"):
        assert 2**5 < found["break_at"] / 4096 < 2**8
        assert found["break_low"] < found["break_at"] < found["break_high"]


def test_a_dissenting_test_is_not_named(tidy):
    # A rise that saturates: the parabola sees a turn that is not there (Simonsohn 2018).
    found = only(tidy.curve([0.1, 0.5, 0.75, 0.85, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9], stderr=0.01))
    assert found["label"] == "positive"
    assert found["quadratic"] == "inverted-U"
    assert "quadratic" not in found["agrees"].split(", ")
    assert "broken line" in found["agrees"].split(", ")


def test_an_early_break_does_not_support_a_late_shape(tidy):
    for values, label in (([0.8, 0.8, 0.7, 0.6, 0.5, 0.4], "inverse"), (SHAPES["late drop"], "late drop")):
        found = only(tidy.curve(values, stderr=0.01))
        assert found["label"] == label
        assert "broken line" in found["agrees"]


def test_lower_is_better_is_turned_round(tidy):
    up = only(tidy.curve(SHAPES["U-shaped"], stderr=0.01))
    down = only(tidy.curve(-SHAPES["U-shaped"], stderr=0.01, higher_is_better=False))
    assert down["label"] == "U-shaped"
    assert down["break_after"] == pytest.approx(up["break_after"])
    assert down["turn"] == pytest.approx(up["turn"])


def test_the_axis(tidy):
    table = tidy.curve(SHAPES["U-shaped"], stderr=0.01)
    tokens, flops = only(table), only(table, axis="flops")
    ratio = table["flops"].iloc[0] / table["tokens"].iloc[0]
    for name in ("turn", "two_lines_at", "break_at", "break_low"):
        assert flops[name] == pytest.approx(ratio * tokens[name])
    assert flops["slope_first"] == pytest.approx(tokens["slope_first"])


@pytest.mark.parametrize(
    ("values", "note"),
    [
        ([0.5], "fewer than three points"),
        ([0.5, 0.6], "fewer than three points"),
        ([0.5, 0.6, 0.5, 0.6], "fewer than five points: no broken line"),
        ([0.5] * 6, "no break is identified: its interval is the whole range"),
        ([0.0] * 6, "no break is identified: its interval is the whole range"),
        (SHAPES["late drop"], ""),
    ],
)
def test_notes(tidy, values, note, recwarn):
    for stderr in (0.01, 0.0, np.nan):
        assert only(tidy.curve(values, stderr=stderr, n=1000))["note"] == note
    assert only(tidy.curve(values, stderr=np.nan, n=np.nan))["points"] == len(values)
    assert not recwarn.list


def test_one_row_a_curve_in_the_order_of_the_table(tidy):
    parts = [tidy.curve(values, model=f"m{i}", stderr=0.01) for i, values in enumerate(SHAPES.values())]
    parts.insert(3, tidy.curve([0.1, 0.2, 0.3], model="short"))
    table = pd.concat(parts)
    found = run_shape_tests(table)
    assert found["model"].tolist() == ["m0", "m1", "m2", "short", "m3", "m4", "m5", "m6"]
    assert found.loc[found["model"] == "m2", "quadratic"].tolist() == ["U-shaped"]
    assert list(run_shape_tests(parts[0].iloc[:0]).columns) == COLUMNS


def test_the_published_inverted_u(published):
    found = run_shape_tests(published).set_index(["task", "model"]).loc[("isp_resisting_correction", "pythia-12b")]
    assert found["agrees"] == "quadratic, two lines, broken line"
    assert 16_000 * 2_097_152 * 0.5 < found["break_low"] < found["break_high"] < 32_000 * 2_097_152
