"""What goes on over many launches, on a Ray cluster and on SLURM: a watch over runs that grow, `until=settled`."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

import forked
from evalrun.config.schema import TrackingConf
from evalrun.tracking import Store
from evalrun.tracking.alarm_tags import looks_of
from helpers import make_checkpoint, make_workspace
from launchers.contract import UNSEEN, Command
from training_runs import write_state

from .engines import RayCluster, Slurm, wait_until

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1200)]
RAY = ("hydra/launcher=ray", "hydra.launcher.address=auto")
SLURM = ("hydra/launcher=slurm", "hydra.launcher.cpus=1")
WATCH = ("watch", "paths=runs/*", "task=alpha", "tokens_per_step=100", "watch.poll_s=1", "watch.retry_s=3")
GRID = ("-m", "model=glob(toy/*)", "step=1,2,...,8", "task=alpha", "order=bisect", "until=settled", UNSEEN)
ENOUGH = ("analysis.smallest_change=0.9", "analysis.alpha=1e-17")  # no move counts, and none is large: three steps do
ALL = "analysis.smallest_change=1e-9"  # every gap has to be looked into


def save(run: str, step: int, seed: int) -> Path:
    """A checkpoint as a Trainer leaves it, made beside the run and moved there whole."""
    made = make_checkpoint(Path("made") / run, seed=seed)
    write_state(made, step)
    target = Path("runs") / run / f"checkpoint-{step}"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(made, target)
    return target


class Watched:
    """A watch in a process of its own, which can be ended and started again."""

    def __init__(self, folder: Path, words: tuple[str, ...], env: Mapping[str, str]) -> None:
        self.out, self.err = folder / "out.txt", folder / "err.txt"
        self.words, self.env = words, {**os.environ, **env}
        self._begin()

    def _begin(self) -> None:
        with self.out.open("a") as said, self.err.open("a") as warned:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "evalrun", *WATCH, *self.words], env=self.env, stdout=said, stderr=warned
            )

    def wait(self, what: Callable[[], object], name: str) -> None:
        """Wait for what it is to do."""

        def alive_and_done() -> object:
            assert self.process.poll() is None, self.err.read_text()
            return what()

        wait_until(alive_and_done, name, 300)

    def wait_for(self, **steps: int) -> None:
        """Wait for its verdict on a step of each of these runs."""
        for run, step in steps.items():
            self.wait(lambda told=f"{run} step {step}, ": told in self.out.read_text(), f"{run} step {step}")

    def kill_and_start(self) -> None:
        """Lose it, as by SIGKILL, and start it again."""
        self.process.kill()
        self.process.wait()
        self._begin()

    def end(self) -> int:
        """Ask it to end, as a supervisor does; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=90)


@contextmanager
def watched(folder: Path, words: tuple[str, ...], env: Mapping[str, str]) -> Iterator[Watched]:
    watch = Watched(folder, words, env)
    try:
        yield watch
    finally:
        watch.process.kill()
        watch.process.wait()


def table(folder: Path, root: str = "mlruns") -> pd.DataFrame:
    rows = Store(TrackingConf(uri=None, root=str(folder / root))).table("local").query("metric == 'acc'")
    return rows.sort_values(["model", "step"])[["model", "step", "value"]].reset_index(drop=True)


def assert_whole(folder: Path, steps: Mapping[str, list[int]]) -> None:
    """Each checkpoint was scored once, with the numbers of this process, and judged at a look of its own, in order."""
    found = table(folder)
    assert {run: found[found["model"] == run]["step"].tolist() for run in steps} == steps
    here = forked.run(
        [*WATCH, "--once", "tracking.root=here", "hydra.sweep.dir=here-jobs"], folder, dict(os.environ), 300
    )
    assert here.returncode in (0, 3), here.stderr
    pd.testing.assert_frame_equal(found, table(folder, "here"))
    past = Store(TrackingConf(uri=None, root=str(folder / "mlruns"))).past("local")
    assert len(past) == sum(map(len, steps.values()))
    for run in steps:
        own = sorted((one for one in past if one.model == run), key=lambda one: one.step)
        assert [look.number for one in own for look in looks_of(one.tags).values()] == list(range(len(own)))


def grow(watch: Watched) -> None:
    """Two runs that grow under the watch, a third that begins, and a checkpoint that is damaged for a while."""
    watch.wait_for(a=4, b=4)
    save("a", 8, 2)
    broken = save("b", 8, 3) / "model.safetensors"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    watch.wait_for(a=8)
    watch.wait(lambda: "ends too early" in watch.err.read_text(), "the damage to be said")
    save("c", 4, 4)
    watch.wait_for(c=4)
    broken.write_bytes(whole)
    write_state(broken.parent, 8)
    watch.wait_for(b=8)


STEPS = {"a": [4, 8, 12], "b": [4, 8, 12], "c": [4]}


def test_ray_watches_runs_that_grow(workspace: Path, ray_cluster: RayCluster) -> None:
    save("a", 4, 0)
    save("b", 4, 1)
    with watched(workspace, RAY, ray_cluster.env) as watch:
        grow(watch)
        save("a", 12, 5)
        watch.kill_and_start()
        save("b", 12, 6)
        watch.wait_for(a=12, b=12)
        assert watch.end() == 130
    assert "Traceback" not in watch.err.read_text()
    assert_whole(workspace, STEPS)


def test_slurm_watches_runs_that_grow(workspace: Path, slurm: Slurm) -> None:
    save("a", 4, 0)
    save("b", 4, 1)
    with watched(workspace, SLURM, slurm.env) as watch:
        grow(watch)
        slurm.run("scontrol", "update", f"nodename={slurm.node}", "state=drain", "reason=test")
        try:
            save("a", 12, 5)
            save("b", 12, 6)
            queue = ("squeue", "--array", "--noheader", "--format=%i")
            watch.wait(lambda: len(slurm.run(*queue).split()) == 2, "two jobs in the queue")
            queued, tables = slurm.run(*queue), watch.out.read_text().count("last alarm")
            watch.kill_and_start()
            watch.wait(lambda: watch.out.read_text().count("last alarm") > tables, "its first look")
            assert slurm.run(*queue) == queued  # nothing is queued twice
        finally:
            slurm.run("scontrol", "update", f"nodename={slurm.node}", "state=resume")
        watch.wait_for(a=12, b=12)
        assert watch.end() == 130
    assert "Traceback" not in watch.err.read_text()
    assert_whole(workspace, STEPS)


def settles(command: Command, local: Command) -> None:
    """Three of four steps where that is enough, then every gap in rounds, with the numbers of the local launcher."""
    first = run(command, *ENOUGH)
    assert {Path(name).parts[2] for name in command.journal()} == {"step1", "step4", "step8"}
    for model in ("toy-s", "toy-m"):
        assert re.search(rf"alpha in {model}: undecided by 3 of 4 steps, without 2\n", first.stdout)
    kept = command.journal()
    second = run(command, ALL)
    assert "round 1: 6 of 6 jobs found done" in second.stdout
    assert "round 2: 0 of 2 jobs found done, 2 to do" in second.stdout
    assert kept.items() < command.journal().items()
    run(local, ALL)
    found, expected = command.results(), local.results()
    assert found.keys() == expected.keys()
    for name, (value, items) in found.items():
        assert value == expected[name][0]
        pd.testing.assert_frame_equal(items, expected[name][1])
    assert len(command.table()) == 8


def run(command: Command, *words: str) -> subprocess.CompletedProcess[str]:
    done = forked.run([*GRID, *command.words, *words], command.folder, {**os.environ, **command.env}, 500)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def local(tmp_path: Path, toy_models: Path) -> Command:
    return Command(make_workspace(tmp_path / "local", toy_models))


def test_ray_stops_where_curves_are_settled(workspace: Path, ray_cluster: RayCluster, local: Command) -> None:
    settles(Command(workspace, RAY, ray_cluster.env), local)


def test_slurm_stops_where_curves_are_settled(workspace: Path, slurm: Slurm, local: Command) -> None:
    settles(Command(workspace, SLURM, slurm.env), local)
