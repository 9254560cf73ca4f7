"""Which GPUs this process may use, found out without loading torch."""

from __future__ import annotations

import os
import shutil
import subprocess


def visible() -> list[str]:
    """Names for CUDA_VISIBLE_DEVICES: those that it allows already, else all that the driver knows."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        names = [name.strip() for name in allowed.split(",")]
        stop = next((at for at, name in enumerate(names) if name in ("", "-1")), len(names))
        return names[:stop]  # CUDA too ignores what follows a name that is none
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        found = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    count = sum(line.startswith("GPU ") for line in found.stdout.splitlines()) if found.returncode == 0 else 0
    return [str(number) for number in range(count)]
