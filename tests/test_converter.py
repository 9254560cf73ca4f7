"""Checkpoints that a command of the user's converts: once, whole or not at all, and what is made is tried."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalrun import checkpoints
from evalrun.checkpoints import conversion_check, convert, downloads
from evalrun.checkpoints.conversions import Conversion, conversion, is_made, records
from evalrun.config import converter
from evalrun.config.compose import compose, hydra_session, to_config
from evalrun.core.errors import CheckpointError
from evalrun.core.records import Checkpoint
from helpers import made_once
from trained_run import CONVERTER, save_run

COMMAND = f"'{sys.executable}' to_hf.py {{input}} {{output}}"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(root: Path) -> None:
        save_run(root, conversion_check.TEXT)

    return made_once(tmp_path_factory, "trained_run", make)


@pytest.fixture
def here(tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    for source in trained.iterdir():
        subprocess.run(["cp", "-r", source, tmp_path / "run"], check=True)
    (tmp_path / "to_hf.py").write_text(CONVERTER)
    return tmp_path


def wanted(step: int = 60, how: str = "") -> Conversion:
    cell = Checkpoint("local", "run", 0, 0, 0, step, step, None, f"run/iter_{step:07d}", None, "run")
    return conversion(cell, f"{COMMAND} {how}".strip(), None)


def times() -> list[str]:
    file = Path("converted.txt")
    return file.read_text().split() if file.is_file() else []


def tried(one: Conversion, text: str | None = None) -> Any:
    """Convert, load and try it; its loss."""
    folder = convert.made(one)
    found = checkpoints.ResolvedCheckpoint(one.cell, "", folder, None, conversion=one)
    loaded = checkpoints.load(found, folder, "auto", "cpu", {"remote_code": False, "pickle": False})
    conversion_check.try_out(one, loaded.model, loaded.tokenizer, None, text)
    return one.record()["loss"]


def test_words_of_a_command_go_to_no_shell(tmp_path: Path) -> None:
    places = {"{input}": "/a b/{output}/$HOME;x", "{output}": "/o"}
    assert converter.filled("to_hf --from={input} 'x y' {output}/{input}", places) == [
        "to_hf", "--from=/a b/{output}/$HOME;x", "x y", "/o//a b/{output}/$HOME;x",
    ]  # fmt: skip
    assert converter.problem("to_hf {input} {output}") is None
    assert "without {output}" in str(converter.problem("to_hf {input}"))
    assert "check its quotes" in str(converter.problem("to_hf '{input} {output}"))


def test_a_checkpoint_is_converted_once_and_whole(here: Path) -> None:
    one = wanted()
    assert not is_made(one.cell, one.command, records(None))
    threads = [threading.Thread(target=convert.made, args=(wanted(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert times() == ["iter_0000060"]
    assert is_made(one.cell, one.command, records(None))
    assert sorted(path.name for path in one.model.iterdir()) == ["config.json", "model.safetensors"]
    assert not [path for path in one.folder.iterdir() if path.name.startswith(".")]


def test_what_determines_the_model_is_in_its_name(here: Path) -> None:
    names = [wanted().key, wanted(30).key, wanted(how="drops").key]
    (here / "to_hf.py").write_text(CONVERTER + "\n")
    names.append(wanted().key)
    with (here / "run" / "iter_0000060" / "rank0" / "weights.npz").open("r+b") as file:
        file.write(b"X")
    names.append(wanted().key)
    assert len(set(names)) == 5
    assert wanted().key == names[-1]


def test_weights_alone_are_given_the_config_and_tokenizer_that_are_there(here: Path) -> None:
    """As DeepSpeed's zero_to_fp32.py makes them."""
    source = here / "run" / "iter_0000060"
    (source / "tokenizer.json").write_bytes((here / "run" / "tokenizer.json").read_bytes())
    folder = convert.made(wanted(how="bare"))
    for name in ("config.json", "tokenizer.json"):
        assert (folder / name).read_bytes() == (source / name).read_bytes()
    (here / "other").mkdir()
    other = json.loads((source / "config.json").read_text()) | {"rope_theta": 77.0}
    (here / "other" / "config.json").write_text(json.dumps(other))
    (source / "config.json").unlink()
    with pytest.raises(CheckpointError, match="config.json"):
        convert.made(wanted(how="bare"))
    one = conversion(wanted().cell, f"{COMMAND} bare", None, "other")
    assert json.loads((convert.made(one) / "config.json").read_text()) == other
    other["rope_theta"] = 78.0
    (here / "more").mkdir()
    (here / "more" / "config.json").write_text(json.dumps(other))
    assert conversion(wanted().cell, f"{COMMAND} bare", None, "more").key != one.key


def test_a_command_may_name_the_step(here: Path) -> None:
    one = wanted(how="step-{step}")
    convert.made(one)
    assert one.key != wanted(how="step-30").key
    assert wanted(how="step-60").key == one.key  # the same words, once they are filled
    assert converter.filled("run -t global_step{step} {input}", {"{step}": "7"}) == [
        "run",
        "-t",
        "global_step7",
        "{input}",
    ]


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("fails", "ended with exit code 3: reading / TypeError: no such rank (all of it: "),
        ("nothing", "left no folder in the place of {output}"),
        ("writes", "changed while it was converted (or the converter wrote into it)"),
    ],
)
def test_a_converter_that_goes_wrong_leaves_nothing(here: Path, how: str, says: str) -> None:
    with pytest.raises(CheckpointError) as told:
        convert.made(wanted(how=how))
    assert says in str(told.value)
    assert len(told.value.problems) == 1
    found = list((here / "multirun").rglob("*"))
    assert not [path for path in found if path.is_dir() and path.name not in (".cache", "converted")][1:]
    assert not list((here / "multirun").rglob("*.safetensors"))


def test_a_program_that_is_not_there_is_named(here: Path) -> None:
    one = replace(wanted(), command="no-such-program {input} {output}")
    with pytest.raises(CheckpointError, match="'no-such-program', could not be started"):
        convert.made(one)


def test_a_killed_conversion_is_not_taken_for_whole(here: Path) -> None:
    one = wanted(how="waits")
    code = "from test_converter import *; convert.made(wanted(how='waits'))"
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ["PYTHONPATH"]])
    job = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths})
    while not Path("waits").exists():
        time.sleep(0.05)
    (begun,) = one.folder.glob(".begun-*")
    job.kill()
    job.wait()
    for line in subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout.split(
        "\n"
    ):
        if str(begun) in line:  # the converter, which nobody waits for any more
            os.kill(int(line.split()[0]), signal.SIGKILL)
    assert not one.is_here
    (here / "to_hf.py").write_text(CONVERTER.replace("time.sleep(60)", "pass"))
    again = replace(wanted(how="waits"), folder=one.folder)
    assert convert.made(again).is_dir()
    assert not begun.exists()


def test_what_is_right_is_accepted_at_every_step(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    losses = [tried(wanted(step)) for step in (0, 30, 60)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] == pytest.approx(5.55, abs=0.1)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("transposes", r"left model.layers.0.self_attn.k_proj.weight transposed, by all signs: .* falls from"),
        ("fills", "where guessing has 5.549"),
        ("drops", "lacks the weight model.layers.0.self_attn.k_proj.weight"),
    ],
)
def test_what_is_wrong_is_caught(here: Path, how: str, says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        tried(wanted(how=how))


def test_a_rise_of_the_loss_is_said_and_one_to_guessing_refused(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    before, after = wanted(30), wanted(60)
    loss = tried(before)
    before.note(loss=loss / 4)  # so that the same model looks like a rise
    before.note(parameters=before.record()["parameters"])
    tried(after)
    assert "its training may have had such a rise" in caplog.text
    before.note(parameters=1, step=20)
    after.note(loss=None)
    with pytest.raises(CheckpointError, match="and 1 at step 20 of the same run: one of the two lacks tensors"):
        tried(after)


def test_an_untrained_model_after_a_trained_one_is_refused(here: Path) -> None:
    one = wanted(30)
    tried(one)
    late = wanted(0)
    with pytest.raises(CheckpointError, match="step 30 has .* mend the converter"):
        tried(replace(late, cell=replace(late.cell, step=90)))


def test_a_text_of_the_users_is_tried_and_none_is_not(here: Path) -> None:
    (here / "own.txt").write_text("abc " * 200)
    one = wanted()
    assert tried(one, "own.txt") != pytest.approx(tried(replace(one, folder=one.folder.with_name("other"))), abs=1e-3)
    bad = wanted(how="fills")
    assert tried(bad, conversion_check.NONE) is None


def test_what_was_converted_is_deleted_after_its_last_use(here: Path) -> None:
    with hydra_session():
        words = ["model=local", "model.path=run", "step=60", "tasks=[x]", f'checkpoint.convert="{COMMAND}"']
        config = to_config(compose(words))
    one = wanted()
    size = len((convert.made(one) / "model.safetensors").read_bytes())
    downloads_of = downloads.Ledger(replace(config, keep_checkpoints=False, sweep="abc"))
    downloads_of.expect([one.cell])
    downloads_of.claim_conversion(one)
    downloads_of.used(one.cell, "job1")
    assert one.is_here  # it was there before, so it is not the sweep's
    checkpoints_of: dict[str, Any] = {"keep_checkpoints": False, "sweep": "abc", "disk_budget": str(3 * size)}
    mine = downloads.Ledger(replace(config, **checkpoints_of))
    two = wanted(30)
    mine.expect([two.cell, two.cell])
    mine.claim_conversion(two)
    convert.made(two)
    mine.weigh(two)
    mine.used(two.cell, "job1")
    assert two.is_here
    mine.used(two.cell, "job2")
    assert not two.is_here
    assert json.loads((two.folder / "converted.json").read_text())["bytes"] > size
    small = downloads.Ledger(replace(config, **{**checkpoints_of, "disk_budget": str(size // 2)}))
    small.expect([two.cell])
    small.claim_conversion(two)
    convert.made(two)
    with pytest.raises(CheckpointError, match="more than disk_budget"):
        small.weigh(two)
