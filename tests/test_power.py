"""What a study could show: against exact power, by simulation, and as `plan` says it."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, nct, t
from statsmodels.stats.multitest import multipletests

from evalrun.commands.plan import detectable
from evalrun.commands.plan.inventory import Inventory, JobNeeds
from evalrun.config.compose import compose, hydra_session, to_config
from evalrun.config.schema import Config
from evalrun.core.records import Checkpoint
from evalrun.statistics.power import AGREEMENTS, level_of, smallest_difference, smallest_fall, smallest_slope
from evalrun.tracking import RunEntry, layout
from evalrun.tracking.layout import TaskEntry
from helpers import ROOT, Run


def exact_power(n: int, discordant: float, difference: float, alpha: float) -> float:
    """Of McNemar's exact test: over all numbers of discordant pairs, and of those that differ one way."""
    total = 0.0
    for pairs in range(n + 1):
        weight = binom.pmf(pairs, n, discordant)
        if weight > 1e-10:
            few = np.arange(pairs + 1)
            rejected = 2 * np.minimum(binom.cdf(few, pairs, 0.5), binom.sf(few - 1, pairs, 0.5)) <= alpha
            total += weight * binom.pmf(few, pairs, (1 + difference / discordant) / 2)[rejected].sum()
    return float(total)


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 12])
@pytest.mark.parametrize(("n", "discordant"), [(60, 0.5), (300, 0.2), (817, 0.05), (1000, 0.5), (3000, 0.1)])
def test_the_exact_test_has_the_power_that_is_promised(n: int, discordant: float, alpha: float) -> None:
    difference = smallest_difference(n, alpha, discordant)
    assert 0.8 <= exact_power(n, discordant, difference, alpha) <= 0.86


def test_with_few_items_or_little_disagreement_all_must_differ_one_way() -> None:
    difference = smallest_difference(100, 0.05, 0.01)
    assert difference > 0.01
    assert exact_power(100, difference, difference, 0.05) >= 0.8
    assert smallest_difference(100, 0.05, 0.001) == difference
    assert math.isnan(smallest_difference(5, 0.05 / 36))
    assert math.isnan(smallest_difference(0, 0.05))


@pytest.mark.parametrize("correction", ["fdr_bh", "fdr_by", "holm", "bonferroni"])
@pytest.mark.parametrize("found", [1, 6])
def test_a_p_at_the_level_has_a_q_of_alpha(correction: str, found: int) -> None:
    level = level_of(0.05, 12, found, correction)
    p = np.where(np.arange(12) < found, level, 1.0)
    assert (multipletests(p, method=correction)[1][:found] <= 0.05 + 1e-12).all()
    if correction.startswith("fdr") or found == 1:
        assert multipletests(np.minimum(1.01 * p, 1), method=correction)[1][0] > 0.05


def test_no_fall_is_larger_than_the_disagreement_allows() -> None:
    for agreement in AGREEMENTS:
        found = smallest_fall(900, 0.05 / 96 / 29, agreement)
        assert math.isnan(found) or found == smallest_difference(900, 0.05 / 96 / 29, 1 - agreement) <= 1 - agreement
    assert smallest_fall(900, 0.05 / 96 / 29, 0.9) < 0.1
    assert math.isnan(smallest_fall(100, 0.05 / 96 / 29, 0.95))
    assert smallest_difference(100, 0.05 / 96 / 29, 0.05) > 0.05  # which two that agree on 95 % cannot differ by


def test_more_items_show_less_and_more_tests_more() -> None:
    found = [smallest_difference(n, 0.05) for n in range(20, 3000, 20)]
    assert all(a > b for a, b in itertools.pairwise(found))
    assert smallest_difference(500, 0.05 / 12) > smallest_difference(500, 0.05)
    assert smallest_difference(500, 0.05, 0.4) > smallest_difference(500, 0.05, 0.1)
    assert smallest_difference(500, 0.05, power=0.95) > smallest_difference(500, 0.05)


@pytest.mark.parametrize(("n", "coefficients"), [(64, 4), (8, 2), (4, 2), (1000, 4)])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 36])
def test_a_slope_is_that_of_the_noncentral_t(n: int, coefficients: int, alpha: float) -> None:
    slope = smallest_slope(n, coefficients, alpha)
    noncentrality = slope * math.sqrt(n - 1) / math.sqrt(1 - slope**2)
    df = n - coefficients
    assert nct.sf(t.ppf(1 - alpha / 2, df), df, noncentrality) == pytest.approx(0.8, abs=1e-6)


def test_without_degrees_of_freedom_no_slope_shows() -> None:
    assert math.isnan(smallest_slope(4, 4, 0.05))
    assert math.isnan(smallest_slope(1, 2, 0.05))


def test_the_regression_finds_that_slope_as_often_as_promised() -> None:
    """The interaction in a full grid of 8 sizes and 8 steps, 4,000 times."""
    random = np.random.default_rng(2)
    size, step = (axis.ravel() for axis in np.meshgrid(np.log([70, 160, 410, 1000, 1400, 2800, 6900, 12000]), range(8)))
    size, step = ((axis - axis.mean()) / axis.std(ddof=1) for axis in (size, step))
    design = np.column_stack([np.ones(64), size, step, size * step])
    slope = smallest_slope(64, 4, 0.05)
    outcome = slope * design[:, 3] + math.sqrt(1 - slope**2) * random.normal(size=(4000, 64))
    inverse = np.linalg.inv(design.T @ design)
    fitted = outcome @ design @ inverse
    error = np.sqrt(((outcome - fitted @ design.T) ** 2).sum(axis=1) / 60 * inverse[3, 3])
    assert (np.abs(fitted[:, 3]) / error > t.ppf(0.975, 60)).mean() == pytest.approx(0.8, abs=0.03)


# --- plan ---


@pytest.fixture
def config(workspace: Path) -> Config:
    with hydra_session():
        return to_config(compose(["model=toy/toy-s", "step=1", "tasks=[alpha,beta]"]))


def survey_of(config: Config, *past: RunEntry, models: int = 3, steps: int = 4) -> Inventory:
    cells = [
        Checkpoint("toy", f"m{model}", model, model, model, step, 1000 * step, None, f"m{model}", None)
        for model in range(models) for step in range(steps)
    ]  # fmt: skip
    jobs = tuple(JobNeeds(config, cell, None, None, ("alpha", "beta"), True, 0, 0) for cell in cells)
    return Inventory(jobs, (), past, ("alpha", "beta"), None, None)


def past_run(n: int, settings: str = "shared_prefix float32") -> RunEntry:
    cell = Checkpoint("toy", "m1", 1, 1, 1, 1, 1000, None, "m1", None)
    held = TaskEntry("alpha", "Alpha", "", "acc", True, {"acc": True}, {}, n, None, 0, 1.0, 1, key="k")
    tags = {layout.KEY: "key", layout.CELL: json.dumps(vars(cell)), layout.SETTINGS: settings, layout.HARDWARE: "cpu"}
    return RunEntry("id", True, tags | held.to_tags())


def test_items_are_known_from_runs_from_data_and_from_what_the_task_says(config: Config, workspace: Path) -> None:
    alpha, beta = detectable.power_of(survey_of(config)).tasks
    assert (alpha.title, alpha.items, beta.items) == ("Alpha", 12, 12)  # lines of its file
    assert detectable.power_of(survey_of(config, past_run(500))).tasks[0].items == 500
    assert detectable.power_of(survey_of(config, past_run(5, "shared_prefix float32 limit 5"))).tasks[0].items == 12
    assert detectable.power_of(survey_of(replace(config, limit=7))).tasks[0].items == 7
    own = workspace / "conf" / "task" / "beta.yaml"
    hosted = own.read_text().replace("data: data/beta.jsonl", "dataset_path: some/where\ntest_split: test")
    own.write_text(hosted.replace("task: beta", "task: told").replace('"Beta"', '"Told", rows: 900'))
    own.rename(own.with_name("told.yaml"))
    (workspace / "conf" / "task" / "untold.yaml").write_text(hosted.replace("task: beta", "task: untold"))
    graded = hosted.replace("task: beta", "task: graded").replace(
        "metric: acc, aggregation: mean, higher_is_better: true", "metric: brier_score"
    )
    (workspace / "conf" / "task" / "graded.yaml").write_text(graded)
    told, untold, graded_task = detectable.power_of(
        survey_of(replace(config, tasks=["told", "untold", "graded"]))
    ).tasks
    assert told.items == 900
    assert told.falls[1].alone == pytest.approx(smallest_fall(900, 0.05 / 9 / 4, 0.9))  # 3 tasks, 3 models, 3 steps
    assert (untold.items, untold.falls) == (None, ())
    assert "counted when its data is there" in untold.why
    assert "no count of right answers" in graded_task.why


def test_the_regression_counts_checkpoints_with_tokens_and_what_varies(config: Config) -> None:
    found = detectable.power_of(survey_of(config, past_run(500)))
    assert (found.checkpoints, found.models, found.effects) == (9, 3, 6)  # step 0 has no logarithm
    assert found.slope == pytest.approx(smallest_slope(9, 4, 0.05 / 6))
    assert found.slope_models == pytest.approx(smallest_slope(3, 2, 0.05 / 6))
    said = detectable.describe(found)
    alone, many = 0.05 / 6 / 4, 0.05 * 3 / 6 / 4  # 6 curves of 3 checkpoints: 3 pairs and a trend
    shown = [f"{100 * smallest_fall(500, alone, a):.1f} ({100 * smallest_fall(500, many, a):.1f})" for a in AGREEMENTS]
    assert (found.curves, found.comparisons) == (6, 4)
    head, row = (line.split() for line in said.splitlines() if line.startswith(("  task", "  Alpha")))
    assert head == "task items 95% alike 90% alike 80% alike 70% alike".split()
    assert " ".join(row) == " ".join(["Alpha", "500", *shown])
    assert "at q < 0.05" in said
    assert "over 6 curves, if no other curve moves; in brackets if half of them do" in said.replace("\n  ", " ")
    assert "on model size over 0.99, if only its 3 models" in said.replace("\n  ", " ")
    assert f"a standardised slope of {found.slope:.2f}, if the 9" in said.replace("\n  ", " ")
    assert max(len(line) for line in said.splitlines()) <= 100
    one_model = detectable.power_of(survey_of(config, models=1))
    assert (one_model.effects, one_model.slope_models) == (2, None)
    assert one_model.slope == pytest.approx(smallest_slope(3, 2, 0.05 / 2))
    assert "on model size" not in detectable.describe(one_model)
    single = detectable.power_of(survey_of(config, models=1, steps=2))
    assert (single.effects, single.slope) == (0, None)
    assert "regression" not in detectable.describe(single)
    assert [task.why for task in detectable.power_of(survey_of(config, models=1, steps=1)).tasks] == [
        "none: no curve over training"
    ] * 2


def test_plan_tells_it_and_loads_no_statistics(evalrun: Run, workspace: Path) -> None:
    grid = ("model=toy/toy-s", "step=1,2,4,8", "task=alpha")
    said = json.loads(evalrun("plan", *grid, "--json").stdout)["power"]
    assert said["tasks"] == [
        {
            "task": "alpha",
            "title": "Alpha",
            "items": 12,
            "falls": [],
            "why": "none: too few items",
        }
    ]
    assert (said["alpha"], said["power"], said["checkpoints"], said["effects"]) == (0.05, 0.8, 4, 1)
    assert (said["correction"], said["curves"], said["comparisons"]) == ("fdr_bh", 1, 7)
    code = (
        "import sys; from evalrun.cli import main; main(['plan', *sys.argv[1:]]); "
        "print([m for m in ('statsmodels', 'scipy.stats', 'scipy.optimize', 'pandas') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, *grid], cwd=workspace, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "What this grid can show, with 80% power at q < 0.05" in found.stdout
    assert found.stdout.splitlines()[-1] == "[]"
