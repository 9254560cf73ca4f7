"""Corrections for many tests are statsmodels', by whatever name it knows them."""

from __future__ import annotations

import gc
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from evalrun.statistics.multiplicity import CORRECTIONS, adjusted


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.sampled_from(["h", "holm"]))
def test_holm_is_statsmodels_to_the_last_bit(p, name):
    with mock.patch.object(gc, "collect"):  # statsmodels looks through all of memory for garbage, each time
        expected = multipletests(p, method=name)[1]
    np.testing.assert_array_equal(adjusted(np.array(p), name, 0.05), expected)


@pytest.mark.parametrize("name", CORRECTIONS)
def test_every_name_gives_its_correction(name):
    p = np.random.default_rng(0).uniform(0.0001, 0.6, 30) ** 2
    np.testing.assert_array_equal(adjusted(p, name, 0.1), multipletests(p, alpha=0.1, method=name)[1])
    np.testing.assert_array_equal(adjusted(p[:1], name, 0.1), multipletests(p[:1], alpha=0.1, method=name)[1])


def test_holm_looks_for_no_garbage(monkeypatch):
    monkeypatch.setattr(gc, "collect", lambda *_: pytest.fail("all of memory is searched"))
    adjusted(np.array([0.01, 0.2]), "holm", 0.05)
