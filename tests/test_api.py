"""evalrun as a library: what it costs to import, what it leaves behind, what it says of mistakes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

import evalrun
from evalrun.commands.run import inprocess
from evalrun.core.columns import TABLE_COLUMNS
from evalrun.errors import AnalysisError, ConfigError, EvalrunError
from helpers import make_checkpoint, make_rows, write_rows


def rows(suite: str = "toy", **changes: object) -> pd.DataFrame:
    """A table of two tasks, three models and four steps."""
    made = [
        {
            **dict.fromkeys(TABLE_COLUMNS, ""), "suite": suite, "model": f"m{size}", "n_params": size,
            "n_params_nonembedding": size, "n_params_nominal": size, "step": step, "tokens": step * 1000, "seed": None,
            "flops": 6.0 * size * step * 1000, "task": task, "title": task, "metric": "acc",
            "value": 0.3 + 0.01 * step * size / 1000 + 0.003 * ((step * size) % 7), "stderr": 0.02, "n": 500,
            "chance": 0.25, "primary": True, "higher_is_better": True, "settings": "x float32",
            "weights": f"{size}-{step}", "finished_ms": 1, "run_id": "r", **changes,
        }
        for task in ("alpha", "beta") for size in (1000, 2000, 4000) for step in (1, 2, 4, 8)
    ]  # fmt: skip
    return pd.DataFrame(made).astype({"seed": "Int64"})


def test_importing_it_costs_nothing_and_its_names_are_there() -> None:
    heavy = ["torch", "mlflow", "hydra", "omegaconf", "pandas", "numpy", "matplotlib", "lm_eval", "evalrun.api"]
    code = (
        f"import sys, json, evalrun; said = [m for m in {heavy!r} if m in sys.modules]; names = dir(evalrun); "
        "import evalrun.commands.compare; from evalrun import compare, fit; "
        "late = [m for m in ('torch', 'mlflow', 'pandas', 'lm_eval') if m in sys.modules]; "
        "print(json.dumps([said, names, callable(compare), callable(evalrun.compare), late]))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said, names, one, other, late = json.loads(ran.stdout)
    assert said == []
    assert set(evalrun.__all__) <= set(names)
    assert one
    assert other
    assert late == []
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        evalrun.fitt  # noqa: B018


def test_no_exported_name_is_a_module_too() -> None:
    """`import evalrun.compare` would put a module in the function's place."""
    modules = {path.stem for path in Path(evalrun.__file__).parent.iterdir()}
    assert not modules & set(evalrun.__all__)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"limit": 5, "force": True, "data_dir": None}, ["limit=5", "force=true", "data_dir=null"]),
        ({"model": ["a", "b"], "step": range(1, 4), "task": ("x", "y")}, ["model=a,b", "step=1,2,3", "task=x,y"]),
        ({"scorer": {"dtype": "float32", "verify": 3}}, ["scorer.dtype=float32", "scorer.verify=3"]),
        ({"scorer": "lm_eval", "analysis.methods": ["ols"]}, ["scorer=lm_eval", "analysis.methods=[ols]"]),
        ({"path": Path("it's, here")}, ["model.path='it\\'s, here'"]),
        ({"checkpoint": {"steps": {500: "a"}}}, ["checkpoint.steps={500:a}"]),
    ],
)
def test_keywords_become_overrides(given: dict[str, inprocess.Value], said: list[str]) -> None:
    assert inprocess.words(given) == said


def test_mistakes_are_one_exception_with_the_commands_sentences(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError) as raised:
        evalrun.evaluate("toy/toy-q", step=1, task="alhpa", limt=3)
    assert raised.value.problems == [
        "unknown model 'toy/toy-q': did you mean 'toy/toy-s'?",
        "unknown task 'alhpa', neither in conf/task nor in lm-eval: did you mean 'alpha'?",
        "unknown key 'limt': did you mean 'limit'?",
    ]
    for call, sentence in (
        (lambda: evalrun.evaluate(step=1), "no model is given"),
        (lambda: evalrun.evaluate("toy/toy-s"), "no step is given"),
        (lambda: evalrun.evaluate("./nowhere", step="all", task="alpha"), "nowhere"),
        (lambda: evalrun.evaluate("toy/toy-s", step=1, **{"hydra/launcher": "ray"}), "for `python -m evalrun`"),
        (lambda: evalrun.results(root="nowhere"), "root is 'nowhere'"),
        (lambda: evalrun.fit(rows(), alpa=0.1), "no setting 'alpa': did you mean 'alpha'?"),
        (lambda: evalrun.fit(rows(), limit=3), "no setting 'limit'"),
        (lambda: evalrun.shapes(rows(), shapes={"late_form": 0.5}), "did you mean 'shapes.late_from'?"),
        (lambda: evalrun.shapes(rows(), shapes={"late_from": 2}), "late_from is 2.0: it must be a share"),
        (lambda: evalrun.fit(rows(), alpha=3), "between 0 and 1"),
        (lambda: evalrun.plot(rows(), x="time"), "x is 'time'"),
        (lambda: evalrun.compare("a@1", "b@2", step=3), "takes no step="),
        (lambda: evalrun.plot(pd.DataFrame(), x=None), "x is 'None': choose from"),  # type: ignore[arg-type]
        (lambda: evalrun.compare("tiny-s@16", 16), "'16' names no checkpoint: write MODEL@STEP"),  # type: ignore[arg-type]
        (lambda: evalrun.evaluate("tiny/s", step=[]), "step is an empty list"),
        (lambda: evalrun.shapes(pd.DataFrame(), smallest_change=-1), "smallest_change is -1.0: it must be more than 0"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            call()
    for call, sentence in (
        (evalrun.results, "no results in .* yet"),
        (lambda: evalrun.fit(rows(), methods=["olss"]), "did you mean 'ols'"),
        (lambda: evalrun.fit(pd.DataFrame()), "there are no results to analyse"),
        (lambda: evalrun.fit(pd.DataFrame({"task": ["a"]})), "lacks the columns suite, model"),
        (lambda: evalrun.report(pd.DataFrame({"task": ["a"]}), "out"), "lacks the columns suite, model"),
        (lambda: evalrun.shapes("table.csv"), "the table of results is 'table.csv': give a DataFrame"),  # type: ignore[arg-type]
        (lambda: evalrun.plot(None), "the table of results is None: give a DataFrame"),  # type: ignore[arg-type]
        (
            lambda: evalrun.shapes(pd.concat([rows("a"), rows("b")])),
            r'suites \(a, b\).*table\["suite"\] == "a"',
        ),
        (lambda: evalrun.plot(pd.concat([rows(), rows(settings="x float16")])), "several settings"),
    ):
        with pytest.raises(AnalysisError, match=sentence):
            call()
    assert not (workspace / "multirun").exists()
    assert capsys.readouterr().out == ""


def test_defaults_are_those_of_conf_and_settings_reach_the_analysis(workspace: Path) -> None:
    every = evalrun.fit(rows())
    assert list(every["method"].unique()) == ["cr2", "ols", "hc3", "cluster", "wild", "quasibinomial", "gee", "mixed"]
    own = evalrun.fit(rows(), methods=["ols"], corrections=["holm"], alpha=0.2)
    assert set(own["method"]) == {"ols"}
    assert "q_holm" in own
    first = every[every["method"] == "ols"].reset_index(drop=True)
    pd.testing.assert_series_equal(own["t"], first["t"])
    assert ((own["high"] - own["low"]) < (first["high"] - first["low"])).all()
    assert set(evalrun.shapes(rows(value=0.5, stderr=0.001), smallest_change=0.5)["label"]) == {"flat"}
    loose, strict = (evalrun.shapes(rows(), alpha=alpha, shapes={"move_share": 0.1}) for alpha in (0.1, 0.001))
    assert (loose["threshold_z"] < strict["threshold_z"]).all()
    falls = evalrun.falls(rows(), items=False)
    assert len(falls) == 2 * 3
    assert falls["method"].str.contains("standard errors").all()
    assert len(evalrun.plot(rows(), x="parameters").axes) == 2


def test_hydra_and_the_current_folder_are_as_they_were(workspace: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "mine.yaml").write_text("answer: 42\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with initialize_config_dir(str(theirs), version_base="1.3"):
        evalrun.fit(rows(), methods=["ols"])
        with pytest.raises(ConfigError):
            evalrun.evaluate("toy/none", step=1, root=workspace)
        with pytest.raises(EvalrunError):
            evalrun.results(root=elsewhere)
        assert compose("mine").answer == 42
    assert not GlobalHydra.instance().is_initialized()
    assert Path.cwd() == workspace


@pytest.mark.slow
def test_each_call_looks_anew_and_one_failure_stops_no_other(workspace: Path, tmp_path: Path) -> None:
    run = workspace / "runs" / "mine"
    for step in (1, 2):
        make_checkpoint(run / f"step{step}", seed=step)
    asked = {"step": "all", "task": "alpha", "tokens_per_step": 10}
    assert set(evalrun.evaluate("runs/mine", **asked)["step"]) == {1, 2}

    make_checkpoint(run / "step4", seed=4)
    assert set(evalrun.evaluate(run, **asked)["step"]) == {1, 2, 4}

    before = evalrun.evaluate("runs/mine", **asked)["value"].tolist()
    write_rows(workspace / "data" / "alpha.jsonl", make_rows(30, 3))
    after = evalrun.evaluate("runs/mine", **asked)
    assert set(after["n"]) == {30}
    assert len(after) == len(before) == 3

    other = tmp_path / "other"  # the same relative names, another folder
    shutil.copytree(workspace, other, ignore=shutil.ignore_patterns("multirun", "mlruns", "step2", "step4"))
    assert set(evalrun.evaluate("runs/mine", root=other, **asked)["step"]) == {1}
    assert (other / "mlruns").is_dir()

    weights = workspace / "models" / "toy-s" / "step1" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(EvalrunError, match=r"1 of 2 jobs failed: .*toy-s step 1.*the same call tries these again"):
        evalrun.evaluate("toy/toy-s", step=[1, 2], task="alpha")
    assert set(evalrun.results(suite="toy")["step"]) == {2}
