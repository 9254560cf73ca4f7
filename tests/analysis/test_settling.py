"""Which gaps of a curve are open: by curves whose shape is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evalrun.commands.table_input import config_of
from evalrun.config.schema import AnalysisConf
from evalrun.progress.rounds import next_steps
from evalrun.statistics.findings import judge_curves
from evalrun.statistics.shapes.settling import CurveSoFar, curves_so_far


@pytest.fixture(scope="module")
def conf() -> AnalysisConf:
    return config_of({}).analysis


def judged(conf: AnalysisConf, values: list[float], n: int = 2000, steps: list[int] | None = None) -> CurveSoFar:
    """A curve at doubling steps, alone in its report."""
    value = np.array(values)
    step = np.array(steps or [2**i for i in range(len(values))])
    rows = pd.DataFrame(
        {
            "task": "a", "title": "A", "model": "m", "n_params": 1.0, "seed": np.nan, "step": step,
            "tokens": step * 1000.0, "value": value, "stderr": np.sqrt(value * (1 - value) / (n - 1)),
            "n": float(n), "higher_is_better": True,
        }
    )  # fmt: skip
    decision, shapes, _ = judge_curves(rows, conf)
    (found,) = curves_so_far(decision, shapes)
    return found


def test_two_points_say_nothing(conf: AnalysisConf) -> None:
    assert judged(conf, [0.5, 0.5]).gaps == ((1, 2),)


def test_the_gap_of_a_sudden_rise_is_open_and_the_level_ones_are_not(conf: AnalysisConf) -> None:
    found = judged(conf, [0.3, 0.3, 0.31, 0.9, 0.92], steps=[1, 32, 128, 256, 1024])
    assert (found.label, found.gaps) == ("emergent", ((128, 256),))


def test_a_steady_rise_is_settled(conf: AnalysisConf) -> None:
    found = judged(conf, [0.2, 0.4, 0.6, 0.8])
    assert (found.label, found.gaps) == ("positive", ())


def test_a_u_is_settled_once_both_arms_count(conf: AnalysisConf) -> None:
    found = judged(conf, [0.6, 0.2, 0.7])
    assert (found.label, found.gaps) == ("U-shaped", ())


def test_undecided_is_looked_into_where_it_may_hide_a_large_move(conf: AnalysisConf) -> None:
    found = judged(conf, [0.50, 0.53, 0.57], n=150)
    assert (found.label, found.gaps) == ("undecided", ((1, 2), (2, 4)))


def test_nothing_to_decide_where_all_values_are_alike(conf: AnalysisConf) -> None:
    """No move of the smallest change of interest was seen, though with few items none can be excluded."""
    found = judged(conf, [0.50, 0.52, 0.51], n=150)
    assert (found.label, found.gaps) == ("undecided", ())


def test_what_is_shown_to_be_flat_is_settled(conf: AnalysisConf) -> None:
    """From five points on: of fewer pairs the range is not yet that of the curve."""
    few, enough = (judged(conf, [0.50, 0.505] * times + [0.5], n=100_000) for times in (1, 2))
    assert (few.label, few.gaps) == ("flat", ((1, 2), (2, 4)))
    assert (enough.label, enough.gaps) == ("flat", ())


def test_a_jump_is_not_called_emergent_before_its_level_is_known(conf: AnalysisConf) -> None:
    """The jump is narrowed down first; when no step is left in it, the level before it is looked at."""
    found = judged(conf, [0.3, 0.9, 0.92], steps=[1, 2, 4])
    assert (found.label, found.gaps, found.before) == ("positive", ((1, 2),), ())
    found = judged(conf, [0.3, 0.3, 0.9, 0.92], steps=[1, 512, 1024, 2048])
    assert (found.label, found.before) == ("positive", ((1, 512),))
    assert next_steps(found, [2**n for n in range(12)]) == [32]  # no step lies between 512 and 1024
    assert next_steps(found, [1, 512, 700, 1024, 2048]) == [700]
