"""TensorBoard's event files: a folder for each model and seed, step = training step, time = when it was computed.

One file a run, its events in the order of training: TensorBoard takes a step that goes back for a restart and draws
two lines. A result that comes late is put in its place, so the file is written anew; one that comes last is appended.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

from evalrun.commands.export.request import ExportRequest, ExportSummary
from evalrun.commands.export.selected_rows import TrainingRun, newest, not_finite, training_runs
from evalrun.commands.export.target import open_folder
from evalrun.core.text import counted

# TensorBoard reads every file of a folder that has `tfevents` in its name, so that there must never be two. Others
# take the number for seconds and what follows for a host.
_FILE = "events.out.tfevents.0000000000.evalrun"


def write_events(asked: ExportRequest) -> ExportSummary:
    """Write the rows as scalars `task/metric`.

    Args:
        asked: What and where.

    Raises:
        ConfigError: the folder holds something else.
        StorageError: it cannot be written.
    """
    table, notes = newest(asked.table)
    runs = list(training_runs(table))
    with open_folder(asked.target, asked.about) as folder:
        for run in runs:
            folder.extend(str(run.place / _FILE), _events(run, asked.x))
        left = _left_over(asked.target, runs)
    notes += not_finite(table, "TensorBoard shows them as a triangle")
    held = f"{counted(len(runs), 'run')} with {counted(len(table), 'value')}"
    look = f"tensorboard --logdir {asked.target}"
    return ExportSummary(held, folder.written, folder.kept, notes + left, look)


def _events(run: TrainingRun, x: str) -> bytes:
    """A run as the bytes of an event file: a record for each step and time, with all tags of that time."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    began = int(run.rows["finished_ms"].iloc[0])
    writer.write(Event(wall_time=began / 1000, file_version="brain.Event:2").SerializeToString(deterministic=True))
    for _, rows in run.rows.groupby([x, "step", "finished_ms"], sort=True):
        step, when = int(rows[x].iloc[0]), int(rows["finished_ms"].iloc[0])
        tags = rows["task"] + "/" + rows["metric"]
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in zip(tags, rows["value"], strict=True)]
        event = Event(wall_time=when / 1000, step=step, summary=Summary(value=values))
        writer.write(event.SerializeToString(deterministic=True))
    return buffer.getvalue()


def _left_over(target: Path, runs: Iterable[TrainingRun]) -> list[str]:
    """A sentence about runs of earlier exports whose results the store no longer has."""
    known = {target / run.place / _FILE for run in runs}
    left = sorted(path.parent for path in target.rglob(_FILE) if path not in known)
    if not left:
        return []
    return [f"{counted(len(left), 'run')} of results that the store no longer has, such as {left[0]}: delete it."]
