"""What the comparison of two groups of runs says, in sentences: each task, and what all of it may claim."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.text import counted
from evalrun.statistics.training_runs.run_comparison import RunComparison
from evalrun.statistics.training_runs.run_differences import ITEMS, OTHER_SEEDS, SEEDS, WOBBLE, Bands
from evalrun.statistics.training_runs.run_tables import NEITHER


def signed_number(value: float) -> str:
    """`+0.051`, with as many digits as its size asks for; a dash where there is none."""
    if not math.isfinite(value):
        return "-"
    digits = 3 if abs(value) < 10 else 2 if abs(value) < 100 else 1
    return f"{value:+z.{digits}f}"


def claim_of(bands: Bands) -> str:
    """About what the band is, and what it allows for: one sentence."""
    level, a, b = f"{100 * bands.settings.alpha:g} %", *bands.runs
    rate = f"it misses anywhere, over all points and {counted(len(bands.tasks), 'task')}, in {level} of comparisons"
    if bands.kind == SEEDS:
        how = f"{bands.exchanged:,} exchanges of runs" if bands.exchanged else f"t with {bands.df} degrees of freedom"
        seeds = f"{counted(a, 'run')} of A, {b} of B; {how}"
        return f"The band allows for other seeds ({seeds}), and is about the recipes: {rate}."
    if bands.kind == OTHER_SEEDS:
        return (
            f"One run each; the band allows for other seeds by how far those of other runs differ ({bands.df} degrees "
            f"of freedom), and is about the recipes if their seeds differ as much: {rate}."
        )
    if bands.kind == WOBBLE:
        settings = bands.settings
        return (
            "One run each and no other seeds: what another seed would have given is not known. The band allows for "
            "items, for the runs' wobble between checkpoints, and for seeds that shift a curve by "
            f"{settings.seed_shift:g} and learn {settings.seed_timing:g} doublings sooner or later (standard "
            "deviations, assumed: analysis.seed_shift, analysis.seed_timing; seeds_from= takes known ones); if so, "
            f"{rate}."
        )
    return (
        "One run each, and too few checkpoints to see how much they wobble: the band is by items alone, about these "
        f"two trained models and not about their recipes, which another seed may turn around; {rate}."
    )


def task_sentence(row: Mapping[Any, Any], kind: str) -> str:
    """What is said of one task.

    Args:
        row: Of `run_tables.task_rows`.
        kind: What the band allows for.
    """
    reach = f"{signed_number(row['difference'])} [{signed_number(row['low'])}, {signed_number(row['high'])}]"
    step = f"step {row['final_step_b']:.0f}"
    if row["verdict"] == NEITHER:
        said = f"{row['title']}: no difference is shown at the end ({reach} at {step})"
        if row["differs_at"]:
            said += f", though at {counted(int(row['differs_at']), 'earlier point')} there was one"
        if kind != ITEMS and row["items_verdict"] != NEITHER:
            said += f"; these two models differ on these items (B {row['items_verdict']})" if _single(row) else ""
        return f"{said}."
    since = "from the first point on" if row["decided_point"] == 0 else f"from step {row['decided_step']:.0f} on"
    said = f"{row['title']}: B is {row['verdict']} {since}, {reach} at {step}"
    share = row["same_sign"]
    return f"{said}; {share:.0%} of earlier looks had its sign." if share == share else f"{said}."


def _single(row: Mapping[Any, Any]) -> bool:
    return bool(row["runs_a"] == 1 and row["runs_b"] == 1)


def run_sentences(found: RunComparison) -> list[str]:
    """One sentence a task, in their order."""
    return [task_sentence(row, found.bands.kind) for row in found.tasks.to_dict("records")]


def look_sentence(found: RunComparison) -> str:
    """Whether an earlier look would have said the same, over all tasks; empty where there is none."""
    looks, tasks = found.looks, found.tasks
    if looks.empty:
        return ""
    half = looks.iloc[len(looks) // 2]
    told = (
        f"At half of the looks (step {half['step_b']:.0f}) {half['same_sign']:.0%} of the tasks had the sign of the "
        f"last look, and {half['same_verdict']:.0%} its verdict"
    )
    said = tasks.loc[tasks["verdict"] != NEITHER, "decided_step"].to_numpy(dtype="float64")
    if len(said):
        which = "the one decided task was" if len(said) == 1 else f"the last of {len(said)} decided tasks was"
        told += f"; {which} decided at step {np.max(said):.0f}"
    return f"{told}."


def methods_of(found: RunComparison) -> Iterator[str]:
    """What was clustered, and what was not paired, a sentence each."""
    clustered = found.tasks[found.tasks["clustered"] != ""]
    for column, rows in clustered.groupby("clustered", sort=False):
        yield f"Items clustered by {column}: {', '.join(rows['title'])}."
    for note, rows in found.tasks[found.tasks["note"] != ""].groupby("note", sort=False):
        yield f"{', '.join(rows['title'])}: {note}."
    lower = found.tasks.loc[~found.tasks["higher_is_better"].astype(bool), "title"]
    if len(lower):
        yield f"Lower is better: {', '.join(lower)}."


def plain_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON takes them: what is not known is null."""
    return [{str(key): _plain(value) for key, value in row.items()} for row in frame.to_dict("records")]


def _plain(value: Any) -> Any:
    if isinstance(value, (np.bool_, np.integer, np.floating)):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
