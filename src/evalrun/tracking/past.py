"""Earlier runs at a glance: what each holds and how long it took. Reads a local database without importing MLflow."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from evalrun.errors import TrackingError
from evalrun.tracking import layout
from evalrun.tracking.failures import explain
from evalrun.tracking.layout import Held
from evalrun.tracking.link import Link

_QUERY = """
SELECT tags.run_uuid, tags.key, tags.value FROM tags
JOIN runs ON runs.run_uuid = tags.run_uuid JOIN experiments ON experiments.experiment_id = runs.experiment_id
WHERE experiments.name = ? AND experiments.lifecycle_stage = 'active' AND runs.lifecycle_stage = 'active'
AND tags.key LIKE 'evalrun.%' ORDER BY runs.start_time, tags.run_uuid
"""


@dataclass(frozen=True)
class Past:
    """One checkpoint run."""

    run_key: str
    model: str
    n_params: int
    step: int
    seed: int | None
    settings: str  # how it was scored, in a few words
    hardware: str  # what scored it; empty where that was not noted
    tasks: dict[str, Held]


def read(link: Link, suite: str) -> list[Past]:
    """See Store.past."""
    found = []
    for tags in _tags(link, suite):
        cell = json.loads(tags.get(layout.CELL, "null"))
        if cell and layout.KEY in tags:
            about = (cell["model"], cell["n_params"], cell["step"], cell["seed"])
            said = (tags.get(layout.SETTINGS, ""), tags.get(layout.HARDWARE, ""))
            found.append(Past(tags[layout.KEY], *about, *said, layout.held(tags)))
    return found


def _tags(link: Link, suite: str) -> Iterator[Mapping[str, str]]:
    if link.database is None:
        link.check()  # answers soon where nobody listens
        with link.guard("looking at earlier runs"):
            from evalrun.tracking.table import search

            experiment = link.experiment(suite)
            if experiment is not None:
                yield from (run.data.tags for run in search(link, experiment.experiment_id, "checkpoint"))
        return
    rows: dict[str, dict[str, str]] = defaultdict(dict)
    try:
        place = f"{link.database.as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(place, uri=True, timeout=link.patience_s)) as database:
            for run_id, key, value in database.execute(_QUERY, (suite,)):
                rows[run_id][key] = value
    except sqlite3.Error as error:
        raise TrackingError(explain(error, "looking at earlier runs", link.place, link.shown)) from error
    yield from rows.values()
