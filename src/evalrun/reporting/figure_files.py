"""The figures that lie beside the report: which they are, of which tasks, and in which formats."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from evalrun.core.columns import STAGE_COLUMNS
from evalrun.core.plain_names import slug
from evalrun.reporting.drawing import Drawing
from evalrun.reporting.drawing_files import figure_bytes, saved
from evalrun.reporting.evidence_figure import evidence_figure
from evalrun.reporting.heat_map_figure import given_of, heat_map_figure
from evalrun.reporting.kept_pictures import KeptPictures
from evalrun.reporting.loss_drawing import drawn_over_loss
from evalrun.reporting.loss_section import given_over_loss
from evalrun.reporting.parts_section import divided_ways, given_of_parts, parts_drawing
from evalrun.reporting.shape_figures import size_grid, training_grid
from evalrun.reporting.small_multiples import drawn_over_size, drawn_over_training
from evalrun.reporting.tasks_of_a_page import tasks_of_a_page
from evalrun.reporting.tuning_section import given_of_starts
from evalrun.reporting.word_section import given_of_words, words_drawing
from evalrun.statistics.dynamics.item_dynamics import ItemDynamics
from evalrun.statistics.findings import Findings
from evalrun.statistics.parallel import each
from evalrun.statistics.regression.interactions import PARAMS, RegressionSettings

OVERVIEWS = ("accuracy", "shapes", "scaling", "shapes_over_size", "over_loss", "stage_starts")
EVERY_FORMAT = ("svg", "png", "pdf")
PAYS = 16  # figures from which on it pays to start processes
_SEEN = [  # columns of the table that a figure shows
    *("task", "title", "cause", "role", "metric", "higher_is_better", "chance", "model", "seed", "step"),
    *("tokens", "flops", "n_params_nominal", "n_params", "n_params_nonembedding", "value", "stderr"),
]


@dataclass(frozen=True)
class Picture:
    """A figure that is asked for."""

    name: str  # path below figures/, without an ending
    draw: Callable[..., Drawing | Figure]
    given: tuple[Any, ...]  # what `draw` takes
    kinds: tuple[str, ...] = ("svg",)  # formats


def drawn(study: Findings, figures: str, out: Path) -> dict[str, bytes]:
    """Path below the report's folder -> the picture; figures over size only where there are several sizes.

    Pictures that lie there already, made from the same by the same code, are taken as they are.

    Args:
        study: What was found.
        figures: paper, all or none.
        out: The report's folder, with what an earlier analysis left.
    """
    pictures = {"none": lambda _: [], "paper": _paper, "all": _all}[figures](study)
    kept = KeptPictures(out)
    known = {one.name: kept.find(one.name, (one.draw.__name__, one.given, one.kinds)) for one in pictures}
    new = [one for one in pictures if known[one.name] is None]
    made = each(image_files, [(one.name, one.draw, one.given, one.kinds) for one in new], PAYS)
    known |= {one.name: images for one, images in zip(new, made, strict=True)}
    images = {one.name: known[one.name] or {} for one in pictures}
    files = {path: content for own in images.values() for path, content in own.items()}
    return {**files, **kept.receipts(images)}


def folded(study: Findings, figures: str) -> list[str]:
    """What is to be said of tasks that the figures leave out."""
    tasks, shown = study.table["task"].nunique(), len(tasks_of_a_page(study.table))
    if figures != "paper" or tasks == shown:
        return []
    return [
        f"The figures beside the report show {shown} of {tasks} tasks, those whose values differ most; the "
        "report shows every task, and analysis.figures=all draws them."
    ]


def _paper(study: Findings) -> list[Picture]:
    """Figures of as many tasks as a page has room for, those whose values differ most; the first as papers take it."""
    kept = tasks_of_a_page(study.table)
    table, shapes, size_shapes = (
        rows[rows["task"].isin(kept)] for rows in (study.table, study.shapes, study.size_shapes)
    )
    falling = [one for one in study.dynamics.tasks if one.task in set(kept) and len(one.distractors)]
    return [
        *_overviews(study.choice, table.reset_index(drop=True), shapes, size_shapes, ("svg",)),
        *map(_answers, falling),
        *_parts(study, set(kept)),
        *_over_loss(study),
        *_words(study),
        *_starts(study),
    ]


def _answers(found: ItemDynamics) -> Picture:
    """A task's right answers, items by checkpoints."""
    return Picture(f"items/{slug(found.task)}", heat_map_figure, given_of(found), ("png",))


def _all(study: Findings) -> list[Picture]:
    """Every task in every figure and format, and for each the evidence for its shapes."""
    pictures = _overviews(study.choice, study.table, study.shapes, study.size_shapes, EVERY_FORMAT)
    found = dict(list(study.evidence.groupby("task", sort=False)))
    for task, rows in study.table[_SEEN].groupby("task", sort=False):
        given = (rows, found[task], str(task), study.choice.axis)
        pictures.append(Picture(f"evidence/{slug(str(task))}", evidence_figure, given, ("png",)))
    everything = set(study.parts.found["task"])
    others = *map(_answers, study.dynamics.tasks), *_parts(study, everything, EVERY_FORMAT), *_over_loss(study)
    others = *others, *_words(study), *_starts(study)
    return [*pictures, *others]


def _words(study: Findings) -> list[Picture]:
    """Correlations of words, a picture a task, where they are asked for."""
    names = list(dict.fromkeys(map(str, study.word_correlates.get("task", ()))))
    return [Picture(f"words/{slug(task)}", words_drawing, given_of_words(study, task), EVERY_FORMAT) for task in names]


def _starts(study: Findings) -> list[Picture]:
    """Tuned models over the start of their tuning, where there are several starts."""
    starts = study.tuning.starts
    if starts.table.empty:
        return []
    return [Picture("stage_starts", drawn_over_training, given_of_starts(starts, study.choice.axis), EVERY_FORMAT)]


def _over_loss(study: Findings) -> list[Picture]:
    """Values over loss, where one is asked for."""
    if study.over_loss.curves.empty:
        return []
    return [Picture("over_loss", drawn_over_loss, given_over_loss(study), EVERY_FORMAT)]


def _parts(study: Findings, tasks: Collection[str], kinds: tuple[str, ...] = ("svg",)) -> Iterator[Picture]:
    """The parts of some tasks, a picture a task and what it is divided by."""
    for task, by in divided_ways(study):
        if task in tasks:
            name = f"parts/{slug(task)}-{slug(by)}"
            yield Picture(name, parts_drawing, given_of_parts(study, task, by), kinds)


def _overviews(
    choice: RegressionSettings,
    table: pd.DataFrame,
    shapes: pd.DataFrame,
    size_shapes: pd.DataFrame,
    others: tuple[str, ...],
) -> list[Picture]:
    """Curves and shapes over training, and over size where there are several.

    Args:
        choice: Which count and axis.
        table: Rows of the tasks to show.
        shapes: Their labels over training.
        size_shapes: Their labels over size.
        others: Formats of all figures but the first.
    """
    size, table = PARAMS[choice.params], table[[*_SEEN, *(name for name in STAGE_COLUMNS if name in table)]]
    labels = shapes[["task", "model", "label"]]
    pictures = [
        Picture("accuracy", drawn_over_training, (table, choice.axis), EVERY_FORMAT),
        Picture("shapes", training_grid, (table, labels), others),
    ]
    if table.loc[table[size] > 0, size].nunique() > 1:
        given = (table, size_shapes[["task", "step", "label"]], choice.params)
        pictures.append(Picture("scaling", drawn_over_size, (table, size), others))
        pictures.append(Picture("shapes_over_size", size_grid, given, others))
    return pictures


def image_files(
    name: str, draw: Callable[..., Drawing | Figure], given: tuple[Any, ...], kinds: tuple[str, ...]
) -> dict[str, bytes]:
    """Draw a picture and save it in each format: path below the report's folder -> bytes, the same for the same input.

    Args:
        name: Below figures/, without an ending.
        draw: Makes the drawing, or the figure.
        given: Arguments of `draw`.
        kinds: Endings: svg, png, pdf.
    """
    made = draw(*given)
    images = saved(made, kinds) if isinstance(made, Drawing) else figure_bytes(made, kinds)
    return {f"figures/{name}.{kind}": content for kind, content in images.items()}
