"""What an analysis costs at the size of whole suites: made stores, each piece of work a fresh process.

    python benchmarks/analysis.py --against REV --json analysis.json

The stores are made once from a seed, by each build's own `ingest` of a table, since an earlier one may not read what a
later one tags; every run begins from the same bytes:

- `big`: Pythia with its deduplicated and seeded models, 9,394 checkpoints x 12 tasks in three suites.
- `many`: 8 models x 26 checkpoints x 87 tasks, without the number of items.
- `paper`: 8 models x 8 checkpoints x 12 tasks, shaped like the published (`--published FILE`: the real ones).
- `huge`: the checkpoints of `big` x 107 tasks, a million results.
- `sweep`: the checkpoints of `big` on the hub x 12 tasks, evaluated by one command of 61 models that ended well
  (`finished_sweep.py` files what it would have).

The work, on them: `ingest` (the table of `big` into nothing), `analyze` (a store that was never analysed), `again` (at
once after it), `one_more` (after one more checkpoint was filed), `many_tasks`, `paper` (whole command), `million`, and
of the finished sweep `status`, `plan` and `rerun` (the same command again, without its analysis).
With `--against`, a commit or the folder of another build, both builds do each in turn, from nothing; the ratio is that
build's seconds over this one's. The ratio of `million` is growth: its seconds over those of `analyze`, of this build.
Memory is the highest resident set of a process, in MB; seconds are wall time, and CPU beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sweep import _checkout

HERE = Path(__file__).resolve().parents[1]
PYTHIA = {
    "70m": 7.0e7,
    "160m": 1.6e8,
    "410m": 4.1e8,
    "1b": 1e9,
    "1.4b": 1.4e9,
    "2.8b": 2.8e9,
    "6.9b": 6.9e9,
    "12b": 1.2e10,
}
SEEDED = {"14m": 1.4e7, "31m": 3.1e7, "70m": 7.0e7, "160m": 1.6e8, "410m": 4.1e8}
STEPS = [0, *(2**i for i in range(10)), *range(1000, 144_000, 1000)]
TASKS = (
    "memo_trap", "neqa", "redefine", "pattern_match_suppression", "hindsight_neglect", "into_the_unknown",
    "modus_tollens", "repetitive_algebra", "resisting_correction", "sig_figs", "arc_easy", "piqa",
)  # fmt: skip
SWEPT = ("status", "plan", "rerun")
WORKS = ("ingest", "analyze", "again", "one_more", "many_tasks", "paper", *SWEPT, "million")


@dataclass(frozen=True)
class Cost:
    """Of one process."""

    wall_s: float
    cpu_s: float
    memory_mb: float


class Place:
    """A user's folder with a store that every run finds as it was made."""

    def __init__(self, folder: Path, make: Callable[[], pd.DataFrame], build: Path) -> None:
        """Make it from a table, unless it is there already; the last checkpoint is kept apart, in more.tsv."""
        self.folder = folder
        self._kept = folder / "kept.db"
        if self._kept.exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        rows = make()
        is_last = (rows[list(rows)[:2]] == rows.iloc[-1, :2]).all(axis=1)  # its model and revision
        for name, part in (("all.tsv", rows), ("table.tsv", rows[~is_last]), ("more.tsv", rows[is_last])):
            part.to_csv(folder / name, sep="\t", index=False)
        execute(build, folder, "ingest", "table.tsv")
        shutil.copyfile(folder / "mlruns" / "mlflow.db", self._kept)

    def restore(self) -> None:
        """As it was made: what analyses and caches left is taken away."""
        shutil.rmtree(self.folder / "multirun", ignore_errors=True)
        store = self.folder / "mlruns"
        for path in [*store.iterdir(), *(store / "artifacts").glob("*-report")]:
            if path.name != "artifacts" and path.is_dir():
                shutil.rmtree(path)
            elif path.is_file():
                path.unlink()
        shutil.copyfile(self._kept, store / "mlflow.db")


def execute(
    build: Path, folder: Path, *words: str, codes: tuple[int, ...] = (0, 1), script: Sequence[str] = ("-m", "evalrun")
) -> Cost:
    """Run evalrun's command of a build in a folder, or a script with its modules.

    Raises:
        SystemExit: it fails; what it said is shown.
    """
    quiet = {
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(build / "src"),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
    }
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [sys.executable, *script, *words], cwd=folder, env={**os.environ, **quiet}, stdout=said, stderr=said
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in codes:
            said.seek(0)
            raise SystemExit(f"evalrun {' '.join(words)} ended with {process.returncode}:\n{said.read()[-4000:]}")
    return Cost(time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def suites(scale: float) -> list[tuple[str, float, list[int]]]:
    """Name on the hub, parameters and steps of every model of the suites; `scale` takes that share of the steps."""
    every = max(1, round(1 / scale))
    steps = STEPS[::-every][::-1]
    names = [(f"EleutherAI/pythia-{size}{end}", n) for end in ("", "-deduped") for size, n in PYTHIA.items()]
    names += [(f"EleutherAI/pythia-{size}-seed{seed}", n) for size, n in SEEDED.items() for seed in range(1, 10)]
    return [(name, n, steps) for name, n in names]


def table(models: list[tuple[str, float, list[int]]], tasks: list[str], items: bool) -> pd.DataFrame:
    """A tidy table of made results: accuracies that rise or fall with size and training, and noise of 1,000 items.

    Args:
        models: Name, parameters and steps.
        tasks: Names.
        items: Whether the number of items and the chance level are told.
    """
    rng = np.random.default_rng(17)
    slopes = rng.normal(0, 0.04, (len(tasks), 3))
    levels = rng.uniform(0.35, 0.65, len(tasks))
    parts = []
    for name, size, steps in models:
        x, y = np.log10(size) - 8.7, np.log10(np.array(steps) + 1.0) - 4.0
        for task, level, (of_size, of_step, both) in zip(tasks, levels, slopes, strict=True):
            expected = np.clip(level + of_size * x + of_step * y + both * x * y, 0.05, 0.95)
            value = rng.binomial(1000, expected) / 1000
            part = {"model": name, "revision": [f"step{step}" for step in steps], "task": task, "metric": "acc"}
            part |= {"value": value, "stderr": np.sqrt(np.clip(value * (1 - value), 1e-6, None) / 1000)}
            parts.append(pd.DataFrame(part | ({"n": 1000, "chance": 0.25} if items else {})))
    return pd.concat(parts, ignore_index=True)


def made(folder: Path, name: str, build: Path, arguments: argparse.Namespace) -> Place:
    """A build's store by its name."""
    many = [f"made_task_{number:03d}" for number in range(107)]
    every = suites(arguments.scale)
    pythia = [(model, size, [256, 512, *STEPS[11::6]]) for model, size, _ in every[:8]]
    paper = [(model, size, [*(1000 * 2**i for i in range(1, 8)), 143_000]) for model, size, _ in pythia]

    def published() -> pd.DataFrame:
        return pd.read_csv(arguments.published, sep="\t").sort_values(["ModelName", "ModelRevision"])

    tables: dict[str, Callable[[], pd.DataFrame]] = {
        "big": lambda: table(every, list(TASKS), items=True),
        "many": lambda: table(pythia, many[: round(87 * arguments.scale) or 1], items=False),
        "paper": lambda: table(paper, list(TASKS), items=True) if arguments.published is None else published(),
        "huge": lambda: table(every, many, items=True),
    }
    return Place(folder / ("this" if build == HERE else "other") / name, tables[name], build)


def study(place: Place, build: Path, wanted: Sequence[str]) -> Iterator[tuple[str, Cost]]:
    """The first analysis of a store, the same again, and the one after a checkpoint was filed."""
    place.restore()
    yield "analyze", execute(build, place.folder, "analyze")
    if "again" in wanted:
        yield "again", execute(build, place.folder, "analyze")
    if "one_more" in wanted:
        execute(build, place.folder, "ingest", "more.tsv")
        yield "one_more", execute(build, place.folder, "analyze")


def ingest(place: Place, build: Path) -> Iterator[tuple[str, Cost]]:
    """All results of a table into a store that is not there yet."""
    with tempfile.TemporaryDirectory(dir=place.folder) as empty:
        yield "ingest", execute(build, Path(empty), "ingest", str(place.folder / "all.tsv"))


def swept(folder: Path, build: Path, scale: float, wanted: Sequence[str]) -> Iterator[tuple[str, Cost]]:
    """What a finished sweep costs that is asked about, planned and started again."""
    place, conf = folder / ("this" if build == HERE else "other") / "sweep", HERE / "conf" / "model"
    steps = "all" if scale == 1 else ",".join(map(str, suites(scale)[0][2]))
    words = ["model=glob(every/*)", f"step={steps}", "task=paper"]
    start = ["-m", *words, "analysis.after_sweep=false"]
    if not (place / "made").exists():
        for group in ("model/every", "checkpoint"):
            (place / "conf" / group).mkdir(parents=True, exist_ok=True)
        for file in [*conf.glob("pythia-*.yaml"), *conf.glob("pythia-deduped/*.yaml")]:
            _copy(file, place, f"{file.parent.name}-{file.name}")
        for seed in range(1, 10):
            suite = "defaults:\n  - polypythia\n  - _self_\n\nseed: %d\n"
            (place / "conf" / "checkpoint" / f"seed{seed}.yaml").write_text(suite % seed)
            for file in conf.glob("polypythia/*.yaml"):
                _copy(file, place, f"seed{seed}-{file.name}", "checkpoint: polypythia", f"checkpoint: seed{seed}")
        execute(build, place, *words, script=[str(HERE / "benchmarks" / "finished_sweep.py")], codes=(0,))
        execute(build, place, *start, codes=(0,))  # the first start notes on the runs that the sweep wants them
        (place / "made").touch()
    for name, command in (("status", ["status", *words]), ("plan", ["plan", *words]), ("rerun", start)):
        if name in wanted:
            yield name, execute(build, place, *command, codes=(0,))


def _copy(file: Path, place: Path, name: str, old: str = "", new: str = "") -> None:
    """A shipped model's file as a user's own, without what an earlier build does not know."""
    lines = [line for line in file.read_text().splitlines() if not line.startswith("aliases:")]
    (place / "conf" / "model" / "every" / name).write_text("\n".join(lines).replace(old, new) + "\n")


def measure(folder: Path, build: Path, wanted: Sequence[str], arguments: argparse.Namespace) -> dict[str, Cost]:
    """Each piece of work once with one build."""
    found: dict[str, Cost] = {}
    if "ingest" in wanted:
        found |= ingest(made(folder, "big", build, arguments), build)
    if {"analyze", "again", "one_more"} & set(wanted):
        found |= study(made(folder, "big", build, arguments), build, wanted)
    if set(SWEPT) & set(wanted):
        found |= swept(folder, build, arguments.scale, wanted)
    for work, name in (("many_tasks", "many"), ("paper", "paper"), ("million", "huge")):
        if work in wanted:
            place = made(folder, name, build, arguments)
            place.restore()
            words = ["experiment=paper"] if work == "paper" and arguments.published is not None else []
            found[work] = execute(build, place.folder, "analyze", *words)
    return found


def summary(runs: list[tuple[dict[str, Cost], dict[str, Cost]]]) -> dict[str, dict[str, float | None]]:
    """Work -> ratios and costs, from what this build and the other took at each turn (nothing where there is none)."""
    works: dict[str, dict[str, float | None]] = {}
    for work in WORKS:
        ours = [now[work] for now, _ in runs if work in now]
        if not ours:
            continue
        ratios = [before[work].wall_s / now[work].wall_s for now, before in runs if work in before]
        if work == "million":
            ratios = [now[work].wall_s / now["analyze"].wall_s for now, _ in runs if "analyze" in now]
        theirs = [before[work] for _, before in runs if work in before]
        works[work] = {
            "ratio_median": statistics.median(ratios) if ratios else None,
            "min": min(ratios, default=None),
            "max": max(ratios, default=None),
            "memory": max(cost.memory_mb for cost in ours),
            "wall_s": statistics.median(cost.wall_s for cost in ours),
            "cpu_s": statistics.median(cost.cpu_s for cost in ours),
            "before_wall_s": statistics.median(cost.wall_s for cost in theirs) if theirs else None,
            "before_cpu_s": statistics.median(cost.cpu_s for cost in theirs) if theirs else None,
            "before_memory": max((cost.memory_mb for cost in theirs), default=None),
        }
    return works


def text(works: dict[str, dict[str, float | None]]) -> str:
    """For people."""
    shown = (
        "ratio_median",
        "min",
        "max",
        "wall_s",
        "cpu_s",
        "memory",
        "before_wall_s",
        "before_cpu_s",
        "before_memory",
    )
    lines = [f"{'work':<12}" + "".join(f"{name:>15}" for name in shown)]
    for work, row in works.items():
        cells = ["-" if row[name] is None else f"{row[name]:,.2f}" for name in shown]
        lines.append(f"{work:<12}" + "".join(f"{cell:>15}" for cell in cells))
    return "\n".join(lines)


@contextlib.contextmanager
def other_build(name: str | None) -> Iterator[Path | None]:
    """The files of another build: of a folder as they are, or of a commit."""
    if name is None or Path(name).is_dir():
        yield None if name is None else Path(name).absolute()
        return
    with _checkout(name) as tree:
        yield tree


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=WORKS, help="this work alone; more than once for several")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the checkpoints and of the many tasks")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--against", metavar="REV", help="a commit, or a folder, of evalrun to compare with, in turn")
    parser.add_argument("--published", type=Path, metavar="FILE", help="the paper's all_results.tsv, for `paper`")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="make the stores here, or use those that are there")
    parser.add_argument("--json", type=Path, help="write all numbers here")
    arguments = parser.parse_args()
    wanted = arguments.only or WORKS
    runs = []
    with other_build(arguments.against) as other, tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        for turn in range(arguments.repeats):
            builds = [HERE] if other is None else [HERE, other][:: 1 if turn % 2 == 0 else -1]
            found = {build: measure(folder, build, _of(build, wanted), arguments) for build in builds}
            runs.append((found[HERE], {} if other is None else found[other]))
    works = summary(runs)
    print(text(works))
    if arguments.json is not None:
        costs = [[{work: asdict(cost) for work, cost in build.items()} for build in turn] for turn in runs]
        arguments.json.write_text(json.dumps({"work": works, "runs": costs}, indent=1))
    return 0


def _of(build: Path, wanted: Sequence[str]) -> list[str]:
    """What a build is asked to do: the million is measured against this build's own hundred thousand."""
    return [work for work in wanted if work != "million" or build == HERE]


if __name__ == "__main__":
    sys.exit(main())
