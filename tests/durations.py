"""Keeps what each test costs: `python tests/durations.py JUNIT.xml ...`, written by `make durations`.

Seconds of processor time, of the test and of all the processes that it started and waited for: what else the machine
did meanwhile does not count. Set-up and tear-down are the test's; what a session makes once is its first user's.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import forked

ROOT = Path(__file__).resolve().parents[1]
KEPT = Path(__file__).with_name("durations.json")
PROPERTY = "processor_seconds"
QUICK = 0.05  # seconds; what costs less is not listed


def cost_of(nodeid: str, tests: dict[str, dict[str, float]]) -> float:
    """What a test was measured to cost, by its node id; 0 where it is quick or was not measured."""
    file, _, name = nodeid.partition("::")
    return tests.get(file, {}).get(name, 0.0)


def spent() -> float:
    """Seconds of processor time of this process, of those it waited for, and of those that fork its commands."""
    own = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in own) + forked.spent()


def read(report: str) -> dict[str, dict[str, float]]:
    """Of each file what its tests cost; a file whose tests are all quick is there, and empty."""
    files: dict[str, dict[str, float]] = {}
    for case in ElementTree.fromstring(report).iter("testcase"):
        costs = [float(one.attrib["value"]) for one in case.iter("property") if one.attrib["name"] == PROPERTY]
        if not costs:  # a run that was interrupted
            continue
        module, _, group = case.attrib["classname"].partition(".Test")
        tests = files.setdefault(module.replace(".", "/") + ".py", {})
        if sum(costs) >= QUICK:
            name = case.attrib["name"]
            tests[f"Test{group}::{name}" if group else name] = round(sum(costs), 2)
    return files


def machine() -> str:
    """The processor's name, and how many cores the tests had."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{(names or [platform.processor() or platform.machine()])[0]}, {os.cpu_count()} cores"


def keep(reports: Iterable[str], kept: Path = KEPT) -> dict[str, Any]:
    """Write what the files in these reports cost in place of what they cost before; files that are gone are dropped."""
    tests = json.loads(kept.read_text())["tests"] if kept.exists() else {}
    for report in reports:
        tests |= read(report)
    there = {file: dict(sorted(tests[file].items())) for file in sorted(tests) if (ROOT / file).exists()}
    content = {"machine": machine(), "tests": there}
    kept.write_text(json.dumps(content, indent=1) + "\n")
    return content


if __name__ == "__main__":
    made = keep(Path(name).read_text() for name in sys.argv[1:])["tests"]
    print(f"{KEPT.name}: {len(made)} files, {sum(sum(costs.values()) for costs in made.values()):.0f} seconds")
