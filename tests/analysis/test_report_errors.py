"""A report's error rate: benchmarks/report_errors.py at a smaller size."""

import numpy as np
import pytest
from scipy import stats
from shaping import benchmark

STUDIES = 100


@pytest.fixture(scope="module")
def bench():
    return benchmark("report_errors")


@pytest.mark.simulation
@pytest.mark.parametrize("items", [300, 7000])
@pytest.mark.parametrize("world", ["same", "levels", "noise", "drift", "slopes"])
def test_of_studies_in_which_nothing_happens_at_most_5_percent_say_that_something_does(bench, world, items):
    said = STUDIES * bench.shares(world, items, STUDIES, seed=11)
    most = stats.binom.ppf(0.999, STUDIES, 0.05)
    sentences = ["falls with size", "star by cr2"]
    if items == 300 or world not in ("drift", "slopes"):  # with 7,000 items these worlds' own moves are shown
        sentences += ["some curve moves", "some curve falls", "opening: worse"]
    for sentence in sentences:
        assert said[sentence] <= most, sentence
    if world != "same":
        assert said["star by ols"] > 2 * most  # what takes checkpoints as independent does not hold its level


@pytest.mark.simulation
@pytest.mark.parametrize(("world", "size", "label"), [("late", 0.2, "late drop"), ("U", 0.2, "U")])
def test_what_happens_in_the_largest_model_is_found_and_named(bench, world, size, label):
    said = bench.shares(world, 300, 30, seed=12, size=size, regression=False)
    assert said["largest falls"] == 1
    assert said[f"largest is a {label}"] >= 0.9


def test_a_made_study_is_one_that_an_analysis_takes(bench):
    said = bench.said(bench.study(np.random.default_rng(0), "late", 300, 0.4), regression=False)
    assert said["largest falls"]
    assert said["largest is a late drop"]
    assert said["opening: worse"]
