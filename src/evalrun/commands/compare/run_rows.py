"""The results of two groups of runs: the rows that are compared, and what they are matched by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from evalrun.commands.compare.run_groups import StoredRun
from evalrun.config.schema import AnalysisConf
from evalrun.core.errors import AnalysisError
from evalrun.core.text import listed
from evalrun.grid.logged_losses import losses_of_logs

if TYPE_CHECKING:
    import pandas as pd


def rows_of_runs(rows: pd.DataFrame, runs: Sequence[StoredRun]) -> pd.Series[bool]:
    """Which rows are of some runs."""
    import pandas as pd

    places = {(one.suite, one.model, one.seed) for one in runs}
    seeds = [None if pd.isna(seed) else int(seed) for seed in rows["seed"]]
    own = [place in places for place in zip(rows["suite"], rows["model"], seeds, strict=True)]
    return pd.Series(own, index=rows.index, dtype=bool)


def rows_of_tasks(
    table: pd.DataFrame, tasks: Sequence[str] | None, runs: Sequence[StoredRun]
) -> tuple[pd.DataFrame, list[str]]:
    """The rows of the wanted tasks that were asked with equally many examples everywhere, and notes."""
    notes = []
    if tasks is not None:
        there = set(table["task"])
        if not there & set(tasks):
            raise AnalysisError(
                f"the runs have no results of {listed(tasks, 4)}: they have {listed(sorted(there), 6)}."
            )
        notes += [f"No run has results of {listed(missing)}." for missing in [sorted(set(tasks) - there)] if missing]
    shots: dict[str, set[int | None]] = {}
    for entry in (entry for one in runs for entry in one.entries):
        for task, held in entry.entries.items():
            shots.setdefault(task, set()).add(held.fewshot)
    wanted = set(table["task"]) if tasks is None else set(tasks)
    unlike = sorted(task for task in wanted if len(shots.get(task, ())) > 1)
    for task in unlike:
        asked = listed(sorted("no" if one in (None, 0) else str(one) for one in shots[task]))
        notes.append(f"{task} is left out: asked with {asked} examples.")
    rows = table[table["task"].isin(wanted - set(unlike))]
    if rows.empty:
        raise AnalysisError(" ".join(["the runs have no task to compare.", *notes]))
    return rows, notes


def matched_by(rows: pd.DataFrame, raw: pd.DataFrame, at: str, conf: AnalysisConf) -> tuple[pd.DataFrame, str, str]:
    """The rows with what is matched: which column, and what it is called.

    Args:
        rows: Of `Prepared.table`.
        raw: The tidy table that they were prepared from.
        at: tokens, flops, loss, or a source as `analysis.x` names it.
        conf: Where the loss is, if it is to be found there.

    Raises:
        AnalysisError: no loss, or none on these checkpoints.
    """
    from evalrun.statistics.over_loss.loss_rows import with_loss

    if at in ("tokens", "flops"):
        return rows, at, {"tokens": "tokens", "flops": "FLOPs"}[at]
    if at == "loss" and conf.x is None:
        lower = rows.loc[~rows["higher_is_better"].astype(bool), "task"].unique()
        if len(lower) != 1:
            which = f"one of {listed(sorted(lower), 4)}" if len(lower) else "no task of them has one"
            raise AnalysisError(f"at=loss needs to know which loss ({which}): write at=loss:TASK or at=log:FILE.")
        conf = replace(conf, x=f"loss:{lower[0]}")
    found = with_loss(rows, raw, conf, losses_of_logs(conf.x, raw))
    assert found is not None  # a loss was asked for
    return found.table, "loss", found.name


def shared_weights(rows: pd.DataFrame) -> list[str]:
    """A sentence about checkpoints of several runs with the same weights, as where runs branch; or none.

    Args:
        rows: Of `Prepared.table`.
    """
    known = rows.loc[rows["weights"] != "", ["suite", "model", "seed", "step", "weights"]].drop_duplicates()
    alike = known[known.duplicated("weights", keep=False)]
    if alike.empty:
        return []
    steps = sorted(alike["step"].unique())
    return [
        f"{alike['weights'].nunique()} checkpoints of one run have the weights of another's (steps {steps[0]:.0f} to "
        f"{steps[-1]:.0f}): runs that branch, or one under two names."
    ]
