"""The same regression over several tasks at once: by cause of inverse scaling, and over all tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from evalrun.core.stages import stage
from evalrun.core.text import counted
from evalrun.statistics.parallel import on_one_core
from evalrun.statistics.regression.geometry import dense
from evalrun.statistics.regression.interactions import NUMBERS, check, corrected, fit_design
from evalrun.statistics.regression.model_frame import (
    AXES,
    EFFECTS,
    PARAMS,
    PREDICTORS,
    Design,
    RegressionSettings,
    columns_of,
    effect_notes,
    exact,
    is_usable,
    join_notes,
    model_codes,
    predictors,
    unfit,
)

ALL = "all tasks"
METHOD = "cr2"
_ABOUT = ["cause", "tasks", "method", "effect"]


def pooled_columns(corrections: Sequence[str]) -> list[str]:
    """Columns of what `fit_pooled` returns."""
    return [*_ABOUT, *NUMBERS, "q", *(f"q_{name}" for name in corrections), "n", "clusters", "note"]


@stage("regression")
@on_one_core()
def fit_pooled(table: pd.DataFrame, choice: RegressionSettings) -> pd.DataFrame:
    """Fit z(value) ~ task + z(log10 parameters) * z(log10 tokens) over the tasks of each cause, and over all tasks.

    The value is z-scored within its task, turned round where lower is better, and each task has its own intercept;
    predictors are z-scored over the pool's rows. OLS with CR2 errors clustered by model (`clustered.fit_cr2`): a
    model's rows are dependent within and between tasks. The tasks are taken as given: with a few of them for each
    cause nothing can be said of further tasks, so that there are no clusters by task. Controls are left out.

    Args:
        table: Rows of `Prepared.table`.
        choice: Predictors, corrections and level; the methods play no part.

    Returns:
        Three rows (parameters, tokens, interaction) for each cause in table order, then for all tasks where that is
        another pool, with the columns of `pooled_columns`: as `interactions.fit_interactions` returns them, without
        raw_*, because tasks share no unit. `tasks` counts those pooled; q is corrected over all rows.

    Raises:
        AnalysisError: When a setting is none of those allowed.
    """
    check(choice)
    rows = table[table["role"] != "control"]
    if rows.empty:
        return pd.DataFrame(columns=pooled_columns(choice.corrections))
    pools = {str(cause): own for cause, own in rows.groupby("cause", sort=False) if cause}
    if not any(len(own) == len(rows) for own in pools.values()):
        pools[ALL] = rows
    found = [row for cause, own in pools.items() for row in _pool(cause, own, choice)]
    return corrected(pd.DataFrame(found, columns=pooled_columns(choice.corrections)), choice)


def _pool(cause: str, rows: pd.DataFrame, choice: RegressionSettings) -> list[dict[str, Any]]:
    """Three rows for a pool of tasks, NaN with a note where an effect cannot be fitted.

    Args:
        cause: That the tasks share, or the name of the pool.
        rows: Of the tidy table.
        choice: Predictors, corrections and level.
    """
    needed = ["suite", "model", "task", "value", "higher_is_better", PARAMS[choice.params], AXES[choice.axis]]
    used = rows.loc[is_usable(rows, choice), needed].reset_index(drop=True)
    turned = used["value"].where(used["higher_is_better"].astype(bool), -used["value"])
    by_task = turned.groupby(used["task"])
    centre, spread = by_task.transform("mean"), by_task.transform("std")
    varies = spread > 1e-12 * turned.abs().groupby(used["task"]).transform("max")
    flat = used.loc[~varies, "task"].nunique()
    used = used.assign(value=(turned - centre) / spread)[varies].reset_index(drop=True)
    note = f"{flat} task{'s' if flat > 1 else ''} with a constant value left out" if flat else ""
    data = predictors(used, choice)
    constant = [name for name in PREDICTORS if data[name].nunique() < 2]
    why = unfit(data["value"].to_numpy(), constant) or ""
    design = None if why else _design(used, data, [name for name in PREDICTORS if name not in constant])
    fit = None if design is None else fit_design(design, exact(design.y, design.x), METHOD, choice)
    if fit is None and not why:
        coefficients = 3 - 2 * len(constant) + used["task"].nunique()
        few = f"too few points: {counted(len(used), 'row')} for {counted(coefficients, 'coefficient')}"
        why = few if len(used) <= coefficients else "model sizes and training steps vary together"
    effects = () if design is None else design.effects
    notes = effect_notes(constant) if fit is not None else dict.fromkeys(EFFECTS, why)
    clusters = used.groupby(["suite", "model"], observed=True).ngroups
    base = {"cause": cause, "tasks": used["task"].nunique(), "method": METHOD, "n": len(used), "clusters": clusters}
    found = []
    for effect in EFFECTS:
        numbers, own = dict.fromkeys(NUMBERS, np.nan), ""
        if fit is not None and effect in effects:
            k = effects.index(effect)
            numbers, own = {name: float(getattr(fit, name)[k]) for name in NUMBERS}, fit.said(k)
        found.append({**base, "effect": effect, **numbers, "note": join_notes(notes[effect], own, note)})
    return found


def _design(rows: pd.DataFrame, data: pd.DataFrame, names: list[str]) -> Design | None:
    """Rows whose value is z-scored within tasks, an intercept for each task; None when columns depend on each other."""
    z = (data - data.mean()) / data.std(ddof=1)
    shared, effects = columns_of({name: z[name].to_numpy() for name in names}, names)
    tasks = pd.factorize(rows["task"])[0]
    own = np.flatnonzero(tasks > 0)
    intercepts = sparse.csr_array((np.ones(len(own)), (own, tasks[own] - 1)), shape=(len(rows), int(tasks.max())))
    x: Any = sparse.hstack([sparse.csr_array(shared), intercepts], format="csr")  # dense, a gigabyte a million rows
    if x.shape[0] <= x.shape[1] or np.linalg.matrix_rank(dense(x.T @ x), hermitian=True) < x.shape[1]:
        return None
    y = data["value"].to_numpy()
    return Design(
        y=y,
        x=x,
        effects=effects,
        slope=effects.index("tokens") + 1 if "tokens" in effects else None,
        groups=model_codes(rows),
        values=y,
        items=np.full(len(y), np.nan),
        per_ten=np.full(len(effects), np.nan),
        spread=1.0,
    )
