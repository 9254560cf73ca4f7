"""Earlier runs at a glance: what each holds and how long it took."""

from __future__ import annotations

from dataclasses import dataclass

from evalrun.tracking import layout, run_index
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.layout import TaskEntry


@dataclass(frozen=True)
class PastRun:
    """One checkpoint run."""

    run_key: str
    model: str
    n_params: int
    step: int
    seed: int | None
    settings: str  # how it was scored, in a few words
    hardware: str  # what scored it; empty where that was not noted
    tasks: dict[str, TaskEntry]
    run_id: str = ""


def read(link: MlflowConnection, suite: str) -> list[PastRun]:
    """The suite's checkpoint runs at a glance, oldest first; a local store is read without MLflow. Creates nothing."""
    if link.database is None:
        link.check()  # answers soon where nobody listens
    found = []
    for run in reversed(run_index.noted(link, suite)):
        cell = layout.cell_of(run.tags)
        if cell is not None:
            about = (cell.model, cell.n_params, cell.step, cell.seed)
            said = (run.tags.get(layout.SETTINGS, ""), run.tags.get(layout.HARDWARE, ""))
            found.append(PastRun(run.tags[layout.KEY], *about, *said, layout.held(run.tags), run.run_id))
    return found
