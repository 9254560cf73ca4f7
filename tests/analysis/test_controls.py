"""Controls: what general performance did while a task fell, and how the report groups tasks."""

import re

import numpy as np
import pandas as pd
import pytest
from shaping import conf_of, describe_shapes

from evalrun.reporting.build import run_analysis
from evalrun.statistics.controls import control_sentences
from evalrun.statistics.table import prepare

CONF = conf_of(methods=["ols"], corrections=["fdr_bh"], items=False, draws=99)
FALLING = [0.8, 0.6, 0.4, 0.2]
FLAT = [0.5, 0.5, 0.5, 0.5]


def table_of(tidy, *curves):
    made = pd.concat([tidy.curve(values, **given) for values, given in curves], ignore_index=True)
    return prepare(made, None).table


def sentences(tidy, *curves):
    table = table_of(tidy, *curves)
    return control_sentences(table, describe_shapes(table))


def control(values, task="arc", **given):
    return values, {"task": task, "title": task.upper(), "cause": "", "role": "control", **given}


def test_a_fall_while_controls_rise(tidy):
    said = sentences(
        tidy,
        (FALLING, {"task": "trap", "title": "Trap"}),
        control([0.3, 0.4, 0.5, 0.6]),
        control([0.2, 0.2, 0.3, 0.4], "piqa"),
    )
    assert said == [
        "Trap falls in 1 model: over the same steps the mean of 2 controls (ARC, PIQA) rose in tiny-s (0.25 to 0.50)."
    ]


@pytest.mark.parametrize(("values", "verb"), [([0.5, 0.5, 0.5, 0.51], "stayed"), ([0.7, 0.6, 0.5, 0.4], "fell")])
def test_stayed_and_fell(tidy, values, verb):
    (said,) = sentences(tidy, (FALLING, {"title": "Trap"}), control(values))
    assert f"the control (ARC) {verb} in tiny-s ({values[0]:.2f} to {values[-1]:.2f})" in said


def test_the_span_is_that_of_the_fall(tidy):
    """Of a U the way down, of an inverted U the way back: a control that rises later, or earlier, does not count."""
    late, early = [0.3, 0.3, 0.3, 0.6], [0.3, 0.6, 0.6, 0.6]
    (said,) = sentences(tidy, ([0.8, 0.5, 0.2, 0.8], {"title": "U"}), control(late))
    assert "stayed in tiny-s (0.30 to 0.30)" in said
    (said,) = sentences(tidy, ([0.2, 0.8, 0.5, 0.2], {"title": "Hill"}), control(early))
    assert "stayed in tiny-s (0.60 to 0.60)" in said


def test_models_are_told_by_what_their_controls_did(tidy):
    curves = []
    for model, after in (("tiny-s", 0.5), ("tiny-m", 0.9), ("tiny-l", 0.1)):
        curves += [(FALLING, {"title": "Trap", "model": model}), control([0.5, 0.5, 0.5, after], model=model)]
    (said,) = sentences(tidy, *curves)
    assert said.startswith(
        "Trap falls in 3 models: over the same steps the control (ARC) fell in tiny-l (0.50 to 0.10); stayed"
    )
    assert said.endswith("rose in tiny-m (0.50 to 0.90).")


def test_seeds_are_compared_with_their_own_controls(tidy):
    curves = []
    for seed, after in ((0, 0.9), (1, 0.1)):
        curves += [(FALLING, {"title": "Trap", "seed": seed}), control([0.5, 0.5, 0.5, after], seed=seed)]
    (said,) = sentences(tidy, *curves)
    assert "fell in tiny-s seed 1 (0.50 to 0.10); rose in tiny-s seed 0 (0.50 to 0.90)" in said
    assert "in 2 curves" in said


def test_of_many_curves_the_first_are_named(tidy):
    curves = []
    for seed in range(10):
        curves += [
            (FALLING, {"title": "Trap", "seed": seed}),
            control([0.5, 0.5, 0.5, 0.1 if seed else 0.9], seed=seed),
        ]
    (said,) = sentences(tidy, *curves)
    named = ", ".join(f"tiny-s seed {seed} (0.50 to 0.10)" for seed in (1, 2, 3))
    assert said.endswith(f"fell in 9 curves, such as {named}; rose in tiny-s seed 0 (0.50 to 0.90).")


def test_the_standard_error_is_that_of_the_mean(tidy):
    """0.05 is 1.77 standard errors for one control, and 2.5 for two."""
    moved = [0.5, 0.5, 0.5, 0.55]
    (one,) = sentences(tidy, (FALLING, {"title": "Trap"}), control(moved))
    (two,) = sentences(tidy, (FALLING, {"title": "Trap"}), control(moved), control(moved, "piqa"))
    assert "stayed" in one
    assert "rose" in two


def test_without_controls_it_says_so_and_without_falls_nothing(tidy):
    (said,) = sentences(tidy, (FALLING, {"title": "Trap"}))
    assert said.startswith("1 task falls in some model, and no control task was scored")
    assert sentences(tidy, (FLAT, {}), control([0.5, 0.4, 0.3, 0.1])) == []


def test_controls_at_other_checkpoints_do_not_count(tidy):
    (said,) = sentences(tidy, (FALLING, {"title": "Trap"}), control(FLAT, model="tiny-l"))
    assert said == "Trap falls in 1 model: no control was scored at both ends in tiny-s."


def test_a_control_that_counts_downwards_is_left_out(tidy):
    (said,) = sentences(tidy, (FALLING, {"title": "Trap"}), control([9.0, 8, 7, 6], "ppl", higher_is_better=False))
    assert "no control task was scored" in said


def test_the_report_groups_by_cause_and_tells_of_controls(tidy, tmp_path):
    curves = [
        (FALLING, {"task": "a", "title": "A", "cause": "spurious few-shot"}),
        (FALLING, {"task": "b", "title": "B", "cause": "strong prior"}),
        (FLAT, {"task": "c", "title": "C", "cause": ""}),
        control([0.3, 0.4, 0.5, 0.6]),
    ]
    made = pd.concat([tidy.curve(values, **given) for values, given in curves], ignore_index=True)
    text = run_analysis(made, CONF, "tiny", tmp_path, {}).files["report.html"].read_text()
    groups = re.findall(r'<p class="eyebrow">(.*?)</p>\n<header>', text)
    assert groups == ["strong prior", "spurious few-shot", "other", "controls"]
    assert re.findall(r'<tr class="group"><th scope="rowgroup" colspan="7">(.*?)</th>', text) == groups
    tasks = text[text.index('<section id="tasks">') :]
    assert re.findall(r"<h3>(.*?)</h3>", tasks) == ["B", "A", "C", "ARC"]
    assert "A falls in 1 model: over the same steps the control (ARC) rose in tiny-s (0.30 to 0.60)." in text


def test_a_report_without_causes_has_no_groups(tidy, tmp_path):
    text = run_analysis(tidy.grid(cause=""), CONF, "tiny", tmp_path, {}).files["report.html"].read_text()
    assert 'class="group"' not in text


def test_a_table_from_before_controls_is_read(tidy):
    prepared = prepare(tidy.grid().drop(columns="role"), None)
    assert set(prepared.table["role"]) == {""}
    assert not np.isnan(prepared.table["value"]).any()


def test_of_many_tasks_that_fall_those_in_most_curves_are_told(tidy):
    falls = [
        (FALLING, {"task": f"t{task}", "title": f"T{task}", "model": f"m{model}", "role": ""})
        for task in range(8)
        for model in range(2 if task == 6 else 1)
    ]
    told = sentences(tidy, *falls, *(control(FLAT, model=f"m{model}") for model in range(2)))
    assert [sentence.split(" falls")[0] for sentence in told[:-1]] == ["T0", "T1", "T2", "T3", "T6"]
    assert told[-1] == "3 more tasks fall in as many curves or fewer: see “Did it get worse?”."
