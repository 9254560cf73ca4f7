"""Decision accuracy: counted by hand, against Kendall's tau, and its interval's coverage."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import evalrun
from evalrun.errors import AnalysisError
from evalrun.reporting.families_page import write_families
from evalrun.statistics.reliability.decisions import decision_accuracy


def recipes(tidy, values, sizes=(1e8, 1e9), **given):
    """A recipe a row of `values`, a size a column; each with an earlier checkpoint that says the reverse."""
    rows = [
        {
            "suite": f"recipe-{number}", "model": f"{number}-{size:g}", "n_params_nominal": size, "step": step,
            "tokens": step * 1e6, "value": value if step == 20 else 1 - value, "flops": size * step, **given,
        }
        for number, own in enumerate(values) for size, value in zip(sizes, own, strict=True) for step in (10, 20)
    ]  # fmt: skip
    return tidy.table(rows)


def test_counted_by_hand(tidy):
    table = recipes(tidy, [(0.1, 0.2), (0.2, 0.3), (0.2, 0.5), (0.4, 0.4)])
    (row,) = decision_accuracy(table, "n_params_nominal", 0.05).to_dict("records")
    # Six pairs: 0-1, 0-2, 0-3 and 1-3 in order, 1-2 equal at the small size, 2-3 reversed.
    assert (row["recipes"], row["pairs"], row["size"], row["target"]) == (4, 6, 1e8, 1e9)
    assert row["agree"] == pytest.approx(4.5 / 6)
    assert 0 < row["low"] < row["agree"] < row["high"] < 1
    assert 2 <= row["worth"] <= 6


def test_it_is_kendalls_tau_where_nothing_ties(tidy):
    values = np.random.default_rng(0).uniform(size=(12, 2))
    (row,) = decision_accuracy(recipes(tidy, values), "n_params_nominal", 0.05).to_dict("records")
    assert row["agree"] == pytest.approx((stats.kendalltau(*values.T).statistic + 1) / 2)


def test_all_in_one_order_is_no_certainty_and_two_recipes_are_too_few(tidy):
    values = [(0.1 * n, 0.1 * n + 0.05) for n in range(1, 7)]
    (row,) = decision_accuracy(recipes(tidy, values), "n_params_nominal", 0.05).to_dict("records")
    assert (row["agree"], row["worth"]) == (1.0, 3.0)
    assert row["low"] < 0.5
    assert decision_accuracy(recipes(tidy, values[:2]), "n_params_nominal", 0.05).empty


def test_public_face_and_page(tidy, tmp_path):
    table = recipes(tidy, [(0.1, 0.2), (0.2, 0.3), (0.2, 0.5), (0.4, 0.4)]).assign(suite="all", mix="")
    table["mix"] = table["model"].str.split("-").str[0]
    found = evalrun.decision_accuracy(table, recipe="mix")
    assert found["agree"].tolist() == [0.75]
    with pytest.raises(AnalysisError, match="no column 'mx': did you mean 'mix'"):
        evalrun.decision_accuracy(table, recipe="mx")
    families = {str(name): own for name, own in table.groupby("mix")}
    page = write_families(tmp_path, families, dict.fromkeys(families, "x"))
    assert page is not None
    assert "0.75 (" in page.read_text()
    assert pd.read_csv(tmp_path / "decisions.csv")["pairs"].tolist() == [6]


@pytest.mark.simulation
@pytest.mark.parametrize(("count", "rho"), [(6, 0.6), (12, 0.6), (12, 0.95), (25, 0.9)])
def test_intervals_hold_the_share_of_all_recipes(tidy, count, rho):
    """Of recipes with correlated normal values the share is 1/2 + asin(rho) / pi."""
    generator, draws, held = np.random.default_rng(1), 400, 0
    for _ in range(draws):
        values = generator.multivariate_normal([0, 0], [[1, rho], [rho, 1]], size=count)
        (row,) = decision_accuracy(recipes(tidy, values), "n_params_nominal", 0.05).to_dict("records")
        held += row["low"] <= 0.5 + np.arcsin(rho) / np.pi <= row["high"]
    print(f"{count} recipes, rho {rho}: {held / draws:.3f}")
    assert held / draws > 0.95 - 3 * np.sqrt(0.05 * 0.95 / draws)
