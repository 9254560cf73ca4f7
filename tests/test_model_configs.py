"""The configs of a plan's models: those that are made of another's are those that Hydra composes."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalrun.checkpoints.hub import repository_cache
from evalrun.config.compose import compose, hydra_session, to_config
from evalrun.core.errors import ConfigError
from evalrun.grid import model_configs, planning
from evalrun.grid import overrides as ov
from evalrun.grid.job_folders import FolderTemplate
from evalrun.grid.sweep_plan import Plan

PAIR = "model=pythia-70m,pythia-deduped/160m"


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that Hydra composed whole, in turn."""
    found: list[str] = []

    def counted(words: list[str]) -> object:
        found.append(next(word.removeprefix("model=") for word in words if word.startswith("model=")))
        return compose(words)

    monkeypatch.setattr(model_configs, "compose", counted)
    return found


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for group in ("model", "checkpoint", "experiment", "scorer", "tracking"):
        (tmp_path / "conf" / group).mkdir(parents=True)
    return tmp_path / "conf"


def plan(*words: str) -> Plan:
    """A plan, whose jobs are found to be those that Hydra composes one by one."""
    with hydra_session():
        given = ov.parse(words)
        planning.check(given)
        found = planning.plan(tuple(ov.for_hydra(given)))
        hydra = [word for word in words if word.startswith("hydra.")]
        for job in found.jobs:
            theirs = compose([*hydra, *job.overrides])
            assert job.config == to_config(theirs)
            assert job.folder == FolderTemplate(theirs).folder(job.config.step, job.number)
    return found


def test_models_and_seeds_that_differ_in_their_files_alone_are_composed_once(composed: list[str]) -> None:
    found = plan("model=pythia-70m,pythia-deduped/160m,polypythia/14m", "step=final", "limit=5", "experiment=paper")
    assert {job.cell.suite for job in found.jobs} == {"pythia", "pythia-deduped", "polypythia"}
    assert composed == ["pythia-70m"]
    composed.clear()
    seeded = plan("model=polypythia/14m,polypythia/70m", "checkpoint.seed=1,2", "step=1000", "task=neqa")
    assert [(job.cell.seed, job.folder.parts[-2]) for job in seeded.jobs[:2]] == [
        (1, "pythia-14m-seed1"),
        (2, "pythia-14m-seed2"),
    ]
    assert composed == ["polypythia/14m"]


def test_overrides_of_a_models_keys_hold_for_each_model(composed: list[str]) -> None:
    with hydra_session():
        names = [name for name in ov.models() if name.startswith(("pythia", "polypythia"))][::6]
    plan(f"model={','.join(names)}", "step=final", "task=neqa", "checkpoint.tokens_per_step=7", "model.tokenizer=a/b")
    assert composed == names[:1]


@pytest.mark.parametrize(
    "experiment",
    [
        "model: {tokenizer: mine}",
        "checkpoint: {tokens_per_step: 12}",
        "tracking: {root: '${model.name}'}",
        "hydra: {sweep: {subdir: '${hydra.runtime.choices.model}/${step}'}}",
    ],
)
def test_where_an_experiment_has_to_do_with_models_each_is_composed(
    conf: Path, composed: list[str], experiment: str
) -> None:
    (conf / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{experiment}\n")
    plan(PAIR, "step=1000", "experiment=mine")
    assert composed == ["pythia-70m", "pythia-deduped/160m"]


def test_a_model_of_the_users_that_only_hydra_can_read_is_composed(conf: Path, composed: list[str]) -> None:
    shipped = "defaults: [{/checkpoint@_global_.checkpoint: pythia}, _self_]\nn_params: 5\nn_params_nonembedding: 3\n"
    (conf / "model" / "plain.yaml").write_text(f"{shipped}name: plain\npath: a/plain\n")
    (conf / "model" / "made.yaml").write_text(f"{shipped}name: made\npath: a/${{model.name}}\n")
    found = plan("model=pythia-70m,plain,made", "step=1000")
    assert [job.cell.location for job in found.jobs] == ["EleutherAI/pythia-70m", "a/plain", "a/made"]
    assert composed == ["pythia-70m", "made"]


def test_folders_that_another_key_is_part_of_are_hydras(composed: list[str]) -> None:
    found = plan(PAIR, "step=1000", "limit=3,4", "hydra.sweep.subdir=${model.name}/${limit}/${profile}/s${step}")
    assert [str(job.folder) for job in found.jobs][1] == "multirun/pythia-70m/4/corrected/s1000"
    assert composed == ["pythia-70m", "pythia-70m"]  # once for each limit


def test_what_is_wrong_with_a_later_model_is_said_as_of_the_first(conf: Path) -> None:
    broken = "defaults: [{/checkpoint@_global_.checkpoint: pythia}, _self_]\nname: a/b\npath: a/b\nn_params: 5\n"
    (conf / "model" / "broken.yaml").write_text(broken)
    said = []
    for words in ("model=broken", "model=pythia-70m,broken"):
        with hydra_session(), pytest.raises(ConfigError) as caught:
            planning.plan((words, "step=choice(1000)"))
        said.append(caught.value.problems)
    assert said[0] == said[1]
    assert said[0][0].startswith("conf/model/broken.yaml: model.name is 'a/b'")


def test_a_file_that_changes_between_plan_and_launch_stops_the_sweep(conf: Path) -> None:
    text = "defaults: [{/checkpoint@_global_.checkpoint: pythia}, _self_]\nname: mine\npath: a/b\nn_params: 5\n"
    (conf / "model" / "mine.yaml").write_text(text)
    with hydra_session():
        found = planning.plan(("model=pythia-70m,mine", "step=choice(1000)", "model.n_params_nonembedding=3"))
        assert found.composed.of([0])[0].model.name == "pythia-70m"
        (conf / "model" / "mine.yaml").write_text(text.replace("a/b", "a/c"))
        with pytest.raises(ConfigError, match="files in conf/ changed while the sweep began"):
            found.composed.of([0, 1])


def test_the_hubs_cache_has_a_repository_where_its_client_puts_it() -> None:
    from huggingface_hub.file_download import repo_folder_name

    for name in ("EleutherAI/pythia-70m", "gpt2"):
        assert repository_cache(name).name == repo_folder_name(repo_id=name, repo_type="model")
