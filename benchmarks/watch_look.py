"""What a look of `watch 'paths=runs/*'` costs: processor time over many runs with nothing new, and with one checkpoint.

    python benchmarks/watch_look.py [RUNS [CHECKPOINTS]]      (50 and 30)

Checkpoints are folders as a Trainer leaves them, with a log that grows; their results are made, not computed. The
evaluation of the new checkpoint is left out of the figure, and imports: the looks before have done them.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
LOG_A_CHECKPOINT = 100  # entries of the training's log


def made_result(job: Any) -> Any:
    """A result of a job's only task, as if half of its items were answered right."""
    from evalrun.core.records import TaskResult

    (name,) = job.results.keys
    return TaskResult(
        key=job.results.keys[name], run_key=job.results.run_key, task=name, title=name, cause="", primary_metric="acc",
        higher_is_better=True, metrics={"acc": 0.5}, stderrs={"acc": 0.02}, n=400, chance=0.25, cell=job.cell,
        weights=job.results.located.identity, environment={}, seconds=0.0, finished_ms=int(time.time() * 1000),
        items_sha256="", settings={"scorer": "lm_eval", "dtype": "float32", "identity": job.results.located.identity},
    )  # fmt: skip


class Made:
    """Files made results; the processor time that this took is kept apart."""

    def __init__(self, store: Any) -> None:
        self.store, self.spent = store, 0.0

    def check(self, config: Any) -> None:
        """Nothing can be wrong."""

    def evaluate(self, jobs: Sequence[Any], setups: Mapping[int, Any], until: float) -> Iterator[Any]:
        """Deliver all at once."""
        from evalrun.commands.watch.evaluating import Evaluated

        began = time.process_time()
        self.store.deliver_many([(made_result(job), None) for job in jobs])
        self.spent += time.process_time() - began
        for job in jobs:
            yield Evaluated(job, None, True, job.results.run_key)


def save(source: Path, folder: Path, step: int, every: int) -> None:
    """A checkpoint like another one, with other weights and a longer log."""
    from training_runs import write_state

    shutil.copytree(source, folder)
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write((hash((str(folder), step)) & 0x3FFFFFFF).to_bytes(4, "little"))
    write_state(folder, step, losses=dict.fromkeys(range(0, step, max(1, every // LOG_A_CHECKPOINT)), 0.5))


def judge_all(watch: Any, database: Path) -> None:
    """Note a look on every run, as a watch would have by now."""
    from evalrun.tracking.alarm_tags import LOOKS, Look, to_tag

    entries = watch._store.filed("local").values()
    rows = [(LOOKS, to_tag({watch._judge._compared(e): Look(n + 1, 0.001)}), e.run_id) for n, e in enumerate(entries)]
    with sqlite3.connect(database) as connection:
        connection.executemany("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", rows)
    connection.close()


def main() -> int:
    """Measure, and print a table."""
    from evalrun.commands.watch.loop import Watch
    from evalrun.commands.watch.watch_request import WatchRequest
    from helpers import make_checkpoint, make_workspace

    runs, count = (int(word) for word in (*sys.argv[1:], *("50", "30")[len(sys.argv) - 1 :]))
    root = Path(tempfile.mkdtemp(prefix="evalrun-watch-"))
    try:
        (root / "none").mkdir()
        source = make_checkpoint(root / "source", seed=0)
        os.chdir(make_workspace(root / "user", root / "none"))
        for run in range(runs):
            for number in range(1, count + 1):
                save(source, Path(f"runs/run-{run}/checkpoint-{1000 * number}"), 1000 * number, 1000)
        said: list[str] = []

        def watched() -> tuple[Any, Any]:
            request = WatchRequest(["paths=runs/*", "task=alpha", "tokens_per_step=100"])
            evaluator = Made(None)
            watch = Watch(request, evaluator, said.append, said.append)
            evaluator.store = watch._store
            return watch, evaluator

        def spent(watch: Any) -> float:
            began = time.process_time()
            watch.round()
            return time.process_time() - began

        first, _ = watched()
        first.open(once=True)
        for run in first.runs.values():
            run.look(0)
        turns = [(run, step) for run in first.runs.values() for step in run.todo()]
        first._store.check()
        first._view.begin()
        jobs = [job for _, job in first._left.of(turns)]
        first._store.deliver_many([(made_result(job), None) for job in jobs])
        judge_all(first, Path("mlruns/mlflow.db"))
        watch, evaluator = watched()
        print(f"{runs} runs of {count} checkpoints, {len(jobs)} jobs; seconds of processor time")
        print(f"first look of a new process, all done   {spent(watch):.2f}")
        print("looks with nothing new                  " + " ".join(f"{spent(watch):.2f}" for _ in range(5)))
        for number in (1, 2, 3):
            save(source, Path(f"runs/run-0/checkpoint-{1000 * (count + number)}"), 1000 * (count + number), 1000)
            whole = spent(watch) - evaluator.spent
            evaluator.spent = 0.0
            print(f"a look with one new checkpoint          {whole:.2f}")
        print("\n".join(said[-4:]))
        return 0
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
