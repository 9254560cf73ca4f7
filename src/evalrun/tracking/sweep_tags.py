"""Which sweeps wanted a run, as its tags say it; read and made without MLflow, which takes seconds to be imported."""

from __future__ import annotations

import json
from collections.abc import Mapping

from evalrun.tracking import layout
from evalrun.tracking.layout import RunEntry


def sweep_tags(there: Mapping[str, str], sweep: str | None) -> dict[str, str]:
    """What the tags of a run become once a sweep has wanted it."""
    if not sweep:
        return {}
    sweeps = [name for name in sweeps_of(there) if name != sweep] + [sweep]
    while len(json.dumps(sweeps)) > layout.TAG_LIMIT:
        sweeps = sweeps[1:]
    return {layout.SWEEP: sweep, layout.SWEEPS: json.dumps(sweeps)}


def sweeps_of(tags: Mapping[str, str]) -> list[str]:
    """Every sweep that wanted the run."""
    try:
        said = json.loads(tags.get(layout.SWEEPS, "[]"))
    except ValueError:
        return []
    return [str(name) for name in said] if isinstance(said, list) else []


def is_closed(run: RunEntry) -> bool:
    """Whether a run was ended as complete; a killed process leaves it open."""
    return run.ended and run.tags.get(layout.STATE) == "complete"


def new_tags(run: RunEntry, sweep: str) -> dict[str, str]:
    """The tags that are new on a run that a sweep wanted; none where it was the last that did."""
    return {key: value for key, value in sweep_tags(run.tags, sweep).items() if run.tags.get(key) != value}
