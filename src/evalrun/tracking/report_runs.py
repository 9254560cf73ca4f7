"""`<suite>-report`: one run per analysis, with its files as artifacts."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, RunTag

from evalrun.core.process import is_alive
from evalrun.core.version import __version__
from evalrun.tracking import layout, run_notes, views
from evalrun.tracking.connection import MlflowConnection
from evalrun.tracking.results_table import search
from evalrun.tracking.run_files import upload
from evalrun.tracking.slugs import file_path, free_key

_WRITER = "evalrun.writer"  # host and process that is filing the report


def log(
    link: MlflowConnection,
    suite: str,
    files: Mapping[str, Path],
    metrics: Mapping[str, float],
    params: Mapping[str, str],
    tags: Mapping[str, str],
) -> str:
    """File an analysis as a run of `<suite>-report` (`Store.log_report`)."""
    experiment = link.experiment(f"{suite}-report", create=True, kind="reports")
    _delete_unfinished(link, experiment)
    now = int(time.time() * 1000)
    run = link.client.create_run(
        experiment.experiment_id,
        tags={
            layout.KIND: "report",
            layout.STATE: "writing",
            "evalrun.version": __version__,
            _WRITER: f"{socket.gethostname()} {os.getpid()}",
        },
        run_name=f"report {time.strftime('%Y-%m-%d %H:%M')}",
    )
    run_id = str(run.info.run_id)
    targets = [file_path(name) for name in files]
    page = next((target for target in targets if target.endswith(".html")), targets[0] if targets else "")
    try:
        for target, source in zip(targets, files.values(), strict=True):
            upload(link, run_id, source, target)
        link.client.log_batch(
            run_id,
            metrics=[Metric(free_key(k), float(v), now, 0) for k, v in metrics.items() if math.isfinite(v)],
            params=[Param(free_key(key), str(value)) for key, value in params.items()],
            tags=[
                *(RunTag(free_key(key), str(value)[: layout.TAG_LIMIT]) for key, value in tags.items()),
                RunTag(layout.PAGE, page),
                RunTag(layout.NOTE, _note(link, suite, experiment, run_id, page)),
                RunTag(layout.STATE, "complete"),
            ],
        )
    except BaseException:
        link.client.set_terminated(run_id, "FAILED")
        raise
    link.client.set_terminated(run_id, "FINISHED")
    views.write_notes(link, suite)
    return run_id


def _note(link: MlflowConnection, suite: str, experiment: Any, run_id: str, page: str) -> str:
    """The way to the page and to what it was made from."""
    checkpoints = link.experiment(suite)
    made = "" if checkpoints is None else run_notes.made_by(checkpoints.tags)
    opened = f"[Open the report]({views.artifact_path(experiment, run_id, page)})" if page else "No files."
    return f"{opened}{made}"


def _delete_unfinished(link: MlflowConnection, experiment: Any) -> None:
    """Delete reports that nobody will finish: their process was on this host, and is no more."""
    for run in search(link, experiment.experiment_id, "report"):
        host, _, process = run.data.tags.get(_WRITER, "").partition(" ")
        if run.info.status == "RUNNING" and host == socket.gethostname() and not is_alive(int(process)):
            link.client.delete_run(run.info.run_id)
