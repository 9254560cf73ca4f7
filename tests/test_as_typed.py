"""Text fields hold what was typed, on the command line, in a program and in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from evalrun.checkpoints.suites.configured import config_of
from evalrun.commands.run import inprocess
from evalrun.config.as_typed import element, yaml_text
from evalrun.config.compose import compose, hydra_session
from evalrun.grid import overrides as ov
from evalrun.grid import planning

# What Hydra or YAML take for a number, a boolean, nothing, a time, or for a sign of their own grammar.
READ_OTHERWISE = [
    *("1.10", "2024_11_28", "1e3", "1e-4", "0x10", "1:30", "007", "1_000", "-5", ".5", "inf", "nan", "3"),
    *("on", "no", "true", "False", "null", "~", "~nobody", "my run", "größe", "run(2)", "exp[1]", "a&b", "50%"),
    *("#1", "it's", "$x", "a:b", "+new", "x;y", "a@b", "a!b", "lr=1e-4", "a=", "=", "*", "back\\slash", 'x"y'),
]
_LETTERS = "abzEe019_.-+=:;@!#$%&~'\"()[]{} xnult\\ö"
_NAMES = st.text(_LETTERS, min_size=1, max_size=12).filter(
    lambda name: name.strip() == name and name not in (".", "..", "???") and "${" not in name and name[0] not in "'\""
)


def _path(words: list[str]) -> list[str]:
    """The folder of each job that overrides come to."""
    (override,) = ov.parse(words)
    each = [f"model.path={element(name)}" for name in ov.words(override)]
    return [compose(["model=local", "step=0", word]).model.path for word in each]


@pytest.mark.parametrize("name", READ_OTHERWISE)
def test_a_folder_is_the_one_that_was_typed(name: str) -> None:
    with hydra_session():
        assert _path([f"path={name}"]) == [name]
        assert compose(["model=local", "step=0", *ov.for_hydra(ov.parse([f"path={name}"]))]).model.path == name


@settings(max_examples=settings.default.max_examples // 4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=_NAMES)
def test_any_name_of_a_folder_that_is_there_goes_round(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    with hydra_session():
        (typed,), (library,) = ov.parse([f"path={tmp_path}/{name}"]), ov.parse(inprocess.words({"path": folder}))
        assert ov.words(library) == ov.words(typed)
        assert _path([f"path={tmp_path}/{name}"]) == [str(folder)]


def test_several_folders_are_swept_as_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("lr=1e-4", "lr=3e-4", "a,b"):
        Path(name).mkdir()
    with hydra_session():
        assert _path(["path=1.10,1.20,2024_11_28"]) == ["1.10", "1.20", "2024_11_28"]
        assert _path(["path=choice(1e3,true)"]) == ["1e3", "true"]
        assert _path(["path=lr=1e-4,lr=3e-4"]) == ["lr=1e-4", "lr=3e-4"]
        assert _path(["path=a,b"]) == ["a,b"]
        assert _path(["path='1.10','a b'"]) == ["1.10", "a b"]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("model.name=1e-4", "1e-4"),
        ("model.tokenizer=1.10", "1.10"),
        ("model.tokenizer=null", None),
        ("data_dir=2024_11_28", "2024_11_28"),
        ("checkpoint.suite=007", "007"),
        ("tracking.root=1e3", "1e3"),
        ("tracking.uri=http://host:5000/?token=1", "http://host:5000/?token=1"),
        ("tasks=[1e3,on,null]", ["1e3", "on", "null"]),
        ("analysis.methods=[ols,1.10]", ["ols", "1.10"]),
        ("checkpoint.steps={500: 1.10, 600: 2024_11_28}", {500: "1.10", 600: "2024_11_28"}),
        ("checkpoint.steps=[{from: 0, to: 4, by: 2}, 9]", [{"from": 0, "to": 4, "by": 2}, 9]),
        ("limit=1_000", 1000),
        ("analysis.alpha=1e-4", 1e-4),
        ("force=true", True),
    ],
)
def test_text_is_text_and_numbers_are_numbers(word: str, value: Any) -> None:
    with hydra_session():
        config: Any = compose(["model=local", "step=0", *ov.for_hydra(ov.parse([word]))])
    for key in word.partition("=")[0].split("."):
        config = config[key]
    assert config == value


def test_tasks_and_models_that_are_called_like_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("conf/model").mkdir(parents=True)
    Path("conf/model/1.10.yaml").write_text(
        "defaults:\n  - /checkpoint@_global_.checkpoint: pythia\n  - _self_\nname: 1.10\npath: me/1e3\n"
    )
    with hydra_session():
        words = ["model=1.10,pythia-70m", "step=1000", "task=1e3,2024_11_28"]
        given = ov.parse(words)
        assert ov.choices(given[0]) == ["1.10", "pythia-70m"]
        assert ov.words(given[2]) == ["1e3", "2024_11_28"]
        (line,) = ov.for_hydra(given[2:])
        assert compose([*ov.for_hydra(ov.parse(["model=1.10"])), "step=0", line]).tasks == ["1e3", "2024_11_28"]


def test_files_of_the_user_hold_text_where_text_is_expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("model", "experiment"):
        Path("conf", folder).mkdir(parents=True)
    Path("conf/model/mine.yaml").write_text(
        "defaults:\n  - /checkpoint@_global_.checkpoint: local\n  - _self_\n"
        "name: 2024_11_28 # a date\npath: &here 1.10\ntokenizer: *here\nn_params: 1_000\n"
    )
    Path("conf/experiment/mine.yaml").write_text(
        "# @package _global_\ntasks: [1e3, on, '2']\ndata_dir: 0x10\nlimit: 12\nmodel: {tokenizer: null}\n"
        "checkpoint: {steps: {500: 1e3, 600: a}}\n"
        "hydra: {sweeper: {params: {model: local, path: 1.20, step: all, model.name: 1e-4, num_fewshot: 1}}}\n"
    )
    with hydra_session():
        model = compose(["model=mine", "step=0"]).model
        assert (model.name, model.path, model.tokenizer, model.n_params) == ("2024_11_28", "1.10", "1.10", 1000)
        assert config_of("mine").model.path == "1.10"
        config = compose(["model=mine", "experiment=mine"], partial=True)
        assert config.tasks == ["1e3", "on", "2"]
        assert (config.data_dir, config.limit, config.model.tokenizer) == ("0x10", 12, None)
        assert config.checkpoint.steps == {500: "1e3", 600: "a"}
        params = {o.key_or_group: ov.words(o) for o in planning._experiment_params(ov.parse(["experiment=mine"]))}
        assert params == {"model": ["local"], "model.path": ["1.20"], "step": ["all"], "model.name": ["1e-4"],
                          "num_fewshot": ["1"]}  # fmt: skip


@given(name=_NAMES.filter(lambda name: not set(name) & set("'\"\\")))
@example(name="&0:0")
def test_whatever_yaml_makes_of_a_plain_name_is_text(name: str) -> None:
    try:
        said = yaml.safe_load(f"path: {name}\n")
    except yaml.YAMLError:
        return
    if isinstance(said, dict) and set(said) == {"path"} and not isinstance(said["path"], (list, dict, type(None))):
        read = yaml.safe_load(yaml_text(f"path: {name}\n", "model"))["path"]
        assert isinstance(read, str)
        assert read == yaml.load(f"path: {name}\n", yaml.BaseLoader)["path"]


def test_what_is_typed_reaches_the_jobs() -> None:
    """The words of each job, which workers, Ray and SLURM compose again."""
    with hydra_session():
        override = ov.parse(["path=1.10,plain,my run"])[0]
        words = planning._axis(override)
        assert words == ["model.path='1.10'", "model.path=plain", "model.path='my run'"]
        for word, name in zip(words, ["1.10", "plain", "my run"], strict=True):
            assert compose(["model=local", "step=0", word]).model.path == name
