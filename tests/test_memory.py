"""What is looked up once in a session, and found out again in the next."""

from __future__ import annotations

import pytest

from evalrun.core import memory


@pytest.fixture
def counted():
    asked: list[tuple[int, int]] = []

    @memory.remembered
    def find(one: int, other: int = 0) -> int:
        asked.append((one, other))
        if one < 0:
            raise ValueError("below zero")
        return one + other

    return find, asked


def test_a_session_asks_once_for_each_argument(counted):
    find, asked = counted
    with memory.fresh():
        assert [find(1), find(1), find(1, other=2), find(1, other=2)] == [1, 1, 3, 3]
    assert asked == [(1, 0), (1, 2)]


def test_a_session_knows_nothing_of_another_and_leaves_nothing(counted):
    find, asked = counted
    with memory.fresh():
        find(1)
        with memory.fresh():
            find(1)
        find(1)
    with memory.fresh():
        find(1)
    assert asked == [(1, 0)] * 3


def test_a_session_that_fails_is_forgotten_too(counted):
    find, asked = counted
    with pytest.raises(KeyError), memory.fresh():
        find(1)
        raise KeyError
    with memory.fresh():
        find(1)
    assert len(asked) == 2


def test_an_error_is_not_remembered(counted):
    find, asked = counted
    with memory.fresh():
        for _ in range(2):
            with pytest.raises(ValueError, match="below zero"):
                find(-1)
    assert len(asked) == 2


def test_one_function_is_forgotten_alone(counted):
    find, asked = counted

    @memory.remembered
    def other() -> int:
        asked.append((0, 0))
        return 0

    with memory.fresh():
        find(1), other()
        memory.forget(find)
        find(1), other()
    assert asked == [(1, 0), (0, 0), (1, 0)]
