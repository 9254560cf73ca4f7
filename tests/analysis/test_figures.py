import itertools
import json
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.text import Text

from evalrun.reporting.figures import accuracy_figure, model_series, scaling_figure
from evalrun.reporting.panels import panel
from evalrun.reporting.scales import axis_name, log_ticks, rounded, si, spread
from evalrun.statistics.table import prepare


def figure_of(table, **options):
    return accuracy_figure(prepare(table, None).table, **options)


def curves(axes):
    return [line for line in axes.get_lines() if len(line.get_xdata()) > 2]


def many(tidy, tasks, models):
    names = [f"m{i:02d}" for i in range(models)]
    table = tidy.grid(models=names, tasks=[f"task_{i:02d}" for i in range(tasks)], steps=[1, 2, 4])
    sizes = {name: 1e6 * 2**i for i, name in enumerate(names)}
    return table.assign(n_params=table["model"].map(sizes), n_params_nominal=table["model"].map(sizes))


@pytest.mark.parametrize(("tasks", "models"), [(1, 1), (1, 12), (2, 3), (4, 2), (7, 5), (12, 8), (30, 12)])
def test_one_panel_a_task_and_one_line_a_model(tidy, tasks, models):
    figure = figure_of(many(tidy, tasks, models))
    assert len(figure.axes) == tasks
    for axes in figure.axes:
        assert len(curves(axes)) == models
        assert axes.get_xscale() == "log"
        bands = [patch for patch in axes.collections if isinstance(patch, FillBetweenPolyCollection)]
        assert len(bands) == models
    assert [axes.get_title(loc="left") for axes in figure.axes] == [f"task {i:02d}" for i in range(tasks)]
    assert len(figure.legends) == 1
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [f"m{i:02d}" for i in range(models)] + ["chance", "±1 standard error"]
    assert all(axes.get_legend() is None for axes in figure.axes)


def test_nothing_overlaps(tidy):
    figure = figure_of(many(tidy, 12, 12))
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.x1
    for axes in figure.axes:
        assert axes.get_tightbbox().y1 <= legend.y0 + 1


def test_the_lines_are_the_values(tidy):
    table = tidy.grid(tasks=["a"])
    axes = figure_of(table).axes[0]
    drawn = {tuple(np.round(line.get_ydata(), 12)) for line in curves(axes)}
    assert drawn == {tuple(np.round(rows["value"], 12)) for _, rows in table.groupby("model")}


def test_seeds_are_thin_lines_and_their_mean(tidy):
    figure = figure_of(tidy.grid(tasks=["a"], models=["tiny-s"], seeds=[1, 2, 3]))
    thick = [line for line in curves(figure.axes[0]) if line.get_linewidth() > 1]
    thin = [line for line in curves(figure.axes[0]) if line.get_linewidth() < 1]
    assert (len(thick), len(thin)) == (1, 3)
    np.testing.assert_allclose(thick[0].get_ydata(), np.mean([line.get_ydata() for line in thin], axis=0))
    assert not figure.axes[0].collections
    assert "one seed" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_models_of_one_size_differ_by_their_dashes(tidy):
    series = model_series(tidy.grid(models=["a", "b"]))
    assert series[0].color == series[1].color
    assert series[0].dashes != series[1].dashes


def test_chance_is_drawn_where_known(tidy):
    def dashed(table):
        return len(figure_of(table).axes[0].get_lines()) - 3

    assert dashed(tidy.grid(tasks=["a"], chance=0.25)) == 1
    assert dashed(tidy.grid(tasks=["a"], chance=np.nan)) == 0


def test_names_are_no_formulas_and_underscores_stay(tidy):
    figure = figure_of(tidy.grid(tasks=["a"], models=["_m$x$"]).assign(title="$\\frac{$ & <b>"))
    figure.draw_without_rendering()
    assert figure.axes[0].get_title(loc="left") == "$\\frac{$ & <b>"
    assert figure.legends[0].get_texts()[0].get_text() == "_m$x$"


def test_one_point_and_constant_values(tidy):
    figure_of(tidy.table([{}])).draw_without_rendering()
    flat = figure_of(tidy.grid(value=0.5, stderr=np.nan, chance=np.nan))
    flat.draw_without_rendering()
    bottom, top = flat.axes[0].get_ylim()
    assert top - bottom >= 0.0199


def test_no_pyplot_state(tidy):
    figure_of(tidy.grid())
    assert plt.get_fignums() == []


def test_compute_axis_and_scaling(tidy):
    assert figure_of(tidy.grid(), x="flops").get_supxlabel().startswith("Training compute")
    figure = scaling_figure(prepare(tidy.grid(steps=range(1, 40)), None).table)
    lines = curves(figure.axes[0])
    assert len(lines) == 8
    assert figure.legends[0].get_texts()[7].get_text() == "step 39"


@pytest.mark.parametrize(
    ("value", "text"),
    [(4, "4"), (4096, "4.1k"), (4e3, "4k"), (1e4, "10k"), (1e7, "10M"), (1e9, "1B"), (1.4e9, "1.4B"), (2e12, "2T")],
)
def test_counts_as_people_write_them(value, text):
    assert si(value) == text


@pytest.mark.parametrize(
    ("low", "high", "most", "labels"),
    [
        (4.194e9, 2.9989e11, 5, ["4.2B", "10B", "100B", "300B"]),
        (4.194e9, 2.9989e11, 3, ["4.2B", "100B", "300B"]),
        (1536, 1_572_864, 5, ["1.5k", "10k", "100k", "1.6M"]),
        (3e6, 4e6, 5, ["3M", "4M"]),
        (3e6, 3e6, 5, ["3M"]),
        (1e3, 1e12, 5, ["1k", "100k", "10M", "1B", "1T"]),
    ],
)
def test_ticks_are_the_ends_of_the_data_and_powers_of_ten_between(low, high, most, labels):
    assert [rounded(tick) for tick in log_ticks(low, high, most)] == labels


def test_ticks_of_sizes_are_sizes_that_there_are():
    sizes = [70e6, 160e6, 410e6, 1e9, 1.4e9, 2.8e9, 6.9e9, 12e9]
    ticks = log_ticks(70e6, 12e9, 5, sizes)
    assert set(ticks) <= set(sizes)
    assert [rounded(tick) for tick in ticks] == ["70M", "160M", "410M", "1B", "2.8B", "12B"]


def test_a_suite_that_counts_in_steps_says_steps(tidy):
    table = tidy.grid()
    assert axis_name(table, "tokens") == "Training tokens"
    assert axis_name(table.assign(tokens=table["step"]), "tokens") == "Training steps"


@pytest.mark.parametrize("wanted", [[0.5, 0.5, 0.5], [0.0, 1.0], [0.9, 0.1, 0.91], [1.0] * 8, []])
def test_labels_are_spread_and_keep_their_order(wanted):
    places = spread(wanted, 0.1, 0.0, 1.0)
    ordered = [places[i] for i in np.argsort(wanted, kind="stable")]
    assert all(later - before >= 0.1 - 1e-9 for before, later in itertools.pairwise(ordered))
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in places)


def test_labels_that_have_room_stay_where_they_are():
    assert spread([0.9, 0.1, 0.5], 0.1, 0.0, 1.0) == pytest.approx([0.9, 0.1, 0.5])
    assert spread([0.5, 0.5], 0.1, 0.0, 1.0) == pytest.approx([0.45, 0.55])


@pytest.mark.parametrize(("tasks", "width"), [(1, 3.3), (2, 6.9), (12, 6.9)])
def test_figures_are_as_wide_as_a_papers_columns(tidy, tasks, width):
    figure = figure_of(many(tidy, tasks, 8))
    assert figure.get_figwidth() == pytest.approx(width)
    figure.draw_without_rendering()
    letters = [text.get_fontsize() for text in figure.findobj(lambda a: isinstance(a, Text) and a.get_text())]
    assert min(letters) >= 7


@pytest.mark.parametrize(("models", "names"), [(["tiny-s", "tiny-l"], ["tiny-s", "tiny-l"]), (None, ["70m", "12b"])])
def test_lines_carry_their_names_where_they_end(tidy, models, names):
    table = tidy.grid(models=models or ["pythia-70m", "pythia-12b"], tasks=["a"])
    series = model_series(table)
    drawing = panel(table, series, {line.color: f"var(--s{i})" for i, line in enumerate(series)}, "tokens", named=True)
    svg = ElementTree.fromstring(drawing["svg"])
    shown = {text.text: float(text.get("y")) for text in svg.iter("text") if text.text in names}
    assert sorted(shown) == sorted(names)
    ends = [line[-1][1] for line in json.loads(drawing["points"])["lines"]]
    order = [line.label for line in series]
    heights = [next(y for name, y in shown.items() if label.endswith(name)) for label in order]
    assert np.argsort(heights).tolist() == np.argsort(ends).tolist()


def test_a_panels_lines_go_through_its_points(tidy):
    """What the pointer finds is where the line was drawn, and its height is the value on the axis beside it."""
    table = tidy.grid(tasks=["a"])
    series = model_series(table)
    drawing = panel(table, series, {line.color: f"var(--s{i})" for i, line in enumerate(series)}, "tokens")
    svg = ElementTree.fromstring(drawing["svg"])
    lines = [[tuple(map(float, at.split(","))) for at in line.get("points").split()] for line in svg.iter("polyline")]
    points = json.loads(drawing["points"])["lines"]
    assert [[tuple(point[:2]) for point in line] for line in points if line] == lines
    texts = [(text.text, float(text.get("y"))) for text in svg.iter("text") if "end" in text.get("style")]
    (low, down), (high, up) = ((float(words), y - 2.5) for words, y in (texts[0], texts[-1]))
    for point in points[0]:
        assert point[4] == pytest.approx(low + (point[1] - down) / (up - down) * (high - low), abs=0.003)
    dots = [path for path in svg.iter("path") if "h0" in path.get("d")]
    assert len(dots) == len(lines)


def test_gaps_in_the_grid(tidy):
    table = tidy.grid(tasks=["a", "b"])
    table = table[~((table["task"] == "b") & (table["model"] == "tiny-l"))]
    assert isinstance(table, pd.DataFrame)
    assert [len(curves(axes)) for axes in figure_of(table).axes] == [3, 2]
