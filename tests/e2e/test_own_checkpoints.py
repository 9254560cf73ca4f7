"""Your own training run and your own suite, as a user types it: found, evaluated, resumed, and refused when wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from evalrun.checkpoints.suites import folders
from evalrun.config.schema import TrackingConf
from evalrun.tracking import Store
from helpers import Run, make_checkpoint
from local_hub import serve
from training_runs import TOKENS_A_STEP, save_steps, train

SWEEP = ("-m", "model=local", "path=runs/mine", "step=all", "task=alpha", "analysis.after_sweep=false")


def accuracy(workspace: Path, suite: str) -> pd.DataFrame:
    rows = Store(TrackingConf(uri=None, root=str(workspace / "mlruns"))).table(suite)
    return rows[rows["metric"] == "acc"]


@pytest.mark.slow
def test_a_trainers_run_is_swept_while_it_grows(evalrun: Run, workspace: Path) -> None:
    run = train(workspace / "runs" / "mine", steps=12, save=4)
    weights = run / "checkpoint-12" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    first = evalrun(*SWEEP)
    assert first.returncode == 0, first.stderr
    assert "note: step 12 of 'runs/mine' is passed over" in first.stdout
    refused = evalrun("model=local", "path=runs/mine", "step=12", "task=alpha")
    assert refused.returncode == 2
    assert "'checkpoint-12' has a model.safetensors that ends too early" in refused.stderr

    weights.write_bytes(whole)
    second = evalrun(*SWEEP)
    assert second.returncode == 0, second.stderr
    assert "2 of 3 jobs found done, 1 to do" in second.stdout
    rows = accuracy(workspace, "local")
    assert rows["step"].tolist() == [4, 8, 12]
    assert rows["tokens"].tolist() == [step * TOKENS_A_STEP for step in (4, 8, 12)]
    assert set(rows["model"]) == {"mine"}
    assert rows["weights"].nunique() == 3
    status = evalrun("status", *SWEEP[1:])
    assert status.returncode == 0, status.stdout
    assert "3 of 3 jobs done" in status.stdout
    shown = evalrun("steps", "model=local", "path=runs/mine", "--json")
    (told,) = json.loads(shown.stdout)
    assert [(one["step"], one["tokens"], one["here"]) for one in told["checkpoints"]] == [
        (step, step * TOKENS_A_STEP, True) for step in (4, 8, 12)
    ]


@pytest.mark.release
@pytest.mark.slow
def test_two_runs_of_saved_models_on_worker_processes(evalrun: Run, workspace: Path) -> None:
    for name, hidden in (("small", 16), ("large", 24)):
        save_steps(workspace / "runs" / name, {f"step_{s}": s + hidden for s in (1, 2, 4)}, hidden=hidden)
    words = ("-m", "model=local", "path=runs/small,runs/large", "step=1,2,...,4", "task=alpha", "analysis=interaction")
    unsaid = evalrun(*words)
    assert unsaid.returncode == 2
    assert "tokens_per_step=" in unsaid.stderr
    done = evalrun(*words, "tokens_per_step=100", "hydra/launcher=processes", "hydra.launcher.workers=1")
    assert done.returncode == 0, done.stderr
    rows = accuracy(workspace, "local")
    assert set(rows["tokens"]) == {100, 200, 400}
    assert rows.groupby("model")["n_params"].nunique().to_dict() == {"small": 1, "large": 1}
    assert rows["n_params"].nunique() == 2
    assert (rows["n_params_nonembedding"] < rows["n_params"]).all()


@pytest.mark.slow
def test_a_stranger_among_the_checkpoints_costs_one_job(evalrun: Run, workspace: Path) -> None:
    run = save_steps(workspace / "runs" / "mine", {"step1": 1, "step2": 2})
    save_steps(run, {"step4": 4}, hidden=24)
    found = evalrun(*SWEEP, "tokens_per_step=100")
    assert found.returncode == 1
    assert "1 of 3 jobs failed" in found.stderr
    assert "'step4' has hidden_size 24 and 'step1' has 16" in found.stderr
    assert accuracy(workspace, "local")["step"].tolist() == [1, 2]


def test_a_stranger_in_a_trainers_run_stops_no_plan(evalrun: Run, workspace: Path) -> None:
    run = train(workspace / "runs" / "mine")
    shutil.rmtree(run / "checkpoint-8")
    make_checkpoint(run / "checkpoint-8", seed=1, hidden=24)
    shutil.copy(run / "checkpoint-4" / "trainer_state.json", run / "checkpoint-8")
    state = run / "checkpoint-8" / "trainer_state.json"
    state.write_text(state.read_text().replace('"global_step": 4', '"global_step": 8'))
    shown = evalrun("plan", "model=local", "path=runs/mine", "step=all", "task=alpha", "--json")
    jobs = json.loads(shown.stdout)["standing"]
    assert [job["problem"] is None for job in jobs] == [True, False, True]


@pytest.mark.release
@pytest.mark.slow
def test_a_tokenizer_from_elsewhere(evalrun: Run, workspace: Path) -> None:
    run = save_steps(workspace / "runs" / "mine", {"step1": 1, "step2": 2})
    own = evalrun(*SWEEP, "tokens_per_step=100")
    assert own.returncode == 0, own.stderr
    before = accuracy(workspace, "local")["value"].tolist()
    shutil.copytree(run / "step1", workspace / "base")
    for path in run.rglob("*token*"):
        path.unlink()
    words = (*SWEEP, "tokens_per_step=100")
    lacking = evalrun(*words)
    assert lacking.returncode == 2
    assert "model.tokenizer=" in lacking.stderr
    named = evalrun(*words, "model.tokenizer=base", "checkpoint.suite=again")
    assert named.returncode == 0, named.stderr
    assert accuracy(workspace, "again")["value"].tolist() == before
    absent = evalrun(*words, "model.tokenizer=./nowhere", "checkpoint.suite=again")
    assert absent.returncode == 1
    assert "model.tokenizer is './nowhere', which is no folder" in absent.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("model=local", "step=all"), "no folder is given: name the one that holds your checkpoints with path="),
        (("model=local", "step=1", "path=modles"), "did you mean 'models'?"),
        (("model=local", "step=1", "path=data"), "no checkpoints in 'data': looked for folders named by their step"),
        (("model=local", "step=1", "path=models"), "say path=models/toy-"),
        (("model=local", "step=3", "path=models/toy-s", "tokens_per_step=9"), "its neighbours are 2 and 4"),
        (("model=local", "step=1", "path=models/toy-s"), "tokens_per_step="),
        (("model=local", "step=1", "path=models/toy-s", "tokens_per_step=0"), "checkpoint.tokens_per_step is 0"),
        (("model=local", "step=1", "path=models/a=b"), "folder 'models/a=b' (path=, or path in a file of"),
        (
            ("-m", "model=local", "step=1", "path=models/toy-s,models/../models/toy-s", "tokens_per_step=9"),
            "model.name=",
        ),
        (("steps",), "no model is given"),
        (("steps", "model=pythia-70n"), "did you mean 'pythia-70m'"),
        (("suites", "model=x"), "suites does not know 'model=x'"),
    ],
)
def test_bad_input_is_one_sentence(inside: Run, words: tuple[str, ...], said: str) -> None:
    found = inside(*words)
    assert said in found.stderr, found.stderr
    assert found.stderr.count("\n") == 1
    assert found.returncode == 2


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        (('checkpoint.folder="step{step}"',), [1, 2, 4, 8]),
        (("checkpoint.steps={10: step1, 20: step8}",), [10, 20]),
        (("checkpoint.steps=[2,8]",), [2, 8]),
        (('path="models/toy-s"',), [1, 2, 4, 8]),
    ],
)
def test_which_folders_are_steps_can_be_said(evalrun: Run, words: tuple[str, ...], steps: list[int]) -> None:
    place = () if words[0].startswith("path=") else ("path=models/toy-s",)
    shown = evalrun("steps", "model=local", *place, "tokens_per_step=9", *words, "--json")
    (told,) = json.loads(shown.stdout)
    assert [(one["step"], one["tokens"]) for one in told["checkpoints"]] == [(step, 9 * step) for step in steps]


def test_a_run_of_your_own_by_name(evalrun: Run, workspace: Path) -> None:
    (workspace / "conf" / "model" / "mine.yaml").write_text(
        "defaults:\n  - /checkpoint@_global_.checkpoint: local\n  - _self_\nname: my-run\npath: models/toy-s\n"
        "tokens_per_step: 9\n"
    )
    shown = evalrun("plan", "model=mine", "step=all", "task=alpha", "--json")
    jobs = json.loads(shown.stdout)["jobs"]
    assert [(job["model"], job["step"], job["tokens"]) for job in jobs] == [("my-run", s, 9 * s) for s in (1, 2, 4, 8)]


def test_suites_are_listed_without_the_hub(evalrun: Run, workspace: Path) -> None:
    (workspace / "conf" / "model" / "broken.yaml").write_text("name: x\nn_layer: 2\n")
    shown = evalrun("suites", "--json")
    assert shown.returncode == 0, shown.stderr
    told = {suite["suite"]: suite for suite in json.loads(shown.stdout)}
    assert [len(model["steps"]) for model in told["pythia"]["models"]] == [154] * 8
    assert [model["steps"] for model in told["olmo2"]["models"]] == [None] * 3
    assert told["toy"]["checked"] is None
    hub_suites = [suite for suite in told.values() if suite["suite"] not in ("toy", "tiny")]
    assert all(suite["source"] and suite["checked"] is False for suite in hub_suites)
    listed = evalrun("suites").stdout
    assert "olmo2/1b, 7b, 13b" in listed
    assert "  note: conf/model/broken.yaml: unknown key 'n_layer': choose from: aliases, architecture, " in listed


# Every way in which a published suite names its revisions; the third is one that it must pass over.
NAMES = {
    "step{step}": ("step1", "step2", "step1-tokens4B"),
    "step{step}-tokens{tokens}": ("step1-tokens4B", "step2-tokens8B", "step2"),
    "stage1-step{step}-tokens{tokens}": ("stage1-step1-tokens4B", "stage1-step2-tokens8B", "stage2-step2-tokens8B"),
    "stage1-step-{step}": ("stage1-step-1", "stage1-step-2", "stage2-step-2"),
    "step-{step}": ("step-1", "step-2", "step2"),
    "global_step{step}": ("global_step1", "global_step2", "step2"),
    "ckpt_{step:03d}": ("ckpt_001", "ckpt_002", "ckpt_x"),
    "step{step}-seed-default": ("step1-seed-default", "step2-seed-default", "step2-seed-small-aux-2"),
}


@pytest.mark.release
@pytest.mark.slow
def test_suites_from_the_hub_by_every_pattern(evalrun: Run, workspace: Path, tmp_path: Path) -> None:
    online = {"HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1"}
    toy, conf = workspace / "models" / "toy-s", workspace / "conf"
    with serve() as hub:
        online["HF_ENDPOINT"] = hub.url
        for number, (pattern, names) in enumerate(NAMES.items()):
            for name, step in zip((*names, "main"), (1, 2, 4, 2), strict=True):
                hub.add(f"org/m{number}", name, toy / f"step{step}")
            tokens = "null" if "tokens" in pattern else 1000
            (conf / "checkpoint" / f"s{number}.yaml").write_text(
                f"suite: s{number}\nrevision: '{pattern}'\ntokens_per_step: {tokens}\n"
            )
            (conf / "model" / f"m{number}.yaml").write_text(
                f"defaults:\n  - /checkpoint@_global_.checkpoint: s{number}\n  - _self_\nname: m{number}\n"
                f"path: org/m{number}\n"
            )
        shown = evalrun("steps", "model=glob(m*)", "--json", env=online)
        assert shown.returncode == 0, shown.stderr
        for told, (pattern, names) in zip(json.loads(shown.stdout), NAMES.items(), strict=True):
            scale = 4 * 10**9 if "tokens" in pattern else 1000
            assert [(one["step"], one["where"], one["tokens"]) for one in told["checkpoints"]] == [
                (step, name, step * scale) for step, name in enumerate(names[:2], start=1)
            ]
        asked = len([request for request in hub.requests if request.endswith("/refs")])
        assert asked == len(NAMES)
        ran = evalrun("-m", "model=m2", "step=all", "task=alpha", "analysis.after_sweep=false", env=online)
        assert ran.returncode == 0, ran.stderr
        rows = accuracy(workspace, "s2")
        assert list(zip(rows["step"], rows["tokens"], strict=True)) == [(1, 4 * 10**9), (2, 8 * 10**9)]
        assert rows["n_params"].unique().tolist() == [folders.parameters_of(toy / "step1").total]
        borrowed = ("model=m3", "step=1", "task=alpha", "model.tokenizer=org/m0")
        lent = evalrun(*borrowed, env=online)
        assert lent.returncode == 0, lent.stderr
    offline = {**online, "HF_HUB_OFFLINE": "1"}
    assert "found done" in evalrun(*borrowed, env=offline).stderr
    again = evalrun("-m", "model=m2", "step=all", "task=alpha", "analysis.after_sweep=false", env=offline)
    assert "2 of 2 jobs found done" in again.stdout, again.stderr
    kept = json.loads(evalrun("steps", "model=m2", "--json", env=offline).stdout)[0]
    assert [(one["step"], one["here"]) for one in kept["checkpoints"]] == [(1, True), (2, True)]
    unknown = evalrun("steps", "model=olmo2/1b", env=offline)
    assert unknown.returncode == 1
    assert "which steps allenai/OLMo-2-0425-1B released is not known here" in unknown.stderr
