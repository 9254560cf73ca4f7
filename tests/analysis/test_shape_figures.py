import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from shaping import describe_shapes, run_shape_tests, shapes_over_size

from evalrun.reporting.drawing_files import as_figure
from evalrun.reporting.evidence_figure import evidence_figure, found_by_tests
from evalrun.reporting.shape_figures import LOOKS, size_grid, training_grid
from evalrun.statistics.shapes.evidence import TESTS
from evalrun.statistics.shapes.labels import LABELS


def texts(drawing):
    return [words.text for words in drawing.words]


def cells(drawing):
    """The tinted grounds, without those of the legend."""
    return [area for area in drawing.areas if np.ptp(area.at[:, 1]) > 20]


def grid_of(table):
    return training_grid(table, describe_shapes(table))


def test_each_label_has_its_own_sign_and_colour():
    assert set(LABELS) | {"mixed"} == set(LOOKS)
    assert len({look.sign for look in LOOKS.values()}) == len(LOOKS)
    tinted = [look.color for label, look in LOOKS.items() if label not in ("undecided", "too few points")]
    assert len(set(tinted)) == len(tinted)


def test_a_cell_for_each_task_and_model(tidy):
    table = tidy.grid(tasks=["a", "b", "c"], stderr=0.01)
    figure = grid_of(table)
    assert len(cells(figure)) == 9
    assert figure.width == pytest.approx(6.9 * 72)
    shown = texts(figure)
    assert {"a", "b", "c", "tiny-", "s", "m", "l"} <= set(shown)
    signs = [LOOKS[label].sign for label in describe_shapes(table)["label"]]
    for sign in set(signs):
        assert shown.count(sign) == signs.count(sign) + 1  # and in the legend
    assert [len(line.at) for line in figure.strokes] == [6] * 9


def test_a_rows_cells_share_a_scale(tidy):
    table = pd.concat([tidy.curve([0.2, 0.3, 0.4]), tidy.curve([0.6, 0.8, 1.0], model="tiny-l")])
    figure = grid_of(table)
    low, high = (-line.at[:, 1] for line in figure.strokes)  # down is larger
    assert low.max() < high.min()
    assert (high[2] - high[0]) == pytest.approx(2 * (low[2] - low[0]))
    assert {"0.20", "1.00"} <= set(texts(figure))


def test_tints_are_the_labels(tidy):
    figure = grid_of(tidy.curve([0.2, 0.4, 0.6, 0.8]))
    pale = np.array(to_rgb(cells(figure)[0].color))
    np.testing.assert_allclose(1 - pale, 0.45 * (1 - np.array(to_rgb(LOOKS["positive"].color))), atol=1 / 255)


def test_tasks_are_grouped_by_cause(tidy):
    parts = [tidy.curve([0.2, 0.4, 0.6], task=name, title=name, cause=cause) for name, cause in (
        ("a", "distractor task"), ("b", "strong prior"), ("c", "distractor task"),
    )]  # fmt: skip
    shown = texts(grid_of(pd.concat(parts)))
    places = [shown.index(word) for word in ("strong prior", "b", "distractor task", "a", "c")]
    assert places == sorted(places)


def test_seeds_that_differ_are_mixed(tidy):
    curves = [[0.2, 0.5, 0.8], [0.8, 0.5, 0.2]]
    figure = grid_of(pd.concat([tidy.curve(curve, seed=i) for i, curve in enumerate(curves)]))
    assert len(cells(figure)) == 1
    assert len(figure.strokes) == 2
    assert LOOKS["mixed"].sign in texts(figure)


def test_over_size(tidy):
    table = tidy.grid(models=("tiny-s", "tiny-m", "tiny-l"), tasks=["a", "b"], steps=[1, 2, 4, 4000])
    figure = size_grid(table, shapes_over_size(table, "nominal"), "nominal")
    assert len(cells(figure)) == 8
    assert {"training step ", "1", "2", "4", "4k"} <= set(texts(figure))


def test_many_columns_are_thinned_and_gaps_left_empty(tidy):
    table = tidy.grid(models=[f"m{i:02d}" for i in range(40)], tasks=["a", "b"])
    table = table[~((table["task"] == "b") & (table["model"] == "m39"))]
    figure = grid_of(table)
    assert len(cells(figure)) == 2 * 14 - 1
    assert {"m00", "m39"} <= set(texts(figure))


def test_everything_lies_on_the_page(tidy):
    table = tidy.grid(tasks=[f"task_{i}" for i in range(5)], title="A very long title, of a task that nobody knows yet")
    figure = as_figure(grid_of(table))
    figure.draw_without_rendering()
    for text in figure.axes[0].texts:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert 0 <= box.y0 < box.y1 <= figure.bbox.y1


@pytest.mark.parametrize("given", [{"value": 0.5}, {"value": 0.0}, {"stderr": np.nan}, {"title": "$\\frac{$"}])
def test_degenerate_tables(tidy, given, recwarn):
    for table in (tidy.grid(**given), tidy.grid(steps=[1], **given), tidy.grid(models=["a"], steps=[1, 2], **given)):
        as_figure(grid_of(table)).draw_without_rendering()
        as_figure(size_grid(table, shapes_over_size(table, "total"), "total")).draw_without_rendering()
        task = table["task"].iloc[0]
        evidence_figure(table, run_shape_tests(table), task).draw_without_rendering()
    assert not recwarn.list
    assert plt.get_fignums() == []


LATE = [0.8, 0.81, 0.79, 0.8, 0.8, 0.81, 0.8, 0.6, 0.4, 0.2]


def test_the_evidence_of_a_late_drop(tidy):
    table = tidy.curve(LATE, stderr=0.01)
    found = run_shape_tests(table)
    figure = evidence_figure(table, found, "tiny_obey")
    (axes,) = figure.axes
    assert axes.get_title(loc="left") == "tiny-s: late drop"
    curve, broken = axes.get_lines()[:2]
    np.testing.assert_allclose(curve.get_ydata(), LATE)
    assert broken.get_xdata()[1] == pytest.approx(found["break_at"].iloc[0])
    assert broken.get_ydata()[1] == pytest.approx(found["break_value"].iloc[0])
    assert broken.get_ydata()[2] == pytest.approx(0.2, abs=0.03)
    assert len(axes.patches) == 1  # the break's interval
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[:3] == ["value ±1 standard error", "broken line", "its break, 95 %"]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (("none", "none", "none"), "tests: 3 nothing"),
        (("inverted-U", "falling", "inverted-U"), "tests: 2 inverted-U, 1 falling"),
        (("none", "none", "falling"), "tests: 2 nothing, 1 falling"),
    ],
)
def test_the_evidence_says_what_the_tests_find_and_not_whether_they_agree(found, said):
    assert found_by_tests(dict(zip(TESTS, found, strict=True))) == said


def test_where_lower_is_better_the_broken_line_lies_on_the_curve(tidy):
    table = tidy.curve([-value for value in LATE], stderr=0.01, higher_is_better=False)
    axes = evidence_figure(table, run_shape_tests(table), "tiny_obey").axes[0]
    assert axes.get_lines()[1].get_ydata()[2] == pytest.approx(-0.2, abs=0.03)


def test_a_panel_a_model_and_thin_lines_for_seeds(tidy):
    table = tidy.grid(steps=[2**i for i in range(8)], seeds=[1, 2])
    figure = evidence_figure(table, run_shape_tests(table, axis="flops"), "tiny_obey", "flops")
    assert [axes.get_title(loc="left").split(":")[0] for axes in figure.axes] == ["tiny-s", "tiny-m", "tiny-l"]
    assert all(len(axes.get_lines()) == 4 and not axes.patches for axes in figure.axes)
    assert figure.axes[0].get_xlabel() == "Training compute (FLOPs)"
