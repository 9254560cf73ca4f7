"""Methods of the regression beside one another: ratios of their errors, and which of them could pass at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from evalrun.statistics.multiplicity import adjusted
from evalrun.statistics.regression.model_frame import RegressionSettings
from evalrun.statistics.regression.wild import smallest_p

RATIO_COLUMNS = ["task", "title", "effect", "method", "ratio", "ols_q", "q", "lost"]
_CLUSTERED = ("cr2", "cluster")


def error_ratios(effects: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Standard errors clustered by model over those of OLS, effect by effect.

    Above 1 the checkpoints of a model go together in a way that OLS does not know of, and OLS is too sure; below 1 it
    is too cautious, as it is of slopes within models where models have levels of their own, or the models are too few
    for the clustered error to be exact. The degrees of freedom differ too, so that an effect may be lost at a ratio
    below 1.

    Args:
        effects: What `fit_interactions` returns.
        alpha: Level of q.

    Returns:
        One row for each task and effect that both could test, with the columns of `RATIO_COLUMNS`: the clustered
        method (CR2 where it was fitted, else CR1), the ratio, q by OLS and by that method, and lost: significant by
        OLS alone. Empty where one of the two was not asked for.
    """
    method = next((name for name in _CLUSTERED if (effects["method"] == name).any()), "")
    key = ["task", "title", "effect"]
    plain = effects.loc[effects["method"] == "ols", [*key, "stderr", "q"]]
    own = effects.loc[effects["method"] == method, [*key, "stderr", "q"]]
    both = plain.merge(own, on=key, suffixes=("_ols", "_own")).dropna()
    found = both.assign(
        method=method,
        ratio=both["stderr_own"] / both["stderr_ols"],
        ols_q=both["q_ols"],
        q=both["q_own"],
        lost=(both["q_ols"] < alpha) & (both["q_own"] >= alpha),
    )
    return found[RATIO_COLUMNS].reset_index(drop=True)


@dataclass(frozen=True)
class Reach:
    """What a method could find at best."""

    least_p: float  # no p of it can be smaller
    least_q: float  # no q of it could have been smaller, had as many effects its smallest p as the headline finds
    needed_t: float  # that a lone effect must exceed after the correction; NaN where p comes from no t distribution
    df: float  # the fewest degrees of freedom behind it


def reach_of(effects: pd.DataFrame, method: str, found: int, choice: RegressionSettings) -> Reach:
    """What a method could have found with as many models as there are.

    The wild bootstrap's p-values are shares of sign patterns: of few models there are few patterns. By the others p may
    become as small as one likes, but with few degrees of freedom only for an enormous t.

    Args:
        effects: What `fit_interactions` returns.
        method: One that could test something.
        found: How many effects are significant by the headline method.
        choice: Corrections, level and draws.
    """
    rows = effects[(effects["method"] == method) & effects["p"].notna()]
    least = smallest_p(int(rows["clusters"].max()), choice.draws, choice.seed) if method == "wild" else 0.0
    name, tests = choice.corrections[0], len(rows)
    best = np.where(np.arange(tests) < max(found, 1), least, 1.0)
    q = float(adjusted(best, name, choice.alpha).min())
    df = float(rows["df"].min())
    needed = float(stats.t.isf(choice.alpha / tests / 2, df)) if np.isfinite(df) else np.nan
    return Reach(least, q, needed, df)
