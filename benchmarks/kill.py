"""Kill a sweep at random moments, start it again, and compare what is there with a sweep that nobody disturbed.

    python benchmarks/kill.py --rounds 100
    python benchmarks/kill.py --rounds 30 --tracking server
    python benchmarks/kill.py --rounds 10 --launcher processes

A small real suite (two GPT-NeoX models of three checkpoints, three tasks) is swept once undisturbed. Then each round
starts the same command in a fresh folder, sends SIGKILL to the driver (or to one of its workers, or to the MLflow
server, which is started again) one to three times, starts the same command after each, and lets the last one finish.
Half of the kills fall at a moment drawn uniformly from the undisturbed duration; the others are aimed: a short random
time after MLflow's database appeared, after a result was filed, after a checkpoint's last result (its delivery), or
after the sweep's last (the analysis).

A round fails if the last run does not end with 0, if any output holds a traceback, or if the journal, the MLflow store
(runs, tags, params, every metric value ever logged, artifacts by content, curves, reports) or the analysis differ from
the undisturbed ones in anything but times; if a result that was whole at a kill was computed again or is gone; if a
file is torn; if a process is left. Its folder is then kept and named, and the exit code is 1. Offline, on the CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import kill_place as place
import kill_state as state

PATIENCE_S = 600.0  # for a run that nobody kills
CHECKPOINTS = len(place.MODELS) * place.STEPS


@dataclass(frozen=True)
class Planned:
    """A kill that is to be: after what, and how long after, as a part of the time that there is."""

    aim: str  # uniform, store, scoring, delivery, analysis
    at: float  # 0 to 1
    victim: str = "driver"


@dataclass
class Kill:
    """One SIGKILL: whom it met and where the sweep was."""

    victim: str  # driver, worker, server
    phase: str  # see `phase_of`
    aimed: str  # uniform, or what it was aimed at
    after_s: float  # since this start of the command


@dataclass
class Round:
    """What happened in a round, and what is wrong afterwards."""

    number: int
    analysis: bool
    folder: str
    kills: list[Kill] = field(default_factory=list)
    starts: int = 0
    lost: list[str] = field(default_factory=list)  # results that were whole at a kill, and are not those of the end
    duplicates: int = 0  # runs beyond the first of a checkpoint or a curve
    torn: int = 0
    again: int = 0  # tasks that were begun once more, because a kill came before they were filed
    litter: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Reference:
    """The undisturbed sweep."""

    found: dict[str, Any]
    whole_s: float
    tail_s: float  # after its last result was filed


@dataclass(frozen=True)
class Settings:
    """What all rounds share."""

    work: Path
    tracking: str
    launcher: str

    def database(self, folder: Path) -> Path:
        """MLflow's file of a round."""
        return folder / ("server" if self.tracking == "server" else "mlruns") / "mlflow.db"

    def server(self, folder: Path) -> place.Server | None:
        """The round's own server, started, if it wants one."""
        if self.tracking != "server":
            return None
        server = place.Server.at(folder / "server", self.work / "empty.db")
        server.start()
        return server

    def snapshot(self, folder: Path, server: place.Server | None) -> dict[str, Any]:
        """What the folder holds."""
        if server is None:
            return state.snapshot(folder, self.database(folder))
        return state.snapshot(folder, self.database(folder), server.folder / "served", server.address)


def undisturbed(settings: Settings, analysis: bool, name: str) -> Reference:
    """Sweep once without a kill.

    Raises:
        SystemExit: it fails, and so would everything after it.
    """
    folder = place.copy_suite(settings.work / "suite", settings.work / name)
    server = settings.server(folder)
    try:
        began, filed = time.monotonic(), 0.0
        address = None if server is None else server.address
        process = place.start(folder, place.words(settings.launcher, address, analysis), folder / "output-1.txt")
        while process.poll() is None:
            if not filed and len(_records(folder)) == place.RESULTS:
                filed = time.monotonic()
            time.sleep(0.01)
        ended = time.monotonic()
    finally:
        if server is not None:
            server.kill()
    output = (folder / "output-1.txt").read_text()
    if process.returncode != 0 or "Traceback" in output:
        raise SystemExit(f"the undisturbed sweep in {folder} ended with {process.returncode}:\n{output[-3000:]}")
    return Reference(settings.snapshot(folder, server), ended - began, ended - (filed or ended))


def _records(folder: Path) -> list[Path]:
    return list(folder.glob("multirun/*/*/*/results/*.json"))


def _full_jobs(folder: Path) -> int:
    """Checkpoints of which all results are filed."""
    return sum(n == len(place.TASKS) for n in Counter(path.parent for path in _records(folder)).values())


def wait_for(folder: Path, database: Path, process: subprocess.Popen[bytes], plan: Planned, ref: Reference) -> bool:
    """Sleep until the moment of a kill; whether the process lived to see it."""
    records, jobs = len(_records(folder)), _full_jobs(folder)
    whole, part = divmod(plan.at * {"scoring": 6, "delivery": 3}.get(plan.aim, 1), 1)
    reached: dict[str, Callable[[], bool]] = {
        "uniform": lambda: True,
        "store": lambda: (folder / "mlruns" / "mlflow.db").exists(),
        "scoring": lambda: len(_records(folder)) >= min(place.RESULTS, records + 1 + whole),
        "delivery": lambda: _full_jobs(folder) >= min(CHECKPOINTS, jobs + 1 + whole),
        "analysis": lambda: state.complete(database) == CHECKPOINTS,
    }
    spread: dict[str, Callable[[], float]] = {  # asked for late: the undisturbed sweep may be under way itself
        "uniform": lambda: ref.whole_s,
        "store": lambda: 2.5,
        "scoring": lambda: 0.06,
        "delivery": lambda: 0.35,
        "analysis": lambda: ref.tail_s,
    }
    if records == place.RESULTS:  # nothing to wait for: a start of some seconds, then the analysis
        reached[plan.aim] = lambda: True
        spread[plan.aim] = lambda: min(ref.whole_s, ref.tail_s + 5)
    moment: float | None = None
    while process.poll() is None:
        if moment is None and reached[plan.aim]():
            moment = time.monotonic() + part * spread[plan.aim]()
        if moment is not None and time.monotonic() >= moment:
            return True
        time.sleep(0.02 if plan.aim == "analysis" else 0.002)
    return False


def announced(folder: Path) -> list[str]:
    """Every task that a job said it begins with, in the logs of all jobs."""
    logs = "".join(path.read_text() for path in folder.glob("multirun/*/*/*/evalrun.log"))
    return [name for names in re.findall(r": computing (.*)", logs) for name in names.split(", ")]


def phase_of(folder: Path, database: Path, output: str, records: int, tasks: int) -> str:
    """Where the sweep stands, from what it has written.

    `start` is everything before the first job of this start of the command (or until it delivers what an earlier one
    left), `loading` until its first result, `delivery` while a checkpoint has all results and its run is not closed.

    Args:
        folder: The round's.
        database: MLflow's file.
        output: What this start of the command has printed.
        records: How many results there were when it began.
        tasks: How many tasks had been announced by then.
    """
    here = list(state.journal(folder))
    begun = len(announced(folder)) > tasks or "found done" in output
    if state.complete(database) == CHECKPOINTS:
        return "analysis" if begun else "start"
    if not begun:
        return "start"
    if _full_jobs(folder) > state.complete(database):
        return "delivery"
    return "scoring" if len(here) > records else "loading"


class Play:
    """One round."""

    def __init__(
        self, settings: Settings, number: int, plan: Sequence[Planned], references: dict[bool, Reference]
    ) -> None:
        self.settings = settings
        self.plan = plan
        analysis = number % 2 == 0
        self.reference = references[analysis]
        self.folder = settings.work / f"round-{number:03d}"
        self.round = Round(number, analysis, str(self.folder))
        self.kept: dict[str, int] = {}  # results that were whole at a kill -> when they were computed
        self.held: dict[tuple[str, str], int] = {}  # the same of what the store counted
        self.groups: list[int] = []
        self.server: place.Server | None = None

    def run(self) -> Round:
        """Kill, start again, compare; nothing that was started here is left."""
        began = time.monotonic()
        place.copy_suite(self.settings.work / "suite", self.folder)
        try:
            self.server = self.settings.server(self.folder)
            for planned in self.plan:
                self._disturb(planned)
            self._finish()
            self._compare()
        except Exception as error:  # a fault of the test must not look like a success
            self.round.differences.append(f"the round itself failed: {type(error).__name__}: {error}")
        finally:
            for group in self.groups:
                place.end_group(group)
            if self.server is not None:
                self.server.kill()
        self.round.seconds = time.monotonic() - began
        if not (self.round.differences or self.round.lost):
            shutil.rmtree(self.folder)
        return self.round

    def _start(self) -> tuple[subprocess.Popen[bytes], Path]:
        self.round.starts += 1
        output = self.folder / f"output-{self.round.starts}.txt"
        address = None if self.server is None else self.server.address
        process = place.start(self.folder, place.words(self.settings.launcher, address, self.round.analysis), output)
        self.groups.append(process.pid)
        return process, output

    def _disturb(self, planned: Planned) -> None:
        """Start the command and kill something once; where the driver lives on, wait for its end."""
        before = len(_records(self.folder)), len(announced(self.folder))
        database = self.settings.database(self.folder)
        process, output = self._start()
        began = time.monotonic()
        if not wait_for(self.folder, database, process, planned, self.reference):
            self._ended(process, output)
            return
        victim = self._kill(planned.victim, process)
        after = time.monotonic() - began
        phase = phase_of(self.folder, database, output.read_text(), *before)
        self.round.kills.append(Kill(victim, phase, planned.aim, round(after, 2)))
        self.kept |= {path: record["finished_ms"] for path, record in state.journal(self.folder).items()}
        for key, tasks in state.delivered(database).items():
            self.held |= {(key, task): when for task, when in tasks.items()}
        if victim == "server" and self.server is not None:
            time.sleep(3 * planned.at)
            self.server.start()
        if victim != "driver":
            process.wait(PATIENCE_S)
            self._ended(process, output)

    def _kill(self, wanted: str, process: subprocess.Popen[bytes]) -> str:
        """SIGKILL; where no worker lives, the driver is killed in its place."""
        workers = place.workers(process.pid) if wanted == "worker" else []
        if workers:
            os.kill(workers[-1], signal.SIGKILL)
            return "worker"
        if wanted == "server" and self.server is not None:
            self.server.kill()
            return "server"
        process.send_signal(signal.SIGKILL)
        process.wait()
        return "driver"

    def _ended(self, process: subprocess.Popen[bytes], output: Path) -> None:
        """A run that was not killed itself ends with 0, or with 1 and a sentence."""
        text = output.read_text()
        if process.returncode not in (0, 1) or (process.returncode == 1 and "failed" not in text + _said(text)):
            self.round.differences.append(f"a run ended with {process.returncode}: {text[-500:]}")

    def _finish(self) -> None:
        process, output = self._start()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.round.differences.append(f"the last run does not end: {output.read_text()[-500:]}")
            return
        if process.returncode != 0:
            self.round.differences.append(f"the last run ended with {process.returncode}: {output.read_text()[-500:]}")
        left = [one for group in self.groups for one in place.of_group(group)]
        if left:
            self.round.differences.append(f"{len(left)} processes are left")
        for number in range(1, self.round.starts + 1):
            if "Traceback" in (self.folder / f"output-{number}.txt").read_text():
                self.round.differences.append(f"there is a traceback in output-{number}.txt")

    def _compare(self) -> None:
        found = self.settings.snapshot(self.folder, self.server)
        expected = self.reference.found
        self.round.differences += state.differences(expected, found)
        self.round.duplicates, self.round.torn = state.duplicates(found), len(found["torn"])
        self.round.litter = state.litter(self.folder)
        now = {path: record["finished_ms"] for path, record in state.journal(self.folder).items()}
        self.round.lost = [path for path, when in self.kept.items() if now.get(path) != when]
        store = state.delivered(self.settings.database(self.folder))
        self.round.lost += [f"{key[:12]} {t}" for (key, t), when in self.held.items() if store[key].get(t) != when]
        self.round.again = len(announced(self.folder)) - place.RESULTS


def _said(text: str) -> str:
    """`failed` where the output has a sentence of evalrun's own."""
    return "failed" if re.search(r"^evalrun: .+", text, re.MULTILINE) else ""


def draw(settings: Settings, number: int, seed: int) -> list[Planned]:
    """The kills of a round: one to three, half of them at any moment and half aimed."""
    chance = random.Random(f"{seed} {number}")
    victims = ["driver", *({"sqlite": [], "server": ["server", "server"]}[settings.tracking])]
    victims += [] if settings.launcher == "local" else ["worker", "worker"]
    plan = []
    for later in range(chance.choice((1, 1, 2, 3))):
        aims = ["scoring", "delivery", *(["analysis"] if number % 2 == 0 else [])]
        if settings.tracking == "sqlite" and not later:
            aims.append("store")
        aim, victim = "uniform" if chance.random() < 0.5 else chance.choice(aims), chance.choice(victims)
        if victim == "worker":  # they live while there are jobs
            aim = chance.choice(("scoring", "delivery"))
        # What is done once is not done again, so that a later start is shorter than the undisturbed sweep.
        at = chance.random() * (0.6 if later and aim == "uniform" else 1)
        plan.append(Planned(aim, at, victim))
    return plan


def table(rounds: Sequence[Round]) -> str:
    """For people: kills by victim and phase, and what they cost."""
    phases = ("start", "loading", "scoring", "delivery", "analysis")
    kills = [kill for each in rounds for kill in each.kills]
    lines = [f"{'kills by victim and phase':<28}" + "".join(f"{name:>10}" for name in (*phases, "all"))]
    for victim in [name for name in ("driver", "worker", "server") if any(kill.victim == name for kill in kills)]:
        counts = Counter(kill.phase for kill in kills if kill.victim == victim)
        lines.append(f"{victim:<28}" + "".join(f"{n:>10}" for n in (*(counts[p] for p in phases), counts.total())))
    wrong = [each for each in rounds if each.differences or each.lost]
    for name, value in (
        ("rounds (with analysis)", f"{len(rounds)} ({sum(each.analysis for each in rounds)})"),
        ("starts of the command", sum(each.starts for each in rounds)),
        ("results compared", len(rounds) * place.RESULTS),
        ("results lost", sum(len(each.lost) for each in rounds)),
        ("duplicate runs", sum(each.duplicates for each in rounds)),
        ("torn files that count", sum(each.torn for each in rounds)),
        ("tasks begun once more", sum(each.again for each in rounds)),
        ("temporary files left behind", sum(len(each.litter) for each in rounds)),
        ("rounds with a difference", len(wrong)),
        ("seconds a round, median", f"{sorted(each.seconds for each in rounds)[len(rounds) // 2]:.0f}"),
    ):
        lines.append(f"{name:<28}{value:>10}")
    for each in wrong:
        said = [*(f"lost: {name}" for name in each.lost), *each.differences]
        lines += [f"round {each.number} differs, kept in {each.folder}:", *(f"  {line}" for line in said[:12])]
    return "\n".join(lines)


def prepare(work: Path, tracking: str, launcher: str, items: int) -> Settings:
    """Make the suite, and an empty store for servers to begin with."""
    place.make_suite(work / "suite", items)
    if tracking == "server":
        code = (
            "from evalrun.config.schema import TrackingConf; from evalrun.tracking import Store\n"
            "Store(TrackingConf(uri=None, root='empty')).check()"
        )
        (work / "tmp").mkdir()
        subprocess.run([sys.executable, "-c", code], cwd=work, env=place.environment(work), check=True)
        (work / "empty" / "mlflow.db").rename(work / "empty.db")
    return Settings(work, tracking, launcher)


def main() -> int:
    """Run the rounds; 0 if none of them differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--tracking", choices=("sqlite", "server"), default="sqlite")
    parser.add_argument("--launcher", default="local", help="local, or a launcher's name such as processes")
    parser.add_argument("--parallel", type=int, default=2, help="rounds at once")
    parser.add_argument("--items", type=int, default=12, help="documents of each task")
    parser.add_argument("--seed", type=int, default=0, help="of victims and moments")
    parser.add_argument("--json", type=Path, help="write everything here")
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="evalrun-kill-"))
    settings = prepare(work, arguments.tracking, arguments.launcher, arguments.items)
    with ThreadPoolExecutor(arguments.parallel) as pool:
        with_analysis = pool.submit(undisturbed, settings, True, "undisturbed")
        without = pool.submit(undisturbed, settings, False, "undisturbed-without-analysis")
        references = {True: with_analysis.result(), False: without.result()}
    print(
        f"undisturbed: {references[True].whole_s:.1f} s, {references[False].whole_s:.1f} s without analysis", flush=True
    )
    rounds: list[Round] = []
    with ThreadPoolExecutor(arguments.parallel) as pool:
        numbers = range(arguments.rounds)
        plays = [Play(settings, number, draw(settings, number, arguments.seed), references) for number in numbers]
        try:
            for done in as_completed([pool.submit(play.run) for play in plays]):
                rounds.append(done.result())
                _tell(rounds[-1])
                if arguments.json:
                    arguments.json.write_text(json.dumps([asdict(each) for each in rounds], indent=1))
        except KeyboardInterrupt:
            print("interrupted: the rounds under way are ended first", flush=True)
            pool.shutdown(cancel_futures=True)
    print(f"\n{table(sorted(rounds, key=lambda each: each.number))}" if rounds else "no round was ended")
    if len(rounds) < arguments.rounds or any(each.differences or each.lost for each in rounds):
        return 1
    shutil.rmtree(work)
    return 0


def _tell(each: Round) -> None:
    hits = ", ".join(f"{kill.victim} in {kill.phase}" for kill in each.kills) or "no kill in time"
    verdict = "DIFFERS" if each.differences or each.lost else "the same"
    print(f"round {each.number}: {hits}: {verdict} ({each.seconds:.0f} s)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
