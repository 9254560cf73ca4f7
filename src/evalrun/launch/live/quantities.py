"""Quantities in words."""

from __future__ import annotations

from collections.abc import Mapping

from evalrun.launch.live.time_left import TimeLeft

_GB = 10**9


def gpu_memory(held: Mapping[str, int] | None) -> str:
    """`21.3 of 85.0 GB, peak 40.1`: what a job holds on its GPUs; empty where it has none."""
    if held is None:
        return ""
    allocated, peak, total = (held[name] / _GB for name in ("allocated", "peak", "total"))
    return f"{allocated:.1f} of {total:.0f} GB, peak {peak:.1f}"


def time_left(left: TimeLeft) -> str:
    """`45 s left`, `12 min left`, `at least 3 h 20 min left`."""
    minutes = round(left.seconds / 60)
    if left.seconds < 90:
        said = f"{max(1, round(left.seconds))} s"
    elif minutes < 120:
        said = f"{minutes} min"
    else:
        said = f"{minutes // 60} h {minutes % 60} min"
    return f"{left.bound} {said} left".strip()
