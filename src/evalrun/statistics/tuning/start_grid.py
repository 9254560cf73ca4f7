"""The same tuning from several checkpoints of pretraining: does more pretraining make the tuned model worse?

Springer et al. 2025 ("Overtrained language models are harder to fine-tune", arXiv:2503.19206) tune the checkpoints of a
pretraining alike, and find that beyond some number of tokens the tuned models get worse while the bases get better.
A tuned model's value against the tokens of its pretraining is a curve like any other. Its falls are found and tested by
the decision about moves that all curves have (`decision`), with its own correction over these curves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pandas as pd

from evalrun.statistics.naming import run_name

COLUMNS = [
    *("task", "title", "model", "n_params", "seed", "stage", "start_step", "start_tokens", "metric"),
    *("higher_is_better", "before", "before_stderr", "after", "after_stderr", "stage_step", "n"),
]
Judge = Callable[[pd.DataFrame], pd.DataFrame]  # curves over training -> `find_falls` of them


@dataclass(frozen=True)
class StartGrid:
    """What came of the same tuning from several starts."""

    table: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=COLUMNS))  # a row a start, task and model
    falls: pd.DataFrame = field(default_factory=pd.DataFrame)  # find_falls of the tuned models, over their starts
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)  # of both curves, to be drawn: `model` says which


def start_grid(rows: pd.DataFrame, judge: Judge) -> StartGrid:
    """Set the tuned models against the tokens of pretraining that they were started from.

    Args:
        rows: Of `table.Prepared.table`, side branches too.
        judge: Finds the falls of the tuned models' curves.

    Returns:
        Empty where no stage was started from two steps or more.
    """
    if "stage" not in rows.columns:
        return StartGrid()
    of_grids = rows[rows["stage"].str.contains("@")]
    if of_grids.empty:
        return StartGrid()
    tuned = _tuned(of_grids)
    starts = tuned.groupby(["task", "model", "seed"], dropna=False)["step"].transform("nunique")
    tuned = tuned[starts > 1].reset_index(drop=True)
    if tuned.empty:
        return StartGrid()
    base = rows[(rows["trunk"] == "") & (rows["stage"] == "")]
    place = ["task", "_of", "seed", "step"]
    known = base.rename(columns={"model": "_of", "value": "before", "stderr": "before_stderr"})
    joined = tuned.merge(known[[*place, "before", "before_stderr"]], on=place, how="left")
    table = joined.assign(model=joined["_of"], stage=joined["_stage"]).rename(
        columns={"step": "start_step", "tokens": "start_tokens", "value": "after", "stderr": "after_stderr"}
    )
    shown = base[base["task"].isin(tuned["task"]) & base["model"].isin(tuned["_of"])]
    curves = tuned.drop(columns=["_of", "_stage"])
    return StartGrid(table[COLUMNS], judge(curves), pd.concat([shown, curves], ignore_index=True))


def _tuned(rows: pd.DataFrame) -> pd.DataFrame:
    """The last checkpoint of each tuning as a point of a curve over starts: `model` is then MODEL after STAGE."""
    run = ["task", "model", "seed", "stage"]
    last = rows[rows["step"] == rows.groupby(run, dropna=False)["step"].transform("max")]
    stage, of = last["stage"].str.partition("@")[0], last["trunk"].where(last["trunk"] != "", last["model"])
    flops = last["flops"] * last["stage_tokens"] / last["tokens"]
    found = last.assign(_of=of, _stage=stage, model=of + " after " + stage, step=last["stage_from"], flops=flops)
    found = found.assign(tokens=last["stage_tokens"], stage="", trunk="")
    return found.sort_values(["task", "n_params", "model", "seed", "step"], kind="stable")


def start_sentences(found: StartGrid) -> Iterator[str]:
    """Where more pretraining makes the tuned model worse, with the base beside it; or that it does so nowhere shown."""
    if found.table.empty:
        return
    falls = found.falls[found.falls["falls"].astype(bool)]
    for row in falls.to_dict("records"):
        model, _, stage = str(row["model"]).rpartition(" after ")
        own = found.table[(found.table["task"] == row["task"]) & (found.table["model"] == model)]
        own = own[(own["stage"] == stage) & ((own["seed"] == row["seed"]) | pd.isna(row["seed"]))]
        base = own.set_index("start_step")["before"]
        beside = [base.get(row[end]) for end in ("peak_step", "trough_step")]
        known = not any(value is None or pd.isna(value) for value in beside)
        before = f"; before tuning {beside[0]:.2f} and {beside[1]:.2f}" if known else ""
        yield (
            f"More pretraining makes {run_name({**row, 'model': model})} worse after {stage} in {row['title']}: "
            f"{row['peak_value']:.2f} tuned from step {row['peak_step']:.0f}, {row['trough_value']:.2f} from step "
            f"{row['trough_step']:.0f} (q {row['q']:.2g}){before}."
        )
    if falls.empty:
        yield f"In none of {len(found.falls)} curves is more pretraining shown to make the tuned model worse."
