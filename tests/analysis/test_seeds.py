"""Variance between seeds: against statsmodels' REML, by simulation, and where there is too little."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2, ttest_ind
from statsmodels.formula.api import mixedlm

from evalrun.statistics.reliability.seeds import COLUMNS, seed_variance
from evalrun.statistics.table import prepare

STEPS = (1, 2, 4, 8, 16)


def rows_of(seed=0, models=("tiny-s", "tiny-l"), seeds=5, steps=STEPS, seed_sd=0.03, rest_sd=0.01, apart=0.0, **given):
    random = np.random.default_rng(seed)
    rows = []
    for place, model in enumerate(models):
        for s in range(seeds):
            lasting = random.normal(0, seed_sd)
            for step in steps:
                value = 0.4 + 0.02 * np.log2(step) + apart * place + lasting + random.normal(0, rest_sd)
                rows.append({"model": model, "seed": s, "step": step, "value": value, **given})
    return rows


def simulated(tidy, *args, **given):
    return prepare(tidy.table(rows_of(*args, **given)), None).table


def one(table, alpha=0.05):
    (row,) = seed_variance(table, alpha).to_dict("records")
    return row


def test_components_are_those_of_reml(tidy):
    table = simulated(tidy)
    row = one(table)
    assert list(row) == COLUMNS
    table = table.assign(
        run=table["model"] + table["seed"].astype(str), cell=table["model"] + table["step"].astype(str)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = mixedlm("value ~ C(cell)", table, groups=table["run"]).fit(reml=True)
    lasting, rest = float(fit.cov_re.iloc[0, 0]), float(fit.scale)
    assert row["seed_sd"] == pytest.approx(np.sqrt(lasting), rel=1e-3)
    assert row["residual_sd"] == pytest.approx(np.sqrt(rest), rel=1e-3)
    assert row["icc"] == pytest.approx(lasting / (lasting + rest), rel=1e-3)
    assert row["seed_p"] < 1e-6
    assert (row["models"], row["seeds"], row["steps"], row["note"]) == (2, 5, 5, "")


def test_the_final_step_and_the_difference_are_students(tidy):
    table = simulated(tidy, apart=0.05)
    row = one(table)
    last = {model: rows["value"].to_numpy() for model, rows in table[table["step"] == 16].groupby("model")}
    squares = sum(((values - values.mean()) ** 2).sum() for values in last.values())
    assert row["final_df"] == 8
    assert row["final_sd"] == pytest.approx(np.sqrt(squares / 8))
    assert (row["final_low"], row["final_high"]) == pytest.approx(tuple(np.sqrt(squares / chi2.ppf([0.975, 0.025], 8))))
    test = ttest_ind(last["tiny-l"], last["tiny-s"])
    assert (row["smallest"], row["largest"]) == ("tiny-s", "tiny-l")
    assert (row["difference"], row["p"]) == pytest.approx((last["tiny-l"].mean() - last["tiny-s"].mean(), test.pvalue))
    assert (row["low"], row["high"]) == pytest.approx(tuple(test.confidence_interval()))
    assert row["exceeds"] == (test.pvalue < 0.05)


def test_a_difference_beyond_that_of_seeds_is_told_from_one_within(tidy):
    assert one(simulated(tidy, apart=0.2))["exceeds"]
    assert not one(simulated(tidy, apart=0.005))["exceeds"]


def test_a_size_with_one_seed_is_set_against_the_other_sizes_seeds(tidy):
    table = simulated(tidy, apart=0.2)
    table = table[(table["model"] == "tiny-s") | (table["seed"] == 0)]
    row = one(table)
    assert (row["models"], row["final_df"]) == (1, 4)
    final = table[table["step"] == 16].groupby("model")["value"].mean()
    assert row["difference"] == pytest.approx(final["tiny-l"] - final["tiny-s"])
    assert row["exceeds"]


def test_only_steps_that_all_seeds_have_count(tidy):
    table = simulated(tidy)
    holed = table[~((table["model"] == "tiny-s") & (table["seed"] == 1) & (table["step"].isin([2, 16])))]
    whole = table[(table["model"] != "tiny-s") | ~table["step"].isin([2, 16])]
    assert one(holed) == pytest.approx(one(whole), nan_ok=True)


def test_tasks_stay_apart_and_in_order(tidy):
    tables = [simulated(tidy, seed).assign(task=name, title=name) for seed, name in enumerate(("b", "a"))]
    both = seed_variance(pd.concat(tables, ignore_index=True), 0.05)
    assert both["task"].tolist() == ["b", "a"]
    assert both.iloc[1].to_dict() == pytest.approx(one(tables[1]))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda tidy: prepare(tidy.grid(tasks=("a",)), None).table, "one seed of every model"),
        (lambda tidy: simulated(tidy, seeds=1), "one seed of every model"),
        (lambda tidy: simulated(tidy, steps=(4,)), "one step: the lasting part"),
        (lambda tidy: simulated(tidy, models=("tiny-s",)), "one model size"),
        (lambda tidy: simulated(tidy).assign(value=0.5), "all seeds give the same; seeds do not differ at the end"),
        (lambda tidy: simulated(tidy).assign(n_params=np.nan), "one model size"),
    ],
)
def test_too_little_says_why_and_warns_of_nothing(tidy, make, said):
    table = make(tidy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = one(table)
    assert said in row["note"]
    assert not row["exceeds"]
    assert seed_variance(table.iloc[:0], 0.05).columns.tolist() == COLUMNS


@pytest.mark.slow
def test_estimates_intervals_and_tests_keep_what_they_promise(tidy):
    """500 studies of three sizes with four seeds each, where sizes do not differ."""
    three = {"models": ("tiny-s", "tiny-m", "tiny-l"), "seeds": 4, "steps": (1, 2, 4, 8)}
    rows = [row for seed in range(500) for row in rows_of(seed, task=f"t{seed}", **three)]
    found = seed_variance(tidy.table(rows), 0.05)
    assert (found["seed_sd"] ** 2).mean() == pytest.approx(0.03**2, rel=0.05)
    assert (found["residual_sd"] ** 2).mean() == pytest.approx(0.01**2, rel=0.05)
    true = np.hypot(0.03, 0.01)
    assert ((found["final_low"] <= true) & (true <= found["final_high"])).mean() == pytest.approx(0.95, abs=0.03)
    assert found["exceeds"].mean() == pytest.approx(0.05, abs=0.03)
    rows = [row for seed in range(500) for row in rows_of(seed, task=f"t{seed}", seed_sd=0, **three)]
    assert (seed_variance(tidy.table(rows), 0.05)["seed_p"] < 0.05).mean() == pytest.approx(0.05, abs=0.03)
