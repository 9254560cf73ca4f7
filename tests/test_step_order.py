"""The order of a sweep: what goes out first, and that no other result comes of it."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalrun.config.compose import hydra_session
from evalrun.config.validate import BISECT, GIVEN, NEWEST, ORDERS
from evalrun.grid import planning
from evalrun.grid.step_order import levels, ordered, turns, with_turns
from evalrun.grid.sweep_plan import Plan
from evalrun.launch import on_slurm
from evalrun.launch.jobs import largest_first

STEPS = st.lists(st.integers(0, 200_000), unique=True, max_size=60).map(sorted)


def plan_of(*words: str) -> Plan:
    with hydra_session():
        return planning.plan(words)


@given(STEPS, st.sampled_from(ORDERS))
def test_every_order_is_a_permutation(steps: list[int], order: str) -> None:
    assert sorted(ordered(steps, order)) == steps
    assert sorted(step for turn in turns(steps, order) for step in turn) == steps


@given(STEPS)
def test_coarse_to_fine_begins_with_the_ends_and_halves_every_gap(steps: list[int]) -> None:
    found = levels(steps)
    assert found == ([sorted({steps[0], steps[-1]}), *found[1:]] if steps else [])
    there: list[int] = sorted(found[0]) if found else []
    for level in found[1:]:
        gaps = [(low, high) for low, high in pairwise(there) if any(low < step < high for step in steps)]
        # Each gap that holds a step gets exactly one, so no part of the curve is finer by two levels than another.
        assert [sum(low < step < high for step in level) for low, high in gaps] == [1] * len(gaps) == [1] * len(level)
        for (low, high), at in zip(gaps, level, strict=True):
            log = [math.log2(step) if step else math.log2(steps[1]) - 1 for step in (low, at, high)]
            inside = [step for step in steps if low < step < high]
            off = abs(log[1] - (log[0] + log[2]) / 2)
            assert all(off <= abs(math.log2(step) - (log[0] + log[2]) / 2) + 1e-6 for step in inside)
        there = sorted(there + level)


@pytest.mark.parametrize("number", range(3, 70))
def test_each_prefix_is_nearly_even_where_steps_double(number: int) -> None:
    steps = [2**power for power in range(number)]
    order = ordered(steps, BISECT)
    for size in range(2, number + 1):
        gaps = [high - low for low, high in pairwise(sorted(steps.index(step) for step in order[:size]))]
        assert max(gaps) <= 2 * min(gaps) + 2, (number, size)  # a gap of 16 beside one of 15, halved


def test_orders_by_example() -> None:
    doubling = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
    assert ordered(doubling, GIVEN) == doubling
    assert ordered(doubling, NEWEST) == doubling[::-1]
    assert levels(doubling) == [[1, 1024], [32], [8, 256], [4, 16, 128, 512], [2, 64]]
    assert levels([0, 1000, 2000, 3000]) == [[0, 3000], [1000], [2000]]
    assert levels([5]) == [[5]]
    assert levels([]) == []


@pytest.mark.release
def test_a_level_of_all_models_goes_before_the_next() -> None:
    sweep = ("model=tiny/s,tiny/l", "step=all", "task=tiny_recall")
    given, plan = plan_of(*sweep), plan_of(*sweep, "order=bisect")
    assert [job.cell for job in plan.jobs] == [job.cell for job in given.jobs]  # the grid is the same
    assert plan.sweep == given.sweep  # and one's results the other's
    assert "order bisect: 4 2 4 8 4 jobs" in plan.describe()
    launched = [(job.cell.model, job.cell.step) for job in largest_first(plan.jobs)]
    assert launched[:4] == [("tiny-l", 1), ("tiny-l", 1024), ("tiny-s", 1), ("tiny-s", 1024)]
    assert launched[4:8] == [("tiny-l", 32), ("tiny-s", 32), ("tiny-l", 8), ("tiny-l", 256)]
    newest = with_turns([replace(job, config=replace(job.config, order=NEWEST)) for job in given.jobs])
    assert [job.cell.step for job in largest_first(newest)] == [2**n for n in range(10, -1, -1) for _ in range(2)]


def test_slurm_keeps_a_models_steps_together() -> None:
    def job(model: str, turn: int) -> Any:
        return SimpleNamespace(cell=SimpleNamespace(model=model, seed=None, n_params=1), turn=turn)

    works = largest_first([job(model, turn) for model in "ab" for turn in (0, 0, 1, 2, 2, 3)])
    found = on_slurm._by_model(works, 3)
    told = [("".join(dict.fromkeys(work.cell.model for work in chunk)), [w.turn for w in chunk]) for chunk in found]
    assert told == [("a", [0, 0, 1]), ("b", [0, 0, 1]), ("a", [2, 2, 3]), ("b", [2, 2, 3])]
