"""Results that are filed under another number of tokens than their checkpoint has now: put right, and said."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from evalrun.config.schema import model_dirname
from evalrun.core.records import Checkpoint
from evalrun.core.text import counted
from evalrun.tracking import layout
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.layout import RunEntry

log = logging.getLogger(__name__)
_Training = tuple[str, str, int | None, str | None]  # suite, model, seed, stage: what has its own tokens a step


class TokenCounts:
    """The tokens that checkpoints had seen, as their runs say it.

    Args:
        link: The store.
    """

    def __init__(self, link: MlflowConnection) -> None:
        self._link = link

    def settle(self, cells: Iterable[Checkpoint], held: Mapping[str, Mapping[str, RunEntry]]) -> bool:
        """Give the runs of checkpoints the tokens that are meant now, and say so; results stay what they are.

        Whoever corrects `tokens_per_step=` has nothing to compute again, and would see the old numbers for good.

        Args:
            cells: The checkpoints that were asked for.
            held: Suite -> its runs by their keys.

        Returns:
            Whether there was anything to be put right.

        Raises:
            TrackingError: the store fails.
        """
        wanted = {_place(cell): cell for cell in cells}
        wrong: dict[_Training, list[tuple[RunEntry, Checkpoint, Checkpoint]]] = defaultdict(list)
        others: dict[_Training, list[Checkpoint]] = defaultdict(list)  # that were not asked for
        for run in (run for runs in held.values() for run in runs.values()):
            if (before := run.checkpoint) is None:
                continue
            cell = wanted.get(_place(before))
            if cell is None:
                others[_training(before)].append(before)
            elif cell.tokens != before.tokens:
                wrong[_training(before)].append((run, before, cell))
        for training, runs in wrong.items():
            with self._link.guard("putting tokens right"):
                for run, _, cell in runs:
                    _recount(self._link, run.run_id, cell)
            _, before, cell = max(runs, key=lambda run: run[2].step)
            left = {other.step for other in others[training] if _is_counted_otherwise(other, cell)}
            rest = f"; give its other steps too ({counted(len(left), 'step')} filed as before)" if left else ""
            log.warning(
                "results of %s were filed with other tokens (step %s: %s, now %s): put right on %s%s.",
                *(
                    model_dirname(cell.model, cell.seed),
                    cell.step,
                    f"{before.tokens:,}",
                    f"{cell.tokens:,}",
                    counted(len(runs), "run"),
                    rest,
                ),
            )
        return bool(wrong)


def _is_counted_otherwise(one: Checkpoint, other: Checkpoint) -> bool:
    """Whether two checkpoints of a run have clearly different tokens a step."""
    return abs(one.tokens * other.step - other.tokens * one.step) > 0.01 * other.tokens * one.step


def _training(cell: Checkpoint) -> _Training:
    return cell.suite, cell.model, cell.seed, cell.stage


def _place(cell: Checkpoint) -> tuple[_Training, int]:
    return _training(cell), cell.step


def _recount(link: MlflowConnection, run_id: str, counted_now: Checkpoint) -> None:
    """Give a run the tokens of its checkpoint: in its tag, its note and its metrics; MLflow changes no parameter."""
    from mlflow.entities import Metric, RunTag

    run = link.client.get_run(run_id)
    before = layout.cell_of(run.data.tags)
    if before is None:
        return
    cell = replace(before, tokens=counted_now.tokens, stage_tokens=counted_now.stage_tokens)
    note = run.data.tags.get(layout.NOTE, "").replace(f"{before.tokens:,} tokens", f"{cell.tokens:,} tokens", 1)
    tags = {layout.CELL: layout.with_cell(run.data.tags, cell), layout.NOTE: note}
    values = {"tokens": float(cell.tokens), "flops": float(cell.flops)}
    now = time.time_ns() // 1_000_000
    link.client.log_batch(
        run_id,
        metrics=[Metric(name, value, now, cell.step) for name, value in values.items()],
        tags=[RunTag(key, value) for key, value in tags.items() if value],
    )
