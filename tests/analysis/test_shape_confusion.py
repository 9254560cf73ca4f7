"""Curves of known shape through the classifier: benchmarks/shape_confusion.py at a smaller size."""

import numpy as np
import pandas as pd
import pytest
from shaping import benchmark


@pytest.fixture(scope="module")
def bench():
    return benchmark("shape_confusion")


@pytest.mark.slow
@pytest.mark.release
@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("points", [8, 16])
@pytest.mark.parametrize(("n", "least"), [(300, 0.8), (1000, 0.85), (7000, 0.88)])
def test_shapes_are_recognised(bench, n, points, least, mixed):
    shares = bench.confusion(n, points, 210, seed=5, mixed=mixed)
    for kind in bench.CLASSES[:-1]:
        # Where all of a task's curves jump, few points cannot tell it from noise, and the rest is called positive.
        jumps = n == 300 and not mixed and kind == "emergent"
        found = shares.loc[kind, ["emergent", "positive"] if jumps else kind].sum()
        assert found >= least, kind
    assert shares.loc["flat", ["flat", "undecided"]].sum() >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("n", [300, 7000])
@pytest.mark.parametrize("points", [8, 16])
def test_flat_curves_get_another_label_in_at_most_5_percent(bench, n, points):
    table, _ = bench.make_table(np.random.default_rng(n + points), n, points, 300, ("flat",))
    labels = pd.Series(bench.labels_of(table))
    assert (~labels.isin(["flat", "undecided"])).mean() <= 0.05
    if n == 300:  # too few items to show that a curve stays within 0.05
        assert (labels == "flat").mean() == 0


@pytest.mark.slow
@pytest.mark.parametrize("points", [8, 16])
def test_a_curve_that_moves_by_more_than_the_margin_is_rarely_called_flat(bench, points):
    table, _ = bench.make_table(np.random.default_rng(points), 7000, points, 300, ("positive",), shift=0.06)
    assert (bench.labels_of(table) == "flat").mean() <= 0.05
