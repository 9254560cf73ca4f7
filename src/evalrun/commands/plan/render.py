"""A survey for people, in aligned lines and human units, and for machines, in bytes and seconds."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from evalrun import checkpoints
from evalrun.commands.plan import cost
from evalrun.commands.plan.cost import Device, Memory, Time
from evalrun.commands.plan.inventory import Inventory, JobNeeds
from evalrun.core.text import counted

_UNKNOWN = "unknown"


def describe(found: Inventory) -> str:
    """For people: a line a model, then what it comes to."""
    there = cost.devices()
    rows = [("model", "done", "download", "weights", "fits", "scoring time")]
    for (name, seed), jobs in cost.by_model(found.jobs).items():
        memory = _memory(jobs, there)
        rows.append(
            (
                name if seed is None else f"{name} seed {seed}",
                f"{sum(job.done for job in jobs)} of {len(jobs)}",
                size(_download(jobs)),
                _memory_said(memory),
                ", ".join(memory.fits) or "nothing here",
                duration(cost.time_of(jobs, found, there)),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  " + "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
             for row in rows]  # fmt: skip
    return "\n".join([*lines, *_sums(found, there)])


def to_json(found: Inventory) -> dict[str, Any]:
    """For machines: all of it; what is not known is null."""
    there = cost.devices()
    models = []
    for (name, seed), jobs in cost.by_model(found.jobs).items():
        models.append(
            {
                "model": name,
                "seed": seed,
                "jobs": len(jobs),
                "done": sum(job.done for job in jobs),
                "download_bytes": _download(jobs),
                "weights": asdict(_memory(jobs, there)),
                "time": asdict(cost.time_of(jobs, found, there)),
            }
        )
    return {
        "models": models,
        "standing": [
            {
                "model": job.cell.model,
                "seed": job.cell.seed,
                "step": job.cell.step,
                "todo": list(job.todo),
                "here": job.here,
                "download_bytes": job.download,
                "unconverted_bytes": job.unconverted,
                "problem": job.problem,
            }
            for job in found.jobs
        ],
        "data": [
            {"dataset": need.dataset, "tasks": [file.name for file in need.tasks], "state": need.state}
            for need in found.data
        ],
        "download_bytes": _download(found.to_fetch),
        "disk": {"place": str(checkpoints.hub_cache()), "free_bytes": shutil.disk_usage(checkpoints.hub_cache()).free},
        "devices": [asdict(device) for device in there],
        "time": asdict(cost.time_of(found.jobs, found, there)),
        "hub": found.hub,
        "store": found.store,
    }


def size(n: int | None) -> str:
    """`1.5 GB`; `unknown` for None."""
    if n is None:
        return _UNKNOWN
    value, units = float(n), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "B" or value >= 99.5 else f"{value:.3g} {units[0]}"


def duration(time: Time) -> str:
    """`about 2 h 5 min`, and what it leaves out."""
    if time.seconds is None:
        return "no past run to estimate from"
    if not time.runs:
        return "none"
    rest = f" without {', '.join(time.untimed)}" if time.untimed else ""
    seconds = round(time.seconds)
    if seconds < 1:
        return f"under 1 s{rest}"
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next(i for i, (n, _) in enumerate(parts) if n)
    said = " ".join(f"{n} {unit}" for n, unit in parts[first : first + 2] if n)
    return f"about {said}{rest}"


def _download(jobs: Sequence[JobNeeds]) -> int | None:
    """Bytes to fetch, each checkpoint once; None where one is not known."""
    needed = {(job.cell.location, job.cell.revision): job.download for job in jobs if job.todo and not job.here
              and job.cell.revision is not None}  # fmt: skip
    return None if any(n is None for n in needed.values()) else sum(n or 0 for n in needed.values())


def _memory_said(memory: Memory) -> str:
    return f"{size(memory.bytes)} {memory.dtype or 'at 2 bytes a parameter'}" if memory.bytes else _UNKNOWN


def _memory(jobs: Sequence[JobNeeds], there: Sequence[Device]) -> Memory:
    """Memory that the largest checkpoint needs, by its size if that is known, else by its parameters."""
    known = [job for job in jobs if job.weights is not None]
    return cost.memory_of(max(known, key=lambda job: (job.weights or 0, job.here)) if known else jobs[0], there)


def _conversions(jobs: Sequence[JobNeeds]) -> list[tuple[str, str]]:
    """A line for each command that is to convert checkpoints: how many, and how large they are."""
    wanted: dict[str, dict[str, int]] = {}
    for job in jobs:
        if job.unconverted is not None:
            wanted.setdefault(str(job.config.checkpoint.convert), {})[job.cell.location] = job.unconverted
    return [
        ("convert", f"{counted(len(sizes), 'checkpoint')}, {size(sum(sizes.values()))}, by `{command}`")
        for command, sizes in wanted.items()
    ]


def _sums(found: Inventory, there: Sequence[Device]) -> list[str]:
    """Lines on the whole: jobs done, bytes to download, disk, data, problems, time.

    Args:
        found: What the sweep needs.
        there: The devices of this machine.
    """
    needed, place = _download(found.to_fetch), checkpoints.hub_cache()
    free = shutil.disk_usage(place).free
    fetch = len(found.to_fetch)
    lines = [("jobs", f"{sum(job.done for job in found.jobs)} of {len(found.jobs)} done")]
    if found.store:
        lines[0] = ("jobs", f"{lines[0][1]} here; what MLflow has is not known: {found.store}")
    elif waiting := sum(bool(job.undelivered) for job in found.jobs):
        lines[0] = ("jobs", f"{lines[0][1]}, {waiting} with results that MLflow lacks: sync delivers them")
    if any(job.cell.revision is not None for job in found.jobs):
        if fetch and needed is None:
            known = sum(job.download or 0 for job in found.to_fetch)
            why = f"the hub is {found.hub}" if found.hub else "the hub does not say"
            said = f"{counted(fetch, 'checkpoint')}, size unknown: {why}" + (f" ({size(known)} known)" if known else "")
        elif fetch:
            said = f"{counted(fetch, 'checkpoint')}, {size(needed)}"
        else:
            said = "nothing"
        lines.append(("download", said))
        short = (
            "" if needed is None or needed < free else f": {size(needed - free)} too few, see keep_checkpoints=false"
        )
        lines.append(("disk", f"{size(needed)} needed, {size(free)} free at {place}{short}"))
    lines += _conversions(found.jobs)
    missing = [need.dataset for need in found.data if need.state == "missing"]
    unclear = [need.dataset for need in found.data if need.state == "unknown"]
    if missing:
        lines.append(("data", f"{len(missing)} datasets to fetch (sizes unknown): {', '.join(missing)}"))
    if unclear:
        lines.append(("data", f"loaded by the task's own code or files: {', '.join(unclear)}"))
    hidden = found.hub is not None  # then it is said of all hub checkpoints at once
    missed = [job for job in found.jobs if job.problem and job.todo and not (hidden and job.cell.revision)]
    problems = list(dict.fromkeys(str(job.problem) for job in missed))
    lines += [("problem", problem) for problem in problems[:5]]
    if len(problems) > 5:
        lines.append(("problem", f"... and {len(problems) - 5} more"))
    time = cost.time_of(found.jobs, found, there)
    said = duration(time)
    if time.runs:
        said += f" of scoring, one job after the other, from {time.runs} past results on this hardware"
    lines.append(("time", said))
    width = max(len(name) for name, _ in lines)
    return ["", *(f"  {name.ljust(width)}  {text}" for name, text in lines)]
