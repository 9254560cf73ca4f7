"""What a result was computed with: versions, hardware, memory."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from evalrun.core.version import __version__

LIBRARIES = ("torch", "transformers", "lm_eval", "datasets", "tokenizers", "numpy")


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Installed versions of what computes the numbers."""
    found = {"python": platform.python_version(), "evalrun": __version__}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def label(found: Mapping[str, Any]) -> str:
    """What scored, in a few words, so that times can be compared; empty where it is not known.

    Args:
        found: As `hardware` returns it.
    """
    if found.get("gpu"):
        return str(found["gpu"])
    return f"{found['machine']}, {found['cpus']} CPUs" if found.get("machine") and found.get("cpus") else ""


def hardware(device: str) -> dict[str, Any]:
    """The machine and the device that scored, with its peak memory so far (bytes; GPU only; `all` in sum)."""
    import torch

    found: dict[str, Any] = {
        "host": platform.node(),
        "machine": platform.machine(),
        "system": platform.system(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
    }
    gpus = _gpus(device)
    if gpus:
        found["gpu"] = ", ".join(torch.cuda.get_device_name(gpu) for gpu in gpus)
        found["peak_memory"] = sum(torch.cuda.max_memory_allocated(gpu) for gpu in gpus)
    return found


def gpu_memory(device: str) -> dict[str, int] | None:
    """Bytes that this process holds on the GPU that scores, in sum for `all`: allocated, peak, and the GPU's total."""
    import torch

    gpus = _gpus(device)
    if not gpus:
        return None
    return {
        "allocated": sum(torch.cuda.memory_allocated(gpu) for gpu in gpus),
        "peak": sum(torch.cuda.max_memory_allocated(gpu) for gpu in gpus),
        "total": sum(torch.cuda.get_device_properties(gpu).total_memory for gpu in gpus),
    }


def _gpus(device: str) -> list[str]:
    import torch

    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if device == "all" else [device]
    return [gpu for gpu in gpus if gpu.startswith("cuda")]
