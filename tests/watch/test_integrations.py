"""The callback of transformers.Trainer: the command's results, and a training that does not notice."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from evalrun import pipeline
from evalrun.commands.watch.watch_request import configured
from evalrun.config.compose import hydra_session, isolated_hydra
from evalrun.config.schema import TrackingConf
from evalrun.integrations import TrainerCallback
from evalrun.tracking import Store
from helpers import ROOT, Run
from training_runs import train

STEPS = (4, 8, 12)


@pytest.mark.slow
def test_the_commands_results_and_a_training_bit_for_bit_as_without_it(
    workspace: Path, evalrun: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = train(workspace / "runs" / "plain", dropout=0.1)
    evaluate = pipeline.evaluate

    def drawing(*given: Any) -> Any:  # an evaluation that uses every generator
        torch.manual_seed(7), np.random.seed(7), random.seed(7)
        return evaluate(*given)

    monkeypatch.setattr(pipeline, "evaluate", drawing)
    own = train(workspace / "runs" / "mine", dropout=0.1, callbacks=[TrainerCallback(["alpha"])])
    for step in STEPS:
        for name in ("model.safetensors", "optimizer.pt"):
            mine, other = (torch_bytes(run / f"checkpoint-{step}" / name) for run in (own, plain))
            assert mine == other, (step, name)
    assert transformers.utils.logging.is_progress_bar_enabled() is False  # as `train` left it
    store = Store(TrackingConf(uri=None, root=str(workspace / "mlruns")))
    rows = store.table("local").query("metric == 'acc'").set_index("step")
    assert sorted(rows.index) == list(STEPS)
    history = json.loads((own / "trainer_state.json").read_text())["log_history"]
    logged = {entry["step"]: entry["evalrun/acc/alpha"] for entry in history if "evalrun/acc/alpha" in entry}
    assert logged == rows["value"].to_dict()

    keys = {run.step: run.run_key for run in store.past("local")}
    found = evalrun("-m", "model=local", "path=runs/mine", "step=4,8,12", "task=alpha", "analysis.after_sweep=false")
    assert "3 of 3 jobs found done" in found.stdout, found.stdout + found.stderr
    again = evalrun("model=local", "path=runs/mine", "step=8", "task=alpha", "force=true")
    assert again.returncode == 0, again.stderr
    assert {run.step: run.run_key for run in store.past("local")} == keys
    after = store.table("local").query("metric == 'acc'").set_index("step")
    assert after.loc[8, "value"] == rows.loc[8, "value"]


def torch_bytes(path: Path) -> bytes:
    """A file's content; of an optimizer's, that of its tensors, since a zip holds dates."""
    if path.suffix != ".pt":
        return path.read_bytes()
    state = torch.load(path, weights_only=True)["state"]
    return b"".join(
        value.numpy().tobytes() for entry in state.values() for value in entry.values() if hasattr(value, "numpy")
    )


@pytest.mark.slow
def test_what_is_wrong_with_it_stops_no_training(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(workspace / "runs" / "mine", steps=4, callbacks=[TrainerCallback(["alpa"])])
    assert (workspace / "runs" / "mine" / "checkpoint-4" / "model.safetensors").is_file()
    assert "unknown task 'alpa'" in caplog.text
    assert "did you mean 'alpha'" in caplog.text


def test_other_processes_do_nothing(workspace: Path) -> None:
    callback = TrainerCallback(["alpha"])
    state = transformers.TrainerState(is_world_process_zero=False)
    args, control = transformers.TrainingArguments(output_dir="runs/mine"), transformers.TrainerControl()
    callback.on_train_begin(args, state, control)
    callback.on_save(args, state, control)
    assert not (workspace / "mlruns").exists()


def test_beside_a_hydra_application(workspace: Path) -> None:
    from hydra import compose, initialize_config_dir

    (workspace / "theirs").mkdir()
    (workspace / "theirs" / "train.yaml").write_text("rate: 3\n")
    with initialize_config_dir(str(workspace / "theirs"), version_base="1.3"):
        with isolated_hydra():
            config, *_ = configured(["path=runs/mine", "task=alpha"])
        assert config.model.name == "mine"
        assert compose("train").rate == 3
    with isolated_hydra(), hydra_session():
        pass


def test_importing_it_is_cheap() -> None:
    code = "import sys, evalrun.integrations\nprint([m for m in ('mlflow', 'lm_eval', 'hydra') if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
