"""Parts of a task: an inverse part under a level mean is found, and difficulty is what the others find hard."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_items import MadeStore, items_frame, made_curve, made_grid, table_rows

from evalrun.commands.table_input import config_of
from evalrun.errors import AnalysisError, ConfigError
from evalrun.statistics.dynamics.distractors import ItemWords
from evalrun.statistics.dynamics.item_grid import read_grid
from evalrun.statistics.dynamics.item_parts import (
    PART_CURVES,
    PARTS,
    divide,
    divided_task,
    hidden_sentences,
    parts,
)
from evalrun.statistics.dynamics.item_sheet import tables_of
from evalrun.statistics.findings import part_judge
from evalrun.statistics.items.clusters import TaskClusters

CONF = config_of({"methods": ["ols"]}).analysis


judge = part_judge(CONF)


def parts_of(grid, rows, whole, *divisions):
    return parts([divided_task(grid, rows, divisions)], whole, judge)


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
    divided = parts_of(grid, rows, whole, divide(grid, "template", words))
    found = divided.found
    assert list(found.columns) == PARTS
    assert list(divided.curves.columns) == PART_CURVES
    assert len(divided.curves) == 2 * len(rows)
    assert found["n"].tolist() == [300, 300]
    by = found.set_index("part")
    assert by["hidden"].to_dict() == {"plain": False, "trap": apart}
    if apart:
        assert by["label"].to_dict() == {"plain": "positive", "trap": "inverse"}
        assert by.loc["trap", "fall"] == pytest.approx(0.4, abs=0.07)
        assert by.loc["trap", "low"] > 0.2
        (said,) = hidden_sentences(found)
        assert said.startswith(
            "The mean of Made hides a part that falls while the whole does not: where template=trap,"
        )
        assert by.loc["trap", "sentence"].startswith("Made, template=trap in m")
    else:
        assert hidden_sentences(found) == []


def test_difficulty_is_what_the_others_find_hard():
    random = np.random.default_rng(0)
    easy = np.sort(random.random(90))[::-1]
    other = (random.random((200, 90)) < easy).astype(np.float32)
    own = (random.random((200, 90)) < easy[::-1]).astype(np.float32)  # finds hard what the others find easy
    grid = made_grid([made_curve(own, model="own"), made_curve(other, model="a"), made_curve(other, model="b")], 4)
    division = divide(grid, "difficulty", None)
    assert division.names == ("easy", "middle", "hard")
    assert all(abs(np.bincount(codes) - 30).max() <= 2 for codes in division.codes)
    shares = other.mean(axis=0)
    assert all(len(set(division.codes[0][shares == one])) == 1 for one in shares)  # equally hard items stay together
    share = [own.mean(axis=0)[division.codes[0] == level].mean() for level in range(3)]
    assert share[0] < share[1] < share[2]
    changed = made_grid([made_curve(1 - own, model="own"), *grid.curves[1:]], 4)
    assert (divide(changed, "difficulty", None).codes[0] == division.codes[0]).all()  # its own answers say nothing


def test_what_cannot_be_divided_is_said():
    store, rows, words = crossing(n=60, steps=3)
    grid = read_grid(rows, tables_of(store))
    with pytest.raises(ConfigError, match="has no column 'templat': did you mean 'template'"):
        divide(grid, "templat", words)
    with pytest.raises(ConfigError, match="by=alike makes 1 part of 10 items or more of task 'made'"):
        divide(grid, "alike", words)
    with pytest.raises(AnalysisError, match="by=difficulty needs another model or seed"):
        divide(grid, "difficulty", words)
    with pytest.raises(AnalysisError, match="cannot be divided by 'template': no data"):
        divide(grid, "template", ItemWords((), {}, (), "no data"))
    few = made_grid([made_curve(np.ones((3, 20), np.float32), model=name) for name in "ab"], 4)
    with pytest.raises(AnalysisError, match="by=difficulty needs 30 items, 10 in each third: 'task' has 20"):
        divide(few, "difficulty", None)


def test_items_are_divided_by_place_length_and_numbers():
    store, rows, words = crossing(n=200, steps=2)
    grid = read_grid(rows, tables_of(store))
    places = divide(grid, "gold_position", None)
    assert places.names == ("1", "2", "3", "4")
    assert (places.codes[0] == grid.gold).all()
    numbers = tuple(str(at * 1.5) for at in range(200))
    years = tuple(str(2 if at % 2 else 10) for at in range(200))
    gaps = tuple("" if at < 100 else str(at) for at in range(200))
    prompts = tuple("x" * (at // 50 + 1) for at in range(200))
    columns = {"score": numbers, "shots": years, "gaps": gaps}
    words = ItemWords(words.choices, columns, prompts)
    assert divide(grid, "score", words).names == ("0 to 73.5", "75 to 148.5", "150 to 223.5", "225 to 298.5")
    assert divide(grid, "shots", words).names == ("2", "10")  # by number, not by letter
    assert np.bincount(divide(grid, "gaps", words).codes[0] + 1).tolist() == [100, 25, 25, 25, 25]
    lengths = divide(grid, "prompt_length", words)
    assert lengths.names == ("1", "2", "3", "4")
    assert np.bincount(lengths.codes[0]).tolist() == [50] * 4
    assert divide(grid, "gold_position", ItemWords((), {"gold_position": years}, ())).names == ("2", "10")
    with pytest.raises(AnalysisError, match="no right choice has a known place"):
        divide(replace(grid, gold=grid.gold * 0 - 1), "gold_position", None)


def test_parts_of_several_tasks_share_one_correction_and_errors_of_clusters():
    store, rows, words = crossing()
    other, more, _ = crossing(n=300, apart=False)
    store.frames |= {(f"other{run}", "calm"): frame for (run, _), frame in other.frames.items()}
    calm = more.assign(task="calm", title="Calm", run_id="other" + more["run_id"])
    tasks, items = pd.concat([rows, calm]), tables_of(store)
    whole = judge(tasks, store)[1]
    grids = [read_grid(own, items) for own in (rows, calm)]
    texts = [words, ItemWords((), {"template": tuple("ab" * 150)}, ())]
    divided = [
        divided_task(grid, own, [divide(grid, "template", text), divide(grid, "gold_position", None)])
        for grid, own, text in zip(grids, (rows, calm), texts, strict=True)
    ]
    found = parts(divided, whole, judge).found
    assert found.groupby(["task", "by"], sort=False).size().to_dict() == {
        ("made", "template"): 2,
        ("made", "gold_position"): 4,
        ("calm", "template"): 2,
        ("calm", "gold_position"): 4,
    }
    assert found.loc[found["hidden"], ["task", "by", "part"]].to_numpy().tolist() == [["made", "template", "trap"]]
    alone = parts(divided[:1], whole, judge).found.set_index(["by", "part"])
    together = found[found["task"] == "made"].set_index(["by", "part"])
    key = ("template", "trap")
    assert alone.loc[key, "p"] == together.loc[key, "p"]
    assert alone.loc[key, "q"] <= together.loc[key, "q"]
    ids = pd.DataFrame({"doc_id": range(600), "doc_hash": [f"d{one}" for one in range(600)]})
    pairs = TaskClusters("pair", ids.assign(cluster=[str(one // 40) for one in range(600)]))
    judged = part_judge(CONF, lambda task: pairs)
    clustered = parts(divided[:1], whole, judged).found.set_index(["by", "part"])
    assert clustered.loc[key, "high"] - clustered.loc[key, "low"] != alone.loc[key, "high"] - alone.loc[key, "low"]


def test_published_groups_of_difficulty_are_a_u_and_a_rise():
    """Wu & Lo (arXiv:2410.01692): while MMLU's hardest questions rise, its easiest fall and come back."""
    models = pd.read_csv(Path(__file__).with_name("wu_lo_2024.csv"), comment="#")
    groups = [name for name in models if name.startswith("group_")]
    models["all"] = models[groups].mean(axis=1)
    x = np.log(models["flops_1e21"].to_numpy())
    sixth = np.clip(np.searchsorted(np.quantile(x, np.linspace(0, 1, 7)), x, side="right") - 1, 0, 5)
    frames = []
    for name in [*groups, "all"]:
        own = models[name].groupby(sixth)
        runs = [(f"{name}{place}", "models", place + 1) for place in range(6)]
        rows = table_rows(runs, own.mean().tolist(), name)
        compute = np.exp(pd.Series(x).groupby(sixth).mean()).to_numpy() * 1e21
        frames.append(rows.assign(stderr=own.sem().to_numpy(), flops=compute, n=1404))
    labels, falls = part_judge(config_of({"methods": ["ols"], "axis": "flops"}).analysis)(pd.concat(frames), None)
    found = labels.set_index("task")
    assert found.loc["group_0", ["first_value", "last_value"]].tolist() == pytest.approx([0.043, 0.381], abs=5e-4)
    assert found.loc["group_0", "label"] == "emergent"
    assert found.loc["group_9", "label"] == "U-shaped"
    assert found.loc["group_9", "turn_value"] == pytest.approx(0.468, abs=5e-4)
    fallen = falls.set_index("task")["falls"]
    assert fallen[fallen].index.tolist() == ["group_9"]  # and the mean of all does not fall: it hides the easiest


@pytest.mark.simulation
@pytest.mark.parametrize("by", ["template", "difficulty"])
def test_no_part_is_hidden_where_none_is(by):
    """Two models of constant items: in at most 5 % of tasks is any part of either said to fall under a level mean."""
    assert hidden_shares(by, 300) < 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / 300)


def test_no_part_is_hidden_in_a_few_tasks_where_none_is():
    assert hidden_shares("difficulty", 12) <= 3 / 12


def hidden_shares(by, draws, n=240, steps=6):
    """Share of made tasks, whose items never change, in which a part is said to be hidden."""
    said = 0
    for seed in range(draws):
        random = np.random.default_rng(seed)
        p = random.beta(2, 2, n)  # easy and hard items, the same to both models
        curves = [made_curve((random.random((steps, n)) < p).astype(np.float32), model=name) for name in "ab"]
        curves = [
            replace(curve, steps=2.0 ** np.arange(steps), run_ids=tuple(f"{curve.model}{at}" for at in range(steps)))
            for curve in curves
        ]
        grid = made_grid(curves, 4)
        runs = [(run, curve.model, 2**at) for curve in curves for at, run in enumerate(curve.run_ids)]
        values = np.concatenate([curve.right.mean(axis=1) for curve in curves]).tolist()
        rows = table_rows(runs, values, "task").assign(n=n)
        frames = {
            (run, "task"): pd.DataFrame({"doc_id": range(n), "acc": curve.right[at].astype(float)})
            for curve in curves
            for at, run in enumerate(curve.run_ids)
        }
        words = ItemWords((), {"template": tuple("wxyz"[at % 4] for at in range(n))}, ())
        whole = judge(rows, MadeStore(frames))[1]
        said += bool(parts_of(grid, rows, whole, divide(grid, by, words)).found["hidden"].any())
    return said / draws
