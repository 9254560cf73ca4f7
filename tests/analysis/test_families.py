"""Several suites over training compute: a line a family, the last checkpoint of each model, errors and a legend."""

import numpy as np
import pandas as pd
import pytest

import evalrun
import evalrun.errors
from evalrun.core.palette import family_looks
from evalrun.reporting.families_drawing import drawn_over_compute
from evalrun.reporting.families_figure import families_figure
from evalrun.reporting.families_page import write_families
from evalrun.statistics.families import last_checkpoints
from evalrun.statistics.table import prepare


@pytest.fixture(scope="module")
def families(tidy):
    one = tidy.grid(tasks=["both", "alone"], suite="one")
    two = tidy.grid(models=["p", "q"], steps=[1, 2], tasks=["both"], suite="two", seeds=[1, 2])
    two["flops"] = two["flops"] * np.where(two["model"] == "q", 10, 1)
    return {name: prepare(table, None).table for name, table in {"one": one, "two": two}.items()}


def test_each_model_is_its_last_checkpoint_of_the_tasks_that_families_share(families):
    points, notes = last_checkpoints(families)
    assert notes == ["Tasks of one family alone, or by another metric in each, are not shown: alone."]
    assert points[["family", "model", "step", "seeds"]].to_numpy().tolist() == [
        *(["one", model, 32, 1] for model in ("tiny-s", "tiny-m", "tiny-l")),
        *(["two", model, 2, 2] for model in ("p", "q")),
    ]
    last = families["two"].query("model == 'p' and step == 2")
    row = points.query("model == 'p'").iloc[0]
    assert row["value"] == pytest.approx(last["value"].mean())
    assert row["stderr"] == 0.02  # of the same items: no smaller for a mean of seeds
    assert row["flops"] == 6 * 80_000 * 2 * 4096


def test_a_model_without_known_compute_is_named(families):
    unknown = {**families, "two": families["two"].assign(flops=np.nan)}
    points, notes = last_checkpoints(unknown)
    assert points.empty
    assert notes[0] == "Left out, because their compute is not known: p and q."


def test_the_figure_has_a_line_and_bars_for_each_family_and_says_which(families):
    points, _ = last_checkpoints(families)
    figure = families_figure(points)
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert [len(bars.lines[0].get_xdata()) for bars in axes.containers] == [3, 2]
    first = points[points["family"] == "one"]
    (segments,) = axes.containers[0].lines[2]
    ends = np.array([segment[:, 1] for segment in segments.get_segments()])
    assert ends == pytest.approx(np.column_stack([first["value"] - 0.02, first["value"] + 0.02]))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["one", "two", "chance", "±1 standard error"]


def test_looks_of_families_do_not_meet():
    assert len(set(family_looks(49))) == 49


def test_the_page_has_the_figure_the_numbers_and_what_differs(families, tmp_path):
    page = write_families(tmp_path, families, {"one": "lm_eval float16", "two": "lm_eval float32"})
    text = page.read_text()
    assert "<svg" in text
    assert "The families were not scored in the same way: one by lm_eval float16, two by lm_eval float32." in text
    assert "alone" in text
    assert len(pd.read_csv(tmp_path / "families.csv")) == 5
    files = {f"families.{kind}" for kind in ("png", "pdf", "svg")}
    assert {path.name for path in (tmp_path / "figures").iterdir()} == files | {"made.json"}


def test_the_pages_figure_is_drawn_again_when_a_number_of_it_changes(families, tmp_path, monkeypatch):
    drawn = []

    def image_files(*given):
        drawn.append(given[0])
        return {"figures/families.svg": b"<svg>%d</svg>" % len(drawn)}

    monkeypatch.setattr("evalrun.reporting.families_page.image_files", image_files)
    other = {**families, "one": families["one"].assign(value=families["one"]["value"] + 0.001)}
    for tables in (families, families, other):
        page = write_families(tmp_path, tables, dict.fromkeys(families, "lm_eval")).read_text()
    assert len(drawn) == 2
    assert "<svg>2</svg>" in page


def test_the_pages_figure_has_a_line_marks_and_bars_for_each_family(families):
    points, _ = last_checkpoints(families)
    drawing = drawn_over_compute(points)
    colors = [color for color, _ in family_looks(2)]
    curves = {line.color: line.at for line in drawing.strokes if len(line.at) > 1}
    bars = {rules.color: np.array(rules.ends) for rules in drawing.rules if rules.color in colors}
    assert [len(bars[color]) for color in colors] == [9, 6]  # each with its two ends
    for color, name in zip(colors, ("one", "two"), strict=True):
        upright = bars[color][::3]
        np.testing.assert_allclose(upright[:, 0], curves[color][:, 0])
        values = points.loc[points["family"] == name, "value"]
        assert np.argsort(-curves[color][:, 1]).tolist() == np.argsort(values.to_numpy()).tolist()
    assert {"one", "two", "chance", "±1 standard error"} <= {words.text for words in drawing.words}
    assert len(drawing.dots[0].at) == 1  # the legend's: the first family's are discs, the second's squares


def test_families_without_a_task_in_common_have_no_page(families, tmp_path):
    other = {**families, "two": families["two"].assign(task="other", title="other")}
    assert write_families(tmp_path, other, dict.fromkeys(other, "lm_eval")) is None
    assert not list(tmp_path.iterdir())


def test_a_plot_over_compute_of_several_suites_draws_families(tidy):
    one, two = (tidy.grid(models=models, tasks=["t"], suite=models[0]) for models in (["tiny-s", "tiny-m"], ["p", "q"]))
    figure = evalrun.plot(pd.concat([one, two]), x="flops")
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["p", "tiny-s"]
    with pytest.raises(evalrun.errors.AnalysisError, match="the suites have no task in common: draw one at a time"):
        evalrun.plot(pd.concat([one, two.assign(task="other")]), x="flops")
