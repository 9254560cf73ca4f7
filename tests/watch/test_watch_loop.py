"""A watch over folders that change while it looks: half-written, gone, strange, replaced, restarted."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evalrun import pipeline
from evalrun.commands.watch import scan
from evalrun.commands.watch.command import command
from evalrun.commands.watch.evaluating import Here
from evalrun.commands.watch.loop import Watch
from evalrun.commands.watch.watch_request import WatchRequest, configured
from evalrun.config.schema import TrackingConf
from evalrun.errors import ConfigError
from evalrun.grid.job_spec import JobSpec
from evalrun.tracking import Store
from helpers import make_checkpoint
from training_runs import write_state

WORDS = ("path=runs/mine", "task=alpha", "tokens_per_step=100")


class Heard(Watch):
    """A watch that remembers what it said."""

    def __init__(self, *words: str) -> None:
        self.lines: list[str] = []
        self.sentences: list[str] = []
        request = WatchRequest([*WORDS, *words])
        super().__init__(request, Here(), say=self.lines.append, warn=self.sentences.append)


def save(root: Path, step: int, seed: int | None = None, losses: dict[int, float] | None = None, **how: int) -> Path:
    """A checkpoint as a Trainer leaves it."""
    folder = make_checkpoint(root / f"checkpoint-{step}", seed=step if seed is None else seed, **how)
    write_state(folder, step, losses=losses or {})
    return folder


def table(workspace: Path) -> pd.DataFrame:
    rows = Store(TrackingConf(uri=None, root=str(workspace / "mlruns"))).table("local")
    return rows[rows["metric"] == "acc"]


def test_each_checkpoint_once_as_it_comes_and_a_fault_costs_one(workspace: Path) -> None:
    root = workspace / "runs" / "mine"
    watch = Heard()
    with pytest.raises(ConfigError, match="is not there"):
        watch.round()
    save(root, 2)
    whole = save(root, 4)
    weights = (whole / "model.safetensors").read_bytes()
    (whole / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    watch.round()
    assert table(workspace)["step"].tolist() == [2]
    assert any("'checkpoint-4' has a model.safetensors that ends too early" in said for said in watch.sentences)
    watch.round()
    assert len(watch.sentences) == 1  # each thing is said once
    (whole / "model.safetensors").write_bytes(weights)
    write_state(whole, 4)
    save(root, 6, hidden=24)  # another model
    save(root, 8)
    watch.round()
    assert sorted(table(workspace)["step"]) == [2, 4, 8]
    assert any("step 6 of 'runs/mine' is refused" in said for said in watch.sentences)
    assert (watch.evaluated, watch.faults) == (3, 1)
    before = len(watch.lines)
    watch.round()
    assert len(watch.lines) == before
    again = Heard()
    again.once()
    assert (again.evaluated, [visit.step for visit in again.newest]) == (0, [8])
    assert again.lines[0] == "3 checkpoints found done"


@pytest.mark.release
def test_the_same_files_under_other_settings_are_not_told_as_others(workspace: Path) -> None:
    folder = save(workspace / "runs" / "mine", 2)
    about = folder / "tokenizer_config.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"chat_template": "{{ messages[0]['content'] }}"}))
    write_state(folder, 2, losses={})  # last, as a Trainer does
    first, second = Heard("chat=auto"), Heard("chat=template")
    first.round()
    second.round()
    assert (first.evaluated, second.evaluated) == (1, 1)
    assert [said for said in second.sentences if "evaluated before" in said] == [
        "mine step 2 was evaluated before with other settings: its newest result counts."
    ]


def test_one_that_vanishes_and_one_that_is_replaced(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = workspace / "runs" / "mine"
    save(root, 2), save(root, 4)
    watch = Heard()
    evaluate = pipeline.evaluate

    def late(job: JobSpec, *more: Any) -> Any:
        if job.config.step == 4:
            shutil.rmtree(root / "checkpoint-4")
        return evaluate(job, *more)

    monkeypatch.setattr(pipeline, "evaluate", late)
    watch.round()
    monkeypatch.setattr(pipeline, "evaluate", evaluate)
    assert watch.sentences == ["step 4 of 'runs/mine' disappeared before it was evaluated: it has no result."]
    save(root, 6)
    watch.round()
    save(root, 2, seed=22)
    watch.round()
    assert "steps go back: step 2 was written after step 6 had been evaluated." in watch.sentences
    assert any("mine step 2 was evaluated before with other files" in said for said in watch.sentences)
    store = Store(TrackingConf(uri=None, root=str(workspace / "mlruns")))
    assert len(store.past("local")) == 3
    newest = table(workspace).query("step == 2").sort_values("finished_ms").iloc[-1]
    client = store._link.client
    (curve,) = client.search_runs([client.get_experiment_by_name("local-curves").experiment_id])
    points = {point.step: point.value for point in client.get_metric_history(curve.info.run_id, "acc/alpha")}
    assert points[2] == newest["value"]
    assert set(points) == {2, 6}


def test_a_training_that_was_started_again_from_before(workspace: Path) -> None:
    root = workspace / "runs" / "mine"
    for step in (2, 4, 6):
        save(root, step, losses={s: 0.1 * s for s in range(2, step + 1, 2)})
    watch = Heard()
    watch.round()
    time.sleep(0.05)
    save(root, 4, seed=44, losses={2: 0.2, 4: 9.0})
    watch.round()
    assert any("steps go back in 'runs/mine'" in said and "6 of the old one is passed over" in said
               for said in watch.sentences)  # fmt: skip
    assert table(workspace)["step"].tolist().count(4) == 2
    assert [visit.step for visit in watch.newest] == [4]


def test_two_runs_in_one_folder_are_said_and_waited_for(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = workspace / "runs" / "mine"
    save(root, 2)
    make_checkpoint(root / "epoch-3", seed=3)
    watch = Heard()
    rounds = iter(range(3))

    def tick(_: float) -> None:
        if next(rounds) == 1:
            shutil.rmtree(root / "epoch-3")
        if watch.evaluated:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", tick)
    with pytest.raises(KeyboardInterrupt):
        watch.forever()
    (said,) = watch.sentences
    assert "holds two runs or more" in said
    assert said.endswith("waiting for it to change.")
    assert table(workspace)["step"].tolist() == [2]


def test_no_tokenizer_is_said(workspace: Path) -> None:
    folder = save(workspace / "runs" / "mine", 2)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(ConfigError, match=r"model\.tokenizer="):
        Heard().round()


def test_without_a_trainers_sign_a_checkpoint_must_be_at_rest(workspace: Path) -> None:
    root = workspace / "runs" / "mine"
    make_checkpoint(root / "step2", seed=2)
    config, *_ = configured(WORDS)
    first = scan.scan(config, {}, rest_s=60)
    assert (list(first.ready), first.waiting) == ([], (2,))
    seen = {2: scan.files_of(root / "step2")}
    assert list(scan.scan(config, seen, rest_s=60).ready) == [2]
    (root / "step2" / "generation_config.json").write_text("{}")
    assert list(scan.scan(config, seen, rest_s=60).ready) == []
    for file in (root / "step2").iterdir():
        os.utime(file, (1, 1))  # copied with old dates: not at rest for that
    assert list(scan.scan(config, {}, rest_s=60).ready) == []
    time.sleep(0.3)
    assert list(scan.scan(config, {}, rest_s=0.2).ready) == [2]


def test_a_trainers_checkpoint_is_complete_once_its_state_is_the_last_file(workspace: Path) -> None:
    folder = save(workspace / "runs" / "mine", 2)
    config, *_ = configured(WORDS)
    assert list(scan.scan(config, {}, rest_s=60).ready) == [2]
    time.sleep(0.02)
    (folder / "tokenizer_config.json").write_text((folder / "tokenizer_config.json").read_text())
    assert scan.scan(config, {}, rest_s=60).waiting == (2,)


def test_a_store_that_is_gone_costs_no_result(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from evalrun.errors import TrackingError

    save(workspace / "runs" / "mine", 2)
    watch = Heard()
    check = Store.check

    def down(self: Store, opens: bool = True) -> None:
        raise TrackingError("the server does not answer.")

    monkeypatch.setattr(Store, "check", down)
    watch.round()
    assert any("tries again at its next look" in said for said in watch.sentences)
    assert list((workspace / "multirun").rglob("results/*.json"))
    monkeypatch.setattr(Store, "check", check)
    watch.round()
    assert table(workspace)["step"].tolist() == [2]
    assert watch.lines


def test_an_alarm_is_a_warning_a_tag_a_note_a_hook_and_an_exit_code(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = workspace / "runs" / "mine"
    save(root, 2, seed=26)
    words = [*WORDS, "watch.poll_s=0.1", "watch.half_by=1", "analysis.alpha=0.99", "watch.command='tee heard.json'"]
    assert command([*words, "--once"]) == 0
    save(root, 4, seed=29)  # random models: this one is worse
    assert command([*words, "--once"]) == 3
    out = capsys.readouterr().out
    assert out.count("mine step 2, ") == 1  # said once, by the watch that evaluated it
    assert "DROP" in out
    assert "WARNING step 4: alpha fell from" in out
    heard = json.loads((workspace / "heard.json").read_text())
    assert (heard["step"], heard["model"], [drop["task"] for drop in heard["drops"]]) == (4, "mine", ["alpha"])
    store = Store(TrackingConf(uri=None, root=str(workspace / "mlruns")))
    run = store._link.client.get_run(heard["run_id"])
    assert json.loads(run.data.tags["evalrun.alarm"])["warnings"][0].startswith("step 4: alpha fell")
    assert "**Worse than before:**\n- step 4: alpha fell" in run.data.tags["mlflow.note.content"]
    (workspace / "heard.json").unlink()
    assert command([*words, "--once"]) == 3  # the same answer to the same question
    assert not (workspace / "heard.json").exists()  # nothing new happened
    store.alarms.flag(heard["run_id"], [], [], ["alpha"])
    tags = store._link.client.get_run(heard["run_id"]).data.tags
    assert "evalrun.alarm" not in tags
    assert "Worse" not in tags["mlflow.note.content"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*WORDS, "step=2"), "watch takes no step="),
        ((*WORDS, "fail_fast=true"), "watch takes no fail_fast=: no fault"),
        (("path=a,b", "task=alpha"), "several values"),
        (("model=pythia-70m", "task=alpha"), "on the hub"),
        ((*WORDS, "watch.webhook='http://example.com/hush'"), "https"),
        ((*WORDS, "watch.poll_s=0"), "more than 0 seconds"),
        (("task=alpha",), "path="),
    ],
)
def test_requests_that_cannot_be_right(workspace: Path, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        command(list(words))
    assert "hush" not in str(caught.value)


def test_the_address_is_kept_nowhere(workspace: Path) -> None:
    save(workspace / "runs" / "mine", 2)
    watch = Heard("watch.webhook='https://hooks.example.com/hush'")
    watch.round()
    files = [path for path in workspace.rglob("*") if path.is_file() and path.stat().st_size < 1e7]
    assert not [path for path in files if b"/hush" in path.read_bytes()]


def test_an_unforeseen_error_is_a_sentence(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(workspace / "runs" / "mine", 2)
    watch = Heard()

    def broken(*args: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(pipeline, "evaluate", broken)
    watch.round()
    assert watch.sentences == [
        "step 2 of 'runs/mine' failed in a way that evalrun did not foresee (ZeroDivisionError: division by zero). "
        "It is tried again in 60 s."
    ]
    assert watch.faults == 1
    assert [run.config.sweep for run in watch.runs.values()] == ["watch-mine"]


def test_a_mistake_of_the_request_is_one_sentence_and_holds_back_no_other_request(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("mine/step2", "mine/step4", "other/step2"):
        make_checkpoint(workspace / "runs" / name, seed=2)
    capsys.readouterr()  # of writing them
    for place in ("path=runs/mine", "paths=runs/*"):
        words = [place, "task=alpha", "watch.poll_s=0.1"]
        with pytest.raises(ConfigError, match="say how many a step is with tokens_per_step=") as caught:
            command([*words, "--once"])
        assert len(caught.value.problems) == (2 if "*" in place else 1)  # one for each run
    with pytest.raises(ConfigError, match="tokens_per_step="):
        command(words)  # nothing that is there can be evaluated: nothing to wait for
    assert capsys.readouterr().err == ""
    assert command([*words, "tokens_per_step=100", "--once"]) == 0
    assert "tokens" not in capsys.readouterr().err
    assert sorted(table(workspace)["step"]) == [2, 2, 4]


def test_a_failure_under_other_words_holds_nothing_back(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(workspace / "runs" / "mine", 2)
    evaluate = pipeline.evaluate

    def broken(*args: object) -> None:
        raise MemoryError("too large")

    monkeypatch.setattr(pipeline, "evaluate", broken)
    assert command([*WORDS, "--once"]) == 1
    assert "tried again" not in capsys.readouterr().err  # by nobody
    monkeypatch.setattr(pipeline, "evaluate", evaluate)
    assert command([*WORDS, "--once"]) == 1
    assert "failed 1 time and is not tried yet" in capsys.readouterr().err
    assert command([*WORDS, "watch.retry_s=0", "--once"]) == 0
