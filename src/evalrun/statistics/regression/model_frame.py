"""What every regression of a task starts from: the settings, the usable rows, the z-scores and the clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.text import counted

Array = np.ndarray[Any, np.dtype[np.float64]]

EFFECTS = ("parameters", "tokens", "interaction")
PARAMS = {"nominal": "n_params_nominal", "total": "n_params", "nonembedding": "n_params_nonembedding"}
AXES = {"tokens": "tokens", "flops": "flops"}
PREDICTORS = {"parameters": "model size", "tokens": "training step"}
# Share of the variance below which residuals are rounding errors, so that t = estimate / stderr means nothing.
_EXACT = 1e-22


@dataclass(frozen=True)
class RegressionSettings:
    """What is fitted and how it is tested."""

    params: str  # a key of PARAMS: which parameter count is the predictor
    axis: str  # a key of AXES: the other predictor, training tokens or training compute
    methods: Sequence[str]  # names from interactions.METHODS; the first is the headline
    corrections: Sequence[str]  # as statsmodels' multipletests names them; the first is the headline
    alpha: float  # level of the tests; intervals are of 1 - alpha
    draws: int  # of the wild bootstrap, where it does not go through all sign patterns
    seed: int  # of the same


@dataclass(frozen=True)
class Design:
    """The usable rows of one task (or of several, pooled), ready for any estimator."""

    y: Array  # (rows,) z-scores of the value
    x: Array  # (rows, columns): intercept, the effects, then nuisance columns if any
    effects: tuple[str, ...]  # names of the columns 1, 2, ... of x that are asked about
    slope: int | None  # column of the training predictor, along which a model's rows are repeated; None without one
    groups: np.ndarray[Any, np.dtype[np.int64]]  # (rows,) which model a row is of: 0, 1, ...
    values: Array  # (rows,) the value itself
    items: Array  # (rows,) items that the value is a proportion of; NaN where unknown
    per_ten: Array  # (effects,) a change by a factor of ten of the predictor(s), in their standard deviations
    spread: float  # standard deviation of the value

    @property
    def clusters(self) -> int:
        """Number of models."""
        return int(self.groups.max()) + 1

    def keep(self, rows: np.ndarray[Any, np.dtype[np.bool_]]) -> Design:
        """Only those rows, on the z-scores of all of them: an effect keeps its meaning."""
        codes = np.unique(self.groups[rows], return_inverse=True)[1]
        return replace(
            self, y=self.y[rows], x=self.x[rows], groups=codes, values=self.values[rows], items=self.items[rows]
        )


@dataclass(frozen=True)
class TaskFrame:
    """One task: its name, its usable rows and what cannot be fitted."""

    labels: dict[str, Any]  # task, title, cause, higher_is_better
    rows: pd.DataFrame  # the usable rows
    design: Design | None  # None when nothing can be fitted
    exact: bool  # the values lie on the plane: there are no residuals
    notes: dict[str, str]  # effect -> what any fit of it must say first
    left_out: str  # and last: rows that could not be used

    @property
    def clusters(self) -> int:
        """Number of models with usable rows."""
        return self.rows.groupby(["suite", "model"], sort=False).ngroups


def task_frames(table: pd.DataFrame, choice: RegressionSettings) -> list[TaskFrame]:
    """Every task of the table, in its order.

    Predictors are log10 of the parameter count and of tokens (or FLOPs); these and the value are z-scored over the
    task's rows with the sample standard deviation (n - 1). A predictor that does not vary is left out.

    Args:
        table: Rows of `Prepared.table`: one for each task, model, seed and step.
        choice: Which parameter count and axis.
    """
    return [_frame(rows, choice) for _, rows in table.groupby("task", sort=False)]


def usable(rows: pd.DataFrame, choice: RegressionSettings) -> pd.DataFrame:
    """The rows that have a value and positive predictors."""
    size, axis = PARAMS[choice.params], AXES[choice.axis]
    return rows[rows["value"].notna() & (rows[size] > 0) & (rows[axis] > 0)].reset_index(drop=True)


def predictors(rows: pd.DataFrame, choice: RegressionSettings) -> pd.DataFrame:
    """Columns value, parameters and tokens (or FLOPs, under the same name); the latter two as log10."""
    size, axis = (rows[name].astype("float64") for name in (PARAMS[choice.params], AXES[choice.axis]))
    return pd.DataFrame(
        {"value": rows["value"].astype("float64"), "parameters": np.log10(size), "tokens": np.log10(axis)}
    )


def model_codes(rows: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Which model each row is of, counted from 0; the seeds of a model are one cluster."""
    return np.asarray(rows.groupby(["suite", "model"], sort=False).ngroup(), dtype=np.int64)


def _frame(rows: pd.DataFrame, choice: RegressionSettings) -> TaskFrame:
    """One task's rows, design and notes; the design is None where the model cannot be fitted, and the notes say why."""
    used = usable(rows, choice)
    first = rows.iloc[0]
    labels = {name: first[name] for name in ("task", "title", "cause", "higher_is_better")}
    what = "tokens" if choice.axis == "tokens" else "FLOPs"
    lost = len(rows) - len(used)
    left_out = f"{counted(lost, 'row')} without a value, a parameter count or {what} left out" if lost else ""
    data = predictors(used, choice)
    constant = [name for name in PREDICTORS if data[name].nunique() < 2]
    why = unfit(data, constant)
    design, flat = None, False
    if why is None:
        design, flat = _design(used, data, [name for name in PREDICTORS if name not in constant])
        if design is None:
            why = "model sizes and training steps vary together: their effects cannot be told apart"
    notes = effect_notes(constant) if design is not None else dict.fromkeys(EFFECTS, why or "")
    return TaskFrame(labels, used, design, flat, notes, left_out)


def effect_notes(constant: list[str]) -> dict[str, str]:
    """What to say of each effect of a task that can be fitted, whole or with one predictor alone."""
    if not constant:
        return dict.fromkeys(EFFECTS, "")
    alone = f"only one {PREDICTORS[constant[0]]}"
    kept = next(name for name in PREDICTORS if name not in constant)
    return {**dict.fromkeys(EFFECTS, f"{alone}: not fitted"), kept: f"{alone}: {kept} fitted alone"}


def unfit(data: pd.DataFrame, constant: list[str]) -> str | None:
    """Why nothing at all can be fitted; None when something can."""
    n = len(data)
    coefficients = 4 - 2 * len(constant)  # intercept, two slopes, interaction; with one predictor, intercept and slope
    if n == 0:
        return "no usable rows"
    if len(constant) == 2:
        return "only one model size and only one training step"
    if np.ptp(data["value"]) <= 1e-12 * np.abs(data["value"]).max():
        return f"the value is constant ({data['value'].iloc[0]:.4g} in all {n} rows)"
    if n <= coefficients:
        return f"too few points: {counted(n, 'row')} for {counted(coefficients, 'coefficient')}"
    return None


def _design(rows: pd.DataFrame, data: pd.DataFrame, names: list[str]) -> tuple[Design | None, bool]:
    """The design, or None when its columns depend on each other; and whether the fit is exact."""
    spread = data.std(ddof=1)
    z = (data - data.mean()) / spread
    x, effects = columns_of(z, names)
    if np.linalg.matrix_rank(x) < x.shape[1]:
        return None, False
    y = z["value"].to_numpy()
    per_ten: Mapping[str, float] = {name: 1 / float(spread[name]) for name in names}
    tens = {**per_ten, "interaction": float(np.prod(list(per_ten.values())))}
    design = Design(
        y=y,
        x=x,
        effects=effects,
        slope=effects.index("tokens") + 1 if "tokens" in effects else None,
        groups=model_codes(rows),
        values=rows["value"].to_numpy(dtype="float64"),
        items=rows["n"].to_numpy(dtype="float64"),
        per_ten=np.array([tens[name] for name in effects]),
        spread=float(spread["value"]),
    )
    return design, exact(y, x)


def columns_of(z: pd.DataFrame, names: Sequence[str]) -> tuple[Array, tuple[str, ...]]:
    """Intercept, the z-scored predictors and, of two, their product; and the effects that the columns stand for."""
    own = [z[name].to_numpy() for name in names]
    product = [own[0] * own[1]] if len(own) == 2 else []
    # Column after column in memory, as statsmodels' formulas lay them out: the last bits of a fit depend on it.
    x = np.asfortranarray(np.column_stack([np.ones(len(z)), *own, *product]))
    return x, EFFECTS if product else tuple(names)


def exact(y: Array, x: Array) -> bool:
    """Whether z-scores lie on the plane, so that residuals are rounding errors."""
    residual = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    return bool(residual @ residual <= _EXACT * (len(y) - 1))


def cluster_sums(design: Design, left: Array, right: Array) -> Array:
    """The products left' right of each cluster's rows: (clusters, columns of left, columns of right)."""
    order = np.argsort(design.groups, kind="stable")
    starts = np.searchsorted(design.groups[order], np.arange(design.clusters))
    products = left[order][:, :, None] * right[order][:, None, :]
    return np.asarray(np.add.reduceat(products, starts, axis=0), dtype="float64")


def join_notes(*parts: str) -> str:
    """Notes that say something, joined by `; `, each once."""
    return "; ".join(dict.fromkeys(part for part in parts if part))
