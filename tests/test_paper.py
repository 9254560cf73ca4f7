"""The published study from its published results: all 36 cells of its Table 1 (Michaelov & Bergen, arXiv:2305.14681v2).

The results are public, in `results/` of the repository jmichaelov/emergent-inabilities. With them at hand (in the
shared folder, or at the path in EVALRUN_PAPER_RESULTS) this test runs; the table below is the paper's.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from evalrun import study
from evalrun.cli import main
from evalrun.config.compose import compose, hydra_session, to_config
from helpers import shared_dir

EFFECTS = ("parameters", "tokens", "interaction")
TABLE_1 = {  # task: t and corrected p of parameters, tokens and their interaction, on 60 degrees of freedom
    "Hindsight Neglect": ((-4.22, "<0.001"), (-4.69, "<0.001"), (-2.88, "0.012")),
    "Into the Unknown": ((-0.31, "0.824"), (2.04, "0.079"), (0.02, "0.986")),
    "Memo Trap": ((-10.05, "<0.001"), (-11.34, "<0.001"), (-9.71, "<0.001")),
    "Modus Tollens": ((-0.16, "0.927"), (-2.13, "0.071"), (-1.5, "0.208")),
    "NeQA": ((0.79, "0.559"), (-0.08, "0.963"), (2.45, "0.034")),
    "Pattern Match Suppression": ((-3.2, "0.005"), (-9.58, "<0.001"), (-6.37, "<0.001")),
    "Redefine": ((0.6, "0.645"), (-0.79, "0.559"), (-1.53, "0.205")),
    "Repetitive Algebra": ((-0.49, "0.706"), (-2.11, "0.071"), (-1.0, "0.443")),
    "Resisting Correction": ((5.13, "<0.001"), (5.63, "<0.001"), (-1.89, "0.104")),
    "Sig Figs": ((-0.59, "0.645"), (-0.74, "0.574"), (-1.46, "0.215")),
    "TruthfulQA-MC1": ((-10.9, "<0.001"), (-11.45, "<0.001"), (-2.97, "0.010")),
    "TruthfulQA-MC2": ((-24.72, "<0.001"), (-23.89, "<0.001"), (-12.02, "<0.001")),
}


@pytest.fixture
def published() -> Path:
    """The folder of published results: 64 JSON files, a checkpoint each, and all_results.tsv."""
    if named := os.environ.get("EVALRUN_PAPER_RESULTS"):
        return Path(named)
    folder = shared_dir() / "data" / "published"
    if not (folder / "all_results.tsv").is_file():
        pytest.skip("published results not at hand: clone jmichaelov/emergent-inabilities, set EVALRUN_PAPER_RESULTS")
    return folder


def table_1(tmp_path: Path, words: str) -> dict[str, tuple[tuple[float, str], ...]]:
    """Analyse the store and read effects.csv as the paper prints it."""
    with hydra_session():
        config = to_config(compose(["model=pythia-70m", "step=0", f"tracking.root={tmp_path / 'mlruns'}", words]))
    (report,) = study.analyse(config, tmp_path / "analysis", study.Selection(suite="pythia"))
    effects = pd.read_csv(report.parent / "effects.csv")
    assert set(effects["df"]) == {60}
    found: dict[str, tuple[tuple[float, str], ...]] = {}
    for title, rows in effects.groupby("title", sort=False):
        by_effect = rows.set_index("effect")
        assert len(rows) == 3
        found[str(title)] = tuple(
            (round(float(by_effect["t"][effect]), 2), _p(float(by_effect["q"][effect]))) for effect in EFFECTS
        )
    return found


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


@pytest.mark.usefixtures("databases")
@pytest.mark.parametrize(
    "what",
    [pytest.param("json", marks=pytest.mark.release), "table", pytest.param("both", marks=pytest.mark.release)],
)
def test_table_1(
    what: str, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = tmp_path / "given"
    given.mkdir()
    for file in published.rglob("pythia-*_step*.json") if what != "table" else ():
        shutil.copyfile(file, given / file.name)
    if what != "json":
        shutil.copyfile(published / "all_results.tsv", given / "all_results.tsv")
    assert main(["ingest", str(given), f"tracking.root={tmp_path / 'mlruns'}"]) == 0
    assert "pythia: 768 results filed, 0 there already (64 checkpoints, 12 tasks)" in capsys.readouterr().out
    found = table_1(tmp_path, "experiment=paper" if what == "both" else "analysis=interaction")
    assert list(found) == list(TABLE_1)  # the paper's names, in its order
    assert found == TABLE_1
    assert sum(len(cells) for cells in found.values()) == 36


def test_the_table_above_is_the_published_one(published: Path) -> None:
    path = published / "table1.tsv"
    if not path.is_file():
        pytest.skip("the published table is not at hand; the results alone are enough for the rest")
    for row in pd.read_csv(path, sep="\t").to_dict("records"):
        cells = [str(row[name.capitalize()]).removeprefix("t(60)=").split(", p") for name in EFFECTS]
        said = tuple((float(t), p.removeprefix("=")) for t, p in cells)
        assert [(t, f"{float(p):.3f}" if p[0] != "<" else p) for t, p in said] == list(TABLE_1[str(row["task_name"])])
