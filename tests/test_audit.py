"""The audit: planted faults in local folders and on a hub are found and said, without a download."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evalrun.checkpoints.audit import known_faults
from evalrun.checkpoints.audit.faults import Published, distinct, find
from evalrun.checkpoints.audit.weights import Listing, digest, of_folder, spell
from evalrun.checkpoints.contents import weights_digest
from helpers import ROOT, Run
from local_hub import LocalHub, serve

STEPS = (0, 1, 2, 4, 8)
INDEX = "pytorch_model.bin.index.json"
CHECKPOINT = "suite: hubtoy\nrevision: step{{step}}\nfolder: null\nseed: null\ntokens_per_step: 1000\nsteps: {steps}\n"
MODEL = """\
defaults:
  - /checkpoint@_global_.checkpoint: {checkpoint}
  - _self_
name: {name}
path: {path}
n_params: {n}
n_params_nonembedding: {n}
n_params_nominal: {n}
"""


def add_model(workspace: Path, name: str, path: str, steps: object, n: int = 1000) -> None:
    (workspace / "conf" / "checkpoint" / f"of-{name}.yaml").write_text(CHECKPOINT.format(steps=list(steps)))
    text = MODEL.format(checkpoint=f"of-{name}", name=name, path=path, n=n)
    (workspace / "conf" / "model" / f"{name}.yaml").write_text(text)


def write(folder: Path, **files: str) -> Path:
    """Small files with the names of weights; nothing loads them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with serve() as served:
        yield served


Audit = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def audit(evalrun: Run, hub: LocalHub, tmp_path: Path) -> Audit:
    """Run `audit` against the local hub."""

    def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        online = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}
        return evalrun("audit", *words, env={**online, **env})

    return run


def single_files(hub: LocalHub, tmp_path: Path) -> None:
    """The fault of pythia-2.8b: early steps serve main's safetensors, and the pickles beside them are right."""
    for step in STEPS:
        weights = "end" if step in (1, 2) else "final" if step in (4, 8) else f"{step}"
        files = {"model.safetensors": weights, "pytorch_model.bin": f"p{step}", "config.json": "{}"}
        hub.add("made/single", f"step{step}", write(tmp_path / "single" / f"step{step}", **files))
    hub.add("made/single", "main", write(tmp_path / "single" / "main", **{"model.safetensors": "end"}))


def shards(hub: LocalHub, tmp_path: Path, steps: tuple[int, ...] = STEPS) -> None:
    """The fault of pythia-12b: two steps carry the final step's first shard."""
    names = [f"pytorch_model-0000{n}-of-00003.bin" for n in (1, 2, 3)]
    index = json.dumps({"weight_map": {f"layer{n}": name for n, name in enumerate(names)}})
    for step in steps:
        first = "first 8" if step in (2, 4) else f"first {step}"
        files = {names[0]: first, names[1]: f"second {step}", names[2]: f"third {step}", INDEX: index}
        hub.add("made/shards", f"step{step}", write(tmp_path / "shards" / f"step{step}", **files))


def test_a_whole_suite_has_no_faults(evalrun: Run) -> None:
    found = evalrun("audit", "model=glob(toy/*)")
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == [
        "model  steps seen  distinct weights  loads        faults",
        "-----  ----------  ----------------  -----------  ------",
        "toy-s  4 of 4      4                 safetensors  0",
        "toy-m  4 of 4      4                 safetensors  0",
    ]


def test_faults_of_local_folders(evalrun: Run, workspace: Path) -> None:
    models = workspace / "models" / "toy-s"
    shutil.copy(models / "step4" / "model.safetensors", models / "step2" / "model.safetensors")
    shutil.rmtree(models / "step1")
    shutil.copytree(models / "step8", models / "step16")
    found = evalrun("audit", "model=toy/toy-s,toy/toy-m")
    assert found.returncode == 1
    assert found.stdout.splitlines()[2:] == [
        "toy-s  3 of 4      2                 safetensors  2",
        "toy-m  4 of 4      4                 safetensors  0",
        "",
        "toy-s: steps 2 and 4 have the same model.safetensors; there are no .bin files beside them to compare.",
        "toy-s: step 1: released by the config, not there.",
        "",
        "changing nothing that is loaded:",
        "toy-s: step16: looks like a step, not in the config.",
    ]
    shutil.rmtree(models)
    gone = evalrun("audit", "model=toy/toy-s")
    assert gone.returncode == 1
    assert "folder 'models/toy-s' of toy-s is not there; check model.path." in gone.stdout


def test_only_the_steps_that_are_asked_for(evalrun: Run, workspace: Path) -> None:
    models = workspace / "models" / "toy-s"
    shutil.copy(models / "step4" / "model.safetensors", models / "step2" / "model.safetensors")
    assert evalrun("audit", "model=toy/toy-s", "step=1,2,8").returncode == 0
    assert evalrun("audit", "-m", "model=toy/toy-s", "step=2,4").returncode == 1


def test_seeds_are_models_of_their_own(evalrun: Run, workspace: Path) -> None:
    checkpoint = workspace / "conf" / "checkpoint" / "toy.yaml"
    checkpoint.write_text(checkpoint.read_text().replace("seed: null", "seed: 0"))
    model = workspace / "conf" / "model" / "toy" / "toy-s.yaml"
    model.write_text(model.read_text().replace("models/toy-s", "models/{seed}/toy-s"))
    for seed in (0, 1):
        shutil.copytree(workspace / "models" / "toy-s", workspace / "models" / str(seed) / "toy-s")
    found = evalrun("audit", "model=toy/toy-s", "checkpoint.seed=0,1")
    assert found.returncode == 0, found.stderr + found.stdout
    assert [line.split()[0] for line in found.stdout.splitlines()[2:]] == ["toy-s-seed0", "toy-s-seed1"]


def test_safetensors_that_repeat_while_the_pickles_differ(
    audit: Audit, hub: LocalHub, workspace: Path, tmp_path: Path
) -> None:
    single_files(hub, tmp_path)
    add_model(workspace, "single", "made/single", STEPS)
    found = audit("model=single")
    assert found.returncode == 1, found.stderr
    assert found.stdout.splitlines()[2:] == [
        "single  5 of 5      3                 safetensors  2",
        "",
        "single: steps 1 and 2 have the same model.safetensors, which is also that of the main branch; their .bin "
        "files all differ, so that only the .safetensors repeats.",
        "single: steps 4 and 8 have the same model.safetensors; their .bin files all differ, so that only the "
        ".safetensors repeats.",
    ]
    assert not hub.downloads()
    assert not list((tmp_path / "hf").rglob("snapshots"))


def test_a_wrong_first_shard(audit: Audit, hub: LocalHub, workspace: Path, tmp_path: Path) -> None:
    shards(hub, tmp_path)
    add_model(workspace, "shards", "made/shards", STEPS)
    found = audit("model=shards")
    assert found.returncode == 1, found.stderr
    assert found.stdout.splitlines()[2:] == [
        "shards  5 of 5      5                 bin    1",
        "",
        "shards: steps 2 to 8 share pytorch_model-00001-of-00003.bin while their other shards differ.",
    ]
    assert not hub.downloads()
    assert sum("resolve" in path and path.startswith("GET") for path in hub.requests) <= 5  # one index, read once


def test_missing_revisions_shards_and_indexes(audit: Audit, hub: LocalHub, workspace: Path, tmp_path: Path) -> None:
    shards(hub, tmp_path)
    shards(hub, tmp_path, (3, 5, 6))
    del hub.repositories["made/shards"]["step1"]
    (tmp_path / "shards" / "step0" / "pytorch_model-00002-of-00003.bin").unlink()
    (tmp_path / "shards" / "step5" / INDEX).unlink()
    (tmp_path / "shards" / "step5" / "pytorch_model-00003-of-00003.bin").unlink()
    write(tmp_path / "shards" / "step6", **{INDEX: "{"})
    write(tmp_path / "shards" / "step8", **{f"model-0000{n}-of-00002.safetensors": f"{n}" for n in (1, 2)})
    for path in (tmp_path / "shards" / "step3").iterdir():
        path.unlink()
    write(tmp_path / "shards" / "step3", **{"README.md": "moved"})
    hub.add("made/shards", "step7", tmp_path / "shards" / "step2")
    hub.add("made/shards", "step2-old", tmp_path / "shards" / "step2")
    add_model(workspace, "shards", "made/shards", [0, 1, 2, 3, 4, 5, 6, 8])
    found = json.loads(audit("model=shards", "--json").stdout)
    (model,) = found["models"]
    assert model["seen"] == [0, 2, 3, 4, 5, 6, 8]
    faults = {(f["kind"], f["format"], tuple(f["steps"]), tuple(f["files"])) for f in model["faults"]}
    assert faults == {
        ("shared_shards", "bin", (2, 4, 8), ("pytorch_model-00001-of-00003.bin",)),
        ("missing_step", None, (1,), ()),
        ("missing_shard", "bin", (0,), ("pytorch_model-00002-of-00003.bin",)),
        ("missing_shard", "bin", (5,), ("pytorch_model-00003-of-00003.bin",)),
        ("missing_index", "bin", (5, 6), (INDEX,)),
        ("missing_index", "safetensors", (8,), ("model.safetensors.index.json",)),
        ("no_weights", None, (3,), ()),
        ("extra_step", None, (), ("step7",)),
    }
    assert [f["kind"] for f in model["faults"] if f["harmless"]] == ["extra_step"]
    assert found["faults"] == 7


def test_what_the_hub_said_is_kept(audit: Audit, hub: LocalHub, workspace: Path, tmp_path: Path) -> None:
    single_files(hub, tmp_path)
    add_model(workspace, "single", "made/single", STEPS)
    first = audit("model=single").stdout
    asked = sum("/tree/" in path for path in hub.requests)
    assert asked == len(STEPS) + 1
    saved = json.loads((workspace / "multirun" / "audit" / "hubtoy" / "single.json").read_text())
    assert set(saved["steps"]) == {str(step) for step in STEPS}
    assert audit("model=single").stdout == first
    assert sum("/tree/" in path for path in hub.requests) == asked
    write(tmp_path / "single" / "step1", **{"model.safetensors": "repaired"})
    assert "steps 1 and 2" not in audit("model=single").stdout
    assert sum("/tree/" in path for path in hub.requests) == asked + 1
    (workspace / "multirun" / "audit" / "hubtoy" / "single.json").write_text("[]")
    assert audit("model=single").returncode == 1
    assert sum("/tree/" in path for path in hub.requests) == 2 * asked + 1


def test_a_busy_hub_and_a_revision_that_cannot_be_listed(
    audit: Audit, hub: LocalHub, workspace: Path, tmp_path: Path
) -> None:
    single_files(hub, tmp_path)
    add_model(workspace, "single", "made/single", STEPS)
    hub.busy = 1
    hub.broken = {"step0"}
    found = audit("model=single", "step=0,4")
    assert found.returncode == 1
    assert "single  1 of 2      1                 safetensors  1" in found.stdout
    assert "single: step 0: could not be listed (403 Forbidden" in found.stdout
    assert audit("model=single", "step=0,4").returncode == 0


def test_known_faults_are_confirmed_or_not(audit: Audit, hub: LocalHub, workspace: Path, tmp_path: Path) -> None:
    shards(hub, tmp_path, (0, 8, 50000, 58000))
    folders = hub.repositories.pop("made/shards")
    for step in (50000, 58000):
        write(tmp_path / "shards" / f"step{step}", **{"pytorch_model-00001-of-00003.bin": "first 8"})
    hub.repositories["EleutherAI/pythia-12b"] = folders
    add_model(workspace, "big", "EleutherAI/pythia-12b", [0, 8, 50000, 58000])
    found = audit("model=big")
    source = "(https://github.com/EleutherAI/pythia/issues/206)"
    said = f"big: step50000 and step58000 carry a wrong first shard {source}: "
    assert found.stdout.splitlines()[-1] == f"{said}confirmed."
    assert audit("model=big", "step=0,8").stdout.splitlines()[-1].startswith(f"{said}not checked: it concerns steps")
    for step in (50000, 58000):
        write(tmp_path / "shards" / f"step{step}", **{"pytorch_model-00001-of-00003.bin": f"first {step}"})
    found = audit("model=big")
    assert found.returncode == 0
    assert found.stdout.splitlines()[-1] == f"{said}not seen by this audit."


@pytest.mark.parametrize("env", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_a_hub_out_of_reach(audit: Audit, env: dict[str, str]) -> None:
    found = audit("model=pythia-70m,pythia-2.8b,pythia-12b", **env)
    assert found.returncode == 1
    assert "Traceback" not in found.stderr
    assert "pythia-70m   0 of 154    ?" in found.stdout
    assert "of EleutherAI/pythia-2.8b cannot be had; connect, run again." in found.stdout
    lines = found.stdout.splitlines()
    known_ones = lines[lines.index("known when this version was released:") + 1 :]
    assert [line.split(":")[0] for line in known_ones] == ["pythia-2.8b", "pythia-12b"]
    assert all(line.endswith(": not checked: the hub was out of reach.") for line in known_ones)
    data = json.loads(audit("model=pythia-12b", "--json", **env).stdout)
    assert data["models"][0]["unreachable"]
    assert data["models"][0]["known"][0]["steps"] == [50000, 58000]


def test_no_such_repository(audit: Audit, workspace: Path) -> None:
    add_model(workspace, "none", "made/none", STEPS)
    found = audit("model=none")
    assert found.returncode == 1
    assert "the hub has no repository 'made/none'" in found.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no model is given"),
        (("model=toy/toy-x",), "did you mean 'toy/toy-s'"),
        (("model=toy/toy-s", "step=3"), "its neighbours are 2 and 4"),
        (("model=toy/toy-s", "--jsn"), "audit does not know '--jsn'"),
        (("model=toy/toy-s", "setp=1"), "unknown key 'setp'"),
    ],
)
def test_bad_requests(evalrun: Run, words: tuple[str, ...], said: str) -> None:
    found = evalrun("audit", *words)
    assert found.returncode == 2
    assert said in found.stderr
    assert "Traceback" not in found.stderr


def listing(**files: str) -> Listing:
    return Listing({name.replace("__", "."): content for name, content in files.items()}, {})


def test_pickles_that_repeat_beside_right_safetensors_change_nothing() -> None:
    steps = {s: listing(model__safetensors=f"{s}", pytorch_model__bin="same") for s in (1, 2)}
    (fault,) = find(Published(steps))
    assert fault.harmless
    assert fault.sentence == (
        "steps 1 and 2 have the same pytorch_model.bin; their .safetensors files all differ, "
        "so that only the .bin repeats."
    )
    assert distinct(Published(steps)) == 2


def test_matrices_of_zeros_are_named_after_training_and_noted_before(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    from evalrun.checkpoints.tensor_values import Suspect, suspect

    whole = np.ones((2, 2), np.float32)
    tensors = {"head": 0 * whole, "bias": np.zeros(2, np.float32), "wide": whole, "bad": whole * np.float32(np.inf)}
    save_file(tensors, tmp_path / "model.safetensors")
    assert suspect(tmp_path, ["model.safetensors"]) == Suspect(("bad",), ("head",))
    steps = {step: listing(model__safetensors=f"{step}") for step in (0, 1, 2)}
    faults = find(Published(steps, dead=dict.fromkeys(steps, ("head",))))
    assert [(fault.steps, fault.harmless) for fault in faults] == [((1, 2), False), ((0,), True)]


@pytest.mark.parametrize(
    ("pickles", "said"),
    [
        (("a", "a", "a"), "their .bin files repeat too"),
        (("a", "a", "b"), "of their .bin files 2 of 3 differ"),
        (("a", None, None), "only one of them has .bin files"),
    ],
)
def test_what_is_said_of_the_other_format(pickles: tuple[Any, ...], said: str) -> None:
    steps = {}
    for step, pickle in enumerate(pickles):
        files = {"model__safetensors": "same"} | ({"pytorch_model__bin": pickle} if pickle else {})
        steps[step] = listing(**files)
    faults = find(Published(steps))
    assert any(said in fault.sentence for fault in faults if fault.format == "safetensors")


def test_the_digest_of_a_listing_is_that_of_the_loaded_weights(toy_models: Path, tmp_path: Path) -> None:
    assert digest(of_folder(toy_models / "toy-s" / "step1").contents) == weights_digest(toy_models / "toy-s" / "step1")
    names = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    index = json.dumps({"weight_map": {"b": names[1], "a": names[0]}})
    folder = write(tmp_path / "s", **{names[0]: "1", names[1]: "2", "model.safetensors.index.json": index})
    write(folder, **{"pytorch_model.bin": "not loaded", "optimizer.bin": "no weights"})
    assert digest(of_folder(folder).contents) == weights_digest(folder)
    assert set(of_folder(folder).files) == {*names, "pytorch_model.bin"}
    assert digest({"model.safetensors": "git:" + "0" * 40}) is None


def test_steps_are_spelt_as_runs_of_the_released_ones() -> None:
    released = [0, 1, 2, 4, *range(1000, 6000, 1000)]
    assert spell([4], released) == "step 4"
    assert spell([1, 4], released) == "steps 1 and 4"
    assert spell([0, 1, 2, 4, 1000, 3000, 5000], released) == "steps 0 to 1000, 3000 and 5000"
    assert spell([1, 2]) == "steps 1 and 2"


def test_known_faults_say_what_is_known() -> None:
    entries = {entry.repository: entry for entry in known_faults.entries()}
    assert entries["EleutherAI/pythia-12b"].steps == (50000, 58000)
    assert entries["EleutherAI/pythia-2.8b"].steps is None
    for entry in known_faults.entries():
        assert entry.kind in ("shared_weights", "shared_shards")
        assert entry.format in ("safetensors", "bin", None)
        assert not entry.says.endswith(".")


def test_the_audit_needs_no_torch() -> None:
    code = (
        "import sys, evalrun.checkpoints.audit.render; "
        "print([m for m in ('torch', 'transformers', 'mlflow') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_run_of_ones_own_needs_no_tokens(inside: Run, workspace: Path) -> None:
    done = inside("audit", "model=local", "path=models/toy-s")
    assert done.returncode == 0, done.stderr
    assert "toy-s  4 of 4      4" in done.stdout
    assert inside("plan", "model=local", "path=models/toy-s", "step=all", "task=alpha").returncode == 2
    assert inside("audit", "model=local", "path=models/toy-s", "tokens_per_step=8").stdout == done.stdout
