"""Step grammar: the dots, snapping, and mistakes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalrun.config.steps import expand_steps, released_steps
from evalrun.errors import ConfigError

PYTHIA = released_steps([0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, {"from": 1000, "to": 143000, "by": 1000}])


def expand(text: str, released: list[int] = PYTHIA) -> list[int]:
    return expand_steps(text.split(","), released, "pythia-70m")


def test_pythia_released_154_steps() -> None:
    assert len(PYTHIA) == 154
    assert PYTHIA[:3] == [0, 1, 2]
    assert PYTHIA[-1] == 143000


def test_the_literal_command_doubles_along_released_steps() -> None:
    assert expand("2,4,...,143000") == [
        2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000, 143000,
    ]  # fmt: skip


def test_the_papers_eight_steps() -> None:
    assert expand("2000,4000,...,143000") == [2000, 4000, 8000, 16000, 32000, 64000, 128000, 143000]


def test_three_numbers_are_read_arithmetically() -> None:
    assert expand("1000,2000,3000,...,143000") == list(range(1000, 143001, 1000))


def test_three_numbers_in_ratio_are_geometric() -> None:
    assert expand("1,2,4,...,32") == [1, 2, 4, 8, 16, 32]


def test_ratio_of_ten() -> None:
    assert expand("1,10000,...,143000", [1, 10000, 143000]) == [1, 10000, 143000]
    assert expand("2,1000,...,143000") == [2, 1000, 143000]


def test_two_progressions_in_one() -> None:
    assert expand("1,2,...,8,1000,2000,3000,...,5000") == [1, 2, 4, 8, 1000, 2000, 3000, 4000, 5000]


@pytest.mark.parametrize(
    ("text", "steps"), [("all", PYTHIA), ("final", [143000]), ("64,final", [64, 143000]), ("4,2,4", [2, 4]), ("0", [0])]
)
def test_plain_words(text: str, steps: list[int]) -> None:
    assert expand(text) == steps


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1500", "neighbours are 1000 and 2000"),
        ("3", "neighbours are 2 and 4"),
        ("200000", "the nearest is 143000"),
        ("2,...,8", "at least two numbers"),
        ("...,8", "at least two numbers"),
        ("2,4,...", "a number must follow the dots"),
        ("4,2,...,8", "must grow"),
        ("8,16,...,4", "must grow"),
        ("0,1,...,8", "mean a ratio"),
        ("1,2,8,...,64", "neither one difference nor one ratio"),
        ("two", "is no step"),
        ("all,2", "is no step"),
    ],
)
def test_mistakes_are_named(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        expand(text)


def test_a_suite_without_steps() -> None:
    with pytest.raises(ConfigError, match="no released steps"):
        expand_steps(["all"], [], "mine")


def test_bad_released_items() -> None:
    with pytest.raises(ConfigError, match="checkpoint.steps holds"):
        released_steps([1, "2"])
    with pytest.raises(ConfigError, match="'by': 1}, which is 2,000,001 steps: a model has 100,000 at most"):
        released_steps([1, {"from": 0, "to": 2_000_000, "by": 1}])
    assert len(released_steps([{"from": 0, "to": 2_000_000, "by": 1000}])) == 2001


released = st.lists(st.integers(1, 10**6), min_size=3, max_size=60, unique=True).map(sorted)


@given(released)
def test_a_progression_yields_released_steps_between_its_ends(steps: list[int]) -> None:
    first, second, last = steps[0], steps[1], steps[-1]
    found = expand_steps([str(first), str(second), "...", str(last)], steps, "m")
    assert set(found) <= set(steps)
    assert found == sorted(set(found))
    assert found[0] == first
    assert found[1] == second
    assert found[-1] == last


@given(st.integers(1, 6), st.integers(2, 5), st.integers(1, 6))
def test_with_every_step_released_a_ratio_is_exact(first: int, ratio: int, terms: int) -> None:
    end = first * ratio ** (terms + 1)
    found = expand_steps([str(first), str(first * ratio), "...", str(end)], range(end + 1), "m")
    assert found == [first * ratio**k for k in range(terms + 2)]


@given(st.integers(0, 50), st.integers(1, 30), st.integers(3, 20))
def test_with_every_step_released_a_difference_is_exact(first: int, by: int, terms: int) -> None:
    end = first + by * terms
    words = [str(first), str(first + by), str(first + 2 * by), "...", str(end)]
    if end > first + 2 * by:
        assert expand_steps(words, range(end + 1), "m") == list(range(first, end + 1, by))
