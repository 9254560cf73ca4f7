"""Reading times of words: how much better a model's surprisal lets one predict them.

The field's measure (Goodkind & Bicknell 2018, "Predictive power of word surprisal for reading times is a linear
function of language model quality"; Wilcox et al. 2020, "On the predictive power of neural language models for human
real-time comprehension behavior"): the log-likelihood of reading times under a linear regression on the surprisal of a
word and of the word before it (what spills over) and on controls of both (length, log frequency, and their product),
less that under the controls alone. Here it is that of texts which the regressions have not seen (folds of whole texts),
in nats a word; its error is clustered by text. Above zero: surprisal helps to predict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evalrun.statistics.items.clusters import Codes
from evalrun.statistics.items.values import Floats
from evalrun.statistics.words.correlates import clustered_error

FOLDS = 10
FEWEST = 20  # words a column of the larger regression


@dataclass(frozen=True)
class ReadingGain:
    """What surprisal adds to the prediction of reading times."""

    gain: float  # nats a word, above 0 where surprisal helps; NaN where there are too few words or texts
    stderr: float
    df: int
    n: int  # words


def reading_gain(
    times: Floats, nats: Floats, controls: Sequence[Floats], texts: Codes, places: Codes, folds: int = FOLDS
) -> ReadingGain:
    """Compare the two regressions on words of which, and of the word before, everything is known.

    Args:
        times: (words,) reading times, NaN where there is none.
        nats: (words,) surprisal; NaN where it is not known.
        controls: (words,) each, such as length and log frequency.
        texts: (words,) the text of each, whose words stand in order.
        places: (words,) which word of its text each is; the one before it is that with a place less by one.
        folds: Of texts, where there are as many.
    """
    before = np.flatnonzero((texts[1:] == texts[:-1]) & (places[1:] == places[:-1] + 1))
    control = [*controls, *[controls[0] * other for other in controls[1:]]]
    plain = np.column_stack([np.ones(len(before)), *(one[at] for one in control for at in (before + 1, before))])
    both = np.column_stack([plain, nats[before + 1], nats[before]])
    own = times[before + 1]
    there = np.isfinite(own) & np.isfinite(both).all(axis=1)
    text = np.unique(texts[before[there]], return_inverse=True)[1]
    count = int(text.max(initial=-1)) + 1
    n = int(there.sum())
    if count < 2 or n < FEWEST * both.shape[1] or not np.ptp(own[there]) > 0:
        return ReadingGain(np.nan, np.nan, 0, n)
    fold = text % min(folds, count)
    each = _unseen(own[there], both[there], fold) - _unseen(own[there], plain[there], fold)
    gain = float(each.mean())
    return ReadingGain(gain, *clustered_error(each - gain, text), n)


def _unseen(times: Floats, design: Floats, fold: Codes) -> Floats:
    """(words,) normal log-likelihood of each time under the regression on all other folds."""
    center, spread = design.mean(axis=0), design.std(axis=0)
    scaled = np.where(spread > 0, (design - center) / np.where(spread > 0, spread, 1.0), 1.0)
    found = np.empty(len(times))
    for one in range(int(fold.max()) + 1):
        out = fold == one
        slopes, *_ = np.linalg.lstsq(scaled[~out], times[~out], rcond=None)
        variance = float(((times[~out] - scaled[~out] @ slopes) ** 2).mean())
        found[out] = -0.5 * (np.log(2 * np.pi * variance) + (times[out] - scaled[out] @ slopes) ** 2 / variance)
    return found
