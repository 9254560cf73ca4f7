"""The alarm: against definitions written here, its false alarms, and results that cannot be compared."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from evalrun.commands.watch.alarm import BEST, BOTH, PREVIOUS, changes
from evalrun.commands.watch.judge import Visit
from evalrun.commands.watch.render import block, loud
from evalrun.statistics.alpha_spending import level_of_look, share_spent
from evalrun.statistics.items.clusters import TaskClusters
from tracking.conftest import make_cell


class Results:
    """Rows of a table and their items, from 0/1 answers: (task, step) -> answers."""

    def __init__(self, answers: dict[tuple[str, int], np.ndarray], higher: bool = True) -> None:
        self.answers = answers
        rows = [
            {
                "task": task, "title": task.title(), "metric": "acc", "higher_is_better": higher, "step": step,
                "value": float(values.mean()), "stderr": 0.02, "n": len(values), "run_id": str(step),
            }
            for (task, step), values in answers.items()
        ]  # fmt: skip
        self.rows = pd.DataFrame(rows)

    def items(self, run_id: str, task: str, columns: object = None) -> pd.DataFrame | None:
        values = self.answers[task, int(run_id)]
        return pd.DataFrame({"doc_id": range(len(values)), "doc_hash": "h", "acc": values})

    def alarm(self, step: int, **given: object) -> list:
        new = self.rows[self.rows["step"] == step]
        return changes(new, self.rows[self.rows["step"] < step], self.items, **given)


def answers(right: int, n: int = 400) -> np.ndarray:
    return (np.arange(n) < right).astype(float)


def test_p_q_and_interval_are_what_they_are_said_to_be() -> None:
    found = Results(
        {("neqa", 1): answers(300), ("neqa", 2): answers(250), ("neqa", 4): answers(240), ("neqa", 8): answers(230),
         ("memo", 4): answers(200), ("memo", 8): answers(190)}
    ).alarm(8)  # fmt: skip
    assert [(c.task, c.against, c.other_step, c.searched) for c in found] == [
        ("neqa", PREVIOUS, 4, 1), ("neqa", BEST, 1, 3), ("memo", BOTH, 4, 1),
    ]  # fmt: skip
    p = [binomtest(0, 10).pvalue, 3 * binomtest(0, 70).pvalue, binomtest(0, 10).pvalue]
    assert [c.p for c in found] == pytest.approx(p)
    assert [c.q for c in found] == pytest.approx(multipletests(p, method="fdr_bh")[1])
    assert all(c.is_drop for c in found)
    alone = Results({("neqa", 1): answers(300), ("neqa", 8): answers(230)}).alarm(8)[0]
    assert found[1].low < alone.low < alone.difference < alone.high < found[1].high  # the search widens it
    assert "neqa fell from 0.750 (best of 3, step 1) to 0.575: -0.175 [" in found[1].sentence
    assert found[1].sentence.endswith("q < .001 on 400 items")


def test_items_of_one_template_are_one_cluster() -> None:
    """50 of 400 items fall, all of them of two or three of the twenty templates, which are too few to be sure."""
    found = Results({("neqa", 1): answers(300), ("neqa", 8): answers(250)})
    templates = pd.DataFrame({"doc_id": range(400), "doc_hash": "h", "cluster": np.repeat(np.arange(20), 20)})
    (alone,) = found.alarm(8)
    (clustered,) = found.alarm(8, clusters=lambda task: TaskClusters("template", templates))
    assert alone.is_drop
    assert alone.p < 1e-10
    assert clustered.p > 0.05
    assert not clustered.is_drop
    assert "clustered by template" in clustered.method


def test_one_checkpoint_that_is_both_counts_as_both_tests() -> None:
    found = Results(
        {("neqa", 1): answers(200), ("neqa", 2): answers(210), ("neqa", 4): answers(220), ("neqa", 8): answers(210)}
    ).alarm(8)
    (both,) = found
    p = binomtest(0, 10).pvalue
    assert both.q == pytest.approx(multipletests([p, 3 * p], method="fdr_bh")[1][0])


def test_a_rise_is_no_alarm_and_lower_may_be_better() -> None:
    steps = {("neqa", 1): answers(200), ("neqa", 2): answers(260)}
    assert not Results(steps).alarm(2)[0].is_drop
    rose = Results(steps, higher=False).alarm(2)[0]
    assert rose.is_drop
    assert "neqa rose from 0.500" in rose.sentence


def test_nothing_to_compare_with_is_no_alarm() -> None:
    assert Results({("neqa", 1): answers(200)}).alarm(1) == []
    results = Results({("neqa", 1): answers(200), ("neqa", 2): answers(100)})
    results.rows.loc[results.rows["step"] == 1, ["value", "stderr"]] = np.nan
    found = changes(results.rows[1:], results.rows[:1], None)
    assert [c.is_drop for c in found] == [False]
    assert found[0].to_json()["p"] is None
    same = Results({("neqa", 1): answers(0), ("neqa", 2): answers(0)}).alarm(2)
    assert not same[0].is_drop


def test_without_items_it_is_the_conservative_test() -> None:
    results = Results({("neqa", 1): answers(300), ("neqa", 2): answers(200)})
    (found,) = changes(results.rows[1:], results.rows[:1], None)
    assert found.method == "z test from standard errors"
    assert found.is_drop


@pytest.mark.slow
def test_false_alarms_of_one_checkpoint_are_held() -> None:
    rng = np.random.default_rng(0)
    hits, rounds = 0, 120
    for _ in range(rounds):  # six checkpoints of one skill: the best of the five is the luckiest
        level = rng.random(150)
        results = Results(
            {(task, step): (rng.random(150) < level).astype(float) for task in ("a", "b") for step in range(6)}
        )
        hits += any(change.is_drop for change in results.alarm(5))
    assert hits / rounds <= 0.05


def test_block_and_warnings() -> None:
    results = Results({("neqa", 1): answers(300), ("neqa", 8): answers(230), ("sciq", 8): answers(100)})
    found = results.alarm(8)
    cell, rows = make_cell(step=8), results.rows[results.rows["step"] == 8]
    (sentence,) = [change.sentence for change in found if change.is_drop]
    visit = Visit(cell, "r", True, rows, found, ("neqa",), (sentence,), look=3, level=0.0009)
    lines = block(visit, 0.05)
    assert lines[0] == f"{cell.label}, {cell.tokens:,} tokens; look 3, at level 0.0009 of 0.05"
    assert lines[1].startswith("  neqa   0.575  -0.175 from step 1 (previous and best)")
    assert lines[1].endswith("DROP")
    assert lines[2] == "  sciq   0.250"
    assert loud(sentence) == f"WARNING {sentence}"  # no colours where nobody watches


@pytest.mark.parametrize(("alpha", "half_by"), [(0.05, 50), (0.05, 1), (0.01, 200)])
def test_all_looks_together_never_spend_more_than_the_level(alpha: float, half_by: int) -> None:
    levels = np.array([level_of_look(alpha, look, half_by) for look in range(1, 20_001)])
    spent = levels.cumsum()
    assert spent[-1] < alpha
    assert spent[half_by - 1] == pytest.approx(alpha / 2)
    assert spent[[0, 9, 999]] / alpha == pytest.approx([share_spent(looks, half_by) for looks in (1, 10, 1000)])
    assert (np.diff(levels) < 0).all()


def alarms_of_a_training(rng: np.random.Generator, looks: int, items: int, half_by: int | None) -> bool:
    """Whether any checkpoint of a training without a fall raises an alarm: each answers anew with one skill."""
    level = rng.random(items)
    results = Results(
        {(task, step): (rng.random(items) < level).astype(float) for task in ("a", "b") for step in range(looks + 1)}
    )
    at = {look: None if half_by is None else level_of_look(0.05, look, half_by) for look in range(1, looks + 1)}
    return any(change.is_drop for look in at for change in results.alarm(look, level=at[look]))


@pytest.mark.simulation
def test_false_alarms_of_a_whole_training_are_held_and_were_not_one_by_one() -> None:
    rng = np.random.default_rng(0)
    rounds = [alarms_of_a_training(rng, 12, 80, half_by=5) for _ in range(40)]
    assert np.mean(rounds) <= 0.05
    rng = np.random.default_rng(0)
    assert np.mean([alarms_of_a_training(rng, 12, 80, half_by=None) for _ in range(25)]) > 0.05


@pytest.mark.simulation
@pytest.mark.parametrize("half_by", [5, 50])
def test_false_alarms_over_twenty_looks(half_by: int) -> None:
    rng = np.random.default_rng(half_by)
    rounds = [alarms_of_a_training(rng, 20, 150, half_by) for _ in range(100)]
    assert np.mean(rounds) <= 0.05
