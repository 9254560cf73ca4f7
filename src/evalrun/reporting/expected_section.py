"""The report's table of expected labels: what a publication says of each task, and what is found."""

from __future__ import annotations

from evalrun.reporting.section_tables import Section, TableCell
from evalrun.statistics.expected import AGREES, TRAINING
from evalrun.statistics.findings import Findings


def expected_labels(study: Findings) -> Section | None:
    """Expected and found label of each task; nothing where none is expected."""
    found = study.expected
    if found.empty:
        return None
    training = study.expected_over == TRAINING
    about = (
        "Labels that analysis.expected gives curves over training, and those of the largest model’s curves here. The "
        "last column counts the curves of all models and seeds that have the expected label."
        if training
        else "Labels that analysis.expected gives curves over size, and those at the last step here. The last column "
        "counts the steps at which the expected label is found."
    )
    rows = []
    for row in found.to_dict("records"):
        verdict = TableCell(row["verdict"], "yes" if row["verdict"] == AGREES else "")
        alike = TableCell(f"{row['alike']} of {row['runs']}", "number")
        words = (row["title"], row["expected"], row["found"], row["of"])
        rows.append([*(TableCell(str(word)) for word in words), verdict, alike])
    heads = ["Task", "Expected", "Found", "In" if training else "At", "", "Curves alike"]
    return Section("Expected labels", f"{about} “Not decided” contradicts nothing.", heads, rows)
