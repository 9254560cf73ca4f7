"""Files made results of a whole sweep under the keys that evaluating it would give: run by `analysis.py` with a build.

    python benchmarks/finished_sweep.py WORDS...

Made is which commit each revision on the hub is, and what the checkpoints scored; all else is as a sweep leaves it. The
checkpoints of a folder are looked at, as a sweep does. A build of before is asked by the names that its modules had.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from evalrun.tracking.store import Store

try:
    from evalrun.checkpoints.suites import allowed
    from evalrun.config.compose import hydra_session
    from evalrun.core.records import TaskResult
    from evalrun.grid import job_keys, planning
except ModuleNotFoundError:
    from evalrun.records import TaskResult

    from evalrun import checkpoints, pipeline, sweep
    from evalrun.config import hydra_session

    IS_EARLIER = True
else:
    IS_EARLIER = False

ITEMS = 1000
COMMITS = Path("multirun") / ".cache" / "commits.json"


def plan_of(words: list[str]) -> Any:
    """The plan of a command's words."""
    return sweep.plan(tuple(words)) if IS_EARLIER else planning.plan(tuple(words))


def identity_of(job: Any) -> str:
    """What a checkpoint is known by: the digest of its files, or a made commit."""
    cell = job.cell
    if cell.revision is not None:
        return f"hub:{cell.location}@{commit_of(cell)}"
    return str(checkpoints.locate(cell).identity if IS_EARLIER else allowed.locate(job.config, cell).identity)


def commit_of(cell: Any) -> str:
    """A made commit of a revision."""
    return hashlib.sha1(f"{cell.location}@{cell.revision}".encode()).hexdigest()


def results(plan: Any) -> list[Any]:
    """Made results of all jobs."""
    found = []
    files = pipeline.files_of_sweep(replace(plan.jobs[0].config, sweep=plan.sweep)) if IS_EARLIER else None
    for job in plan.jobs:
        identity, own = identity_of(job), files if IS_EARLIER else job.files
        if IS_EARLIER:
            run_key, keys = pipeline.keys_by_identity(job.config, identity, own)
        else:
            run_key, keys = job_keys.keys_by_identity(job.config, identity, own, job.cell)
        for file in own:
            share = int(keys[file.name][:6], 16) % ITEMS / ITEMS
            values = {
                "key": keys[file.name], "run_key": run_key, "task": file.name, "title": file.name, "cause": "",
                "primary_metric": "acc", "higher_is_better": True, "metrics": {"acc": share},
                "stderrs": {"acc": math.sqrt(share * (1 - share) / (ITEMS - 1))}, "n": ITEMS, "chance": 0.5,
                "cell": job.cell, "weights": identity, "environment": {}, "seconds": 0.0,
                "finished_ms": int(time.time() * 1000),
                "items_sha256": "", "settings": {"scorer": "lm_eval", "dtype": "float32", "identity": identity},
            }  # fmt: skip
            found.append(TaskResult(**{one.name: values[one.name] for one in fields(TaskResult) if one.name in values}))
    return found


def main() -> int:
    """File the results of every job that the words mean."""
    with hydra_session():
        plan = plan_of(sys.argv[1:])
        made = results(plan)
        store = Store(plan.config.tracking)
        store.check()
        store.deliver_many([(result, None) for result in made])
    cells = [job.cell for job in plan.jobs if job.cell.revision is not None]
    COMMITS.parent.mkdir(parents=True, exist_ok=True)
    COMMITS.write_text(json.dumps({f"{cell.location}@{cell.revision}": commit_of(cell) for cell in cells}))
    print(f"{len(plan.jobs)} jobs, {len(made)} results")
    return 0


if __name__ == "__main__":
    sys.exit(main())
