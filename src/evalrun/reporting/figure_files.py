"""The figures that lie beside the report, in the formats that papers take."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from evalrun.reporting.evidence_figure import evidence_figure
from evalrun.reporting.figures import STYLE, accuracy_figure, scaling_figure
from evalrun.reporting.shape_figures import size_grid, training_grid
from evalrun.statistics.findings import Findings
from evalrun.statistics.parallel import each
from evalrun.statistics.regression.interactions import PARAMS

Job = tuple[str, Callable[..., Figure], tuple[Any, ...], tuple[str, ...]]  # path, what draws it, of what, formats
PAPER = ("png", "pdf", "svg")
# Without a date and with fixed ids the same results give the same bytes.
_UNDATED: dict[str, dict[str, None]] = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


def drawn(study: Findings) -> dict[str, bytes]:
    """Path below the report's folder -> the picture; figures over size only where there are several sizes."""
    images = each(image_files, _jobs(study))
    return {path: content for image in images for path, content in image.items()}


def _jobs(study: Findings) -> list[Job]:
    """The figures of a report: name, function, its arguments and the formats."""
    table, choice = study.table, study.choice
    size = PARAMS[choice.params]
    jobs: list[Job] = [
        ("accuracy", accuracy_figure, (table, choice.axis), PAPER),
        ("shapes", training_grid, (table, study.shapes), PAPER),
    ]
    if table.loc[table[size] > 0, size].nunique() > 1:
        jobs.append(("scaling", scaling_figure, (table, size), PAPER))
        jobs.append(("shapes_over_size", size_grid, (table, study.size_shapes, choice.params), PAPER))
    found = dict(list(study.evidence.groupby("task", sort=False)))
    for task, rows in table.groupby("task", sort=False):
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", str(task))
        jobs.append((f"evidence/{name}", evidence_figure, (rows, found[task], str(task), choice.axis), ("png",)))
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
