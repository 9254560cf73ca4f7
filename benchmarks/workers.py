"""What more workers give: a sweep of tiny checkpoints on 1, 2 and 4 worker processes, and in the command's own process.

    python benchmarks/workers.py --checkpoints 64 --items 100 2000 --json workers.json

The suite is that of `sweep.py`, made once for each number of documents (`--items`: what a job has to do). Every run is
the real command from nothing to the analysis, one thread a process; its results are deleted before the next. The runs
of one number of documents are interleaved `--repeats` times and the median is shown.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import machine
import sweep


def measure(folder: Path, checkpoints: int, workers: list[int], repeats: int) -> dict[str, list[float]]:
    """Wall seconds of each run, by the number of workers ("local" for none)."""
    words = ["-m", "model=bench", f"step=range(1,{checkpoints + 1})", f"task={','.join(sweep.TASKS)}"]
    found: dict[str, list[float]] = {name: [] for name in ["local", *map(str, workers)]}
    for _ in range(repeats):
        for name, seconds in found.items():
            extra = [] if name == "local" else ["hydra/launcher=processes", f"hydra.launcher.workers={name}"]
            seconds.append(sweep.run([sys.executable, "-m", "evalrun", *words, *extra], folder, threads=1))
            for done in ("multirun", "mlruns"):
                shutil.rmtree(folder / done)
    return found


def table(items: int, found: dict[str, list[float]], checkpoints: int) -> str:
    """For people."""
    first = statistics.median(found["1"] if "1" in found else found["local"])
    lines = [f"{checkpoints} checkpoints x {len(sweep.TASKS)} tasks x {items} documents"]
    for name, seconds in found.items():
        middle = statistics.median(seconds)
        lines.append(f"{name:>8}  {middle:7.1f} s  {first / middle:5.2f} x")
    return "\n".join(lines)


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=int, default=64)
    parser.add_argument("--items", type=int, nargs="+", default=[100, 2000], help="documents of each task")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write all numbers here")
    arguments = parser.parse_args()
    results: dict[str, Any] = {
        "machine": machine.describe("cpu", "float32"),
        "checkpoints": arguments.checkpoints,
        "seconds": {},
    }
    for items in arguments.items:
        with tempfile.TemporaryDirectory() as place:
            sweep.make_suite(Path(place), arguments.checkpoints, items, None)
            found = measure(Path(place), arguments.checkpoints, arguments.workers, arguments.repeats)
        print(table(items, found, arguments.checkpoints), flush=True)
        results["seconds"][items] = found
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
