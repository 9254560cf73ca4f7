"""The report across families: one page with the figure over training compute and its numbers, and both as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from evalrun.core.atomic import write_files
from evalrun.core.stages import stage
from evalrun.core.version import __version__
from evalrun.reporting.csv_text import csv_text
from evalrun.reporting.families_drawing import drawn_over_compute
from evalrun.reporting.figure_files import EVERY_FORMAT, image_files
from evalrun.reporting.kept_pictures import KeptPictures
from evalrun.reporting.page_templates import page_template
from evalrun.reporting.scales import si
from evalrun.statistics.families import last_checkpoints
from evalrun.statistics.regression.model_frame import PARAMS
from evalrun.statistics.reliability.decisions import decision_accuracy
from evalrun.statistics.table import prepare
from evalrun.statistics.tuning.stage_rows import split

if TYPE_CHECKING:  # the settings' shape alone, so that the analysis runs without the configuration's libraries
    from evalrun.config.schema import AnalysisConf


@stage("across families")
def write_across(
    folder: Path, tables: Mapping[str, pd.DataFrame], conf: AnalysisConf, finals: Mapping[str, int] | None
) -> list[Path]:
    """`write_families` of tables as they are in the store.

    Args:
        folder: Made if need be, files of the same names replaced.
        tables: Name -> tidy table with the columns of `columns.TABLE_COLUMNS`, scored in one way.
        conf: Which metric, and when repeated results are one.
        finals: Model -> its last released step, where known.

    Returns:
        What lies in the folder now, the page first; nothing where no two suites, or families, have a task in common.

    Raises:
        AnalysisError: a family has no result to show.
        StorageError: a file cannot be written.
    """
    if len({str(table["suite"].iloc[0]) for table in tables.values()}) < 2:
        return []
    whole = {name: prepare(table, conf.metric, finals, conf.same_within).table for name, table in tables.items()}
    rows = {name: split(table, conf.fit_stages).fitted for name, table in whole.items()}
    scored = {name: str(table["settings"].iloc[0]) for name, table in tables.items()}
    page = write_families(folder, rows, scored, PARAMS[conf.params], conf.alpha)
    return [] if page is None else [page, *(path for path in folder.rglob("*") if path.is_file() and path != page)]


def write_families(
    folder: Path,
    families: Mapping[str, pd.DataFrame],
    scored: Mapping[str, str],
    size: str = "n_params_nominal",
    alpha: float = 0.05,
) -> Path | None:
    """Write report.html, families.csv and the figure as PNG, PDF and SVG; nothing where no task is shared.

    Of three families or more with sizes in common also decisions.csv: whether these order them as the largest does.

    Args:
        folder: Made if need be, files of the same names replaced.
        families: Name -> rows of `table.Prepared.table`.
        scored: Name -> how its results were scored, in a few words.
        size: Column of the parameters by which sizes of families are one.
        alpha: Of the intervals of decision accuracy.

    Returns:
        The page; None where no two families have a task in common.

    Raises:
        StorageError: a file cannot be written.
    """
    points, notes = last_checkpoints(families)
    if points.empty:
        return None
    if len(set(scored.values())) > 1:
        told = ", ".join(f"{name} by {how}" for name, how in scored.items())
        notes.insert(0, f"The families were not scored in the same way: {told}.")
    every = pd.concat([rows.assign(suite=name) for name, rows in families.items()], ignore_index=True)
    decisions = decision_accuracy(every, size, alpha)
    kept = KeptPictures(folder)
    images = kept.find("families", (points,)) or image_files("families", drawn_over_compute, (points,), EVERY_FORMAT)
    page = _page(points, notes, images["figures/families.svg"].decode(), decisions)
    images = {**images, **kept.receipts({"families": images})}
    tables = {"families.csv": csv_text(points)}
    tables |= {"decisions.csv": csv_text(decisions)} if len(decisions) else {}
    return write_files(folder, {**images, **tables, "report.html": page})["report.html"]


def _page(points: pd.DataFrame, notes: Sequence[str], svg: str, decisions: pd.DataFrame) -> str:
    """The page: the figure, what is to be known of it, its numbers, and whether small sizes order the families."""
    rows = [
        {
            **row,
            "size": si(row["n_params"]) if row["n_params"] > 0 else "–",
            "compute": f"{row['flops']:.2e}",
            "value": f"{row['value']:.3f}",
            "error": "–" if pd.isna(row["stderr"]) else f"{row['stderr']:.3f}",
        }
        for row in points.to_dict("records")
    ]
    return page_template("families.html.j2").render(
        families=list(dict.fromkeys(points["family"])),
        tasks=points["task"].nunique(),
        svg=svg[svg.index("<svg") :],
        rows=rows,
        notes=list(notes),
        decisions=[_decision(row) for row in decisions.to_dict("records")],
        version=__version__,
        light=[],
        dark=[],
    )


def _decision(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A line of the table of decision accuracy, as words."""
    share = f"{row['agree']:.2f} ({row['low']:.2f} to {row['high']:.2f})" if pd.notna(row["agree"]) else "–"
    return {**row, "small": si(row["size"]), "large": si(row["target"]), "share": share}
