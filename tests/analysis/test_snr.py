"""Signal and noise against their definitions."""

import warnings

import numpy as np
import pandas as pd
import pytest

from evalrun.statistics.reliability.snr import COLUMNS, signal_to_noise
from evalrun.statistics.table import prepare

STEPS = (100, 110, 120, 130, 140, 150)


def grid(tidy, **given):
    return prepare(tidy.grid(steps=STEPS, **given), None).table


def test_it_is_the_definition(tidy):
    table = grid(tidy)
    found = signal_to_noise(table, 4).set_index("task")
    assert found.reset_index().columns.tolist() == COLUMNS
    assert found.index.tolist() == table["task"].unique().tolist()
    for task, rows in table.groupby("task"):
        values = rows.pivot(index="model", columns="step", values="value")
        finals, last = values[150], values.loc["tiny-l"].to_numpy()[-4:]
        signal = max(abs(a - b) for a in finals for b in finals) / finals.mean()
        noise = np.sqrt(((last - last.mean()) ** 2).sum() / 3) / last.mean()
        row = found.loc[task]
        assert (row["signal"], row["noise"], row["snr"]) == pytest.approx((signal, noise, signal / noise))
        spread = np.sqrt(np.mean([values.loc[model].to_numpy()[-4:].var(ddof=1) for model in values.index]))
        pooled = spread / finals.mean()
        assert (row["pooled_noise"], row["pooled_snr"]) == pytest.approx((pooled, signal / pooled))
        assert (row["models"], row["k"], row["noise_model"], row["note"]) == (3, 4, "tiny-l", "")
        assert row["doublings"] == pytest.approx(np.log2(150 / 120))


def test_seeds_are_averaged_for_the_signal_and_pooled_for_the_noise(tidy):
    table = grid(tidy, seeds=(0, 1, 2), tasks=("a",))
    (row,) = signal_to_noise(table, 3).to_dict("records")
    finals = table[table["step"] == 150].groupby("model")["value"].mean()
    assert row["signal"] == pytest.approx(np.ptp(finals) / finals.mean())
    own = table[(table["model"] == "tiny-l") & (table["step"] >= 130)].groupby("seed")["value"]
    assert row["noise"] == pytest.approx(np.sqrt(((own.std() / own.mean()) ** 2).mean()))
    assert (row["models"], row["k"]) == (3, 3)


def test_a_task_whose_models_differ_only_by_noise_has_no_signal_to_speak_of(tidy):
    random = np.random.default_rng(0)
    rows = [
        {"task": task, "model": model, "step": step, "value": 0.5 + apart * place + random.normal(0, 0.01)}
        for task, apart in (("same", 0.0), ("apart", 0.1))
        for place, model in enumerate(("tiny-s", "tiny-m", "tiny-l"))
        for step in STEPS
    ]
    found = signal_to_noise(prepare(tidy.table(rows), None).table, 5).set_index("task")
    assert found.loc["apart", "pooled_snr"] > 15
    assert found.loc["same", "pooled_snr"] < 5


@pytest.mark.parametrize(
    ("change", "column", "said"),
    [
        ({"models": ("tiny-l",)}, "signal", "one model: no signal"),
        ({"value": 0.5}, "snr", "the largest model's last values are equal"),
        ({"value": 0.0}, "signal", "the models' mean is 0"),
        ({"value": 0.0}, "noise", "the largest model's mean is 0"),
    ],
)
def test_what_is_not_defined_is_missing_and_says_why(tidy, change, column, said):
    table = prepare(tidy.grid(steps=STEPS, models=change.pop("models", ("tiny-s", "tiny-l"))).assign(**change), None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = signal_to_noise(table.table, 5)
    assert found[column].isna().all()
    assert found["note"].str.contains(said).all()


def test_short_and_wide_grids_say_so(tidy):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = signal_to_noise(prepare(tidy.grid(steps=(8,)), None).table, 5)
    assert one["noise"].isna().all()
    assert one["note"].tolist() == ["one checkpoint of the largest model: no noise"] * 2
    doubling = signal_to_noise(prepare(tidy.grid(steps=(1, 2, 4, 8)), None).table, 5)
    assert doubling["k"].tolist() == [4, 4]
    assert doubling["note"].str.startswith("only 4 checkpoints; the checkpoints span 3.0 doublings").all()
    assert signal_to_noise(one.iloc[:0], 5).columns.tolist() == COLUMNS


def test_models_of_unknown_size_are_taken_in_table_order(tidy):
    table = grid(tidy).assign(n_params=np.nan)
    assert set(signal_to_noise(table, 3)["noise_model"]) == {table["model"].iloc[-1]}


def test_the_published_tasks(published: pd.DataFrame):
    found = signal_to_noise(prepare(published, None).table, 2).set_index("task")
    assert len(found) == 12
    assert found["noise_model"].eq("pythia-12b").all()
    assert found["note"].eq("").all()
    assert found["pooled_snr"].idxmax() == "truthfulqa_mc2"  # the task whose regression fits best, too
    assert found.loc["truthfulqa_mc2", "signal"] == pytest.approx(0.391, abs=5e-4)
