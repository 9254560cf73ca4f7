"""How much of a study's grid is there: models x steps for each task, what is missing, left out or disputed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.stages import stage
from evalrun.core.text import counted, listed
from evalrun.statistics.naming import checkpoint_name

THERE, LEFT_OUT, MISSING, DISPUTED, SETTLED = "there", "left out", "missing", "disputed", "settled"
CELL_COLUMNS = ["task", "title", "model", "seed", "step", "state", "why"]
TASK_COLUMNS = ["task", "title", "runs", "steps", "cells", THERE, "left_out", MISSING, DISPUTED, SETTLED, "gaps"]
_MOST = 6  # runs, and steps of one, that a sentence names
_NO_SEED = -1.0

Place = tuple[str, float | None, int]  # model, seed, step
Cell = tuple[str, str, float | None, int]  # task, model, seed, step
Run = tuple[str, float]


@dataclass(frozen=True)
class Coverage:
    """The cells of a study's grid."""

    tasks: pd.DataFrame  # TASK_COLUMNS; a row a task: how many of its cells are in which state, and which are not there
    cells: pd.DataFrame  # CELL_COLUMNS; a row for each cell that is missing, left out, disputed or settled
    checkpoints: int  # of the grid

    def count(self, state: str) -> int:
        """How many cells are there, left_out, missing, disputed or settled (a column of `tasks`), over all tasks."""
        return int(self.tasks[state].sum())


@stage("coverage")
def measure_coverage(
    seen: pd.DataFrame,
    rows: pd.DataFrame,
    disagreeing: pd.DataFrame,
    wanted: Collection[Place] | None = None,
    settled: Collection[Cell] = (),
) -> Coverage:
    """Lay what there is over the grid that the study has.

    The grid is what was asked for. Where nothing says what that was, it is every training run (model and seed) at every
    step that more than half of the runs have in some task, and at the further steps that it alone has: models of one
    suite may have been saved at steps of their own.

    Args:
        seen: `table.Prepared.seen`.
        rows: The rows that are analysed.
        disagreeing: `table.Prepared.disagreeing`.
        wanted: The checkpoints that were asked for, as (model, seed, step); None where nothing says so.
        settled: What was not computed because the shape was settled without it, as (task, model, seed, step).
    """
    place = ["model", "seed", "step"]
    marks, analysed = (frame.assign(seed=frame["seed"].fillna(_NO_SEED)) for frame in (disagreeing, rows))
    cells = seen.assign(seed=seen["seed"].fillna(_NO_SEED))
    grid = _grid(cells[place].drop_duplicates(), wanted)
    tasks = cells[["task", "title"]].drop_duplicates("task")
    every = tasks.merge(grid, how="cross").merge(cells[["task", *place, "why"]], on=["task", *place], how="left")
    keys = ["task", *place]
    marked = marks[[*keys, "why"]].drop_duplicates(keys, keep="last").rename(columns={"why": "mark"})
    used = pd.MultiIndex.from_frame(every[keys]).isin(pd.MultiIndex.from_frame(analysed[keys]))
    every = every.merge(marked, on=keys, how="left")
    every["state"] = pd.Series(MISSING, index=every.index).mask(every["why"].notna(), LEFT_OUT).mask(used, THERE)
    every.loc[used & every["mark"].notna(), "state"] = DISPUTED
    needless = {(task, model, _NO_SEED if seed is None else float(seed), step) for task, model, seed, step in settled}
    if needless:
        found = np.array([cell in needless for cell in every[keys].itertuples(index=False, name=None)], dtype=bool)
        every.loc[(every["state"] == MISSING) & found, "state"] = SETTLED
    every["why"] = every["mark"].where(every["state"] == DISPUTED, every["why"].fillna(""))
    every.loc[(every["state"] == LEFT_OUT) & (every["why"] == ""), "why"] = "not believed: see the notes"
    told = pd.DataFrame([_of_task(own) for _, own in every.groupby("task", sort=False)], columns=TASK_COLUMNS)
    gaps = every[every["state"] != THERE]
    gaps = gaps.assign(seed=gaps["seed"].replace(_NO_SEED, np.nan), step=gaps["step"].astype("int64"))
    return Coverage(told, gaps[CELL_COLUMNS].reset_index(drop=True), len(grid))


def coverage_sentences(coverage: Coverage) -> list[str]:
    """In one sentence how much of the grid has no result; none where all is there: notes tell what is left out."""
    missing, left = coverage.count(MISSING), coverage.count("left_out")
    settled, told = coverage.count(SETTLED), []
    if settled:
        told.append(
            f"Of {coverage.count('cells'):,} cells of the grid {settled:,} {'was' if settled == 1 else 'were'} not "
            "computed, because until=settled found the shape of their curves without them (a dip between two steps "
            "that are alike is not seen): “Coverage” says which."
        )
    if not missing:
        return told
    cells = f"{coverage.count('cells'):,} cells of the grid"
    grid = f"{counted(len(coverage.tasks), 'task')} x {counted(coverage.checkpoints, 'checkpoint')}"
    parts = [f"{missing:,} {'has' if missing == 1 else 'have'} no result"]
    parts += [f"{left:,} {'is' if left == 1 else 'are'} left out"] if left else []
    return [*told, f"Of {cells} ({grid}) {' and '.join(parts)}: “Coverage” says which."]


def _grid(seen: pd.DataFrame, wanted: Collection[Place] | None) -> pd.DataFrame:
    """The checkpoints of the grid: a row each, with model, seed and step."""
    if wanted is None:
        runs = seen[["model", "seed"]].drop_duplicates()
        had = seen["step"].value_counts()
        common = pd.DataFrame({"step": sorted(had.index[had > len(runs) / 2])}, dtype="float64")
        asked = runs.merge(common, how="cross")
    else:
        seeds = [(model, _NO_SEED if seed is None else float(seed), float(step)) for model, seed, step in wanted]
        asked = pd.DataFrame(seeds, columns=["model", "seed", "step"])
    order = {model: number for number, model in enumerate(seen["model"].unique())}
    grid = pd.concat([seen, asked], ignore_index=True).drop_duplicates()
    grid["_order"] = grid["model"].map(order).fillna(len(order))
    return grid.sort_values(["_order", "model", "seed", "step"], ignore_index=True).drop(columns="_order")


def _of_task(own: pd.DataFrame) -> list[Any]:
    """One task's row of `Coverage.tasks`."""
    states = own["state"].value_counts()
    counts = [int(states.get(state, 0)) for state in (THERE, LEFT_OUT, MISSING, DISPUTED, SETTLED)]
    counts[0] += counts[3]  # what is disputed is kept
    runs = len(own[["model", "seed"]].drop_duplicates())
    first = own.iloc[0]
    return [first["task"], first["title"], runs, own["step"].nunique(), len(own), *counts, "; ".join(_gaps(own))]


def _gaps(own: pd.DataFrame) -> Iterator[str]:
    """Which cells of a task are not plainly there, a part for each state and reason."""
    gaps = own[own["state"] != THERE]
    steps_of = _steps_of(own) if len(gaps) else {}
    for (state, why), cells in gaps.groupby(["state", "why"], sort=False):
        reason = f" ({why})" if why else ""
        yield f"{state}{reason}: {grouped(_steps_of(cells), steps_of)}"


def _steps_of(cells: pd.DataFrame) -> dict[Run, list[int]]:
    found: dict[Run, list[int]] = {}
    for model, seed, step in zip(*(cells[name].tolist() for name in ("model", "seed", "step")), strict=True):
        found.setdefault((str(model), float(seed)), []).append(int(step))
    return found


def grouped(missing: Mapping[Run, list[int]], grid: Mapping[Run, list[int]]) -> str:
    """Cells in few words: `every model at 8`, `pythia-12b at every step`, `pythia-70m and pythia-160m at 1 and 512`.

    Args:
        missing: Training run (model, seed) -> its steps to be named.
        grid: The same of all cells, which says what "every" is.
    """
    if missing == grid and len(grid) > 1:
        return "every cell"
    rest = {run: set(steps) for run, steps in missing.items()}
    everywhere: list[int] = []
    if len(grid) > 1 and len(rest) == len(grid):
        everywhere = sorted(set.intersection(*rest.values()))
    parts = [f"every model at {_steps(everywhere)}"] if everywhere else []
    same: dict[str, list[Run]] = {}
    for run, steps in rest.items():
        left = sorted(steps - set(everywhere))
        if left:
            whole = len(grid[run]) > 1 and len(missing[run]) == len(grid[run])
            same.setdefault("every step" if whole else _steps(left), []).append(run)
    for at, runs in same.items():
        names = [checkpoint_name({"model": m, "step": None, "seed": None if s == _NO_SEED else s}) for m, s in runs]
        parts.append(f"{listed(names, _MOST)} at {at}")
    return ", ".join(parts) if len(parts) <= _MOST else f"{', '.join(parts[:_MOST])} and {len(parts) - _MOST} more"


def _steps(steps: list[int]) -> str:
    return ("step " if len(steps) == 1 else "steps ") + listed([str(step) for step in steps], _MOST)
