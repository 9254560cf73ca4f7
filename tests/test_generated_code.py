"""Code that a model writes: judged by its tests, in a process with limits, and only where a person asked for it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from evalrun.config.compose import compose, hydra_session, to_config
from evalrun.core.errors import TaskError
from evalrun.tasks import code_process, generated_code, task_file

ROW = {
    "prompt": 'def double(x):\n    """Twice x."""\n',
    "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1) == -2\n",
    "entry_point": "double",
}


@pytest.mark.parametrize(
    ("written", "right"),
    [
        ("    return 2 * x\n", 1.0),
        ("    return x + 2\n", 0.0),
        ("    return 2 * x\n\nimport sys\nsys.exit(0)\n", 0.0),  # ends before it is tested
        ("    return 2 * x\n\nimport os\nos._exit(0)\n", 0.0),
        ("    return 2 *\n", 0.0),
        ("", 0.0),
    ],
)
def test_a_function_passes_if_its_tests_do(written: str, right: float) -> None:
    assert generated_code.passes(ROW, [written]) == {"passes": right}


def test_a_program_has_limits_and_a_folder_and_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").touch()
    alone = "import os\nassert 'HF_TOKEN' not in os.environ\nassert os.listdir('.') == []\nopen('x', 'w').write('x')\n"
    assert code_process.ends(alone, 2, 256)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert not code_process.ends("found = bytearray(2**30)", 2, 256)
    assert code_process.ends("found = bytearray(2**20)", 2, 256)
    assert not code_process.ends("open('x', 'wb').write(bytes(2**25))", 2, 256)


@pytest.mark.parametrize("program", ["while True: pass", "import time\ntime.sleep(60)"])
def test_a_program_that_goes_on_is_ended(program: str) -> None:
    began = time.monotonic()
    assert not code_process.ends(program, 0.2, 256)
    assert time.monotonic() - began < 30


def resolved(task: str, *words: str) -> Any:
    with hydra_session():
        config = to_config(compose([f"tasks=[{task}]", "model=pythia-70m", "step=1", *words]))
    return task_file.resolve_for(config)


def test_it_is_run_only_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TaskError, match=r"task 'humaneval' runs code that the model writes .* run_generated_code=true"):
        resolved("humaneval")
    (file,) = resolved("humaneval", "run_generated_code=true")
    assert file.config["process_results"].own is generated_code.passes
    with pytest.raises(TaskError, match=r"task 'mbpp' .* sets it no limits: take task=humaneval"):
        resolved("mbpp", "run_generated_code=true")


def test_a_machine_that_runs_nothing_is_said_and_scores_nobody_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_process, "_INSIDE", "raise OSError")
    code_process._see_that_it_can.cache_clear()
    with pytest.raises(TaskError, match="programs cannot be run here"):
        generated_code.passes(ROW, ["    return 2 * x\n"])
    code_process._see_that_it_can.cache_clear()
