"""Memory and time: what a model's weights take, which device they fit, and how long past runs say it will be."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evalrun import checkpoints
from evalrun.commands.plan.inventory import Inventory, JobNeeds
from evalrun.config.asking import generation_in
from evalrun.core import environment
from evalrun.core.asked_words import generation_words
from evalrun.tracking import RunEntry

_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_SPARE = 0.9  # of a device's memory may be weights; the rest is for what scoring keeps beside them


@dataclass(frozen=True)
class Device:
    """Something that scores."""

    name: str  # cuda:0, cpu
    hardware: str  # as provenance.label says it
    memory: int  # bytes


@dataclass(frozen=True)
class Memory:
    """What a model's weights take."""

    bytes: int
    dtype: str  # "" where it is not known
    fits: tuple[str, ...]  # names of devices, and `all` where only several GPUs together hold it


@dataclass(frozen=True)
class Time:
    """How long scoring will take; None where nothing says so."""

    seconds: float | None
    runs: int  # earlier results that say so
    untimed: tuple[str, ...]  # tasks that nothing was learnt about


def devices() -> list[Device]:
    """The GPUs that torch would see, then the CPU; found without importing torch."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    label = environment.label({"machine": platform.machine(), "cpus": os.cpu_count()})
    return [*_gpus(), Device("cpu", label, memory)]


def _gpus() -> list[Device]:
    """GPUs that torch would see, by nvidia-smi (memory in bytes), without loading torch; none if it is not there."""
    try:
        built = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        built = ""
    if built.endswith("+cpu"):
        return []
    asked = ["nvidia-smi", "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[word.strip() for word in line.split(",")] for line in said.splitlines()]
    rows = [row for row in rows if len(row) == 4 and row[3].isdigit()]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        rows = [row for name in names for row in rows if name and (row[0] == name or row[1].startswith(name))]
    return [Device(f"cuda:{i}", row[2], int(row[3]) * 2**20) for i, row in enumerate(rows)]


def device_of(asked: str, there: Sequence[Device]) -> Device | None:
    """Where a job with this `scorer.device` would be scored; None where that is not here."""
    if asked in ("auto", "all"):
        return there[0]
    name = "cuda:0" if asked == "cuda" else asked
    return next((device for device in there if device.name == name), None)


def memory_of(job: JobNeeds, there: Sequence[Device]) -> Memory:
    """What the weights of a job take in the dtype asked for."""
    asked, n = job.config.scorer.dtype, job.cell.n_params
    dtype = asked if asked != "auto" else _own_dtype(job)
    if asked == "auto" and job.weights is not None:
        size = job.weights
        dtype = dtype or {2: "float16", 4: "float32"}.get(round(size / n) if n else 0, "")
    else:
        size = n * _BYTES.get(dtype, 2)
    fits = tuple(device.name for device in there if size <= _SPARE * device.memory)
    gpus = [device for device in there if device.name.startswith("cuda")]
    if len(gpus) > 1 and not any(name.startswith("cuda") for name in fits):
        fits = ("all", *fits) if size <= _SPARE * sum(device.memory for device in gpus) else fits
    return Memory(size, dtype, fits)


def _own_dtype(job: JobNeeds) -> str:
    """What a checkpoint's config.json says, where it is here."""
    if job.cell.revision is None:
        folder = Path(job.cell.location)
    elif job.located is not None:
        folder = checkpoints.repository_cache(job.cell.location) / "snapshots" / str(job.located.commit)
    else:
        return ""
    try:
        config = json.loads((folder / "config.json").read_text())
        return str(config.get("dtype") or config.get("torch_dtype") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def time_of(jobs: Sequence[JobNeeds], found: Inventory, there: Sequence[Device]) -> Time:
    """Seconds of scoring that jobs need, one after the other.

    Each task from earlier runs of it on the same hardware by the same scorer: of the same model where there are any,
    else of the model nearest in size, in proportion to parameters.
    """
    seconds, used, untimed = 0.0, 0, []
    known: dict[tuple[object, ...], tuple[float, int] | None] = {}
    for job in jobs:
        device = device_of(job.config.scorer.device, there)
        for task in job.todo:
            drawn = tuple(generation_words(generation_in(job.config)))
            key = (job.cell.model, job.cell.n_params, task, device, job.config.limit, drawn)
            if key not in known:
                known[key] = _one(job, task, device.hardware if device else "", found.past)
                used += known[key][1] if known[key] else 0  # type: ignore[index]
            if (one := known[key]) is None:
                untimed.append(task)
            else:
                seconds += one[0]
    todo = any(job.todo for job in jobs)
    return Time(seconds if used or not todo else None, used, tuple(dict.fromkeys(untimed)))


def _one(job: JobNeeds, task: str, hardware: str, past: Sequence[RunEntry]) -> tuple[float, int] | None:
    """Seconds of one task on one checkpoint, and how many results say so."""
    whole = [run.entries[task].n for run in past if task in run.tasks and "limit" not in run.settings.split()]
    alike = [run for run in past if task in run.tasks and hardware and run.hardware == hardware and _alike(run, job)]
    alike = [run for run in alike if run.entries[task].n and run.entries[task].seconds > 0]
    items = min([*whole[-1:], *([job.config.limit] if job.config.limit else [])], default=0)
    if not alike or not items:
        return None
    own = [run for run in alike if run.n_params == job.cell.n_params]
    if not own:
        nearest = min(
            (run.n_params for run in alike), key=lambda n: abs(math.log(max(n, 1) / max(job.cell.n_params, 1)))
        )
        own = [run for run in alike if run.n_params == nearest]
    rates = [run.entries[task].seconds / run.entries[task].n * _scale(job.cell.n_params, run.n_params) for run in own]
    return statistics.median(rates) * items, len(own)


def _scale(wanted: int, had: int) -> float:
    return wanted / had if wanted and had else 1.0


def _alike(run: RunEntry, job: JobNeeds) -> bool:
    """Whether a run was scored as the job will be, as far as it matters for time."""
    words, config = run.settings.split(), job.config
    shots = f"{config.num_fewshot}-shot" if config.num_fewshot is not None else None
    drawn = {word for word in generation_words(generation_in(config)) if not word.startswith("seed=")}
    return (
        words[:1] == [config.scorer.name]
        and drawn == {word for word in words if "=" in word and not word.startswith("seed=")}
        and (config.scorer.dtype == "auto" or config.scorer.dtype in words)
        and (shots in words if shots else not any(word.endswith("-shot") for word in words))
    )


def by_model(jobs: Sequence[JobNeeds]) -> Mapping[tuple[str, int | None], list[JobNeeds]]:
    """Jobs of each model and seed, in the order of the plan."""
    groups: dict[tuple[str, int | None], list[JobNeeds]] = {}
    for job in jobs:
        groups.setdefault((job.cell.model, job.cell.seed), []).append(job)
    return groups
