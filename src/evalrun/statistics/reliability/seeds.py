"""What another training seed would have given: variance between seeds, and whether model sizes differ by more.

Of one task, y is the value of model m with seed s at step t. In the model

    y = mu(m, t) + a(m, s) + e(m, s, t)

mu is anything at all, a the lasting effect of a seed with variance sigma_a^2, and e what is left, with variance
sigma_e^2: noise of single checkpoints. Both come from the analysis of variance with seeds in rows and steps in columns,
sums of squares and degrees of freedom added over models (the method of moments; Searle, Casella & McCulloch 1992,
Variance Components, section 4.2; where all models have the same seeds and steps it is REML's estimate). Seeds answer
the same items, so that it says nothing of other items.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2, f, t

from evalrun.core.stages import stage

COLUMNS = [
    *("task", "title", "models", "seeds", "steps", "seed_sd", "residual_sd", "icc", "seed_p"),
    *("final_sd", "final_low", "final_high", "final_df"),
    *("smallest", "largest", "difference", "low", "high", "p", "exceeds", "note"),
]
_MODEL = ["task", "model"]


@stage("noise and seeds")
def seed_variance(table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Variance components of each task, and the difference between sizes set against them.

    Only steps that all seeds of a model have are used.

    Args:
        table: Rows of `Prepared.table`: one for each task, model, seed and step.
        alpha: Level of the test and one less the coverage of the intervals, in (0, 1).

    Returns:
        One row a task, in table order, with the columns of `COLUMNS`: models with two seeds or more, the most seeds and
        the most steps that one has; seed_sd and residual_sd, sigma_a and sigma_e in units of the value; icc, sigma_a^2
        / (sigma_a^2 + sigma_e^2), the correlation of two checkpoints of a seed; seed_p, the F test of sigma_a = 0;
        final_sd, the standard deviation between seeds at the last step, pooled over models, with its chi-squared
        interval on final_df degrees of freedom; difference, the largest model's mean there less the smallest's (each
        at its own last step), with the t interval and p-value that final_sd gives it; exceeds, whether p < alpha: the
        sizes differ by more than seeds do. NaN (exceeds: False) where it is not defined; the note says why.
    """
    if table.empty:
        return pd.DataFrame(columns=COLUMNS)
    rows = _complete(table)
    parts = _squares(rows)
    finals = _finals(table, rows)
    titles = table.drop_duplicates("task").set_index("task")["title"]
    found = [_of_task(str(task), title, parts, finals, alpha) for task, title in titles.items()]
    return pd.DataFrame(found, columns=COLUMNS)


def _complete(table: pd.DataFrame) -> pd.DataFrame:
    """Models with several seeds, at the steps that all of their seeds have."""
    rows = table[table["seed"].notna() & table["value"].notna()]
    seeds = rows.groupby(_MODEL, sort=False, observed=True)["seed"].transform("nunique")
    there = rows.groupby([*_MODEL, "step"], sort=False, observed=True)["seed"].transform("nunique")
    return rows[(seeds > 1) & (there == seeds)]


def _squares(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each task and model: seeds, steps, sums of squares between seeds and of what is left."""
    value = rows["value"]
    cell = rows.groupby([*_MODEL, "step"], sort=False, observed=True)["value"].transform("mean")
    run = rows.groupby([*_MODEL, "seed"], sort=False, observed=True)["value"].transform("mean")
    whole = rows.groupby(_MODEL, sort=False, observed=True)["value"].transform("mean")
    squares = rows[[*_MODEL, "seed", "step"]].assign(between=(run - whole) ** 2, rest=(value - cell - run + whole) ** 2)
    return squares.groupby(_MODEL, sort=False, observed=True).agg(
        seeds=("seed", "nunique"), steps=("step", "nunique"), between=("between", "sum"), rest=("rest", "sum")
    )


def _finals(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Of each task and model the final step: values, their mean and squares about it."""
    alone = table[~table.set_index(_MODEL).index.isin(rows.set_index(_MODEL).index)]
    used = pd.concat([rows, alone[alone["value"].notna()]])
    last = used[used["step"] == used.groupby(_MODEL, sort=False, observed=True)["step"].transform("max")]
    finals = last.groupby(_MODEL, sort=False, observed=True).agg(
        n_params=("n_params", "first"), count=("value", "size"), mean=("value", "mean"), variance=("value", "var")
    )
    finals["squares"] = (finals["variance"] * (finals["count"] - 1)).fillna(0.0)
    return finals


def _of_task(task: str, title: str, parts: pd.DataFrame, finals: pd.DataFrame, alpha: float) -> dict[str, Any]:
    found: dict[str, Any] = {"task": task, "title": title, "models": 0, "exceeds": False}
    if task not in parts.index.get_level_values("task"):
        return found | {"note": "one seed of every model: nothing to tell seeds by"}
    own, ends = (frame[frame.index.get_level_values("task") == task].droplevel("task") for frame in (parts, finals))
    found |= {"models": len(own), "seeds": int(own["seeds"].max()), "steps": int(own["steps"].max())}
    components, notes = _components(own)
    return found | components | _final(ends, alpha, notes) | {"note": "; ".join(notes)}


def _components(own: pd.DataFrame) -> tuple[dict[str, float], list[str]]:
    """Variance components by the method of moments: a lasting effect of the seed, and what differs by checkpoint.

    From the mean squares: seed = (between - rest) / steps, at least 0; the F test is of between / rest. Equal seeds
    leave rounding between them, a mean square below 1e-24. The model and its source are at the top of this module.

    Args:
        own: A row a model: seeds, steps, and the sums of squares between seeds and of the rest.

    Returns:
        seed_sd, residual_sd in the metric's units, icc, seed_p; what cannot be computed is left out, with a sentence.
    """
    df_seed = (own["seeds"] - 1).sum()
    df_rest = ((own["seeds"] - 1) * (own["steps"] - 1)).sum()
    if not df_rest:
        return {}, ["one step: the lasting part of a seed's effect cannot be told from the rest"]
    steps = ((own["seeds"] - 1) * own["steps"]).sum() / df_seed
    between, rest = own["between"].sum() / df_seed, own["rest"].sum() / df_rest
    seed = max((between - rest) / steps, 0.0)
    if between <= 1e-24:
        return {"seed_sd": 0.0, "residual_sd": float(np.sqrt(rest))}, ["all seeds give the same"]
    found = {
        "seed_sd": float(np.sqrt(seed)),
        "residual_sd": float(np.sqrt(rest)),
        "icc": float(seed / (seed + rest)),
        "seed_p": float(f.sf(between / rest, df_seed, df_rest)) if rest > 0 else 0.0,
    }
    return found, []


def _final(ends: pd.DataFrame, alpha: float, notes: list[str]) -> dict[str, Any]:
    """The spread of seeds at the last step, and whether the largest and the smallest model differ by more.

    Args:
        ends: A row a model: count of seeds, mean and sum of squares of their last values.
        alpha: Of intervals (chi-square, t) and test.
        notes: Gets what could not be computed.

    Returns:
        Standard deviations and differences in the metric's units.
    """
    df = int((ends["count"] - 1).sum())
    if df < 1:
        notes.append("no final step with several seeds")
        return {}
    squares = float(ends["squares"].sum())
    sd = float(np.sqrt(squares / df))
    low, high = np.sqrt(squares / chi2.ppf([1 - alpha / 2, alpha / 2], df))
    found: dict[str, Any] = {"final_sd": sd, "final_low": float(low), "final_high": float(high), "final_df": df}
    sized = ends[ends["n_params"].notna()].sort_values("n_params", kind="stable")
    if sized["n_params"].nunique() < 2:
        notes.append("one model size: no difference to compare with")
        return found
    small, large = sized.iloc[0], sized.iloc[-1]
    difference = float(large["mean"] - small["mean"])
    found |= {"smallest": small.name, "largest": large.name, "difference": difference}
    error = sd * float(np.sqrt(1 / small["count"] + 1 / large["count"]))
    if error <= 1e-12:
        notes.append("seeds do not differ at the end: no test")
        return found
    reach, p = float(t.ppf(1 - alpha / 2, df)) * error, float(2 * t.sf(abs(difference) / error, df))
    return found | {"low": difference - reach, "high": difference + reach, "p": p, "exceeds": p < alpha}
