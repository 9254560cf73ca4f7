"""The page and the tables of a comparison of runs, and their run in MLflow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from evalrun.commands.compare.over_training import ComparedRuns
from evalrun.core.atomic import write_files
from evalrun.core.plain_names import slug
from evalrun.tracking import Store


def write_comparison(compared: ComparedRuns, folder: Path) -> dict[str, Path]:
    """Write report.html, the tables as CSV and LaTeX, and the figure as SVG, PNG and PDF.

    Args:
        compared: Two groups of runs.
        folder: Made if need be, files of the same names replaced.

    Returns:
        Path below the folder -> the file.

    Raises:
        StorageError: a file cannot be written.
    """
    from evalrun.reporting.runs_page import runs_contents

    labels = compared.labels
    contents = runs_contents(compared.found, labels, compared.settings, compared.axis, compared.notes)
    return write_files(folder, contents)


def file_in_store(compared: ComparedRuns, files: Mapping[str, Path], store: Store) -> str:
    """File the comparison as a run of `<suite>-report`, of B's suite.

    Args:
        compared: Two groups of runs.
        files: Of `write_comparison`.
        store: Where.

    Returns:
        The MLflow run's id.

    Raises:
        TrackingError: the store cannot be written.
    """
    metrics: dict[str, float] = {}
    for row in compared.found.tasks.to_dict("records"):
        name = slug(str(row["task"]))
        metrics |= {f"difference/{name}": row["difference"], f"low/{name}": row["low"], f"high/{name}": row["high"]}
    known = {key: float(value) for key, value in metrics.items() if math.isfinite(value)}
    params = {
        "a": ", ".join(one.name for one in compared.first),
        "b": ", ".join(one.name for one in compared.second),
        "matched": compared.axis,
        "allows_for": compared.found.bands.kind,
        "scored": compared.settings,
    }
    return store.log_report(compared.second[0].suite, files, known, params, {"evalrun.comparison": "runs"})
