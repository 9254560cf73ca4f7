"""Results whose accuracy is not that of their items: found, left out of curves and comparisons, and named."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd
import pytest

from analysis.conftest import make_table
from evalrun.statistics.items.believed import doubt
from evalrun.statistics.items.measured import continuous_table
from evalrun.statistics.items.paired import compare_checkpoints

NAN, INF = math.nan, math.inf


def items_of(logprobs: list[list[float]], gold: list[Any], acc: list[float]) -> pd.DataFrame:
    frame = pd.DataFrame({"target": [json.dumps(one) for one in gold], "logprobs": logprobs, "acc": acc})
    frame["prediction"] = 0
    return frame.assign(doc_id=range(len(frame)), filter="none", choice_chars=[[3] * len(one) for one in logprobs])


@pytest.mark.parametrize(
    ("logprobs", "gold", "acc", "lost", "ties", "first"),
    [
        ([[NAN, NAN]] * 3, [0, 0, 1], [1.0, 1.0, 0.0], 3, 0, 0),  # the first choice took all
        ([[NAN, NAN]] * 2, [0, 1], [0.5, 0.5], 0, 0, 0),  # what the share that may be lost leaves
        ([[-1.0, NAN], [-1.0, -2.0]], [1, 0], [1.0, 1.0], 1, 0, 0),
        ([[-1.0, NAN], [-1.0, -2.0]], [1, 0], [0.0, 1.0], 0, 0, 0),
        ([[-INF, -2.0]], [1], [1.0], 0, 0, 0),
        ([[-2.0, -2.0], [-2.0, -2.0], [-1.0, -3.0]], [0, 1, 0], [1.0, 0.0, 1.0], 0, 2, 2),
        ([[-2.0, -2.0], [-2.0, -2.0], [-1.0, -3.0]], [0, 1, 0], [0.5, 0.5, 1.0], 0, 2, 0),
        ([[-1.0, -2.0]] * 2, [0, 1], [0.73, 0.2], 0, 0, 0),  # an accuracy that is graded
        ([[NAN, NAN]], ["a text"], [1.0], 1, 0, 0),  # WinoGrande's target is a text
        ([[-1.0]], ["a text"], [1.0], 0, 0, 0),
    ],
)
def test_what_is_doubted(
    logprobs: list[list[float]], gold: list[Any], acc: list[float], lost: int, ties: int, first: int
) -> None:
    found = doubt(items_of(logprobs, gold, acc))
    assert (found.lost, found.ties, found.first) == (lost, ties, first)
    assert bool(found.why) == bool(lost)


def test_a_result_of_an_earlier_version_is_left_out_and_named() -> None:
    table = make_table([{"step": 1, "run_id": "sound"}, {"step": 2, "run_id": "nan", "value": 1.0}])
    kept = {
        "sound": items_of([[-1.0, -2.0]] * 4, [0, 0, 1, 1], [1.0, 1.0, 0.0, 0.0]),
        "nan": items_of([[NAN, NAN]] * 4, [0] * 4, [1.0] * 4),
    }

    def read(run: str, task: str, columns: Any) -> pd.DataFrame:
        return kept[run]

    measured = continuous_table(table, read)
    assert measured.disbelieved == [1]
    assert measured.notes == [
        "tiny-s step 2, Obey: left out, because 4 of its 4 items have no finite log-likelihood and were counted all "
        "the same, by an earlier version or lm-eval: score it again with force=true."
    ]
    assert set(measured.table["step"]) == {1}
    compared = compare_checkpoints(table.iloc[[0]], table.iloc[[1]], read)
    assert compared["verdict"].tolist() == ["not comparable"]
    assert "tiny-s step 2 is left out, because 4 of its 4 items" in compared["note"].iloc[0]


def test_ties_are_told_beside_the_results() -> None:
    table = make_table([{"step": 1, "run_id": "dead"}, {"step": 2, "run_id": "old"}, {"step": 4, "run_id": "sound"}])
    ties = [[-2.0, -2.0]] * 3 + [[-1.0, -2.0]]
    kept = {
        "dead": items_of(ties, [0, 1, 0, 0], [0.5, 0.5, 0.5, 1.0]),
        "old": items_of([[-2.0, -2.0], *[[-1.0, -2.0]] * 3], [0, 1, 0, 0], [1.0, 0.0, 1.0, 1.0]),
        "sound": items_of([[-1.0, -2.0]] * 4, [0, 0, 1, 1], [1.0, 1.0, 0.0, 0.0]),
    }
    measured = continuous_table(table, lambda run, task, columns: kept[run])
    assert measured.disbelieved == []
    told, old = measured.notes
    assert told.startswith(
        "Obey: in 2 of 3 results choices tie, at most in 3 of 4 items (tiny-s step 1); a tie counts as"
    )
    assert old.startswith("Obey: 1 of these results took the first (of an earlier version, or ingested)")
    assert set(measured.table["step"]) == {1, 2, 4}  # a share for a tie does not look like a graded accuracy
