"""Labels that a publication gives its curves, beside those that are found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from evalrun.core.errors import AnalysisError, suggest
from evalrun.core.text import counted, listed
from evalrun.statistics.row_groups import Row
from evalrun.statistics.shapes.labels import LABELS, label_of, of_largest

AGREES, DIFFERS, OPEN, ABSENT = "agrees", "differs", "not decided", "no curve"
COLUMNS = ["task", "title", "expected", "found", "of", "verdict", "alike", "runs"]
TRAINING, SIZE = "training", "size"
_UNDECIDED = ("undecided", "too few points")
_MOST = 6  # tasks that a sentence names


def compare_labels(
    expected: Mapping[str, str], over: str, shapes: pd.DataFrame, size_shapes: pd.DataFrame
) -> pd.DataFrame:
    """Compare the labels that are expected with those of the curves.

    Over training the curve is that of the task's largest model (all of its seeds), and `alike` counts the training runs
    that have the expected label; over size it is the curve at the last step that has a label, and `alike` counts steps.

    Args:
        expected: Task -> label.
        over: training or size: which curves the labels are of.
        shapes: `labels.describe_shapes`.
        size_shapes: `labels.shapes_over_size`.

    Returns:
        A row for each label that is expected, with the columns of `COLUMNS`.

    Raises:
        AnalysisError: a label that there is not, or another axis.
    """
    if over not in (TRAINING, SIZE):
        raise AnalysisError(f"analysis.expected_over is '{over}': {suggest(over, (TRAINING, SIZE))}")
    known = [label for label in LABELS if label not in _UNDECIDED]
    wrong = [(task, label) for task, label in expected.items() if label not in known]
    if wrong:
        raise AnalysisError(
            [f"analysis.expected says '{label}' of {task}: {suggest(label, known)}" for task, label in wrong]
        )
    rows = []
    for task, label in expected.items():
        every = shapes if over == TRAINING else size_shapes
        own = every[every["task"] == task]
        if own.empty:
            rows.append([task, task, label, "", "", ABSENT, 0, 0])
            continue
        curves = of_largest(own)[task] if over == TRAINING else _last(own)
        found = label_of(curves)
        where = str(curves[0]["model"]) if over == TRAINING else f"step {curves[0]['step']:.0f}"
        verdict = AGREES if found == label else OPEN if found in _UNDECIDED else DIFFERS
        alike = int((own["label"] == label).sum())
        rows.append([task, str(own["title"].iloc[0]), label, found, where, verdict, alike, len(own)])
    return pd.DataFrame(rows, columns=COLUMNS)


def _last(curves: pd.DataFrame) -> list[Row]:
    """The curve over size at the last step that has enough sizes for a label; else at the last."""
    labelled = curves[curves["label"] != "too few points"]
    found: pd.DataFrame = labelled if len(labelled) else curves
    last: list[Row] = found[found["step"] == found["step"].max()].to_dict("records")
    return last


def expected_sentences(found: pd.DataFrame) -> Iterator[str]:
    """In how many tasks the label is the expected one, and which have another."""
    if found.empty:
        return
    number = found["verdict"].value_counts()
    agree, differ, undecided, absent = (int(number.get(verdict, 0)) for verdict in (AGREES, DIFFERS, OPEN, ABSENT))
    parts = [f"{agree} {'is' if agree == 1 else 'are'} found again"]
    if differ:
        named = [
            f"{row['title']} ({row['expected']}, found {row['found']})"
            for row in found[found["verdict"] == DIFFERS].to_dict("records")
        ]
        parts.append(f"{differ} {'is' if differ == 1 else 'are'} not: {listed(named, _MOST)}")
    if undecided:
        titles = listed([str(title) for title in found.loc[found["verdict"] == OPEN, "title"]], _MOST)
        parts.append(f"{undecided} {'is' if undecided == 1 else 'are'} not decided by these results ({titles})")
    if absent:
        tasks = listed([str(task) for task in found.loc[found["verdict"] == ABSENT, "task"]], _MOST)
        parts.append(f"{absent} {'is' if absent == 1 else 'are'} of no task of this study ({tasks})")
    yield f"Of {counted(len(found), 'expected label')} {'; '.join(parts)}."
