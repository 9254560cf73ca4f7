"""The report's section on words: how their log-probabilities go with length and with lists of words, over training."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from evalrun.reporting.drawing import Drawing
from evalrun.reporting.section_tables import Section, SectionPicture, TableCell, address_of, interval_cell
from evalrun.reporting.small_multiples import drawn_over_training
from evalrun.statistics.findings import Findings
from evalrun.statistics.naming import run_name
from evalrun.statistics.words.correlates import ALL, PEARSON, R2

_MOST = 120  # rows in the page's table
REFERENCES = {
    "Words": "Correlations of words’ log-probabilities with what is known of words, over training (Michaelov, Levy & "
    "Bergen 2025, arXiv:2510.24963); errors clustered by text, from the influence of each word.",
}


def words_and_lists(study: Findings) -> Section | None:
    """Each predictor's correlation, and R2 of all, in every model; None where words are not looked at."""
    shown = _shown(study.word_correlates)
    if shown.empty:
        return None
    rows = list(_rows(shown))
    tasks = shown["task"].unique()
    return Section(
        "Words and what is known of them",
        "Pearson’s correlation of each word’s log-probability with its length and with lists of words, and the share "
        "of variance that all of them explain together (R²): at the first checkpoint, where it is strongest, and at "
        "the last, with intervals clustered by text. Spearman’s and coefficients are in tables/words.csv.",
        ["Task", "With", "Model", "words", "first", "strongest", "at step", "last"],
        rows[:_MOST],
        f"{_MOST} of {len(rows)} rows; all are in tables/words.csv." if len(rows) > _MOST else "",
        [_picture(study, str(task)) for task in tasks],
    )


def _shown(found: pd.DataFrame) -> pd.DataFrame:
    """What table and pictures are about."""
    if found.empty:
        return found
    return found[(found["measure"] == PEARSON) | ((found["predictor"] == ALL) & (found["measure"] == R2))]


def _name(predictor: str) -> str:
    return "all together (R²)" if predictor == ALL else predictor


def _rows(shown: pd.DataFrame) -> Iterator[list[TableCell]]:
    """A row a task, predictor and training run; what stands above is not said again."""
    before: tuple[str, ...] = ("", "")
    keys = ["task", "predictor", "n_params", "model", "seed"]
    for (_, predictor, *_), own in shown.groupby(keys, dropna=False, sort=False):
        own = own.sort_values("step")
        head = str(own["title"].iloc[0]), _name(str(predictor))
        rows = own.to_dict("records")
        first, strongest, last = rows[0], max(rows, key=lambda row: abs(row["value"])), rows[-1]
        cells = [interval_cell(row["value"], row["low"], row["high"]) for row in (first, strongest, last)]
        yield [
            TableCell("" if head[0] == before[0] else head[0]),
            TableCell("" if head == before else head[1]),
            TableCell(run_name(first)),
            TableCell(f"{first['n']:,}", "number"),
            *cells[:2],
            TableCell(f"{strongest['step']:,}", "number"),
            cells[2],
        ]
        before = head


def given_of_words(study: Findings, task: str) -> tuple[pd.DataFrame, str]:
    """What `words_drawing` draws of a task."""
    shown = _shown(study.word_correlates)
    own = shown[shown["task"] == task]
    return own.reset_index(drop=True), study.choice.axis


def words_drawing(found: pd.DataFrame, axis: str) -> Drawing:
    """A panel a predictor, a line a model.

    Args:
        found: Rows of `word_curves.CORRELATES` of one task.
        axis: Column across: tokens or flops.
    """
    names = found["predictor"].map(_name)
    both = found["predictor"].eq(ALL).any()
    drawn = {"metric": "Correlation, R²" if both else "Correlation", "chance": float("nan"), "higher_is_better": True}
    return drawn_over_training(found.assign(task=names, title=names, **drawn), axis)


def _picture(study: Findings, task: str) -> SectionPicture:
    found, axis = given_of_words(study, task)
    title = str(found["title"].iloc[0])
    return SectionPicture(
        f"Words of {title}",
        "A panel a predictor, a line a model",
        f"Correlations of the words of {title} over training, a line a model",
        address_of(words_drawing(found, axis).svg().encode()),
        kind="drawn",
    )
