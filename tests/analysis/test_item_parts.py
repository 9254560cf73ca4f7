"""Parts of a task: an inverse part under a level mean is found, and difficulty is what the others find hard."""

from __future__ import annotations

import numpy as np
import pytest
from made_items import MadeStore, items_frame, made_curve, made_grid, table_rows

from evalrun.commands.table_input import config_of
from evalrun.errors import AnalysisError, ConfigError
from evalrun.statistics.dynamics.distractors import ItemWords
from evalrun.statistics.dynamics.item_grid import read_grid
from evalrun.statistics.dynamics.item_parts import PARTS, divide, hidden_sentences, parts
from evalrun.statistics.dynamics.item_sheet import tables_of
from evalrun.statistics.findings import decide_curves
from evalrun.statistics.shapes.falls import find_falls
from evalrun.statistics.shapes.labels import describe_shapes

CONF = config_of({"methods": ["ols"]}).analysis


def judge(table, items):
    decision = decide_curves(table, CONF, items)
    labels = describe_shapes(decision)
    return labels, find_falls(decision, labels)


def crossing(n=600, steps=10, apart=True):
    """Half of the items rise from .4 to .8 while the other half falls from .8 to .4; or all stay at .6."""
    random = np.random.default_rng(4)
    gold, half = random.integers(0, 4, n), np.arange(n) % 2 == 0
    draw = random.random(n)  # an item is right below its share: few change at once
    frames, runs, values = {}, [], []
    for place in range(steps):
        up = 0.4 + 0.4 * place / (steps - 1)
        share = np.where(half, up, 1.2 - up) if apart else np.full(n, 0.6)
        right = draw < share
        logprobs = np.full((n, 4), -5.0)
        logprobs[np.arange(n), np.where(right, gold, (gold + 1) % 4)] = -1
        frames[f"m{place}", "made"] = items_frame(logprobs, gold)
        runs.append((f"m{place}", "m", 2**place))
        values.append(float(right.mean()))
    columns = {"template": tuple("plain" if one else "trap" for one in half), "alike": ("x",) * n}
    words = ItemWords((("a", "b", "c", "d"),) * n, columns)
    return MadeStore(frames), table_rows(runs, values).assign(n=n, stderr=0.02), words


@pytest.mark.parametrize("apart", [True, False])
def test_an_inverse_part_under_a_level_mean_is_found(apart):
    store, rows, words = crossing(apart=apart)
    grid = read_grid(rows, tables_of(store))
    whole = judge(rows, store)[1]
    assert not whole["falls"].any()
    found = parts(grid, rows, whole, divide(grid, "template", words), judge)
    assert list(found.columns) == PARTS
    assert found["n"].tolist() == [300, 300]
    by = found.set_index("part")
    assert by["hidden"].to_dict() == {"plain": False, "trap": apart}
    if apart:
        assert by["label"].to_dict() == {"plain": "positive", "trap": "inverse"}
        assert by.loc["trap", "fall"] == pytest.approx(0.4, abs=0.07)
        assert by.loc["trap", "low"] > 0.2
        (said,) = hidden_sentences(found, "template")
        assert said.startswith("The mean hides a part: template=trap falls where the task as a whole does not.")
    else:
        assert hidden_sentences(found, "template") == []


def test_difficulty_is_what_the_others_find_hard():
    random = np.random.default_rng(0)
    easy = np.sort(random.random(90))[::-1]
    other = (random.random((200, 90)) < easy).astype(np.float32)
    own = (random.random((200, 90)) < easy[::-1]).astype(np.float32)  # finds hard what the others find easy
    grid = made_grid([made_curve(own, model="own"), made_curve(other, model="a"), made_curve(other, model="b")], 4)
    division = divide(grid, "difficulty", None)
    assert division.names == ("easy", "middle", "hard")
    assert [np.bincount(codes).tolist() for codes in division.codes] == [[30, 30, 30]] * 3
    share = [own.mean(axis=0)[division.codes[0] == level].mean() for level in range(3)]
    assert share[0] < share[1] < share[2]
    changed = made_grid([made_curve(1 - own, model="own"), *grid.curves[1:]], 4)
    assert (divide(changed, "difficulty", None).codes[0] == division.codes[0]).all()  # its own answers say nothing


def test_what_cannot_be_divided_is_said():
    store, rows, words = crossing(n=60, steps=3)
    grid = read_grid(rows, tables_of(store))
    with pytest.raises(ConfigError, match="has no column 'templat': did you mean 'template'"):
        divide(grid, "templat", words)
    with pytest.raises(ConfigError, match="by=alike makes 1 parts of 10 items or more"):
        divide(grid, "alike", words)
    with pytest.raises(AnalysisError, match="by=difficulty needs another model or seed"):
        divide(grid, "difficulty", words)
    with pytest.raises(AnalysisError, match="cannot be divided by 'template': no data"):
        divide(grid, "template", ItemWords((), {}, (), "no data"))
