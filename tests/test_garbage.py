"""How often Python looks for garbage while much is made, and after it."""

from __future__ import annotations

import gc

import pytest

from evalrun.core import garbage


def test_the_search_is_rarer_and_then_as_before() -> None:
    before = gc.get_threshold()
    with pytest.raises(KeyError), garbage.rarer_search():
        assert gc.isenabled()
        assert all(now > own for now, own in zip(gc.get_threshold(), before, strict=True))
        raise KeyError
    assert gc.get_threshold() == before


def test_what_somebody_switched_off_stays_off() -> None:
    before = gc.get_threshold()
    gc.set_threshold(500_000, 50, 1000)
    try:
        with garbage.rarer_search():
            assert gc.get_threshold() == (500_000, 50, 1000)
    finally:
        gc.set_threshold(*before)
