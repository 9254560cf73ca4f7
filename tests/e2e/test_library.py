"""docs/how-to/notebook.md, run block by block as a notebook would; and that it is the command's own work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import evalrun as library
from evalrun.checkpoints.tiny import train_suite
from evalrun.checkpoints.tiny.settings import TinyConf
from evalrun.config.compose import compose, hydra_session, to_config
from helpers import ROOT, Run

# What the page claims, asked of the names that it leaves behind.
CHECKS = """
assert set(table["step"]) == {4, 16, 64, 256, 1024}, sorted(set(table["step"]))
assert len(table) == 2 * 5 * 3
assert len(own) == 2 and set(own["n"]) == {50} and set(own["suite"]) == {"local"} and set(own["model"]) == {"xs"}
assert set(everything["suite"]) == {"tiny", "local"}
assert set(quotes["step"]) == {16, 1024} and set(quotes["task"]) == {"tiny_obey_quote"} and len(quotes) == 4
assert set(effects["method"]) == {"ols", "hc3"} and effects["q"].notna().all()
recall = table[(table["model"] == "tiny-s") & (table["task"] == "tiny_recall")].set_index("step")["value"]
assert recall[1024] > recall[16] + 0.2
fell = found[(found["task"] == "tiny_obey_quote") & (found["q"] < 0.05)]
assert set(fell["model"]) == {"tiny-xs", "tiny-s"} and set(fell["method"]) == {"exact McNemar test"}
import pathlib, os
assert pathlib.Path("curves.png").stat().st_size > 10_000
assert page == pathlib.Path("report/report.html").absolute() and "tiny-xs" in page.read_text()
picture, size = figure._repr_png_()
assert picture.startswith(b"\\x89PNG") and size["width"] < 1200
assert len(mistakes) == 2 and "did you mean 'tiny/s'?" in mistakes[0], mistakes
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the two smaller models of the embedded suite, really trained."""
    folder = tmp_path_factory.mktemp("library")
    with hydra_session():
        configs = {size: to_config(compose([f"model=tiny/{size}", "step=1"])) for size in ("xs", "s")}
        chosen = compose([], name="tiny")
    from omegaconf import OmegaConf

    plain = OmegaConf.masked_copy(chosen, [str(key) for key in chosen if key != "hydra"])
    settings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(TinyConf), plain))
    assert isinstance(settings, TinyConf)
    sizes = {size: config.model for size, config in configs.items()}
    train_suite(sizes, configs["xs"].checkpoint, settings, folder / settings.root, lambda line: None, progress=False)
    return folder


@pytest.mark.release
def test_the_page_runs_as_it_is_written(suite: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "notebook.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 8
    # Anything printed would be the library's; the assertions come after the page's own code.
    script = suite / "page.py"
    script.write_text("\n".join([*blocks, CHECKS]))
    ran = subprocess.run(
        [sys.executable, str(script)], cwd=suite, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == ""
    assert "tiny-s step 1024 seed 0: 3 computed, 0 found done" in ran.stderr
    assert "10 of 10 jobs found done" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.slow
def test_notebook_and_command_go_on_from_each_other(evalrun: Run, workspace: Path) -> None:
    here = library.evaluate("glob(toy/*)", step=[1, 2], task=["alpha", "beta"])
    assert len(here) == 2 * 2 * 2
    there = evalrun("-m", "model=glob(toy/*)", "step=1,2", "task=alpha,beta", "analysis.after_sweep=false")
    assert there.returncode == 0, there.stderr
    assert "4 of 4 jobs found done" in there.stdout
    mixed = evalrun("model=toy/toy-s", "step=4", "task=alpha,beta")
    assert mixed.returncode == 0, mixed.stderr
    written = {path: path.stat().st_mtime_ns for path in (workspace / "multirun").rglob("results/*.json")}
    assert len(written) == 5 * 2
    again = library.evaluate("toy/toy-s", step="4", task="alpha,beta")
    assert {path: path.stat().st_mtime_ns for path in (workspace / "multirun").rglob("results/*.json")} == written
    assert set(again["step"]) == {4}
    library.evaluate("toy/toy-s", step=8, task="alpha,beta")
    (command,) = (workspace / "multirun" / "toy" / "toy-s" / "step4" / "results").glob("*.yaml")
    (notebook,) = (workspace / "multirun" / "toy" / "toy-s" / "step8" / "results").glob("*.yaml")
    assert notebook.read_text() == command.read_text().replace("step: 4\n", "step: 8\n")


@pytest.mark.release
def test_a_nested_group_of_the_embedded_suite(suite: Path) -> None:
    """Really trained models: the group's curve hides that one of its tasks rises and the others fall."""
    (suite / "conf" / "task").mkdir(parents=True, exist_ok=True)
    inner = "{group: obeying, task: [tiny_obey_quote, tiny_obey_new], aggregate_metric_list: [{metric: acc}]}"
    (suite / "conf" / "task" / "nested.yaml").write_text(f"group: nested\ntask: [tiny_recall, {inner}]\n")
    table = library.evaluate("tiny/s", step=[4, 1024], task="nested", root=suite)
    found = library.groups(table, root=suite).set_index(["task", "step"])
    by_task = table[table["metric"] == "acc"].set_index(["task", "step"])
    for step in (4, 1024):
        own = by_task.xs(step, level="step")
        assert found.loc[("nested", step), "value"] == pytest.approx(own["value"].mean(), abs=1e-12)
        obeying = own.loc[["tiny_obey_quote", "tiny_obey_new"]]
        mean = (obeying["value"] * obeying["n"]).sum() / obeying["n"].sum()
        assert found.loc[("obeying", step), "value"] == pytest.approx(mean, abs=1e-12)
        error = np.sqrt((own["stderr"] ** 2).sum()) / 3  # the three ask different items
        assert found.loc[("nested", step), "stderr"] == pytest.approx(error, abs=1e-12)
    change = found["value"].unstack("step")[1024] - found["value"].unstack("step")[4]
    assert abs(change["nested"]) < 0.2
    assert change["obeying"] < -0.1
