"""The report's section on words: what it says, its table and its pictures, from correlations as they are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evalrun.config.compose import compose, hydra_session, to_config
from evalrun.config.schema import AnalysisConf
from evalrun.reporting import word_section
from evalrun.reporting.build import run_analysis
from evalrun.statistics.words.word_curves import CORRELATES

STEPS = (1, 4, 16, 64)


@pytest.fixture(scope="module")
def conf() -> AnalysisConf:
    with hydra_session():
        return to_config(compose(["model=pythia-70m", "step=0", "analysis=interaction"])).analysis


def rows_of(tidy) -> pd.DataFrame:
    models = {"m-70m": 7e7, "m-410m": 4.1e8}
    return tidy.table([
        {"task": "story", "title": "Story", "model": model, "n_params": size, "n_params_nominal": size, "step": step,
         "tokens": 1000 * step, "value": 0.3 + 0.1 * np.log10(step) + 0.01 * step % 0.02}
        for model, size in models.items() for step in STEPS
    ])  # fmt: skip


def correlates(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for row in table.to_dict("records"):
        at = float(np.log2(row["step"]))
        run = {name: row[name] for name in ("task", "title", "model", "n_params", "seed", "step", "tokens", "flops")}
        for predictor, measure, value in (
            ("length", "pearson", -0.1 - at / 20),
            ("length", "spearman", -0.2),
            ("log_frequency", "pearson", 0.9 - abs(at - 2) / 10),
            ("length", "coefficient", 0.3),
            ("all", "r2", 0.5 + at / 100),
        ):
            ends = {
                "stderr": 0.02,
                "low": value - 0.04,
                "high": value + 0.04,
                "fisher_low": np.nan,
                "fisher_high": np.nan,
            }
            rows.append({**run, "predictor": predictor, "measure": measure, "value": value, **ends, "n": 1234})
    return pd.DataFrame(rows, columns=CORRELATES)


def test_the_report_has_the_words(tidy, conf: AnalysisConf, tmp_path: Path) -> None:
    table = rows_of(tidy)
    found = run_analysis(table, conf, "toy", tmp_path, {}, word_correlates=correlates(table))
    page = found.files["report.html"].read_text()
    assert "Words and what is known of them" in page
    for said in ("log_frequency", "all together (R²)", "1,234", "0.900 (0.860 to 0.940)", "−0.100 (−0.140 to −0.060)"):
        assert said in page, said
    assert "arXiv:2510.24963" in page
    kept = pd.read_csv(tmp_path / "tables" / "words.csv")
    assert len(kept) == 8 * 5
    assert kept["value"].tolist() == pytest.approx(correlates(table)["value"].tolist())
    drawn = (tmp_path / "figures" / "words" / "story.svg").read_text()
    assert drawn.count("log_frequency") == 1
    assert "Correlation, R²" in drawn

    without = run_analysis(table, conf, "toy", tmp_path, {})  # what is left of the words goes
    assert "Words and what is known" not in without.files["report.html"].read_text()
    assert not (tmp_path / "tables" / "words.csv").exists()
    assert not (tmp_path / "figures" / "words" / "story.svg").exists()


def test_the_strongest_correlation_may_be_below_nought(tidy) -> None:
    found = correlates(rows_of(tidy))
    own = found[(found["measure"] == "pearson") & (found["model"] == found["model"].iloc[0])]
    own = own[own["predictor"] == own["predictor"].iloc[0]].sort_values("step").head(3)
    own = own.assign(value=[0.1, -0.5, -0.2], low=[0.0, -0.6, -0.3], high=[0.2, -0.4, -0.1])
    (row,) = word_section._rows(own)
    assert [cell.text for cell in row[4:8]] == [
        "0.100 (0.000 to 0.200)",
        "−0.500 (−0.600 to −0.400)",
        f"{own['step'].iloc[1]:,}",
        "−0.200 (−0.300 to −0.100)",
    ]
