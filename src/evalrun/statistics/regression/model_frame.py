"""What every regression of a task starts from: the settings, the usable rows, the z-scores and the clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.text import counted
from evalrun.statistics.regression.geometry import Array as Array
from evalrun.statistics.regression.geometry import Codes, Geometry, SharedGeometry, dense
from evalrun.statistics.shares import is_ratio

EFFECTS = ("parameters", "tokens", "interaction")
PARAMS = {"nominal": "n_params_nominal", "total": "n_params", "nonembedding": "n_params_nonembedding"}
AXES = {"tokens": "tokens", "flops": "flops"}
PREDICTORS = {"parameters": "model size", "tokens": "training step"}
_LABELS = ("task", "title", "cause", "higher_is_better")
# Share of the variance below which residuals are rounding errors, so that t = estimate / stderr means nothing.
_EXACT = 1e-22
_SURELY = 1e-8  # above which they are none, however the fit was rounded


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
    x: Array  # (rows, columns): intercept, the effects, then nuisance columns if any; sparse where tasks are pooled
    effects: tuple[str, ...]  # names of the columns 1, 2, ... of x that are asked about
    slope: int | None  # column of the training predictor, along which a model's rows are repeated; None without one
    groups: np.ndarray[Any, np.dtype[np.int64]]  # (rows,) which model a row is of: 0, 1, ...
    values: Array  # (rows,) the value itself
    items: Array  # (rows,) items that the value is a proportion of; NaN where unknown, below 0 where it is none
    per_ten: Array  # (effects,) a change by a factor of ten of the predictor(s), in their standard deviations
    spread: float  # standard deviation of the value
    shared: Geometry | None = None  # of x and groups, where other designs have the same

    @cached_property
    def geometry(self) -> Geometry:
        """What x and groups alone decide."""
        return self.shared or Geometry(self.x, self.groups, len(self.effects))

    @property
    def clusters(self) -> int:
        """Number of models."""
        return self.geometry.clusters

    def keep(self, rows: np.ndarray[Any, np.dtype[np.bool_]]) -> Design:
        """Only those rows, on the z-scores of all of them: an effect keeps its meaning."""
        codes = np.unique(self.groups[rows], return_inverse=True)[1]
        own = {name: getattr(self, name)[rows] for name in ("y", "x", "values", "items")}
        return replace(self, **own, groups=codes, shared=None)


@dataclass(frozen=True)
class TaskFrame:
    """One task: its name, its usable rows and what cannot be fitted."""

    labels: dict[str, Any]  # task, title, cause, higher_is_better
    design: Design | None  # None when nothing can be fitted
    exact: bool  # the values lie on the plane: there are no residuals
    notes: dict[str, str]  # effect -> what any fit of it must say first
    left_out: str  # and last: rows that could not be used
    count: int  # of the usable rows
    clusters: int  # number of models with usable rows
    table: pd.DataFrame  # of all tasks
    used: Codes  # which of its rows are the task's usable ones
    data: Mapping[str, Array]  # value, parameters and tokens of these, as of `predictors`

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The usable rows."""
        return self.table.iloc[self.used].reset_index(drop=True)


def task_frames(table: pd.DataFrame, choice: RegressionSettings) -> list[TaskFrame]:
    """Every task of the table, in its order.

    Predictors are log10 of the parameter count and of tokens (or FLOPs); these and the value are z-scored over the
    task's rows with the sample standard deviation (n - 1). A predictor that does not vary is left out.

    Args:
        table: Rows of `Prepared.table`: one for each task, model, seed and step.
        choice: Which parameter count and axis.
    """
    columns, shared = _Columns.of(table, choice), SharedGeometry()
    codes = pd.factorize(table["task"])[0]
    order = np.argsort(codes, kind="stable")
    pieces = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if len(order) else []
    return [_frame(columns, at, choice, shared) for at in pieces]


@dataclass(frozen=True)
class _Columns:
    """A table's columns as arrays, (rows,) each."""

    table: pd.DataFrame
    labels: dict[str, np.ndarray[Any, Any]]  # task, title, cause, higher_is_better
    numbers: dict[str, Array]  # value, parameters and tokens, as of `predictors`
    items: Array
    models: Codes  # a number for each suite and model
    usable: np.ndarray[Any, np.dtype[np.bool_]]

    @classmethod
    def of(cls, table: pd.DataFrame, choice: RegressionSettings) -> _Columns:
        """Those of the tidy table."""
        with np.errstate(divide="ignore", invalid="ignore"):  # rows that are not usable
            data = predictors(table, choice)
        return cls(
            table=table,
            labels={name: table[name].to_numpy(dtype=object) for name in _LABELS},
            numbers={str(name): np.ascontiguousarray(data[name].to_numpy()) for name in data},
            items=np.where(is_ratio(table), -1.0, table["n"].to_numpy(dtype="float64")),
            models=model_codes(table),
            usable=is_usable(table, choice).to_numpy(),
        )


def is_usable(rows: pd.DataFrame, choice: RegressionSettings) -> pd.Series[bool]:
    """Which rows have a value and positive predictors."""
    size, axis = PARAMS[choice.params], AXES[choice.axis]
    return rows["value"].notna() & (rows[size] > 0) & (rows[axis] > 0)


def predictors(rows: pd.DataFrame, choice: RegressionSettings) -> pd.DataFrame:
    """Columns value, parameters and tokens (or FLOPs, under the same name); the latter two as log10."""
    size, axis = (rows[name].astype("float64") for name in (PARAMS[choice.params], AXES[choice.axis]))
    return pd.DataFrame(
        {"value": rows["value"].astype("float64"), "parameters": np.log10(size), "tokens": np.log10(axis)}
    )


def model_codes(rows: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Which model each row is of, counted from 0; the seeds of a model are one cluster."""
    return np.asarray(rows.groupby(["suite", "model"], sort=False, observed=True).ngroup(), dtype=np.int64)


def _frame(columns: _Columns, at: Codes, choice: RegressionSettings, shared: SharedGeometry) -> TaskFrame:
    """One task's rows, design and notes; the design is None where the model cannot be fitted, and the notes say why.

    Args:
        columns: Of the table.
        at: The task's rows.
        choice: Which parameter count and axis.
        shared: Gives the geometry of rows that several tasks have.
    """
    used = at[columns.usable[at]]
    labels = {name: column[at[0]] for name, column in columns.labels.items()}
    what = "tokens" if choice.axis == "tokens" else "FLOPs"
    lost = len(at) - len(used)
    left_out = f"{counted(lost, 'row')} without a value, a parameter count or {what} left out" if lost else ""
    data = {name: values[used] for name, values in columns.numbers.items()}
    groups = np.asarray(pd.factorize(columns.models[used])[0], dtype=np.int64)
    constant = [name for name in PREDICTORS if is_constant(data[name])]
    why = unfit(data["value"], constant)
    design, flat = None, False
    if why is None:
        names = [name for name in PREDICTORS if name not in constant]
        design, flat = _design(data, groups, columns.items[used], names, shared)
        if design is None:
            why = "model sizes and training steps vary together: their effects cannot be told apart"
    notes = effect_notes(constant) if design is not None else dict.fromkeys(EFFECTS, why or "")
    clusters = int(groups.max()) + 1 if len(groups) else 0
    return TaskFrame(labels, design, flat, notes, left_out, len(used), clusters, columns.table, used, data)


def is_constant(values: Array) -> bool:
    """Whether all are one number, or there are none."""
    return bool((values == values[0]).all()) if len(values) else True


def effect_notes(constant: list[str]) -> dict[str, str]:
    """What to say of each effect of a task that can be fitted, whole or with one predictor alone."""
    if not constant:
        return dict.fromkeys(EFFECTS, "")
    alone = f"only one {PREDICTORS[constant[0]]}"
    kept = next(name for name in PREDICTORS if name not in constant)
    return {**dict.fromkeys(EFFECTS, f"{alone}: not fitted"), kept: f"{alone}: {kept} fitted alone"}


def unfit(values: Array, constant: list[str]) -> str | None:
    """Why nothing at all can be fitted to these values; None when something can."""
    n = len(values)
    coefficients = 4 - 2 * len(constant)  # intercept, two slopes, interaction; with one predictor, intercept and slope
    if n == 0:
        return "no usable rows"
    if len(constant) == 2:
        return "only one model size and only one training step"
    if np.ptp(values) <= 1e-12 * np.abs(values).max():
        return f"the value is constant ({values[0]:.4g} in all {n} rows)"
    if n <= coefficients:
        return f"too few points: {counted(n, 'row')} for {counted(coefficients, 'coefficient')}"
    return None


def _design(
    data: Mapping[str, Array], groups: Codes, items: Array, names: list[str], shared: SharedGeometry
) -> tuple[Design | None, bool]:
    """The design, or None when its columns depend on each other; and whether the fit is exact.

    Args:
        data: Value, parameters and tokens.
        groups: The model of each row.
        items: How many each value is a share of.
        names: The predictors that vary.
        shared: Gives the geometry of rows that several tasks have.
    """
    spread = {name: float(np.std(values, ddof=1)) for name, values in data.items()}
    z = {name: (values - values.mean()) / spread[name] for name, values in data.items() if name in ("value", *names)}
    x, effects = columns_of(z, names)
    geometry = shared.of(x, groups, effects)
    if geometry.rank < x.shape[1]:
        return None, False
    per_ten: Mapping[str, float] = {name: 1 / spread[name] for name in names}
    tens = {**per_ten, "interaction": float(np.prod(list(per_ten.values())))}
    design = Design(
        y=z["value"],
        x=geometry.x,
        effects=effects,
        slope=effects.index("tokens") + 1 if "tokens" in effects else None,
        groups=geometry.groups,
        values=data["value"],
        items=items,
        per_ten=np.array([tens[name] for name in effects]),
        spread=spread["value"],
        shared=geometry,
    )
    return design, exact(design.y, design.x)


def columns_of(z: Mapping[str, Array], names: Sequence[str]) -> tuple[Array, tuple[str, ...]]:
    """Intercept, the z-scored predictors and, of two, their product; and the effects that the columns stand for."""
    own = [z[name] for name in names]
    product = [own[0] * own[1]] if len(own) == 2 else []
    # Column after column in memory, as statsmodels' formulas lay them out: the last bits of a fit depend on it.
    x = np.asfortranarray(np.column_stack([np.ones(len(own[0])), *own, *product]))
    return x, EFFECTS if product else tuple(names)


def exact(y: Array, x: Array) -> bool:
    """Whether z-scores lie on the plane, so that residuals are rounding errors."""
    with np.errstate(all="ignore"):
        near = y - x @ (np.linalg.pinv(dense(x.T @ x), hermitian=True) @ (x.T @ y))  # no decomposition of all rows
    if near @ near > _SURELY * (len(y) - 1):
        return False
    residual = y - x @ np.linalg.lstsq(dense(x), y, rcond=None)[0]
    return bool(residual @ residual <= _EXACT * (len(y) - 1))


def join_notes(*parts: str) -> str:
    """Notes that say something, joined by `; `, each once."""
    return "; ".join(dict.fromkeys(part for part in parts if part))
