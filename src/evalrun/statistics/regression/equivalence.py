"""Whether an effect that is not significant is shown to be small, or is undecided: equivalence tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from evalrun.statistics.multiplicity import adjusted
from evalrun.statistics.regression.model_frame import RegressionSettings
from evalrun.statistics.shapes.thresholds import smallest_changes

COLUMNS = ["margin", "p_equivalence", "q_equivalence", "verdict"]
EFFECT, SMALL, NONE, UNDECIDED = "effect", "small effect", "no effect of interest", "undecided"


def with_equivalence(
    effects: pd.DataFrame, table: pd.DataFrame, choice: RegressionSettings, smallest_effect: float
) -> pd.DataFrame:
    """Test each effect against a margin by two one-sided t-tests, with the error and df of its own method.

    The hypothesis to be rejected is that the effect per factor of ten is as large as the margin, or larger, either way.
    p is the larger of the two one-sided p; it is below alpha where the interval of 1 - 2 alpha lies within the margin.
    q corrects it over all effects of the method, as that of the effects' own tests.

    Args:
        effects: Rows of `interactions.fit_interactions`.
        table: Rows of `Prepared.table` that they were fitted to.
        choice: Level and corrections.
        smallest_effect: analysis.smallest_effect: the margin per factor of ten of a predictor (of both, for the
            interaction): points of a share, of any other metric this share of its median size.

    Returns:
        The effects with margin (in the metric's units), p_equivalence, q_equivalence and verdict: an effect; a small
        effect (significant, and shown to be below the margin); no effect of interest (not significant, and shown to be
        below it); undecided. All are missing, and the verdict is empty, where there is no test in these units: log-odds
        (quasibinomial), no t distribution (wild), no fit.

    Source: Schuirmann 1987; Lakens 2017, doi:10.1177/1948550617697177.
    """
    margins = pd.Series(smallest_changes(table, smallest_effect), index=table["task"]).groupby(level=0).first()
    found = effects.assign(margin=effects["task"].map(margins).astype("float64"), p_equivalence=np.nan)
    estimate, low, high = (found[name].to_numpy(dtype="float64") for name in ("estimate", "low", "high"))
    raw = found["raw_estimate"].to_numpy(dtype="float64")
    with np.errstate(all="ignore"):
        # An estimate of exactly 0 has its unit from its interval.
        unit = np.where(estimate != 0, raw / estimate, (found["raw_high"] - found["raw_low"]) / (high - low))
        error = found["stderr"].to_numpy(dtype="float64") * unit
        nearest = (found["margin"] - np.abs(raw)) / error
    p = pd.Series(stats.t.sf(nearest, found["df"]), index=found.index)
    can = found["p"].notna() & found["df"].notna() & p.notna() & (found["method"] != "quasibinomial")
    found["p_equivalence"] = p.where(can)
    found["margin"] = found["margin"].where(can)
    found["q_equivalence"] = _corrected(found, choice)
    return found.assign(verdict=_verdicts(found, choice.alpha))


def _corrected(found: pd.DataFrame, choice: RegressionSettings) -> pd.Series[float]:
    """The p corrected over the tests of each method, by the headline correction."""
    q = pd.Series(np.nan, index=found.index)
    for _, rows in found[found["p_equivalence"].notna()].groupby("method", sort=False):
        q[rows.index] = adjusted(rows["p_equivalence"].to_numpy(), choice.corrections[0], choice.alpha)
    return q


def _verdicts(found: pd.DataFrame, alpha: float) -> pd.Series[str]:
    """What the two tests say together; empty where there is no test against the margin."""
    significant, within = found["q"] < alpha, found["q_equivalence"] < alpha
    words = np.select([significant & within, significant, within], [SMALL, EFFECT, NONE], UNDECIDED)
    return pd.Series(words, index=found.index).where(found["q_equivalence"].notna(), "")
