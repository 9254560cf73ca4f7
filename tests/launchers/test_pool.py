"""Which places there are for workers, and what the queue and the ledger of a launcher do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from evalrun.errors import ConfigError
from evalrun.grid.job_spec import JobSpec
from evalrun.grid.launcher_settings import PoolSettings
from evalrun.launch import gpus, pool
from evalrun.launch.jobs import Queue
from helpers import made_job


def work(index: int, n_params: int) -> JobSpec:
    job: JobSpec = made_job(index, (f"step={index}",), n_params)
    return job


def settings(**changes: object) -> PoolSettings:
    values: dict[str, object] = {
        "workers": "auto", "workers_per_gpu": 1, "gpus_per_worker": 1, "threads": "auto", "retries": 1,
    }  # fmt: skip
    return PoolSettings(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of that name that lists three GPUs, as the driver's does."""
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\nfor i in 0 1 2; do echo "GPU $i: NVIDIA H100 (UUID: GPU-$i)"; done\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def devices(places: list[pool.Slot]) -> list[str | None]:
    return [place.environment.get("CUDA_VISIBLE_DEVICES") for place in places]


@pytest.mark.usefixtures("nvidia_smi")
def test_each_gpu_has_a_worker() -> None:
    assert devices(pool.slots(settings(), "auto")) == ["0", "1", "2"]
    assert devices(pool.slots(settings(workers_per_gpu=2), "auto")) == ["0", "1", "2", "0", "1", "2"]
    assert devices(pool.slots(settings(gpus_per_worker=2), "auto")) == ["0,1"]
    assert devices(pool.slots(settings(), "all")) == ["0,1,2"]  # one model over all of them
    assert devices(pool.slots(settings(), "cpu")) == [None]
    assert devices(pool.slots(settings(workers=4), "auto")) == ["0", "1", "2", "0"]
    with pytest.raises(ConfigError, match="gpus_per_worker is 4, but 3 GPUs are here"):
        pool.slots(settings(gpus_per_worker=4), "auto")


@pytest.mark.usefixtures("nvidia_smi")
@pytest.mark.parametrize(
    ("allowed", "found"), [("2,0", ["2", "0"]), ("", []), ("-1", []), ("1,-1,2", ["1"]), ("GPU-a1", ["GPU-a1"])]
)
def test_what_cuda_is_told_to_see_is_what_there_is(
    monkeypatch: pytest.MonkeyPatch, allowed: str, found: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert gpus.visible() == found


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "8")
    assert [p.environment["OMP_NUM_THREADS"] for p in pool.slots(settings(workers=3), "cpu")] == ["2", "2", "2"]
    assert pool.slots(settings(workers=3, threads=5), "cpu")[0].environment["OMP_NUM_THREADS"] == "5"
    monkeypatch.setenv("OMP_NUM_THREADS", "7")  # whoever sets it means it
    assert pool.slots(settings(workers=3), "cpu")[0].environment == {}


@pytest.mark.parametrize(
    "wrong", [{"workers": 0}, {"workers": "many"}, {"retries": -1}, {"workers_per_gpu": 2, "gpus_per_worker": 2}]
)
def test_settings_that_cannot_be_right_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"hydra\.launcher"):
        settings(**wrong).check()


def test_large_models_go_first_and_every_job_goes_once() -> None:
    works = [work(0, 10), work(1, 10), work(2, 30), work(3, 20), work(4, 30)]
    queue = Queue(works, workers=2)
    order, following = [], {}
    for turn in range(5):
        taken = queue.take(turn % 2)
        assert taken is not None
        mine, after = taken
        promised = following.pop(turn % 2, None)
        assert promised in (None, mine)  # what a worker was told to read ahead is what it gets
        order.append(mine.index)
        if after is not None:
            following[turn % 2] = after
    assert queue.take(0) is None
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert order[0] == 2
    assert {works[i].cell.n_params for i in order[-2:]} == {10}


def test_an_idle_worker_takes_what_another_was_promised() -> None:
    queue = Queue([work(i, 10) for i in range(4)], workers=2)
    first, promised = queue.take(0) or pytest.fail("nothing to take")
    assert promised is not None
    taken = [queue.take(1), queue.take(1), queue.take(1)]
    assert {first.index} | {pair[0].index for pair in taken if pair} == {0, 1, 2, 3}
    assert queue.take(0) is None


def test_a_job_put_back_goes_next() -> None:
    queue = Queue([work(0, 10), work(1, 10), work(2, 10)], workers=3)
    first, _ = queue.take(0) or pytest.fail("nothing to take")
    queue.put_back(first)
    again, _ = queue.take(1) or pytest.fail("nothing to take")
    assert again == first
