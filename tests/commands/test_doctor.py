"""`doctor`: each check says how it is and what to do; secrets stay secret."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from evalrun import cli
from evalrun.commands.doctor import material, software
from evalrun.commands.doctor.check import FAIL, OK, WARN


def checks(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, dict[str, str]]]:
    code = cli.main(["doctor", "--json", *words])
    return code, {check["name"]: check for check in json.loads(capsys.readouterr().out)}


def test_a_folder_in_order(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_do_not_tell")
    code, found = checks(capsys, "task=alpha,beta", "offline=true")
    assert code == 0
    assert {"python", "packages", "device", "store", "disk", "hub", "token", "tiny", "data", "own tasks"} == set(found)
    assert found["packages"]["state"] == found["device"]["state"] == found["data"]["state"] == OK
    assert "torch" in found["device"]["said"]
    assert "is not there yet: the first run makes it" in found["store"]["said"]
    assert not (workspace / "mlruns").exists()  # looking makes nothing
    assert found["tiny"]["state"] == WARN
    assert "python -m evalrun tiny" in found["tiny"]["todo"]
    assert found["token"]["said"] == "a Hugging Face token is set"
    assert "2 of 2 tasks" in found["data"]["said"]
    assert "hf_do_not_tell" not in json.dumps(found)


def test_what_fails_is_said_with_a_remedy(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "mlruns").mkdir()
    (workspace / "mlruns" / "mlflow.db").write_text("no database")
    file = workspace / "conf" / "task" / "alpha.yaml"
    file.write_text(file.read_text().replace("doc_to_text", "doc_to_txt"))
    usage = shutil.disk_usage(workspace)._replace(free=5 * 10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)  # a full disk cannot be had in a test
    assert cli.main(["doctor", "task=memo_trap"]) == 1
    said = capsys.readouterr().out
    assert "fail  store      " in said
    assert "is not an SQLite database, or is damaged" in said
    assert "fail  disk       0.5 GB free" in said
    assert "fail  own tasks  task 'alpha'" in said
    assert "did you mean 'doc_to_text'?" in said
    assert "warn  data       task=memo_trap: the data of 0 of 1 task is here; missing: memo_trap" in said
    assert "warn  hub        Hugging Face is switched off (HF_HUB_OFFLINE)" in said
    assert "3 checks failed, 3 warnings" in said

    words = ["tracking=server", "tracking.uri=http://me:hush@127.0.0.1:9", "offline=true", "task=beta"]
    assert cli.main(["doctor", *words]) == 1
    said = capsys.readouterr().out
    assert "cannot be reached; start it, correct tracking.uri" in said
    assert "hush" not in said


def test_packages_that_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["numpy>=2", "pandas<1", "nosuchpackage>=3", 'ray>=2.40; extra == "ray"', 'joblib<1; extra == "slurm"']
    monkeypatch.setattr(software, "_asked", lambda: (">=3.99", lines))
    found = [*software.packages(), software.python()]
    assert [check.state for check in found] == [FAIL] * 4
    assert found[0].said.endswith("is installed, evalrun needs pandas<1")
    assert found[1].said == "nosuchpackage is not installed, evalrun needs nosuchpackage>=3"
    assert found[1].todo == "python -m pip install 'nosuchpackage>=3'"
    assert "hydra/launcher=slurm needs joblib<1" in found[2].said
    assert "is not >=3.99" in found[3].said


def test_what_is_wrong_with_packages_is_said_before_they_are_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(software, "_asked", lambda: (">=3.11", ["nosuchpackage>=3"]))
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().out.endswith("\n1 check failed, 0 warnings\n")


def test_the_real_requirements_fit_here() -> None:
    assert all(check.state == OK for check in (software.python(), *software.packages()))


def test_the_embedded_suite_half_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "models" / "tiny" / "seed0" / "s" / "step4"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert material.suite().said == "1 of the embedded suite's 44 checkpoints are here"


def test_words_that_cannot_be_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "tsk=x"]) == 2
    assert "did you mean 'task'?" in capsys.readouterr().err
