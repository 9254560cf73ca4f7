"""Stages of training: their names, the config of a job of one, where it begins, and what must not be said of them."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalrun.checkpoints.suites import checkpoint_of, released
from evalrun.checkpoints.suites.configured import config_of
from evalrun.config.compose import hydra_session
from evalrun.config.schema import CheckpointConf, Config, ModelConf, StageConf
from evalrun.config.training_stages import expand_stages, stage_problems
from evalrun.core.errors import ConfigError
from evalrun.core.records import Checkpoint
from evalrun.grid import job_keys


def suite(*stages: StageConf, **more: Any) -> CheckpointConf:
    """Pretraining of steps 1, 2, 4, a thousand tokens each, then these stages."""
    said = {"suite": "toy", "folder": "step{step}", "tokens_per_step": 1000, "steps": [1, 2, 4]}
    return CheckpointConf(**{**said, "stages": list(stages), **more})


def cell(checkpoint: CheckpointConf, stage: str | None, step: int) -> Checkpoint:
    model = ModelConf(name="toy-s", path="models/s", n_params=10, n_params_nonembedding=8)
    return checkpoint_of(Config(model=model, checkpoint=checkpoint, stage=stage, step=step))


MID = StageConf(name="mid", path="{path}-mid", steps=[1, 3], tokens_per_step=500)
SFT = StageConf(name="sft", path="{path}-sft", steps=[1, 2], tokens_per_step=100)
GRID = StageConf(
    name="sft", path="runs/sft", folder="from{start}-step{step}", start=[1, 2, 4], steps=[1, 2], tokens_per_step=100
)


def test_a_stage_goes_on_where_the_one_before_ended() -> None:
    found = [cell(suite(MID, SFT), *place) for place in ((None, 4), ("mid", 1), ("mid", 3), ("sft", 2))]
    assert [(one.step, one.tokens) for one in found] == [(4, 4000), (5, 4500), (7, 5500), (9, 5700)]
    assert [(one.stage, one.stage_step, one.stage_from) for one in found[2:]] == [("mid", 3, 4), ("sft", 2, 7)]
    assert [one.location for one in found] == [
        *("models/s/step4", "models/s-mid/step1", "models/s-mid/step3", "models/s-sft/step2"),
    ]
    assert {one.model for one in found} == {"toy-s"}


def test_steps_that_go_on_counting_are_places_already() -> None:
    goes_on = StageConf(name="mid", folder="mid-step{step}", steps=[5, 6], continues=True)
    found = cell(suite(goes_on), "mid", 6)
    assert (found.step, found.tokens, found.stage_from, found.stage_tokens) == (6, 6000, 4, 4000)


def test_the_same_tuning_from_each_step_leaves_the_curve_but_for_the_last() -> None:
    found = [cell(suite(GRID), f"sft@{start}", 2) for start in (1, 2, 4)]
    assert [one.model for one in found] == ["toy-s+sft@1", "toy-s+sft@2", "toy-s"]
    assert [(one.step, one.tokens, one.trunk) for one in found] == [
        (3, 1200, "toy-s"),
        (4, 2200, "toy-s"),
        (6, 4200, None),
    ]
    assert found[0].location == "runs/sft/from1-step2"
    assert found[0].label == "toy-s sft@1 step 2"


def test_two_stages_from_one_checkpoint_are_two_curves() -> None:
    other = StageConf(name="dpo", after="pretraining", path="runs/dpo", steps=[1], tokens_per_step=1)
    assert cell(suite(MID, other), "mid", 1).model == "toy-s"
    assert cell(suite(MID, other), "dpo", 1).model == "toy-s+dpo"
    after = StageConf(name="rl", path="runs/rl", steps=[1], tokens_per_step=1)
    assert cell(suite(MID, other, after), "rl", 1).model == "toy-s+dpo"  # it starts from the branch


def test_tokens_that_nobody_knows_are_asked_for_or_counted_as_none() -> None:
    unknown = StageConf(name="sft", path="runs/sft", steps=[1])
    with pytest.raises(ConfigError, match="how many tokens toy-s had seen at step 1 is not known"):
        cell(suite(unknown), "sft", 1)
    assert cell(suite(StageConf(name="sft", path="runs/sft", steps=[1], tokens_per_step=0)), "sft", 1).tokens == 4000


def test_a_start_that_is_not_there_is_said() -> None:
    from_three = StageConf(name="sft", path="runs/sft", steps=[1], start=3, tokens_per_step=1)
    with pytest.raises(ConfigError, match="'sft' of toy-s starts from step 3 of pretraining, which is not there"):
        cell(suite(from_three), "sft", 1)


def test_keys_of_pretraining_are_as_they_were_and_those_of_stages_differ() -> None:
    job = Config(
        model=ModelConf(name="toy-s", path="p"), checkpoint=suite(SFT), step=1, tasks=["alpha"], profile="corrected"
    )
    without = job_keys.state_name(job)
    job.stage = "sft"
    assert job_keys.state_name(job) != without
    job.stage, job.checkpoint = None, suite()
    assert job_keys.state_name(job) == without


@pytest.mark.parametrize(
    ("words", "is_glob", "found"),
    [
        (["all"], False, [None, "mid", "sft@1", "sft@2", "sft@4"]),
        (["sft"], False, ["sft@1", "sft@2", "sft@4"]),
        (["sft@2", "pretraining"], False, [None, "sft@2"]),
        (["sft@*"], True, ["sft@1", "sft@2", "sft@4"]),
        (["*id", "pre*"], True, [None, "mid"]),
    ],
)
def test_names_lists_and_globs(words: list[str], is_glob: bool, found: list[str | None]) -> None:
    assert expand_stages(words, is_glob, suite(MID, GRID), "toy-s") == found


def test_names_that_are_none() -> None:
    with pytest.raises(ConfigError, match="toy-s has no stage 'sfd': did you mean 'sft'"):
        expand_stages(["sfd"], False, suite(MID, GRID), "toy-s")
    with pytest.raises(ConfigError, match=r"stage=glob\(x\*\) of toy-s matches nothing"):
        expand_stages(["x*"], True, suite(MID), "toy-s")
    with pytest.raises(ConfigError, match="suite toy names none"):
        expand_stages(["sft"], False, suite(), "toy-s")


@pytest.mark.parametrize(
    ("stage", "problem"),
    [
        (StageConf(name="a b"), "letters, digits"),
        (StageConf(name="pretraining"), "two stages have this name"),
        (StageConf(name="dpo", after="stf"), "which is no stage above it: did you mean 'sft'"),
        (StageConf(name="dpo", revision="a{step}", folder="b{step}"), "leave one out"),
        (StageConf(name="dpo", folder="b{step"), "braces do not match"),
        (StageConf(name="dpo", start=[1, 2], path="x"), "must say which with {start}"),
        (StageConf(name="dpo", start="last"), "a step of the stage before"),
        (StageConf(name="dpo", steps=[]), "list one step at least"),
        (StageConf(name="dpo", tokens_per_step=-1), "0 for not known"),
        (StageConf(name="dpo", unit="bananas"), "unit is 'bananas'"),
        (StageConf(name="dpo", start=[1], path="{start}", continues=True), "it has one start"),
    ],
)
def test_what_a_stage_cannot_say(stage: StageConf, problem: str) -> None:
    found = list(stage_problems(suite(SFT, stage)))
    assert len(found) == 1
    assert problem in found[0]
    assert stage.name in found[0]


def test_records_of_pretraining_say_nothing_of_stages(tmp_path: Path) -> None:
    assert not {"stage", "trunk", "stage_step"} & set(cell(suite(SFT), None, 4).to_json())
    said = cell(suite(SFT), "sft", 2).to_json()
    assert (said["stage"], said["stage_step"], said["stage_from"], said["stage_tokens"]) == ("sft", 2, 4, 4000)
    assert Checkpoint(**said) == cell(suite(SFT), "sft", 2)


def test_shipped_suites_name_their_later_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With lists as a hub would give them; SmolLM3's steps go on counting, OLMo's begin again."""
    monkeypatch.chdir(tmp_path)
    names = {
        "HuggingFaceTB/SmolLM3-3B-checkpoints": ["stage1-step-3440000", "stage2-step-4200000", "stage3-step-4720000"],
        "allenai/Olmo-3-1025-7B": ["stage1-step1413814", "stage2-step47684", "stage3-step11921"],
        "allenai/OLMo-2-0425-1B": ["stage1-step1907359-tokens4001B", "stage2-ingredient1-step23852-tokens51B"],
    }
    released.FOLDER.mkdir(parents=True)
    for repository, revisions in names.items():
        said = {"repository": repository, "asked_s": time.time(), "revisions": dict.fromkeys(revisions, "c0ffee")}
        (released.FOLDER / f"{repository.replace('/', '--')}.json").write_text(json.dumps(said))

    def found(model: str, stage: str, step: int) -> Checkpoint:
        config = config_of(model)
        counted = replace(config.model, n_params=2, n_params_nonembedding=1)  # else of a config.json of the hub
        return checkpoint_of(replace(config, model=counted, stage=stage, step=step))

    with hydra_session():
        stage3, sft = found("smollm3/3b", "stage3", 4720000), found("smollm3/3b", "sft", 1)
        long, dpo = found("olmo3/7b", "long", 11921), found("olmo3/7b", "dpo", 1)
        mid, instruct = found("olmo2/1b", "mid", 23852), found("olmo2/1b", "instruct", 1)
        assert config_of("olmo3/32b").checkpoint.stages == []
    assert (stage3.step, stage3.tokens) == (4720000, 4720000 * 2359296)
    assert (sft.revision, sft.step, sft.tokens) == ("it-SFT", 4720000 + 1 + 1, stage3.tokens)  # after mid's one
    assert long.step == 1413814 + 47684 + 11921
    assert long.tokens - long.stage_tokens == pytest.approx(50e9, rel=1e-3)
    assert (dpo.location, dpo.revision, dpo.tokens) == ("allenai/Olmo-3-7B-Instruct-DPO", "main", long.tokens)
    assert (mid.step, mid.tokens) == (1907359 + 23852, 1907359 * 2097152 + 51 * 10**9)
    assert (instruct.location, instruct.stage_tokens) == ("allenai/OLMo-2-0425-1B-Instruct", mid.tokens)
