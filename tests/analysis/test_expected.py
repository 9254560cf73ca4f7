"""Labels that a publication gives are compared with those that are found, over training or over size."""

import pandas as pd
import pytest
from shaping import conf_of

from evalrun.config.compose import hydra_session
from evalrun.config.validate import EXPECTED_LABELS
from evalrun.errors import AnalysisError, ConfigError
from evalrun.grid.planning import plan
from evalrun.reporting.build import run_analysis
from evalrun.statistics.expected import COLUMNS, compare_labels, expected_sentences
from evalrun.statistics.shapes.labels import LABELS

SHAPES = pd.DataFrame(
    [
        {"task": task, "title": task.upper(), "model": model, "n_params": size, "seed": float("nan"), "label": label}
        for task, labels in {
            "a": ("inverse", "positive", "inverse"),
            "b": ("inverse", "inverse", "late drop"),
            "c": ("flat", "inverse", "undecided"),
        }.items()
        for (model, size), label in zip((("s", 1), ("m", 2), ("l", 3)), labels, strict=True)
    ]
)
OVER_SIZE = pd.DataFrame(
    [
        {"task": "a", "title": "A", "step": step, "label": label}
        for step, label in ((1, "inverse"), (2, "inverse"), (4, "positive"), (8, "too few points"))
    ]
)


def test_over_training_the_largest_model_answers_and_the_others_are_counted():
    expected = dict.fromkeys("abcd", "inverse")
    found = compare_labels(expected, "training", SHAPES, OVER_SIZE)
    assert list(found.columns) == COLUMNS
    assert found[["task", "found", "of", "verdict", "alike", "runs"]].to_numpy().tolist() == [
        ["a", "inverse", "l", "agrees", 2, 3],
        ["b", "late drop", "l", "differs", 2, 3],
        ["c", "undecided", "l", "not decided", 1, 3],
        ["d", "", "", "no curve", 0, 0],
    ]
    assert list(expected_sentences(found)) == [
        "Of 4 expected labels 1 is found again; 1 is not: B (inverse, found late drop); "
        "1 is not decided by these results (C); 1 is of no task of this study (d)."
    ]


def test_over_size_the_last_step_that_has_a_label_answers():
    (row,) = compare_labels({"a": "inverse"}, "size", SHAPES, OVER_SIZE).to_dict("records")
    assert (row["found"], row["of"], row["verdict"], row["alike"], row["runs"]) == (
        "positive",
        "step 4",
        "differs",
        2,
        4,
    )


@pytest.mark.parametrize(("label", "meant"), [("invers", "inverse"), ("u-shaped", "U-shaped"), ("undecided", "")])
def test_a_label_that_there_is_not_is_refused(label, meant):
    with pytest.raises(AnalysisError, match=f"analysis.expected says '{label}' of a: .*{meant}"):
        compare_labels({"a": label}, "training", SHAPES, OVER_SIZE)


def test_report_terminal_and_table_say_where_labels_agree(tidy, tmp_path):
    table = tidy.grid(tasks=["tiny_obey", "tiny_recall"], stderr=0.005, n=7000)
    conf = conf_of(methods=["ols"], items=False, draws=99, expected={"tiny_recall": "inverse", "tiny_obey": "inverse"})
    analysis = run_analysis(table, conf, "tiny", tmp_path, {})
    found = pd.read_csv(analysis.files["tables/expected.csv"]).set_index("task")
    assert found.loc["tiny_recall", "verdict"] == "agrees"
    assert found.loc["tiny_obey", "verdict"] in ("differs", "not decided")
    (sentence,) = expected_sentences(pd.read_csv(analysis.files["tables/expected.csv"], keep_default_na=False))
    assert sentence in " ".join(analysis.text.split())
    page = analysis.files["report.html"].read_text()
    assert sentence in page
    assert "Expected labels" in page


def test_without_expected_labels_nothing_is_said(tidy, tmp_path):
    analysis = run_analysis(tidy.grid(), conf_of(methods=["ols"], items=False, draws=99), "tiny", tmp_path, {})
    assert "tables/expected.csv" not in analysis.files
    assert "Expected labels" not in analysis.files["report.html"].read_text()


def test_the_labels_that_may_be_typed_are_those_that_decide():
    assert set(EXPECTED_LABELS) == set(LABELS) - {"undecided", "too few points"}


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ("{memo_trap: invers}", "analysis.expected says 'invers' of memo_trap: .*'inverse'"),
        ("{memo_trp: inverse}", "analysis.expected: .*memo_trp.*memo_trap"),
    ],
)
def test_a_misspelt_label_or_task_is_refused_before_the_sweep(expected, said):
    with hydra_session(), pytest.raises(ConfigError, match=said):
        plan(("model=tiny/s", "step=1", "task=redefine", f"analysis.expected={expected}")).check_tasks()


def test_a_task_that_is_left_out_of_the_sweep_may_have_a_label():
    with hydra_session():
        words = ("model=tiny/s", "step=1", "task=redefine", "analysis.expected={memo_trap: inverse}")
        found = plan(words)
        found.check_tasks()
    assert found.config.analysis.expected == {"memo_trap": "inverse"}
