"""Mistakes in a user's own files of conf/: one sentence with file and key, whatever is written there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from evalrun.config.compose import compose, hydra_session
from evalrun.errors import ConfigError, EvalrunError
from evalrun.grid import override_checks, planning
from evalrun.grid import overrides as ov

MODEL = """\
defaults:
  - /checkpoint@_global_.checkpoint: {suite}
  - _self_
name: mine
path: runs/a
{more}"""
SUITE = "suite: {name}\nsteps: [1, 2]\nfolder: step{{step}}\nrevision: null\ntokens_per_step: 1\n"
OVERRIDING = "# @package _global_\ndefaults:\n  - override /hydra/{}\n"
COUNTS = "n_params: 7\nn_params_nonembedding: 7\n"
FILES = {  # group -> a sound file, and the words that choose it
    "model": (
        MODEL.format(suite="sound", more=COUNTS + "resources: {cpus: 1.5}\n"),
        "model=mine",
    ),
    "checkpoint": (SUITE.format(name="mine"), "model=of_mine"),
    "experiment": (
        "# @package _global_\ntasks: [tiny]\nlimit: 3\nscorer: {verify: 1}\n",
        "model=sound experiment=mine",
    ),
    "tracking": ("uri: null\nroot: mlruns\n", "model=sound tracking=mine"),
    "scorer": ("defaults: [lm_eval, _self_]\nname: lm_eval\nbatch_size: 4\n", "model=sound scorer=mine"),
    "analysis": ("defaults: [interaction, _self_]\nalpha: 0.1\nmethods: [ols]\n", "model=sound analysis=mine"),
    "hydra/launcher": (
        "_target_: hydra_plugins.evalrun.processes_launcher.ProcessesLauncher\nworkers: 2\nworkers_per_gpu: 1\n"
        "gpus_per_worker: 1\nthreads: auto\nretries: 1\n",
        "model=sound hydra/launcher=mine",
    ),
}


@contextmanager
def project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with one file of each kind and an empty run, Hydra open on it."""
    for group, (text, _) in FILES.items():
        write(folder, group, text)
    (folder / "conf" / "checkpoint" / "sound.yaml").write_text(SUITE.format(name="sound"))
    (folder / "conf" / "model" / "sound.yaml").write_text(MODEL.format(suite="sound", more=COUNTS))
    (folder / "conf" / "model" / "of_mine.yaml").write_text(MODEL.format(suite="mine", more=COUNTS))
    for step in (1, 2):
        (folder / "runs" / "a" / f"step{step}").mkdir(parents=True)
    monkeypatch.chdir(folder)
    with hydra_session():
        yield


def write(folder: Path, group: str, text: str | bytes) -> None:
    path = folder / "conf" / group / "mine.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def said(group: str) -> list[str]:
    """What the command says of the project; nothing where it finds no mistake."""
    words = [*FILES[group][1].split(), "step=1", "tokens_per_step=1"]
    try:
        planning.planned(ov.parse(words))
    except EvalrunError as error:
        return error.problems
    return []


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 10**20), st.floats(), st.text(max_size=8),
    st.sampled_from(["70e3", "${x.y}", "${", "${oc.env:NO_SUCH}", "???", "{step}", "{", "auto", "~", "[", "a b"]),
)  # fmt: skip
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(SCALARS, inner, max_size=2))


@st.composite
def spoilt(draw: st.DrawFn, text: str) -> str | bytes:
    """A sound file with one thing changed: a value, a key, a line, or its bytes."""
    lines = text.splitlines()
    header = [line for line in lines if line.startswith("#")]
    content: dict[Any, Any] = yaml.safe_load(text)
    how = draw(st.sampled_from(["value", "value", "key", "twice", "cut", "bytes", "all", "defaults"]))
    if how == "value":
        content[draw(st.sampled_from(sorted(content)))] = draw(VALUES)
    elif how == "key":
        content[draw(st.text(max_size=5) | st.sampled_from(["seed", "lr", "hydra", "task", "model"]))] = draw(VALUES)
    elif how == "defaults":
        names = st.sampled_from(["/scorer", "override /scorer", "override /nothing", "mine", "_self_", "/model"])
        content["defaults"] = draw(st.lists(names | st.dictionaries(names, SCALARS, max_size=1), max_size=2) | SCALARS)
    elif how == "twice":
        return text + lines[-1] + "\n"
    elif how == "cut":
        return text[: draw(st.integers(0, len(text)))]
    elif how == "bytes":
        at = draw(st.integers(0, len(text)))
        return text[:at].encode() + draw(st.binary(min_size=1, max_size=3)) + text[at:].encode()
    else:
        return yaml.safe_dump(draw(VALUES))
    return "\n".join([*header, yaml.safe_dump(content, sort_keys=False, allow_unicode=True)])


@pytest.mark.parametrize("group", FILES)
def test_whatever_is_in_a_file_is_taken_or_refused_in_sentences_that_name_it(
    group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with project(tmp_path, monkeypatch):
        assert said(group) == []

        @settings(
            max_examples=settings.default.max_examples // 10, suppress_health_check=list(HealthCheck), derandomize=True
        )
        @given(text=spoilt(FILES[group][0]))
        @example(text="")
        @example(text="- a\n- b\n")
        @example(text="a: &x [*x]\n")
        @example(text="just words")
        @example(text=FILES[group][0] + "? [a]\n: b\n")
        def check(text: str | bytes) -> None:
            write(tmp_path, group, text)
            for sentence in said(group):
                assert "\n" not in sentence
                assert sentence.endswith((".", "?"))
                assert "conf/" in sentence or "has no value" in sentence or "no folder is given" in sentence, sentence

        check()


@pytest.mark.parametrize(
    ("group", "text", "expected"),
    [
        (
            "model",
            "name: mine\npath: x\nn_params: 70e3\n",
            "n_params is 70000.0: it must be a whole number, written 70000.",
        ),
        ("model", MODEL.format(suite="sound", more="lr: 3\n"), "unknown key 'lr'"),
        ("model", MODEL.format(suite="sond", more=""), "checkpoint 'sond', which is none: did you mean 'sound'?"),
        ("model", "name: a\nname: b\n", "line 2: found duplicate key name"),
        ("model", "path: [unclosed\n", "is not valid YAML (line 2:"),
        (
            "model",
            MODEL.format(suite="sound", more="tokenizer: ${nothing.there}\n"),
            "model.tokenizer: Interpolation key",
        ),
        ("experiment", "tasks: [tiny]\n", "its first line must be `# @package _global_`"),
        ("experiment", "# @package _global_\nseed: 3\n", "unknown key 'seed'"),
        ("experiment", "# @package _global_\ntasks: tiny\n", "tasks is 'tiny': it must be a list, such as [tiny]."),
        ("experiment", "# @package _global_\nlimit: many\n", "limit is 'many': it must be a whole number."),
        ("experiment", "# @package _global_\ndefaults: [mine]\n", "which names it in turn"),
        ("experiment", "# @package _global_\ndefaults:\n  - override /scorer: nope\n", "scorer 'nope', which is none"),
        ("experiment", OVERRIDING.format("sweeper: basic"), "defaults cannot override hydra/sweeper"),
        ("experiment", OVERRIDING.format("launcher: proceses"), "did you mean 'processes'?"),
        ("experiment", OVERRIDING.format("launcher: processes").replace("/hydra", "hydra"), "mean '/hydra/launcher'?"),
        (
            "experiment",
            OVERRIDING.format("launcher: processes") + "hydra: {launcher: {wrkers: 2}}\n",
            "unknown setting 'hydra.launcher.wrkers' of hydra/launcher=processes: did you mean 'workers'?",
        ),
        (
            "experiment",
            OVERRIDING.format("launcher: processes") + "hydra: {launcher: {workers: two}}\n",
            "hydra.launcher.workers is 'two': it must be a whole number, 1 or more, or auto.",
        ),
        (
            "hydra/launcher",
            FILES["hydra/launcher"][0].replace("workers: 2", "workers: 0"),
            "hydra.launcher.workers is '0'",
        ),
        ("model", MODEL.format(suite="sound\n  - override /hydra/launcher: local", more=""), "say it in an experiment"),
        ("experiment", "# @package _global_\nmodel: tiny/s\n", "hydra: {sweeper: {params: {model: NAME}}}"),
        ("checkpoint", SUITE.format(name="mine").replace("[1, 2]", "[1, x]"), "checkpoint.steps holds 'x'"),
        (
            "hydra/launcher",
            FILES["hydra/launcher"][0] + "defaults: null\n",
            "Hydra does not take hydra/launcher=mine",
        ),
        ("hydra/launcher", "_target_: not.here.Launcher\n", "_target_ is 'not.here.Launcher', which is no launcher"),
    ],
)
def test_a_mistake_is_named_with_its_file(
    group: str, text: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with project(tmp_path, monkeypatch):
        write(tmp_path, group, text)
        (sentence,) = said(group)
        assert expected in sentence
        assert sentence.startswith(f"conf/{group}/mine.yaml")


def test_what_templates_of_hydra_teach_is_answered_with_what_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with project(tmp_path, monkeypatch):
        for word in ("+experiment=mine", "++experiment=mine", "experiment@_global_=mine", "+model=sound", "+limit=3"):
            with pytest.raises(ConfigError) as caught:
                override_checks.check(ov.parse([word]))
            key, _, value = word.lstrip("+").partition("=")
            assert f"write {key.partition('@')[0]}={value}." in str(caught.value)
        override_checks.check(ov.parse(["++limit=3"]))  # as in Hydra, it sets what is there


def test_a_range_of_steps_that_no_suite_has_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with project(tmp_path, monkeypatch):
        for numbers in ("0, to: 100000000000000000000, by: 1", "0, to: 9, by: 0", "a, to: 9, by: 1"):
            steps = f"{{from: {numbers}}}"
            write(tmp_path, "checkpoint", SUITE.format(name="mine").replace("[1, 2]", f"[{steps}]"))
            (sentence,) = said("checkpoint")
            assert "checkpoint.steps holds" in sentence


def test_an_experiment_chooses_the_launcher_and_the_command_line_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = OVERRIDING.format("launcher: processes") + "hydra: {launcher: {workers: 2}}\n"
    with project(tmp_path, monkeypatch):
        write(tmp_path, "experiment", text)
        (tmp_path / "conf" / "experiment" / "inner.yaml").write_text("# @package _global_\ndefaults: [mine]\n")
        for name in ("mine", "inner"):
            hydra = compose([f"experiment={name}"], partial=True).hydra
            assert (hydra.runtime.choices["hydra/launcher"], hydra.launcher.workers) == ("processes", 2)
        override_checks.check(ov.parse(["experiment=mine", "hydra.launcher.workers=3"]))
        with pytest.raises(ConfigError, match="'hydra.launcher.wrkers' of hydra/launcher=processes"):
            override_checks.check(ov.parse(["experiment=mine", "hydra.launcher.wrkers=3"]))
        with pytest.raises(ConfigError, match="experiment 'mine' says what to sweep or where to run it"):
            override_checks.check(ov.parse(["experiment=mine,inner"]))
        with pytest.raises(ConfigError, match=r"of hydra/launcher=slurm: add '~hydra\.launcher\.workers'"):
            override_checks.check(ov.parse(["experiment=mine", "hydra/launcher=slurm"]))
        words = ["experiment=mine", "hydra/launcher=slurm", "~hydra.launcher.workers"]
        override_checks.check(ov.parse(words))
        assert compose(words, partial=True).hydra.runtime.choices["hydra/launcher"] == "slurm"
