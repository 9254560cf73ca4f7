"""What every launcher must do, as functions of the command under test: for tests of launchers and of engines."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

import forked
from evalrun.config.schema import TrackingConf
from evalrun.tracking import Store
from helpers import make_rows, write_rows

SWEEP = (
    "-m",
    "model=glob(toy/*)",
    "step=1,2,...,8",
    "task=alpha,faulty",
    "trust_task_code=true",
)
UNSEEN = "analysis.after_sweep=false"  # a launcher has no part in the analysis
MARK = "EVALRUN_TEST_MARK"

TASK = """\
task: faulty
data: data/faulty.jsonl
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
process_results: !function faults.process
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0, title: Faulty}
"""
# A user's own scoring code that does, at the checkpoints named in faults.json, what code should not do.
CODE = """\
import json, os, pathlib, signal, sys, time
FOLDER = pathlib.Path(__file__).resolve().parents[2]
def process(doc, results):
    from hydra.core.hydra_config import HydraConfig
    place = "/".join(pathlib.Path(HydraConfig.get().runtime.output_dir).parts[-2:])
    fault = json.loads((FOLDER / "faults.json").read_text()).get(place)
    if fault:
        met = FOLDER / "met.txt"
        before = met.read_text().count(place + " ") if met.exists() else 0
        with met.open("a") as file:
            file.write(f"{place} {os.getpid()}\\n")
        if fault == "exit":
            sys.exit(3)
        if fault == "raise":
            raise ValueError("on purpose")
        if fault == "kill" or (fault == "kill once" and before == 0):
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "wait" or (fault == "wait once" and before == 0):
            while not (FOLDER / "go").exists():
                time.sleep(0.1)
    likelihoods = [answer[0] for answer in results]
    return {"acc": float(likelihoods.index(max(likelihoods)) == doc["answer"])}
"""


class Started(subprocess.Popen[str]):
    """A command in a session of its own, which ends with the test, should that fail."""

    def __exit__(self, kind: type[BaseException] | None, *more: Any) -> None:
        if kind is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        super().__exit__(kind, *more)


@dataclass(frozen=True)
class Command:
    """The sweep under test: in a user's folder, with the words that choose a launcher."""

    folder: Path
    words: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 300

    def prepare(self) -> None:
        """Add a task whose code can fail."""
        (self.folder / "conf" / "task" / "faulty.yaml").write_text(TASK)
        (self.folder / "conf" / "task" / "faults.py").write_text(CODE)
        write_rows(self.folder / "data" / "faulty.jsonl", make_rows(12, 9))
        self.faults({})

    def faults(self, faults: Mapping[str, str]) -> None:
        """At which checkpoints the task's code fails, and how: exit, raise, kill or wait, the last two also `once`."""
        (self.folder / "faults.json").write_text(json.dumps(faults))
        (self.folder / "met.txt").unlink(missing_ok=True)

    def start(self, *more: str, mark: str = "") -> Started:
        """Start it, in a session of its own as a terminal would."""
        env = {**os.environ, MARK: mark, **self.env}
        return Started(
            [sys.executable, "-m", "evalrun", *SWEEP, UNSEEN, *self.words, *more], cwd=self.folder, env=env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def run(self, *more: str, analysis: str = UNSEEN) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return forked.run([*SWEEP, analysis, *self.words, *more], self.folder, {**os.environ, **self.env}, self.timeout)

    def journal(self) -> dict[str, int]:
        """Every result's record, and when it was written."""
        root = self.folder / "multirun"
        return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.rglob("results/*.json")}

    def results(self) -> dict[str, tuple[float, pd.DataFrame]]:
        """Every result's number and its items."""
        found = {}
        for name in self.journal():
            path = self.folder / "multirun" / name
            record = json.loads(path.read_text())
            found[name] = (record["metrics"]["acc"], pd.read_parquet(path.with_suffix(".parquet")))
        return found

    def table(self) -> pd.DataFrame:
        """What the store holds."""
        conf = TrackingConf(uri=None, root=str(self.folder / "mlruns"))
        rows = Store(conf).table("toy")
        return rows[rows["metric"] == "acc"]

    def met(self) -> list[tuple[str, int]]:
        """Which faults were met, and by which process."""
        path = self.folder / "met.txt"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return [(line.split()[0], int(line.split()[1])) for line in lines]


def damage(command: Command, place: str) -> Callable[[], None]:
    """Cut a checkpoint's weights in half; returns what mends them."""
    weights = command.folder / "models" / place / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    return lambda: weights.write_bytes(whole) and None


def files_every_result(command: Command, expected: Mapping[str, tuple[float, pd.DataFrame]]) -> None:
    """Journal and store hold all, the same as the local launcher's, from an empty store on; done is done."""
    first = command.run(analysis="analysis=interaction")
    assert first.returncode == 0, first.stderr
    assert_whole(command, expected)
    assert "%|" not in first.stderr  # no progress bars of workers
    (report,) = (command.folder / "multirun" / "analysis").glob("*/toy/report.html")  # the driver analysed
    assert "Faulty" in report.read_text()
    before = command.journal()
    again = command.run()
    assert again.returncode == 0, again.stderr
    assert "8 of 8 jobs found done" in again.stdout
    assert command.journal() == before


def assert_whole(command: Command, expected: Mapping[str, tuple[float, pd.DataFrame]]) -> None:
    """All sixteen results are in journal and store, with the numbers of the local launcher."""
    found = command.results()
    assert found.keys() == expected.keys()
    for name, (value, items) in found.items():
        assert value == expected[name][0]
        pd.testing.assert_frame_equal(items, expected[name][1])
    rows = command.table()
    assert len(rows) == 16
    assert rows["run_id"].nunique() == 8
    values = sorted((row.model, row.step, row.task, row.value) for row in rows.itertuples())
    assert values == sorted(
        (name.split("/")[1], int(name.split("/")[2][4:]), name.split("/")[4].split("-")[0], value)
        for name, (value, _) in expected.items()
    )


def a_fault_costs_its_job_alone(
    command: Command, expected: Mapping[str, tuple[float, pd.DataFrame]], workers_can_die: bool
) -> None:
    """A damaged checkpoint, code that raises or exits, a killed worker: named with their causes, the rest done."""
    mend = damage(command, "toy-s/step2")
    command.faults(
        {"toy-s/step4": "exit", "toy-m/step2": "raise"}
        | ({"toy-m/step4": "kill", "toy-m/step8": "kill once"} if workers_can_die else {})
    )
    first = command.run()
    assert first.returncode == 1, first.stderr
    failed = 4 if workers_can_die else 3
    said = first.stderr[first.stderr.index(f"{failed} of 8 jobs failed:") :]
    assert "checkpoint of toy-s step 2 in" in said
    assert "toy-s step 4: code that it ran called sys.exit(3)" in said
    assert "toy-m step 2: on purpose (ValueError)" in said
    if workers_can_die:
        assert "toy-m step 4: its worker was killed" in said
        assert "toy-m step 8" not in said
        assert [place for place, _ in command.met()].count("toy-m/step8") > 1  # it was tried again
        assert [place for place, _ in command.met()].count("toy-m/step4") > 1
    assert "Traceback" not in said
    done = {name for name in expected if not any(p in name for p in ("toy-s/step2", "faulty"))}
    assert done <= command.journal().keys()  # alpha, which is scored first, everywhere but in the damaged one
    there = {(row.model, row.step) for row in command.table().itertuples() if row.task == "faulty"}
    good = {("toy-s", 1), ("toy-s", 8), ("toy-m", 1)} | {("toy-m", 8), *([] if workers_can_die else [("toy-m", 4)])}
    assert there == good
    kept = command.journal()
    mend()
    command.faults({})
    second = command.run()
    assert second.returncode == 0, second.stderr
    assert {name: stamp for name, stamp in command.journal().items() if name in kept} == kept
    assert_whole(command, expected)


def stops_and_goes_on(
    command: Command, expected: Mapping[str, tuple[float, pd.DataFrame]], states_may_stay: bool = True
) -> None:
    """Ctrl-C ends it cleanly, leaves no process, and the same command goes on."""
    mark = f"mark-{os.getpid()}-{time.monotonic_ns()}"
    command.faults({f"{model}/step{step}": "wait" for model in ("toy-s", "toy-m") for step in (4, 8)})
    with command.start(mark=mark) as process:
        deadline = time.monotonic() + command.timeout
        while not (command.met() and len(command.journal()) >= 4):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.5)
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of the foreground
        try:
            _, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 130, err
    assert time.monotonic() - began < 30
    assert "evalrun: interrupted: " in err
    assert "The same command goes on from there:\n  python -m evalrun -m " in err
    assert "Traceback" not in err
    wait_for_the_end([pid for _, pid in command.met()], mark)
    assert states_may_stay or not [*command.folder.glob("multirun/**/state-*.json")]  # of jobs that nobody saw end
    kept = command.journal()
    command.faults({})
    second = command.run()
    assert second.returncode == 0, second.stderr
    assert {name: stamp for name, stamp in command.journal().items() if name in kept} == kept
    assert_whole(command, expected)


def wait_for_the_end(pids: list[int], mark: str, seconds: float = 30) -> None:
    """Fail unless these processes, and all that have the mark in their environment, are gone soon."""
    deadline = time.monotonic() + seconds
    while left := [*filter(_lives, pids), *_marked(mark)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _marked(mark: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark and f"{MARK}={mark}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return [pid for pid in found if _lives(pid)]


def fails_fast(command: Command) -> None:
    """`fail_fast=true`: nothing is started after the first failure, and what was not is named."""
    mends = [damage(command, "toy-s/step1"), damage(command, "toy-m/step1")]
    first = command.run("fail_fast=true")
    assert first.returncode == 1, first.stderr
    assert "checkpoint of toy-" in first.stderr
    lines = [line for line in first.stderr.splitlines() if "not started, because of fail_fast=true" in line]
    assert len(lines) == 1, first.stderr
    (line,) = lines
    named = {label.strip(" .") for label in line.partition("true: ")[2].split(",")}
    assert named
    done = {(row.model, row.step) for row in command.table().itertuples()} if command.journal() else set()
    labels = {f"{model} step {step}" for model, step in done}
    assert not named & labels
    assert 4 <= len(named) + len(labels) <= 7, (named, labels)
    for mend in mends:
        mend()
    assert command.run().returncode == 0
