"""The figures that lie beside the report, in the formats that papers take."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from evalrun.reporting.evidence_figure import evidence_figure
from evalrun.reporting.figures import STYLE, accuracy_figure, scaling_figure
from evalrun.reporting.shape_figures import size_grid, training_grid
from evalrun.statistics.findings import Findings
from evalrun.statistics.parallel import each
from evalrun.statistics.regression.interactions import PARAMS, RegressionSettings

Job = tuple[str, Callable[..., Figure], tuple[Any, ...], tuple[str, ...]]  # path, what draws it, of what, formats
OVERVIEWS = ("accuracy", "shapes", "scaling", "shapes_over_size")
PAPER = ("png", "pdf", "svg")
PAGE_OF_TASKS = 24  # that a page has room for
PAYS = 16  # figures from which on it pays to start processes
# Without a date and with fixed ids the same results give the same bytes.
_UNDATED: dict[str, dict[str, None]] = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


def drawn(study: Findings, figures: str) -> dict[str, bytes]:
    """Path below the report's folder -> the picture; figures over size only where there are several sizes.

    Args:
        study: What was found.
        figures: paper, all or none.
    """
    jobs = {"none": lambda _: [], "paper": _paper, "all": _all}[figures]
    images = each(image_files, jobs(study), PAYS)
    return {path: content for image in images for path, content in image.items()}


def folded(study: Findings, figures: str) -> list[str]:
    """What is to be said of tasks that the figures leave out."""
    tasks = study.table["task"].nunique()
    if figures != "paper" or tasks <= PAGE_OF_TASKS:
        return []
    return [
        f"The figures beside the report show {PAGE_OF_TASKS} of {tasks} tasks, those whose values differ most; the "
        "report shows every task, and analysis.figures=all draws them."
    ]


def _paper(study: Findings) -> list[Job]:
    """The figures that a paper prints, of as many tasks as a page has room for: those whose values differ most."""
    values = study.table.groupby("task", sort=False)["value"]
    kept = (values.max() - values.min()).sort_values(ascending=False, kind="stable").index[:PAGE_OF_TASKS]
    table, shapes, size_shapes = (
        rows[rows["task"].isin(kept)] for rows in (study.table, study.shapes, study.size_shapes)
    )
    return _overviews(study.choice, table.reset_index(drop=True), shapes, size_shapes, ("svg",))


def _all(study: Findings) -> list[Job]:
    """Every task in every figure, and for each the evidence for its shapes."""
    jobs = _overviews(study.choice, study.table, study.shapes, study.size_shapes, PAPER)
    found = dict(list(study.evidence.groupby("task", sort=False)))
    for task, rows in study.table.groupby("task", sort=False):
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", str(task))
        given = (rows, found[task], str(task), study.choice.axis)
        jobs.append((f"evidence/{name}", evidence_figure, given, ("png",)))
    return jobs


def _overviews(
    choice: RegressionSettings,
    table: pd.DataFrame,
    shapes: pd.DataFrame,
    size_shapes: pd.DataFrame,
    of_size: tuple[str, ...],
) -> list[Job]:
    """Curves and shapes over training, and over size where there are several.

    Args:
        choice: Which count and axis.
        table: Rows of the tasks to show.
        shapes: Their labels over training.
        size_shapes: Their labels over size.
        of_size: Formats of the figures over size.
    """
    size = PARAMS[choice.params]
    jobs: list[Job] = [
        ("accuracy", accuracy_figure, (table, choice.axis), PAPER),
        ("shapes", training_grid, (table, shapes), PAPER),
    ]
    if table.loc[table[size] > 0, size].nunique() > 1:
        jobs.append(("scaling", scaling_figure, (table, size), of_size))
        jobs.append(("shapes_over_size", size_grid, (table, size_shapes, choice.params), of_size))
    return jobs


def image_files(
    path: str, draw: Callable[..., Figure], given: tuple[Any, ...], kinds: tuple[str, ...]
) -> dict[str, bytes]:
    """Draw a figure and save it in each format: file name -> bytes, the same for the same input.

    Args:
        path: Its name below figures/, without an ending.
        draw: Makes the figure.
        given: Arguments of `draw`.
        kinds: Endings: pdf, png, svg.
    """
    images = {}
    with mpl.rc_context({**STYLE, "svg.hashsalt": "evalrun"}), warnings.catch_warnings():
        # A title in a script that the fonts lack shows boxes; that is no reason to fail.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = draw(*given)
        for kind in kinds:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=_UNDATED[kind])
            figure.set_layout_engine("none")  # laid out now: half of the time of the next format
            images[f"figures/{path}.{kind}"] = buffer.getvalue()
    return images
