"""A step whose weights are another step's is not scored: by a sweep, by a single run, from the hub, unless told to."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from evalrun.config.schema import TrackingConf
from evalrun.config.steps import suspect_steps
from evalrun.tracking import Store
from helpers import Run, make_rows, write_rows
from local_hub import LocalHub, serve

SWEEP = ("-m", "model=glob(toy/*)", "step=1,2,...,8", "task=alpha", "analysis=interaction")
REMEDY = "look with `python -m evalrun audit model=...`, or score it all the same with allow_shared_weights=true."


def copy_weights(models: Path, source: int, target: int, name: str = "toy-s") -> None:
    shutil.copy(models / name / f"step{source}" / "model.safetensors", models / name / f"step{target}")


def scored(workspace: Path, suite: str = "toy") -> dict[str, set[int]]:
    table = Store(TrackingConf(uri=None, root=str(workspace / "mlruns"))).table(suite)
    return {str(model): set(rows["step"]) for model, rows in table.groupby("model")}


def test_which_steps_of_a_group_are_not_trusted() -> None:
    assert suspect_steps([2, 8, 4], final=8) == [2, 4]
    assert suspect_steps([2, 4], final=8) == [2, 4]
    assert suspect_steps([2, 4], final=None) == [2, 4]


@pytest.mark.slow
def test_a_sweep_refuses_both_of_two_equal_steps_and_does_the_others(evalrun: Run, workspace: Path) -> None:
    copy_weights(workspace / "models", 4, 2)
    found = evalrun(*SWEEP)
    assert found.returncode == 1, found.stderr
    assert "2 of 8 jobs failed:" in found.stderr
    for step, other in ((2, 4), (4, 2)):
        said = f"toy-s step {step} is refused, because its model.safetensors is that of step {other} too; {REMEDY}"
        assert f"  {said}\n" in found.stderr
    assert "Traceback" not in found.stderr
    assert scored(workspace) == {"toy-s": {1, 8}, "toy-m": {1, 2, 4, 8}}
    assert "report:" in found.stdout  # of what is there

    allowed = evalrun(*SWEEP, "allow_shared_weights=true")
    assert allowed.returncode == 0, allowed.stderr
    assert scored(workspace)["toy-s"] == {1, 2, 4, 8}
    note = "toy-s steps 2 and 4: left out, because they have the same weights and nothing tells which step these"
    assert note in allowed.stdout
    assert note in evalrun("analyze").stdout

    again = evalrun(*SWEEP)  # what is done is not refused: nothing is scored, and the analysis leaves it out
    assert again.returncode == 0, again.stderr
    assert "8 of 8 jobs found done" in again.stdout
    assert note in again.stdout


@pytest.mark.slow
def test_the_final_step_is_scored_and_those_that_repeat_it_are_not(evalrun: Run, workspace: Path) -> None:
    copy_weights(workspace / "models", 8, 1)
    copy_weights(workspace / "models", 8, 4)
    found = evalrun(*SWEEP)
    assert found.returncode == 1
    assert "2 of 8 jobs failed:" in found.stderr
    assert scored(workspace)["toy-s"] == {2, 8}
    for step, other in ((1, 4), (4, 1)):
        assert (
            f"toy-s step {step} is refused, because its model.safetensors is that of steps {other} and 8"
            in found.stderr
        )
    allowed = evalrun(*SWEEP, "allow_shared_weights=true")
    assert "toy-s steps 1 and 4: left out, because their weights are those of the final step 8" in allowed.stdout


def test_placeholders_of_every_step_are_told_as_such(inside: Run, workspace: Path) -> None:
    for step in (1, 2, 8):
        file = workspace / "models" / "toy-s" / f"step{step}" / "model.safetensors"
        save_file({name: torch.empty(0) for name in load_file(file)}, file, metadata={"format": "pt"})
    found = inside("-m", "model=toy/toy-s", "step=1,2,8", "task=alpha", "analysis.after_sweep=false")
    assert found.returncode == 1
    assert found.stderr.rpartition("3 of 3 jobs failed:")[2].count("placeholders of DeepSpeed's ZeRO-3") == 3
    assert "audit" not in found.stderr


@pytest.mark.slow
def test_a_single_run_is_compared_with_the_store(evalrun: Run, workspace: Path) -> None:
    copy_weights(workspace / "models", 8, 2)
    assert evalrun("model=toy/toy-s", "step=2", "task=alpha").returncode == 0  # nothing to compare it with yet
    assert evalrun("model=toy/toy-s", "step=8", "task=alpha").returncode == 0  # final
    more = evalrun("model=toy/toy-s", "step=2", "task=alpha,beta")
    assert more.returncode == 1
    said = f"toy-s step 2 is refused, because its model.safetensors is that of the final step 8 too; {REMEDY}"
    assert said in more.stderr
    assert "computing" not in more.stderr
    assert evalrun("model=toy/toy-s", "step=2", "task=alpha").returncode == 0  # found done
    allowed = evalrun("model=toy/toy-s", "step=2", "task=alpha,beta", "allow_shared_weights=true")
    assert allowed.returncode == 0, allowed.stderr
    assert "toy-s step 2: computing beta\n" in allowed.stderr


@pytest.mark.slow
def test_a_step_that_was_repaired_since_does_not_count(evalrun: Run, workspace: Path) -> None:
    right = (workspace / "models" / "toy-s" / "step2" / "model.safetensors").read_bytes()
    copy_weights(workspace / "models", 4, 2)
    assert evalrun("model=toy/toy-s", "step=2", "task=alpha").returncode == 0
    assert evalrun("model=toy/toy-s", "step=4", "task=alpha").returncode == 1
    (workspace / "models" / "toy-s" / "step2" / "model.safetensors").write_bytes(right)
    found = evalrun("model=toy/toy-s", "step=4", "task=alpha")
    assert found.returncode == 0, found.stderr


def test_a_wrong_setting_is_a_sentence(inside: Run) -> None:
    found = inside("model=toy/toy-s", "step=1", "allow_shared_weights=maybe")
    assert found.returncode == 2
    assert "allow_shared_weights is 'maybe'" in found.stderr


@pytest.fixture
def hub(workspace: Path) -> Iterator[LocalHub]:
    """The toy suite as a repository, with a model config; step1 serves step4's safetensors, step2 the final one."""
    copy_weights(workspace / "models", 4, 1)
    copy_weights(workspace / "models", 8, 2)
    checkpoint = (workspace / "conf" / "checkpoint" / "toy.yaml").read_text()
    checkpoint = checkpoint.replace("folder: step{step}\nrevision: null", "folder: null\nrevision: step{step}")
    (workspace / "conf" / "checkpoint" / "hub.yaml").write_text(checkpoint.replace("suite: toy", "suite: hubtoy"))
    model = (workspace / "conf" / "model" / "toy" / "toy-s.yaml").read_text()
    model = model.replace("checkpoint: toy", "checkpoint: hub").replace("name: toy-s", "name: hub-s")
    (workspace / "conf" / "model" / "hub-s.yaml").write_text(model.replace("models/toy-s", "made/toy-s"))
    with serve() as served:
        for step in (1, 2, 4, 8):
            folder = workspace / "models" / "toy-s" / f"step{step}"
            (folder / "about.txt").write_text(f"step {step}")  # else two of the revisions were one commit
            served.add("made/toy-s", folder.name, folder)
        yield served


Online = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def online(evalrun: Run, hub: LocalHub, tmp_path: Path) -> Online:
    def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        reach = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}
        return evalrun(*words, env={**reach, **env})

    return run


def bodies(hub: LocalHub) -> list[str]:
    return [path for path in hub.downloads() if path.startswith("GET")]


@pytest.mark.slow
def test_a_sweep_of_the_hub_downloads_nothing_that_it_refuses(online: Online, hub: LocalHub, workspace: Path) -> None:
    found = online("-m", "model=hub-s", "step=all", "task=alpha", "analysis.after_sweep=false")
    assert found.returncode == 1, found.stderr
    assert "3 of 4 jobs failed:" in found.stderr
    assert "hub-s step 2 is refused, because its model.safetensors is that of the final step 8 too" in found.stderr
    assert "hub-s step 1 is refused, because its model.safetensors is that of step 4 too" in found.stderr
    assert scored(workspace, "hubtoy") == {"hub-s": {8}}
    assert len(bodies(hub)) == 1
    record = json.loads(next((workspace / "multirun" / "hubtoy").rglob("results/*.json")).read_text())
    saved = json.loads((workspace / "multirun" / "audit" / "hubtoy" / "hub-s.json").read_text())
    assert len(saved["commits"]) == 4
    assert record["weights"]

    # The hub's answers are kept: alone, and with the hub gone, step 4 is still refused.
    single = online("model=hub-s", "step=4", "task=alpha")
    assert single.returncode == 1
    assert "hub-s step 4 is refused, because its model.safetensors is that of step 1 too" in single.stderr
    assert len(bodies(hub)) == 1

    allowed = online(
        "-m", "model=hub-s", "step=all", "task=alpha", "analysis.after_sweep=false", "allow_shared_weights=true"
    )
    assert allowed.returncode == 0, allowed.stderr
    assert scored(workspace, "hubtoy") == {"hub-s": {1, 2, 4, 8}}
    shutil.rmtree(workspace / "multirun" / "audit")
    write_rows(workspace / "data" / "alpha.jsonl", make_rows(10, shift=3))
    offline = online("-m", "model=hub-s", "step=all", "task=alpha", "analysis.after_sweep=false", HF_HUB_OFFLINE="1")
    assert offline.returncode == 1  # from the names of the cache's blobs
    assert "3 of 4 jobs failed:" in offline.stderr, offline.stderr


@pytest.mark.slow
def test_a_known_fault_is_refused(online: Online, hub: LocalHub, workspace: Path) -> None:
    hub.repositories["EleutherAI/pythia-12b"] = {"step50000": workspace / "models" / "toy-s" / "step1"}
    checkpoint = workspace / "conf" / "checkpoint" / "hub.yaml"
    checkpoint.write_text(checkpoint.read_text().replace("[1, 2, 4, 8]", "[50000, 143000]"))
    model = workspace / "conf" / "model" / "hub-s.yaml"
    model.write_text(model.read_text().replace("made/toy-s", "EleutherAI/pythia-12b"))
    found = online("model=hub-s", "step=50000", "task=alpha")
    assert found.returncode == 1
    assert (
        "hub-s step 50000 is refused by a known fault: step50000 and step58000 carry a wrong first shard "
        f"(https://github.com/EleutherAI/pythia/issues/206); {REMEDY}"
    ) in found.stderr
    assert not hub.downloads()
    assert online("model=hub-s", "step=50000", "task=alpha", "allow_shared_weights=true").returncode == 0


@pytest.mark.slow
def test_a_revision_that_cannot_be_listed_is_said_and_scored(online: Online, hub: LocalHub, workspace: Path) -> None:
    hub.broken = {"step4"}
    found = online("model=hub-s", "step=4", "task=alpha")
    assert found.returncode == 0, found.stderr
    assert "the weights of hub-s step 4 are not compared: 403 Forbidden" in found.stderr
    assert scored(workspace, "hubtoy") == {"hub-s": {4}}
