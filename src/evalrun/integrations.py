"""evalrun inside other people's training: `TrainerCallback` for `transformers.Trainer`.

    trainer.add_callback(TrainerCallback(["memo_trap", "sciq"]))

evaluates every checkpoint that the Trainer saves, from its files and in the training's own process, with the results
that `python -m evalrun watch` gives. Importing this imports transformers, and no more of evalrun than its errors.
"""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import transformers

from evalrun.core.errors import first_line

if TYPE_CHECKING:
    from evalrun.commands.watch.judge import Visit
    from evalrun.commands.watch.loop import Watch

log = logging.getLogger(__name__)


class TrainerCallback(transformers.TrainerCallback):
    """Evaluates each checkpoint when it is saved, on the main process; training goes on bit for bit as without it.

    The values go to evalrun's journal and to MLflow, and into the Trainer's log history as `evalrun/<metric>/<task>`.
    A task that falls significantly is a warning, as in `python -m evalrun watch`. Nothing that goes wrong in here ends
    the training: it is a warning too.

    Args:
        tasks: As task= takes them.
        path: The run's folder; None for the Trainer's output_dir.
        overrides: What else a run takes, such as `scorer.device=cpu` or `tokens_per_step=2048`.
    """

    def __init__(self, tasks: Sequence[str], path: str | None = None, overrides: Sequence[str] = ()) -> None:
        self._tasks = list(tasks)
        self._path = path
        self._overrides = list(overrides)
        self._watch: Watch | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See that tasks, overrides and the store are right, hours before the first checkpoint."""
        if state.is_world_process_zero:
            with _undisturbed(), _warning():
                self._opened(args.output_dir)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Evaluate the checkpoint that has just been saved."""
        if not state.is_world_process_zero:
            return
        with _undisturbed(), _warning():
            visit = self._evaluate(args.output_dir, int(state.global_step))
            if visit is not None:
                values = {f"evalrun/{row['metric']}/{row['task']}": row["value"] for row in _records(visit)}
                state.log_history.append({**values, "epoch": state.epoch, "step": state.global_step})

    def _opened(self, output_dir: str) -> Watch:
        """The watch on the run's folder, opened and checked at the first call.

        Args:
            output_dir: The Trainer's, unless another folder was given.

        Raises:
            EvalrunError: settings, store or tasks that cannot be right.
        """
        if self._watch is None:
            from evalrun.commands.watch.evaluating import Here
            from evalrun.commands.watch.loop import Watch
            from evalrun.commands.watch.watch_request import WatchRequest
            from evalrun.config.compose import isolated_hydra
            from evalrun.tasks import task_file
            from evalrun.tracking import Store

            with isolated_hydra():
                words = [f"path={self._path or output_dir}", f"task={','.join(self._tasks)}", *self._overrides]
                request = WatchRequest(words)
                Store(request.config.tracking).check()
                task_file.resolve_for(request.config)
                self._watch = Watch(request, Here(), say=print, warn=log.warning)
        return self._watch

    def _evaluate(self, output_dir: str, step: int) -> Visit | None:
        return self._opened(output_dir).attempt(step)


def _records(visit: Visit) -> list[dict[str, Any]]:
    rows = visit.rows
    if rows is None:
        return []
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


@contextlib.contextmanager
def _warning() -> Iterator[None]:
    """Whatever goes wrong is one sentence, and training goes on."""
    try:
        yield
    except Exception as error:
        log.warning("evalrun did not evaluate: %s", first_line(error))


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Put back what training depends on: random states, mode of gradients, memory that the GPU's cache holds."""
    import numpy as np
    import torch
    from transformers.utils import logging as transformers_logging

    python, arrays = random.getstate(), np.random.get_state()
    bars = transformers_logging.is_progress_bar_enabled()
    try:
        with torch.random.fork_rng(), torch.enable_grad():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)
        if bars:
            transformers_logging.enable_progress_bar()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # what scoring took is the training's again
