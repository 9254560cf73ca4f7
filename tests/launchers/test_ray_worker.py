"""What a task does in a worker process of Ray's, without a cluster: tests/engines has one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import pytest

from evalrun.grid.job_spec import JobSpec
from evalrun.launch import on_ray
from evalrun.launch.jobs import JobResult, Status
from evalrun.launch.worker import Context
from helpers import made_job


@pytest.mark.parametrize(("cards", "seen"), [(0, ""), (1.0, "3"), (0.25, "3")])
def test_a_job_without_gpus_sees_none_and_others_what_ray_gave_them(
    cards: float, seen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")

    class Recording:
        def run(self, work: JobSpec) -> JobResult:
            return JobResult(work.index, Status.DONE, os.environ["CUDA_VISIBLE_DEVICES"])

    monkeypatch.setattr(on_ray, "_here", ("launch", Recording()))
    work = made_job(0, ())
    assert on_ray._run_there("launch", cast(Context, None), work, str(tmp_path / "stop"), cards).said == seen
