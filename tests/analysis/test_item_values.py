"""Bringing the items of several results together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evalrun.statistics.items.values import align, columns_of, item_values


def frame(values, ids=None, **columns):
    ids = range(len(values)) if ids is None else ids
    made = {"doc_id": list(ids), "doc_hash": [f"h{i}" for i in ids], "filter": "none", "acc": values}
    return pd.DataFrame({**made, **columns})


def aligned(*frames, metric="acc"):
    return align([item_values(one, metric) for one in frames])


def test_a_metric_with_a_filter_is_found_in_its_rows():
    both = pd.concat([frame([1.0, 0.0]), frame([0.0, 0.0], filter="strict")]).rename(columns={"acc": "exact_match"})
    assert {"exact", "exact_match", "exact_match_strict", "filter"} <= set(columns_of("exact_match_strict"))
    assert item_values(both, "exact_match").values.tolist() == [1.0, 0.0]
    assert item_values(both, "exact_match_strict").values.tolist() == [0.0, 0.0]
    assert item_values(both, "exact_match_other") is None


def test_the_longest_column_name_is_meant():
    items = frame([1.0, 1.0], acc_norm=[0.0, 0.0])
    assert item_values(items, "acc_norm").values.tolist() == [0.0, 0.0]


def test_what_is_no_number_an_item_has_no_values():
    assert item_values(None, "acc") is None
    assert item_values(frame([1.0]), "f1") is None
    assert item_values(frame(["[0.1, 3]", "[0.2, 4]"]), "acc") is None
    assert item_values(pd.DataFrame({"acc": [1.0]}), "acc") is None
    assert item_values(frame([]), "acc") is None
    assert item_values(frame([1.0, None, 0.0]), "acc").values.tolist() == [1.0, 0.0]


def test_a_mean_is_told_from_what_is_none():
    values = item_values(frame([1.0, 0.0, 0.0]), "acc")
    assert values.average_to(1 / 3)
    assert not values.average_to(0.34)


def test_the_same_items_stand_side_by_side():
    found = aligned(frame([1.0, 0.0]), frame([0.0, 0.0]))
    assert found.note == ""
    np.testing.assert_array_equal(found.values, [[1.0, 0.0], [0.0, 0.0]])


def test_items_in_another_order_are_matched():
    found = aligned(frame([1.0, 0.0, 1.0]), frame([0.5, 0.25, 0.75], ids=[2, 0, 1]))
    assert found.note == ""
    np.testing.assert_array_equal(found.values, [[1.0, 0.25], [0.0, 0.75], [1.0, 0.5]])


def test_common_items_are_used_and_counted():
    found = aligned(frame([1.0, 0.0, 1.0]), frame([0.0, 0.0], ids=[1, 7]))
    assert found.values.tolist() == [[0.0, 0.0]]
    assert found.note == "1 item in common, of 2 to 3"


def test_another_text_under_the_same_number_is_another_item():
    other = frame([0.0, 0.0], doc_hash=["h0", "changed"])
    assert len(aligned(frame([1.0, 1.0]), other).values) == 1
    nothing = aligned(frame([1.0, 1.0]), frame([0.0, 0.0], doc_hash=["x", "y"]))
    assert len(nothing.values) == 0
    assert nothing.note == "no item in common"


def test_items_without_a_hash_are_told_by_their_number():
    found = aligned(frame([1.0, 0.0]), frame([0.0, 0.0]).drop(columns="doc_hash"))
    assert len(found.values) == 2


def test_other_prompts_are_refused():
    one, other = frame([1.0, 0.0], prompt_hash=["a", "b"]), frame([1.0, 0.0], prompt_hash=["a", "c"])
    assert len(aligned(one, one).values) == 2
    refused = aligned(one, other)
    assert len(refused.values) == 0
    assert refused.note == "scored differently: the prompts of 1 of 2 items differ"
    assert len(aligned(one, frame([1.0, 0.0], prompt_hash=["", ""])).values) == 2  # not known is not different


def test_a_number_that_repeats_is_refused():
    twice = pd.concat([frame([1.0, 0.0])] * 2)
    assert aligned(twice, twice).note == "items cannot be told apart: a doc_id repeats"


@pytest.mark.parametrize("count", [2, 5])
def test_any_number_of_results(count):
    found = aligned(*(frame([float(i), 1.0]) for i in range(count)))
    assert found.values.tolist() == [[float(i) for i in range(count)], [1.0] * count]
