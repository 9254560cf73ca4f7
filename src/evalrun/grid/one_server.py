"""Whether a server that runs already can answer for the checkpoints of a grid: it holds the weights of one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from evalrun.config.engine_settings import SERVER, no_server, places_of, put_in
from evalrun.core.records import Checkpoint
from evalrun.grid.job_spec import JobSpec


def one_server_problems(jobs: Sequence[JobSpec]) -> Iterator[str]:
    """Sentences about jobs without a server, and about one that would be asked as if it were several checkpoints."""
    asked: dict[tuple[str, str], dict[tuple[object, ...], Checkpoint]] = defaultdict(dict)
    yield from dict.fromkeys(lack for job in jobs if (lack := no_server(job.config.scorer)) is not None)
    for job in jobs:
        scorer, cell = job.config.scorer, job.cell
        if scorer.name == SERVER and scorer.url is not None:
            model = "" if scorer.served_model is None else put_in(scorer.served_model, places_of(cell))
            asked[scorer.url, model][cell.location, cell.revision, cell.step] = cell
    for (url, model), cells in asked.items():
        if len(cells) > 1:
            first, second, *_ = cells.values()
            named = f" as '{model}'" if model else ""
            yield (
                f"scorer.url is '{url}', and this is a grid of {len(cells)} checkpoints, {first.label} and "
                f"{second.label} among them: the server has one model's weights{named} and would answer for all. Name "
                "the command that serves each, scorer.serve='vllm serve {path} --port {port}', or, of a server that "
                "has them all, what it calls each, scorer.served_model='{model}-{step}'."
            )
