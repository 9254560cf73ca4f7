"""A training run whose tokenizer changes midway, to another of the same size: told, with from which step on."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from evalrun.checkpoints import tokenizer
from evalrun.checkpoints.tokenizer_digest import tokenizer_digest
from evalrun.config.schema import TrackingConf
from evalrun.core.tokenizer_changes import tokenizer_changes
from evalrun.tracking import Store
from helpers import make_checkpoint
from training_runs import write_state

SAID = "mine has another tokenizer from step 12 on"


def with_other_tokens(folder: Path) -> Path:
    """A checkpoint whose tokenizer's words have changed places: as many as before."""
    file = folder / "tokenizer.json"
    said = json.loads(file.read_text())
    vocabulary = said["model"]["vocab"]
    words = [word for word in vocabulary if not word.startswith("<")]
    vocabulary |= dict(zip(words, [vocabulary[word] for word in reversed(words)], strict=True))
    file.write_text(json.dumps(said))
    return folder


@pytest.fixture
def runs(workspace: Path) -> Path:
    """Two runs of three checkpoints; the last of `mine` has another tokenizer."""
    for number, name in enumerate(("mine", "other")):
        for step in (4, 8, 12):
            folder = make_checkpoint(workspace / "runs" / name / f"checkpoint-{step}", seed=100 * number + step)
            if (name, step) == ("mine", 12):
                with_other_tokens(folder)
            write_state(folder, step, tokens=100 * step)
    return workspace / "runs"


def test_a_digest_is_of_tokens_and_how_they_are_made_and_not_of_files(runs: Path, tmp_path: Path) -> None:
    first, last, again = runs / "mine/checkpoint-4", runs / "mine/checkpoint-12", tmp_path / "again"
    shutil.copytree(first, again)
    said = json.loads((again / "tokenizer.json").read_text())
    (again / "tokenizer.json").write_text(json.dumps(said, indent=4) + "\n")
    apart = tmp_path / "apart"
    shutil.copytree(first, apart)
    (apart / "tokenizer.json").write_text(json.dumps(said | {"pre_tokenizer": {"type": "Whitespace"}}))
    digests = [tokenizer_digest(tokenizer.load(folder, False)) for folder in (first, again, last, apart)]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_what_is_said_of_which_runs() -> None:
    known = [("a", 1, "x"), ("a", 3, "y"), ("a", 2, "x"), ("b", 1, "x"), ("b", 2, "x"), ("c", 1, ""), ("c", 2, "x")]
    (said,) = tokenizer_changes(known)
    assert said.startswith("a has another tokenizer from step 3 on: ")
    (said,) = tokenizer_changes([*known[:3], ("a", 4, "x"), ("a", 5, "z")])
    assert said.startswith("a has another tokenizer from step 3 on, and again from 4 and 5: ")
    assert not tokenizer_changes([*known[:3], ("a", 3, "x")])  # evaluated anew: the newest counts


@pytest.mark.release
def test_watch_compare_and_analyze_say_it_once(
    runs: Path, evalrun: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    watched = evalrun("watch", "paths=runs/*", "task=alpha,beta", "--once")
    assert watched.returncode in (0, 3), watched.stderr
    assert watched.stderr.count("has another tokenizer") == watched.stderr.count(SAID) == 1
    tags = {(run.model, run.step): run.tokenizer for run in Store(TrackingConf(None, "mlruns")).past("local")}
    assert tags["mine", 4] == tags["mine", 8] == tags["other", 12] != tags["mine", 12]
    compared = evalrun("compare", "other", "mine", "analysis.draws=99", "--json")
    assert compared.returncode == 0, compared.stderr
    assert next(note for note in json.loads(compared.stdout)["notes"] if "tokenizer" in note).startswith(SAID)
    two = evalrun("compare", "mine@8", "mine@12", "--json")
    assert "mine step 8 and mine step 12 have different tokenizers: a difference may be the tokenizer's." in two.stdout
    same = evalrun("compare", "mine@4", "mine@8", "--json")
    assert "tokenizer" not in same.stdout
    analysed = evalrun("analyze", "suite=local")
    assert analysed.stdout.count(SAID) == 1, analysed.stdout + analysed.stderr
    (page,) = Path("multirun/analysis").glob("*/local/report.html")
    assert SAID in page.read_text()
