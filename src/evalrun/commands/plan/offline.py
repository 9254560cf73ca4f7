"""`offline=true`: everything that is missing, before the first job."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from evalrun import checkpoints
from evalrun.commands.plan.inventory import JobNeeds, take_inventory
from evalrun.core.errors import CheckpointError
from evalrun.grid.sweep_plan import Plan


def refuse_missing(plan: Plan) -> None:
    """See that a plan can run without the network; from here on this process does not use it.

    Raises:
        CheckpointError: naming every checkpoint and dataset that is needed and not here.
    """
    if not any(job.config.offline for job in plan.jobs):
        return
    checkpoints.go_offline()
    found = take_inventory(plan, ask_hub=False)
    absent = [job for job in found.jobs if job.todo and not job.here]
    data = [need for need in found.data if need.state == "missing"]
    parts = [spell(absent)] if absent else []
    parts += [f"dataset {need.dataset} of {', '.join(file.name for file in need.tasks)}" for need in data]
    if parts:
        raise CheckpointError(
            f"offline=true, and this is not here: {'; '.join(parts)}: fetch it with `python -m evalrun prefetch` and "
            "the same words while connected, or leave it out."
        )


def spell(jobs: Iterable[JobNeeds]) -> str:
    """`pythia-70m step 1, 2, 4; pythia-160m step 1`."""
    words = []
    for name, group in itertools.groupby(jobs, key=lambda job: (job.cell.model, job.cell.seed)):
        seed = "" if name[1] is None else f" seed {name[1]}"
        steps = dict.fromkeys(str(job.cell.step) for job in group)
        words.append(f"{name[0]}{seed} step {', '.join(steps)}")
    return "; ".join(words)
