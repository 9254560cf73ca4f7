"""Signal and noise of each task: do models differ by more than the checkpoints of one model do?

After Heineman et al. 2025, "Signal and noise: a framework for reducing uncertainty in language model evaluation"
(arXiv:2508.13144). With m_j the final value of model j and m the mean of these,

    signal = (max_j m_j - min_j m_j) / m

is the relative dispersion of models, and with v_1 ... v_k the values of one model's last k checkpoints and v their mean

    noise = sqrt(sum_i (v_i - v)^2 / (k - 1)) / v

is their relative standard deviation; their ratio is the signal-to-noise ratio. Values near the end of training should
differ by chance alone: where the last k checkpoints span more than a doubling of the tokens, what was learnt meanwhile
counts as noise too, and the note says so.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.stages import stage

COLUMNS = [
    *("task", "title", "models", "k", "doublings", "signal", "noise_model", "noise", "snr"),
    *("pooled_noise", "pooled_snr", "note"),
]
_CURVE = ["task", "model", "seed"]


@stage("noise and seeds")
def signal_to_noise(table: pd.DataFrame, k: int) -> pd.DataFrame:
    """The signal-to-noise ratio of each task.

    Args:
        table: Rows of `Prepared.table`: one for each task, model, seed and step.
        k: How many of the last checkpoints noise is measured over, 2 or more; of shorter curves all.

    Returns:
        One row a task, in table order, with the columns of `COLUMNS`: models, how many there are; k, the checkpoints
        that the largest model's noise is over (the fewest, if its seeds differ), and the doublings of the tokens that
        they span; signal; noise of the largest model (noise_model), with several seeds the root mean square of theirs;
        snr, signal by noise; pooled_noise, the root mean square of the standard deviations of all models and seeds by
        m, and pooled_snr, signal by that: steadier than what one model's few checkpoints say. Seeds of a model are
        averaged for the signal. NaN where it is not defined; the note says why.
    """
    if table.empty:
        return pd.DataFrame(columns=COLUMNS)
    rows = table.sort_values("tokens", kind="stable")
    last = rows.groupby(_CURVE, dropna=False, sort=False, observed=True).tail(k)
    curves = last.groupby(_CURVE, dropna=False, sort=False, observed=True).agg(
        title=("title", "first"),
        n_params=("n_params", "first"),
        final=("value", "last"),
        mean=("value", "mean"),
        sd=("value", "std"),
        k=("value", "size"),
        begin=("tokens", "first"),
        end=("tokens", "last"),
    )
    groups = dict(list(curves.reset_index().groupby("task", sort=False)))
    return pd.DataFrame([_of_task(groups[task], k) for task in table["task"].unique()], columns=COLUMNS)


def last_doubling(table: pd.DataFrame) -> int:
    """How many checkpoints lie in the last doubling of the tokens, in the middle curve; two at least.

    Further back, what was learnt meanwhile would count as noise.
    """
    curve = ["task", "model", "seed"]
    final = table.groupby(curve, dropna=False, observed=True)["tokens"].transform("max")
    late = table[table["tokens"] > final / 2].groupby(curve, dropna=False, observed=True).size()
    return max(2, int(late.median()))


def _of_task(curves: pd.DataFrame, k: int) -> dict[str, object]:
    """Signal to noise of one task: relative dispersion of the models' final values by that of the last checkpoints.

    Args:
        curves: A row a curve: final value, mean and standard deviation of its last checkpoints.
        k: How many last checkpoints were asked for.
    """
    finals = curves.groupby("model", sort=False, observed=True)["final"].mean()
    mean = finals.mean()
    signal = float(np.ptp(finals) / abs(mean)) if len(finals) > 1 and mean != 0 else np.nan
    largest = curves.sort_values("n_params", kind="stable", na_position="first")["model"].iloc[-1]
    own = curves[curves["model"] == largest]
    noise = _rms(own["sd"] / own["mean"].where(own["mean"] != 0))
    pooled = _rms(curves["sd"]) / abs(mean) if mean != 0 else np.nan
    doublings = float(np.log2(own["end"] / own["begin"]).max())
    return {
        "task": curves["task"].iloc[0],
        "title": curves["title"].iloc[0],
        "models": len(finals),
        "k": int(own["k"].min()),
        "doublings": doublings,
        "signal": signal,
        "noise_model": largest,
        "noise": noise,
        "snr": signal / noise if noise > 0 else np.nan,
        "pooled_noise": pooled,
        "pooled_snr": signal / pooled if pooled > 0 else np.nan,
        "note": _note(len(finals), float(mean), own, noise, doublings, k),
    }


def _rms(values: pd.Series[Any]) -> float:
    return float(np.sqrt((values.dropna() ** 2).mean()))


def _note(models: int, mean: float, own: pd.DataFrame, noise: float, doublings: float, k: int) -> str:
    """What makes the ratio doubtful or missing; empty if nothing does."""
    parts = []
    if models < 2:
        parts.append("one model: no signal")
    elif mean == 0:
        parts.append("the models' mean is 0: no relative dispersion")
    if own["k"].max() < 2:
        parts.append("one checkpoint of the largest model: no noise")
    elif np.isnan(noise):
        parts.append("the largest model's mean is 0: no relative noise")
    elif noise == 0:
        parts.append("the largest model's last values are equal: no ratio")
    if 2 <= own["k"].min() < k:
        parts.append(f"only {own['k'].min()} checkpoints")
    if doublings > 1 + 1e-6:
        parts.append(f"the checkpoints span {doublings:.1f} doublings: what was learnt meanwhile counts as noise")
    return "; ".join(parts)
