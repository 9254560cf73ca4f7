"""What the machine is and does: its name, its peak, seconds and memory of a piece of work."""

from __future__ import annotations

import gc
import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch

from evalrun.core import environment

T = TypeVar("T")
PEAK_SIZES = {"cpu": (2048, 4096), "cuda": (4096, 8192)}
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Measured(Generic[T]):
    """What a piece of work returned, its seconds, and how far memory rose above where it started (bytes)."""

    result: T
    seconds: float
    memory: int | None  # None: this system does not tell


def measure(work: Callable[[], T], device: str) -> Measured[T]:
    """Run a piece of work and take its time and memory.

    Memory is the device's where it is a GPU, else the resident set of this process: its highest, less what it was.
    """
    gc.collect()
    rise = _gpu_rise(device) if device.startswith("cuda") else _resident_rise()
    start = time.perf_counter()
    result = work()
    _wait(device)
    seconds = time.perf_counter() - start
    return Measured(result, seconds, rise())


def matmul_peak(device: str, dtype: torch.dtype) -> float:
    """FLOPs a second of the fastest of several large square matrix products."""
    best = 0.0
    for size in PEAK_SIZES[torch.device(device).type]:
        left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        for _ in range(4):
            _wait(device)
            start = time.perf_counter()
            torch.mm(left, right)
            _wait(device)
            best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def describe(device: str, dtype: str) -> dict[str, object]:
    """Hardware and versions, without the name of the host."""
    found = environment.hardware(device)
    return {
        "processor": _processor(),
        "cpus": found["cpus"],
        "threads": found["threads"],
        "gpu": found.get("gpu"),
        "system": found["system"],
        "machine": found["machine"],
        "device": device,
        "dtype": dtype,
        "versions": environment.versions(),
    }


def _wait(device: str) -> None:
    """Until the device has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _processor() -> str:
    """The processor's model name."""
    table = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*:\s*(.+)$", table.read_text(), re.MULTILINE) if table.exists() else None
    return named[1] if named else platform.processor()


def _gpu_rise(device: str) -> Callable[[], int | None]:
    """From now on, watch the memory of the GPU; call the result for its rise."""
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    return lambda: torch.cuda.max_memory_allocated(device) - before


def _resident_rise() -> Callable[[], int | None]:
    """From now on, watch the resident set; call the result for its rise. Linux keeps the highest since it was reset."""
    try:
        CLEAR.write_text("5")
        before = _status("VmRSS")
    except OSError:
        return lambda: None
    return lambda: max(0, _status("VmHWM") - before)


def _status(field: str) -> int:
    """A size of this process, in bytes."""
    line = re.search(rf"^{field}:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    if line is None:
        raise OSError(f"{STATUS} has no {field}")
    return 1024 * int(line[1])
