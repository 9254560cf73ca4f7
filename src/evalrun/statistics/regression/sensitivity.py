"""How the effects fare under other choices that one could have made: counts, the scale, each model left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from evalrun.core.stages import stage
from evalrun.statistics.regression.interactions import fit_interactions
from evalrun.statistics.regression.model_frame import PARAMS, RegressionSettings

COLUMNS = [
    *("task", "title", "effect", "kind", "variant", "method", "estimate", "t", "df", "p", "q"),
    *("significant", "same_sign", "n", "clusters", "axis", "higher_is_better", "note"),
]
CHOSEN, COUNT, SCALE, WITHOUT = "as chosen", "parameters", "scale", "without"
_QUICK = ("ols", "hc3", "cluster", "cr2")  # others take long, or draw at random


@dataclass(frozen=True)
class _Variant:
    """One other way to fit the same tasks."""

    kind: str  # CHOSEN, COUNT, SCALE or WITHOUT
    name: str  # the count, logit, or the model that is left out
    rows: pd.DataFrame
    choice: RegressionSettings


@stage("sensitivity")
def sensitivity(table: pd.DataFrame, choice: RegressionSettings) -> pd.DataFrame:
    """Fit each task again with the other parameter counts, on the logit scale, and without each model.

    The method is the headline where that is quick, else CR2; q is corrected over the tests of a variant. The logit is
    the empirical one of the share v of n items, log((v n + 1/2) / (n - v n + 1/2)) (Haldane 1956, Annals of Human
    Genetics 20:309-311), of tasks whose values are shares of a known number of items. A count that some model lacks,
    that is the same for all, or that is another one's equal in every model, is left out.

    Args:
        table: Rows of `Prepared.table`.
        choice: Predictors, methods, corrections and level of the analysis.

    Returns:
        One row for each task, effect and variant, the analysis itself first, with the columns of `COLUMNS`: significant
        says whether q is below the level, same_sign whether the estimate has the sign that it has as chosen. Signs are
        in the metric's own direction.
    """
    method = choice.methods[0] if choice.methods[0] in _QUICK else "cr2"
    own = replace(choice, methods=[method], corrections=[choice.corrections[0]])
    found = []
    for variant in _variants(table, own):
        effects = fit_interactions(variant.rows, variant.choice)
        found.append(effects.assign(kind=variant.kind, variant=variant.name))
    frame = pd.concat(found, ignore_index=True)
    frame["significant"] = frame["q"] < choice.alpha
    key = ["task", "effect"]
    chosen = frame.loc[frame["kind"] == CHOSEN].set_index(key)["estimate"]
    base = chosen.reindex(pd.MultiIndex.from_frame(frame[key])).to_numpy()
    frame["same_sign"] = np.sign(frame["estimate"].to_numpy()) == np.sign(base)
    order = {task: k for k, task in enumerate(table["task"].drop_duplicates())}
    frame["_order"] = frame["task"].map(order)
    return frame.sort_values("_order", kind="stable")[COLUMNS].reset_index(drop=True)


def _variants(table: pd.DataFrame, choice: RegressionSettings) -> Iterator[_Variant]:
    """The analysis itself, then what differs from it in one thing each."""
    yield _Variant(CHOSEN, choice.params, table, choice)
    seen = [table[PARAMS[choice.params]].to_numpy()]
    for name, column in PARAMS.items():
        counts = table[column].to_numpy(dtype="float64")
        known = (counts > 0).all() and len(np.unique(counts)) > 1
        if name == choice.params or not known or any(np.array_equal(counts, other) for other in seen):
            continue
        seen.append(counts)
        yield _Variant(COUNT, name, table, replace(choice, params=name))
    shares = _shares(table)
    if len(shares):
        right = shares["value"] * shares["n"]
        value = np.log((right + 0.5) / (shares["n"] - right + 0.5))
        yield _Variant(SCALE, "logit", shares.assign(value=value), choice)
    models = table["model"].drop_duplicates().tolist()
    for model in models if len(models) > 1 else []:
        yield _Variant(WITHOUT, str(model), table[table["model"] != model], choice)


def _shares(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the tasks whose values are shares of a known number of items."""
    fine = table["value"].between(0, 1) & (table["n"] > 0) & table["higher_is_better"].astype(bool)
    return table[fine.groupby(table["task"]).transform("all")]
