"""`plan`, `prefetch`, `offline=true`, `keep_checkpoints=false`: the real hub client against a hub on the loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import dataset_hub
from bad_checkpoints import with_an_adapter
from helpers import ROOT, Run
from local_hub import LocalHub, serve

REPOSITORY = "EleutherAI/pythia-70m"
GRID = ("model=pythia-70m", "step=1,2,4", "task=alpha")
SWEEP = ("-m", *GRID, "analysis.after_sweep=false")


@pytest.fixture
def hub(workspace: Path) -> Iterator[LocalHub]:
    with serve() as local:
        for step in (1, 2, 4):
            local.add(REPOSITORY, f"step{step}", workspace / "models" / "toy-s" / f"step{step}")
        yield local


@pytest.fixture
def online(hub: LocalHub, tmp_path: Path) -> dict[str, str]:
    return {
        "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1", "HF_ENDPOINT": hub.url,
    }  # fmt: skip


def bodies(hub: LocalHub) -> list[str]:
    """The weight files whose content was sent."""
    return [request for request in hub.downloads() if request.startswith("GET")]


def snapshots(tmp_path: Path) -> set[str]:
    """Commits with weights in the cache."""
    found = (tmp_path / "cache").rglob("snapshots/*/model.safetensors")
    return {path.parent.name for path in found if path.exists()}


def blobs(tmp_path: Path) -> int:
    """Bytes of the cache's blobs."""
    return sum(path.stat().st_size for path in (tmp_path / "cache").rglob("blobs/*"))


def fetched_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def events(workspace: Path) -> list[dict[str, object]]:
    lines = (workspace / "multirun" / ".cache" / "downloads.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_plan_says_what_is_done_and_missing_in_two_questions(
    evalrun: Run, hub: LocalHub, online: dict[str, str], workspace: Path
) -> None:
    assert evalrun("model=pythia-70m", "step=2", "task=alpha", env=online).returncode == 0
    hub.requests.clear()
    found = evalrun("plan", *GRID, "--json", env=online)
    assert found.returncode == 0, found.stderr
    plan = json.loads(found.stdout)
    assert [(job["step"], job["todo"]) for job in plan["standing"]] == [(1, ["alpha"]), (2, []), (4, ["alpha"])]
    sizes = [fetched_bytes(workspace / "models" / "toy-s" / f"step{step}") for step in (1, 4)]
    assert plan["download_bytes"] == sum(sizes)
    (model,) = plan["models"]
    assert (model["jobs"], model["done"]) == (3, 1)
    weights = (workspace / "models" / "toy-s" / "step2" / "model.safetensors").stat().st_size
    assert model["weights"]["bytes"] == weights
    assert model["weights"]["dtype"] == "float32"
    assert "cpu" in model["weights"]["fits"]
    assert plan["disk"]["free_bytes"] > 0
    assert plan["time"]["runs"] == 1
    assert plan["time"]["seconds"] > 0
    asked = [request for request in hub.requests if "/api/models/" in request]
    assert len(asked) == 2, hub.requests  # its branches, the files of one
    assert hub.downloads() == []
    said = evalrun("plan", *GRID, env=online).stdout
    assert "pythia-70m  1 of 3" in said
    assert "2 checkpoints" in said
    assert "from 1 past results on this hardware" in said
    more = json.loads(evalrun("plan", "model=pythia-70m", "step=1,2,4", "task=alpha,beta", "--json", env=online).stdout)
    assert more["time"]["untimed"] == ["beta"]
    assert [job["todo"] for job in more["standing"]][1] == ["beta"]


def test_plan_offline_is_quick_says_what_it_cannot_know_and_loads_nothing_heavy(
    evalrun: Run, online: dict[str, str], workspace: Path
) -> None:
    said = evalrun("plan", *GRID, env={**online, "HF_ENDPOINT": "http://127.0.0.1:9"})
    assert said.returncode == 0, said.stderr
    assert "3 checkpoints, size unknown: the hub is out of reach" in said.stdout
    assert "no past run to estimate from" in said.stdout
    code = (
        "import sys; from evalrun.cli import main; main(['plan', *sys.argv[1:]]); "
        "print([m for m in ('torch', 'lm_eval', 'mlflow', 'datasets') if m in sys.modules])"
    )
    assert evalrun("model=toy/toy-s", "step=1", "task=alpha").returncode == 0  # so that there is a store to read
    found = subprocess.run(
        [sys.executable, "-c", code, "model=toy/toy-s", "step=1,2", "task=alpha"], cwd=workspace,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "1 of 2 done" in found.stdout
    assert found.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_after_prefetch_an_offline_run_needs_nothing(
    evalrun: Run, hub: LocalHub, online: dict[str, str], tmp_path: Path, workspace: Path
) -> None:
    missing = evalrun(*SWEEP, "offline=true", env=online)
    assert missing.returncode == 1
    assert "this is not here: pythia-70m step 1, 2, 4" in missing.stderr
    assert "prefetch" in missing.stderr
    assert missing.stderr.count("\n") == 1
    assert hub.requests == []  # though the environment allows it
    assert not list((workspace / "multirun").rglob("step1"))

    assert evalrun("prefetch", "model=pythia-70m", "step=2", "task=alpha", env=online).returncode == 0
    assert len(bodies(hub)) == 1
    hub.requests.clear()
    found = evalrun("prefetch", *GRID, env=online)
    assert found.returncode == 0, found.stderr
    assert "2 checkpoints fetched" in found.stdout
    assert len(bodies(hub)) == 2
    assert len(snapshots(tmp_path)) == 3
    assert "nothing" in evalrun("plan", *GRID, env=online).stdout
    hub.requests.clear()
    again = evalrun("prefetch", *GRID, env=online)
    assert "0 checkpoints fetched" in again.stdout
    assert bodies(hub) == []

    hub.requests.clear()
    run = evalrun(*SWEEP, "offline=true", env=online)
    assert run.returncode == 0, run.stderr
    assert hub.requests == []
    assert run.stderr.count("computing alpha") == 3
    assert "3 of 3 jobs found done" in evalrun(*SWEEP, env=online).stdout  # with or without it, the same sweep
    refused = evalrun("prefetch", *GRID, "offline=true", env=online)
    assert refused.returncode == 2
    assert "forbids" in refused.stderr


def test_prefetch_allows_what_the_sweep_is_allowed(
    evalrun: Run, hub: LocalHub, online: dict[str, str], workspace: Path
) -> None:
    with_an_adapter(workspace / "models" / "toy-s" / "step2")
    words = ("prefetch", "model=pythia-70m", "step=2", "task=alpha")
    refused = evalrun(*words, env=online)
    assert refused.returncode == 1
    assert "allow_unused_weights=true" in refused.stderr
    found = evalrun(*words, "allow_unused_weights=true", env=online)
    assert found.returncode == 0, found.stderr


@pytest.mark.slow
def test_prefetch_goes_on_where_it_was_killed(
    workspace: Path, evalrun: Run, hub: LocalHub, online: dict[str, str], tmp_path: Path
) -> None:
    hub.silent = hub.commit(REPOSITORY, "step4")  # its files are begun and never end
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **online}
    process = subprocess.Popen(
        [sys.executable, "-m", "evalrun", "prefetch", *GRID], cwd=workspace, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while len(snapshots(tmp_path)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert process.returncode == 130, said
    assert "goes on from here" in said
    hub.silent = ""
    hub.requests.clear()
    found = evalrun("prefetch", *GRID, env=online)
    assert "1 checkpoint fetched" in found.stdout, found.stderr
    assert len(bodies(hub)) == 1


def test_prefetch_stops_before_the_disk_is_full(
    workspace: Path, hub: LocalHub, online: dict[str, str], tmp_path: Path
) -> None:
    code = (
        "import sys; from evalrun.commands.plan import prefetch; "
        "sys.modules['evalrun.commands.plan.prefetch'].RESERVE = 10**16; "
        "from evalrun.cli import main; sys.exit(main(['prefetch', *sys.argv[1:]]))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, *GRID], cwd=workspace, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **online}, check=False,
    )  # fmt: skip
    assert found.returncode == 1
    assert "would fill" in found.stderr
    assert found.stderr.count("\n") == 1
    assert bodies(hub) == []
    assert snapshots(tmp_path) == set()


@pytest.mark.slow
def test_a_sweep_deletes_what_it_downloaded_and_nothing_else(
    evalrun: Run, hub: LocalHub, online: dict[str, str], tmp_path: Path, workspace: Path
) -> None:
    assert evalrun("prefetch", "model=pythia-70m", "step=2", "task=alpha", env=online).returncode == 0
    users, before = hub.commit(REPOSITORY, "step2"), blobs(tmp_path)
    run = evalrun(*SWEEP, "keep_checkpoints=false", env=online)
    assert run.returncode == 0, run.stderr
    assert snapshots(tmp_path) == {users}
    assert blobs(tmp_path) == before  # the tokenizer's files, which all steps share, are there still
    assert {line["commit"] for line in events(workspace) if line["event"] == "claim"} == {
        hub.commit(REPOSITORY, "step1"), hub.commit(REPOSITORY, "step4"),
    }  # fmt: skip
    offline = {**online, "HF_HUB_OFFLINE": "1"}
    assert "3 of 3 jobs found done" in evalrun(*SWEEP, "offline=true", env=offline).stdout
    forced = evalrun("model=pythia-70m", "step=2", "task=alpha", "force=true", "offline=true", env=offline)
    assert forced.returncode == 0, forced.stderr
    single = evalrun("model=pythia-70m", "step=4", "task=beta", "keep_checkpoints=false", env=online)
    assert single.returncode == 0, single.stderr
    assert snapshots(tmp_path) == {users}


@pytest.mark.slow
def test_a_checkpoint_that_two_jobs_need_is_fetched_once(
    evalrun: Run, hub: LocalHub, online: dict[str, str], tmp_path: Path
) -> None:
    words = ("-m", "model=pythia-70m", "step=1", "task=alpha", "limit=3,5", "analysis.after_sweep=false")
    run = evalrun(*words, "keep_checkpoints=false", env=online)
    assert run.returncode == 0, run.stderr
    assert len(bodies(hub)) == 1
    assert snapshots(tmp_path) == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "share"),
    [
        pytest.param((), 1.5, id="local"),
        pytest.param(  # nothing can be read ahead
            ("hydra/launcher=processes", "hydra.launcher.workers=2"), 2.5, id="processes", marks=pytest.mark.release
        ),
    ],
)
def test_what_is_there_at_once_keeps_within_the_budget(
    evalrun: Run,
    hub: LocalHub,
    online: dict[str, str],
    tmp_path: Path,
    workspace: Path,
    launcher: tuple[str, ...],
    share: float,
) -> None:
    one = fetched_bytes(workspace / "models" / "toy-s" / "step1")
    budget = int(share * one)
    small = evalrun(*SWEEP, "keep_checkpoints=false", "disk_budget=1kB", env=online)
    assert small.returncode == 1
    assert "more than disk_budget" in small.stderr
    run = evalrun(*SWEEP, "keep_checkpoints=false", f"disk_budget={budget}", *launcher, env=online)
    assert run.returncode == 0, run.stderr
    assert snapshots(tmp_path) == set()
    held, most, claims = {}, 0, 0
    for line in events(workspace):
        if line["event"] == "claim":
            held[line["token"]] = int(str(line["size"]))
            claims += 1
        elif line["event"] == "deleting":  # small files that other steps may link to stay to the end
            held.pop(line["token"], None)
        most = max(most, sum(held.values()))
    # A worker that ends may have read ahead what another has yet to score, and that is then fetched again.
    assert claims == 3 if not launcher else 3 <= claims <= 4
    assert one <= most <= budget
    wrong = evalrun(*SWEEP, "disk_budget=10GB", env=online)
    assert wrong.returncode == 2
    assert "set keep_checkpoints=false" in wrong.stderr


@pytest.mark.slow
def test_kill_9_in_the_middle_keeps_the_truth(
    evalrun: Run, hub: LocalHub, online: dict[str, str], tmp_path: Path, workspace: Path
) -> None:
    """What the killed sweep had downloaded goes after the rerun; what the user has stays."""
    assert evalrun("prefetch", "model=pythia-70m", "step=4", "task=alpha", env=online).returncode == 0
    users = hub.commit(REPOSITORY, "step4")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **online}
    victim = subprocess.Popen(
        [sys.executable, "-m", "evalrun", *SWEEP, "keep_checkpoints=false"], cwd=workspace, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while len(snapshots(tmp_path)) < 2 and victim.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert hub.commit(REPOSITORY, "step1") in snapshots(tmp_path)
    rest = evalrun(*SWEEP, "keep_checkpoints=false", env=online)
    assert rest.returncode == 0, rest.stderr
    assert snapshots(tmp_path) == {users}


@pytest.mark.slow
def test_the_data_of_tasks_is_fetched_and_missed_too(evalrun: Run, workspace: Path, tmp_path: Path) -> None:
    folder = tmp_path / "questions"
    folder.mkdir()
    (folder / "test.jsonl").write_text((workspace / "data" / "alpha.jsonl").read_text())
    own = (workspace / "conf" / "task" / "alpha.yaml").read_text()
    hosted = own.replace("task: alpha", "task: hosted").replace(
        "data: data/alpha.jsonl", "dataset_path: somebody/Questions\ntest_split: test"
    )
    (workspace / "conf" / "task" / "hosted.yaml").write_text(hosted)
    grid = ("model=toy/toy-s", "step=1,2", "task=hosted")
    with dataset_hub.serve({"somebody/Questions": folder}) as hub:
        online = {
            "HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0", "HF_HOME": str(tmp_path / "cache"),
            "HF_HUB_DISABLE_XET": "1", "HF_ENDPOINT": hub.url,
        }  # fmt: skip
        missing = evalrun("-m", *grid, "offline=true", env=online)
        assert missing.returncode == 1
        assert "dataset somebody/Questions of hosted" in missing.stderr
        assert "1 datasets to fetch (sizes unknown): somebody/Questions" in evalrun("plan", *grid, env=online).stdout
        found = evalrun("prefetch", *grid, env=online)
        assert found.returncode == 0, found.stderr
        assert "1 dataset fetched" in found.stdout
        assert "to fetch" not in evalrun("plan", *grid, env=online).stdout
        hub.requests.clear()
        run = evalrun("-m", *grid, "offline=true", env=online)
        assert run.returncode == 0, run.stderr
        assert hub.requests == []
