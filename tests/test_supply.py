"""The parts of plan and supply that need no hub: sizes, estimates, and what the ledger may delete."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import forked
from evalrun import checkpoints
from evalrun.checkpoints import download_log, downloads
from evalrun.commands.plan import cost, render
from evalrun.commands.plan.cost import Device, Time
from evalrun.commands.plan.inventory import Inventory, JobNeeds
from evalrun.config.compose import compose, hydra_session, to_config
from evalrun.config.schema import Config, parse_size
from evalrun.core.records import Checkpoint
from evalrun.errors import CheckpointError
from evalrun.tracking import RunEntry, layout
from evalrun.tracking.layout import TaskEntry

CELL = Checkpoint("pythia", "pythia-70m", 70, 60, 70, 1, 1000, None, "EleutherAI/pythia-70m", "step1")
CPU = Device("cpu", "x86_64, 4 CPUs", 10**9)


@pytest.fixture
def config(workspace: Path) -> Config:
    with hydra_session():
        return to_config(compose(["model=toy/toy-s", "step=1", "tasks=[alpha]"]))


def run_of(cell: Checkpoint, tasks: Sequence[TaskEntry], settings: str, hardware: str) -> RunEntry:
    """A run of the store with the tags that deliveries write."""
    tags = {layout.CELL: json.dumps(vars(cell)), layout.SETTINGS: settings, layout.HARDWARE: hardware}
    return RunEntry(
        "id", True, {layout.KEY: "key"} | tags | {k: v for task in tasks for k, v in task.to_tags().items()}
    )


def held(task: str, n: int, seconds: float) -> TaskEntry:
    return TaskEntry(task, task, "", "acc", True, {"acc": True}, {}, n, None, 0, seconds, 1, key="k")


def past(
    n_params: int, *tasks: TaskEntry, settings: str = "shared_prefix float32", hardware: str = CPU.hardware
) -> RunEntry:
    return run_of(replace(CELL, model=f"m{n_params}", n_params=n_params), tasks, settings, hardware)


def survey_of(jobs: list[JobNeeds], *runs: RunEntry) -> Inventory:
    return Inventory(tuple(jobs), (), runs, ("alpha", "beta"), None, None)


@pytest.mark.parametrize(
    ("text", "size"),
    [("200GB", 2 * 10**11), ("1.5 TB", 15 * 10**11), ("1000", 1000), ("1GiB", 2**30), ("2k", 2000),
     ("GB", None), ("-1GB", None), ("1 XB", None), ("", None)],
)  # fmt: skip
def test_sizes_are_read(text: str, size: int | None) -> None:
    assert parse_size(text) == size


def test_sizes_and_times_are_said_in_human_units() -> None:
    assert [render.size(n) for n in (None, 0, 999, 1000, 141_000_000, 23_700_000_000, 2 * 10**12)] == [
        "unknown", "0 B", "999 B", "1 kB", "141 MB", "23.7 GB", "2 TB",
    ]  # fmt: skip
    assert render.duration(Time(None, 0, ("a",))) == "no past run to estimate from"
    assert render.duration(Time(7503, 3, ())) == "about 2 h 5 min"
    assert render.duration(Time(0.2, 1, ("b",))) == "under 1 s without b"


def test_time_is_of_the_same_size_else_in_proportion_and_never_of_other_hardware(config: Config) -> None:
    job = JobNeeds(config, replace(CELL, n_params=100), None, None, ("alpha",), True, 0, 0)
    same = past(100, held("alpha", 10, 2.0))
    small, large = past(50, held("alpha", 10, 1.5)), past(1000, held("alpha", 10, 50.0))
    assert cost.time_of([job], survey_of([job], same, large), [CPU]) == Time(2.0, 1, ())
    assert cost.time_of([job], survey_of([job], small, large), [CPU]) == Time(3.0, 1, ())
    limited = replace(job, config=replace(config, limit=5))
    assert cost.time_of([limited], survey_of([limited], same), [CPU]).seconds == 1.0
    for other in (
        past(100, held("alpha", 10, 2.0), hardware="NVIDIA H100"),
        past(100, held("alpha", 10, 2.0), hardware=""),
        past(100, held("alpha", 10, 2.0), settings="lm_eval float32"),
        past(100, held("alpha", 10, 2.0), settings="shared_prefix float32 5-shot"),
        past(100, held("alpha", 3, 2.0), settings="shared_prefix float32 limit 3"),
    ):
        assert cost.time_of([job], survey_of([job], other), [CPU]) == Time(None, 0, ("alpha",))
    both = replace(job, todo=("alpha", "beta"))
    assert cost.time_of([both], survey_of([both], same), [CPU]) == Time(2.0, 1, ("beta",))
    assert cost.time_of([replace(job, todo=())], survey_of([job], same), [CPU]) == Time(0.0, 0, ())


def test_memory_in_the_dtype_asked_for_and_where_it_fits(config: Config) -> None:
    gpus = [Device("cuda:0", "G", 800), Device("cuda:1", "G", 800), replace(CPU, memory=10**4)]
    job = JobNeeds(config, replace(CELL, n_params=300), None, None, ("alpha",), False, None, None)

    def of(dtype: str, there: list[Device] = gpus, weights: int | None = None) -> cost.Memory:
        scorer = replace(config.scorer, dtype=dtype)
        return cost.memory_of(replace(job, config=replace(config, scorer=scorer), weights=weights), there)

    assert of("float16") == cost.Memory(600, "float16", ("cuda:0", "cuda:1", "cpu"))
    assert of("float32") == cost.Memory(1200, "float32", ("all", "cpu"))
    assert of("auto", weights=1201) == cost.Memory(1201, "float32", ("all", "cpu"))
    assert of("auto").dtype == ""
    assert of("float32", [replace(CPU, memory=1000)]).fits == ()


def test_gpus_are_seen_without_torch_as_torch_would_see_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, GPU-aaa, NVIDIA H100, 81559'\necho '1, GPU-bbb, NVIDIA H100, 81559'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(cost.importlib.metadata, "version", lambda name: "2.13.0+cu130")
    assert [device.name for device in cost.devices()] == ["cuda:0", "cuda:1", "cpu"]
    assert cost.devices()[0].memory == 81559 * 2**20
    for visible, n in (("1", 1), ("", 0), ("GPU-bbb,GPU-aaa", 2), ("-1", 0)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert len(cost.devices()) == n + 1, visible
    monkeypatch.setattr(cost.importlib.metadata, "version", lambda name: "2.13.0+cpu")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert [device.name for device in cost.devices()] == ["cpu"]


# --- the ledger, on a cache as the hub's library lays it out ---


@pytest.fixture
def cache(tmp_path: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub" / "models--EleutherAI--pythia-70m"


def put(cache: Path, commit: str, revision: str, own: str, shared: str = "tokenizer") -> Path:
    """What a download leaves: blobs, links to them, and the revision's name."""
    snapshot = cache / "snapshots" / commit
    for folder in (cache / "blobs", snapshot, cache / "refs"):
        folder.mkdir(parents=True, exist_ok=True)
    for name, blob in (("model.safetensors", own), ("tokenizer.json", shared)):
        (cache / "blobs" / blob).write_text(blob)
        (snapshot / name).symlink_to(f"../../blobs/{blob}")
    (cache / "refs" / revision).write_text(commit)
    return snapshot


def sweep_of(config: Config, **keys: object) -> downloads.Ledger:
    return downloads.Ledger(replace(config, keep_checkpoints=False, sweep="abc", **keys))  # type: ignore[arg-type]


def test_only_what_was_claimed_is_deleted_and_shared_blobs_stay(config: Config, cache: Path) -> None:
    users = put(cache, "c0", "main", "w0")
    sweep = sweep_of(config)
    sweep.expect([CELL, CELL, replace(CELL, revision="main")])
    sweep.claim(replace(CELL, revision="main"), "c0")
    sweep.claim(CELL, "c1")
    mine = put(cache, "c1", "step1", "w1")
    sweep.used(CELL, "job1")
    assert mine.exists()  # another job needs it
    sweep.used(CELL, "job1")  # the same job once more, tried again
    assert mine.exists()
    sweep.used(CELL, "job2")
    sweep.used(replace(CELL, revision="main"), "job3")
    sweep.finish()
    assert not mine.exists()
    assert not (cache / "refs" / "step1").exists()
    assert sorted(path.name for path in (cache / "blobs").iterdir()) == ["tokenizer", "w0"]
    assert (users / "model.safetensors").read_text() == "w0"


def test_keeping_is_the_default(config: Config, cache: Path) -> None:
    sweep = downloads.Ledger(replace(config, sweep="abc"))
    sweep.expect([CELL])
    sweep.claim(CELL, "c1")
    mine = put(cache, "c1", "step1", "w1")
    sweep.used(CELL, "job1")
    sweep.finish()
    assert mine.exists()
    assert not (download_log.FOLDER / "downloads.jsonl").exists()


def test_what_the_user_fetched_after_a_claim_was_lost_is_theirs(config: Config, cache: Path) -> None:
    """The claim is written, then a kill, or somebody clears the cache; then the user downloads the same revision."""
    import shutil

    sweep = sweep_of(config)
    sweep.expect([CELL])
    sweep.claim(CELL, "c1")
    shutil.rmtree(cache)
    users = put(cache, "c1", "step1", "w1")
    again = sweep_of(config)
    again.expect([CELL])
    again.claim(CELL, "c1")
    again.used(CELL, "job1")
    again.finish()
    assert (users / "model.safetensors").read_text() == "w1"


def test_another_sweeps_downloads_are_not_ours(config: Config, cache: Path) -> None:
    other = downloads.Ledger(replace(config, keep_checkpoints=False, sweep="other"))
    other.expect([CELL])
    other.claim(CELL, "c1")
    theirs = put(cache, "c1", "step1", "w1")
    sweep = sweep_of(config)
    sweep.expect([CELL])
    sweep.claim(CELL, "c1")
    sweep.used(CELL, "job1")
    sweep.finish()
    assert theirs.exists()
    other.finish()
    assert not theirs.exists()


def test_the_last_revision_goes_without_a_download_at_work_beside_it(config: Config, cache: Path) -> None:
    sweep = sweep_of(config)
    sweep.expect([CELL])
    sweep.claim(CELL, "c1")
    mine = put(cache, "c1", "step1", "w1")
    (cache / "blobs" / "w9.incomplete").write_text("half of what the user is fetching")
    sweep.used(CELL, "job1")
    assert not mine.exists()
    assert [path.name for path in (cache / "blobs").iterdir()] == ["w9.incomplete"]


def test_a_file_that_a_download_at_work_is_about_to_link_to_stays(config: Config, cache: Path) -> None:
    """All steps of a model have one blob for their config; deleting one step must not take it from the next."""
    sweep = sweep_of(config)
    two = replace(CELL, revision="step2")
    sweep.expect([CELL, two])
    sweep.claim(CELL, "c1")
    put(cache, "c1", "step1", "w1")
    sweep.claim(two, "c2")  # its files come one by one; none is linked to yet
    sweep.used(CELL, "job1")
    assert [path.name for path in (cache / "blobs").iterdir()] == ["tokenizer"]
    assert not (cache / "snapshots" / "c1").exists()
    second = put(cache, "c2", "step2", "w2")
    assert (second / "tokenizer.json").read_text() == "tokenizer"
    sweep.used(two, "job2")
    assert list((cache / "blobs").iterdir()) == []
    assert not second.exists()


def test_a_checkpoint_whose_claimer_ended_belongs_to_the_job_that_took_it_over(
    config: Config, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker reads ahead, ends, and another scores: making room must not delete what the other has at work."""
    monkeypatch.setattr(checkpoints, "sizes", lambda location, commit, trust: {"model.safetensors": 600})
    sweep = sweep_of(config, disk_budget="1kB")
    two = replace(CELL, revision="step2")
    sweep.expect([CELL, two])
    with monkeypatch.context() as other:
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        other.setattr(os, "getpid", lambda: dead.pid)
        sweep.claim(CELL, "c1")
    at_work = put(cache, "c1", "step1", "w1")
    sweep.claim(CELL, "c1")
    with pytest.raises(CheckpointError, match="no room"):
        sweep.claim(two, "c2", wait=False)
    assert (at_work / "model.safetensors").exists()


@pytest.mark.parametrize("event", ["claim", "deleting", "gone", "used", "expect"])
def test_a_kill_at_any_line_is_mended_by_the_next_start(config: Config, cache: Path, event: str) -> None:
    """The process ends where a line is about to be written, and, in a second go, right after; half a line is there."""
    users = put(cache, "c0", "main", "w0")
    code = (
        "import os, sys; from pathlib import Path; from huggingface_hub import constants\n"
        f"constants.HF_HUB_CACHE = {str(cache.parent)!r}\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from evalrun.checkpoints import download_log, downloads; from evalrun.config.schema import Config\n"
        "from test_supply import CELL, put\n"
        "append = download_log.append\n"
        "def dies(line):\n"
        "    if line['event'] == sys.argv[1]:\n"
        "        if sys.argv[2] == 'after': append(line)\n"
        "        else: open(download_log.FOLDER / 'downloads.jsonl', 'a').write('{\"event\": \"cl')\n"
        "        os._exit(9)\n"
        "    append(line)\n"
        "download_log.append = dies\n"
        "class C: keep_checkpoints = False; sweep = 'abc'; disk_budget = None; trust_pickle = False\n"
        "sweep = downloads.Ledger(C()); sweep.expect([CELL]); sweep.claim(CELL, 'c1')\n"
        f"put(Path({str(cache)!r}), 'c1', 'step1', 'w1'); sweep.used(CELL, 'job1')\n"
    )
    for when in ("before", "after"):
        killed = forked.python(code, event, when)
        assert killed.returncode == 9, killed.stderr
        sweep = sweep_of(config)
        sweep.expect([CELL])
        sweep.claim(CELL, "c1")
        if not (cache / "snapshots" / "c1" / "model.safetensors").exists():
            put(cache, "c1", "step1", "w1")
        sweep.used(CELL, "job1")
        sweep.finish()
        assert not (cache / "snapshots" / "c1").exists()
        assert sorted(path.name for path in (cache / "blobs").iterdir()) == ["tokenizer", "w0"]
        assert (users / "model.safetensors").read_text() == "w0"


def test_reading_ahead_does_not_wait_for_room_and_a_dead_workers_share_is_freed(
    config: Config, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "sizes", lambda location, commit, trust: {"model.safetensors": 600})
    sweep = sweep_of(config, disk_budget="1kB")
    two = replace(CELL, revision="step2")
    sweep.expect([CELL, two])
    sweep.claim(CELL, "c1")
    first = put(cache, "c1", "step1", "w1")
    with pytest.raises(CheckpointError, match="no room"):
        sweep.claim(two, "c2", wait=False)
    lines = (download_log.FOLDER / "downloads.jsonl").read_text().splitlines()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    claim = {**json.loads(lines[-1]), "pids": [dead.pid]}
    (download_log.FOLDER / "downloads.jsonl").write_text("\n".join([*lines[:-1], json.dumps(claim)]) + "\n")
    sweep.claim(two, "c2")
    assert not first.exists()


def test_a_revisions_commit_is_known_when_its_files_are_gone(cache: Path) -> None:
    from evalrun.checkpoints import ResolvedCheckpoint, kept_commits

    assert kept_commits.recall(CELL) is None
    kept_commits.remember([ResolvedCheckpoint(CELL, "hub:EleutherAI/pythia-70m@c1", None, "c1")])
    assert kept_commits.recall(CELL) == ResolvedCheckpoint(CELL, "hub:EleutherAI/pythia-70m@c1", None, "c1")
    assert kept_commits.recall(replace(CELL, revision=None)) is None
