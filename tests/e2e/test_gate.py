"""`python -m evalrun gate`, on results that are in a store: verdicts, files for CI, exit codes, mistakes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from evalrun import cli
from evalrun.commands.gate.verdicts import BREACH, PASSES, UNDECIDED, UNKNOWN, GateReference, GateTask, judge
from evalrun.config.gate_thresholds import AT_LEAST, AT_MOST, MARGIN, GateThreshold
from evalrun.config.schema import TrackingConf
from evalrun.core.records import TaskResult
from evalrun.tracking import Store
from helpers import ROOT
from tracking.conftest import make_cell, make_result

Gate = Callable[..., tuple[int, str, str]]
N = 400
STEPS = {
    1: {"neqa": 0.6, "memo_trap": 0.6, "sig_figs": 0.5},
    8: {"neqa": 0.6, "memo_trap": 0.62, "sig_figs": 0.55},
    64: {"neqa": 0.6, "memo_trap": 0.3, "sig_figs": 0.55},
    128: {"neqa": 0.6, "memo_trap": 0.3, "sig_figs": 0.5},
}
TITLES = {"neqa": "Negated | <b>questions</b>", "memo_trap": "Obedience", "sig_figs": "Digits"}


def scored(folder: Path, task: str, level: float, step: int, **given: Any) -> tuple[TaskResult, Path]:
    """A result whose share of right answers is the level: the same items are hard for all, but for a few that waver."""
    hard = np.random.default_rng(5).random(N)
    wavers = np.random.default_rng(step).random(N) < given.pop("wavers", 0.0)
    values = np.where(wavers, np.random.default_rng(step + 7).random(N) < level, hard < level).astype(float)
    cell = given.pop("cell", None) or make_cell("big", step, 2000)
    changes = {
        "metrics": {"acc": float(values.mean())},
        "stderrs": {"acc": float(values.std(ddof=1) / np.sqrt(N))},
        "title": TITLES.get(task, task),
        "run_key": f"{cell.model}-{cell.step}",
        "weights": f"{cell.model}-{cell.step}",
        "n": N,
        **given,
    }
    result, path = make_result(folder / cell.suite, task, cell, **changes)
    items = {"doc_id": range(N), "doc_hash": [f"h{i}" for i in range(N)], "filter": "none", "acc": values}
    pd.DataFrame({**items, "prediction": 1 - values.astype(int)}).to_parquet(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    key = hashlib.sha256(f"{result.run_key}{task}".encode()).hexdigest()
    return TaskResult(**{**vars(result), "key": key, "items_sha256": digest}), path


@pytest.fixture(scope="module")
def filed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of one model with four checkpoints, and what cannot be compared with it."""
    folder = tmp_path_factory.mktemp("gate")
    store = Store(TrackingConf(uri=None, root=str(folder / "mlruns")))
    store.check()

    def results() -> Iterable[tuple[TaskResult, Path | None]]:
        for step, tasks in STEPS.items():
            for task, level in tasks.items():
                yield scored(folder, task, level, step)
        yield scored(folder, "neqa", 0.6, 8, cell=make_cell("lone", 8, 3000))
        shots = {"scorer": "shared_prefix", "dtype": "float32", "num_fewshot": 5}
        yield scored(folder, "neqa", 0.6, 8, cell=make_cell("shots", 8, 3000), settings=shots)
        yield scored(folder, "neqa", 0.5, 8, cell=make_cell("loss", 8, 3000), higher_is_better=False)
        yield scored(folder, "neqa", 0.6, 16, cell=make_cell("loss", 16, 3000), higher_is_better=False)
        for step, digest in ((8, "one"), (16, "one"), (32, "other")):
            said = {"scorer": "shared_prefix", "dtype": "float32", "tokenizer_digest": digest}
            yield scored(folder, "neqa", 0.6, step, cell=make_cell("retold", step, 3000), settings=said)

    store.deliver_many(list(results()))
    return folder


@pytest.fixture
def gate(filed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Gate:
    """The command, in this process: its exit code and what it prints."""
    monkeypatch.chdir(filed)

    def run(*words: str) -> tuple[int, str, str]:
        few = [] if not words or any(word.startswith("gate.items") for word in words) else ["gate.items=0"]
        code = cli.main(["gate", *words, *few])  # texts of items take seconds to be found
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def verdicts(out: str) -> dict[str, str]:
    return {check["task"]: check["verdict"] for check in json.loads(out)["checks"]}


@pytest.mark.release
def test_a_breach_is_said_with_its_interval_and_its_items(gate: Gate, filed: Path) -> None:
    code, out, err = gate("big@64", "gate.items=2", "junit=items.xml")
    assert (code, err) == (3, "")
    assert max(map(len, out.splitlines())) <= 120
    said = " ".join(out.split())
    assert "against the checkpoint before, big step 8" in said
    assert "BREACH: memo_trap (acc) fell from 0.6" in said
    assert "worse by at most 0.05 is asked, and it is shown not to be." in said
    assert said.count("1 to 0, answer") == 2
    assert "FAILED: of 3 checks 1 breached." in said
    assert "Not seen: with 80% power a breach shows only" in said
    assert ElementTree.parse(filed / "items.xml").find(".//failure").text.count("1 to 0, answer") == 2


@pytest.mark.release
def test_what_did_not_fall_passes_and_the_reference_decides(gate: Gate) -> None:
    assert gate("big@128", "--json")[0] == 3  # of sig_figs, five points of which are lost, nothing is shown
    code, out, _ = gate("big@8", "--json")
    assert (code, set(verdicts(out).values())) == (0, {PASSES})
    code, out, _ = gate("big", "against=best", "--json")
    assert (code, verdicts(out)["memo_trap"]) == (3, BREACH)
    found = {check["task"]: check for check in json.loads(out)["checks"]}
    assert found["memo_trap"]["reference"] == "big step 8"  # the best, and not the one before
    assert found["memo_trap"]["searched"] == 3
    assert gate("big@128", "against=big@64", "task=memo_trap")[0] == 0
    assert gate("big@64", "gate.tasks.memo_trap=0.5")[0] == 0


@pytest.mark.release
def test_what_the_data_cannot_tell_fails_unless_the_gate_says_otherwise(gate: Gate, filed: Path) -> None:
    words = ("big@128", "gate.tasks={sig_figs: 0.05}", "gate.margin=null")
    code, out, _ = gate(*words, "--json", "junit=a.xml")
    assert (code, verdicts(out)) == (3, {"sig_figs": UNDECIDED})
    assert ElementTree.parse(filed / "a.xml").find(".//failure").get("type") == "undecided"
    code, out, _ = gate(*words, "gate.undecided=pass", "junit=b.xml")
    assert code == 0
    assert "PASSED: 1 check, 1 undecided, which passes here" in out
    assert "an unchanged checkpoint passes" not in out
    suite = ElementTree.parse(filed / "b.xml").getroot().find("testsuite")
    assert (suite.get("skipped"), suite.get("failures")) == ("1", "0")


def test_a_file_of_the_users(gate: Gate, filed: Path) -> None:
    (filed / "conf" / "gate").mkdir(parents=True)
    own = filed / "conf" / "gate" / "mine.yaml"
    try:
        own.write_text(
            "defaults: [non_inferiority, _self_]\nname: mine\nagainst: release\npinned: {release: big@1}\n"
            "margin: null\ntasks:\n  memo_trap: {margin: 0.4, at_least: 0.2}\n  neqa: {at_least: 0.9}\n"
        )
        code, out, _ = gate("big@64", "gate=mine", "--json")
        found = json.loads(out)
        assert (code, found["gate"], found["against"]) == (3, "mine", "release, big step 1")
        assert [(c["task"], c["asked"], c["verdict"]) for c in found["checks"]] == [
            ("neqa", "at_least", BREACH),
            ("memo_trap", "margin", PASSES),
            ("memo_trap", "at_least", PASSES),
        ]
        own.write_text("defaults: [non_inferiority, _self_]\nmargn: 0.1\n")
        code, _, err = gate("big@64", "gate=mine")
        assert (code, err) == (2, "evalrun: conf/gate/mine.yaml: unknown key 'margn': did you mean 'margin'?\n")
    finally:
        own.unlink()


@pytest.mark.release
def test_lower_may_be_better(gate: Gate) -> None:
    code, out, _ = gate("loss@16", "--json")
    assert (code, verdicts(out)) == (3, {"neqa": BREACH})
    assert gate("loss@8", "against=loss@16")[0] == 0
    code, out, _ = gate("loss@16", "gate.margin=null", "gate.tasks={neqa: {at_least: 0.5}}")
    assert code == 1
    assert "neqa (acc) has no verdict: of acc less is better: ask for at_most, not at_least." in " ".join(out.split())


def test_junit_is_what_ci_reads_and_markdown_shows_what_it_says(
    gate: Gate, filed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = filed / "summary.md"
    summary.write_text("# Before\n\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    for _ in range(2):  # what is not GitHub's is written anew
        assert gate("big@64", "junit=out/gate.xml", f"markdown={filed}/own.md")[0] == 3
    gate("big@64", f"markdown={summary}")
    root = ElementTree.parse(filed / "out" / "gate.xml").getroot()
    assert root.tag == "testsuites"
    (suite,) = root
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "0")
    assert set(cases) == {f"{task}: worse by at most 0.05" for task in TITLES}
    (failure,) = cases["memo_trap: worse by at most 0.05"].findall("failure")
    assert failure.get("type") == "breach"
    assert "fell from" in failure.get("message")
    shown = (filed / "own.md").read_text()
    assert summary.read_text() == f"# Before\n\n{shown}"
    html = MarkdownIt("commonmark").enable("table").render(shown)
    assert html.count("<tr>") == 4
    assert "<b>questions" not in html
    assert "Negated | &lt;b&gt;questions&lt;/b&gt;" in html


MISTAKES = [
    ((), 2, "gate takes one checkpoint, and none is given: write MODEL@STEP"),
    (("bog",), 2, "no results of 'bog': did you mean 'big'?"),
    (("big@8", "gate=non_inferiorty"), 2, "unknown gate 'non_inferiorty': did you mean 'non_inferiority'?"),
    (("big@8", "gate.margin=-0.1"), 2, "gate.margin is -0.1: it must be 0 or more"),
    (("lone",), 1, "lone step 8 has no earlier checkpoint that was scored by"),
]
MORE = [
    (("big@8", "big@1"), 2, "gate takes one checkpoint, not 2"),
    (("big@9",), 2, "no results of big at step 9"),
    (("big@8", "gate.margin=x"), 2, "gate.margin is 'x': it must be a number."),
    (("big@8", "gate.margin=null"), 2, "the gate asks for nothing: set gate.margin"),
    (("big@8", "gate.alpha=0.7"), 2, "gate.alpha is 0.7"),
    (("big@8", "gate.undecided=maybe"), 2, "gate.undecided is 'maybe': choose from: fail, pass."),
    (
        ("big@8", "gate.tasks={neqq: 0.1}"),
        2,
        "has no results and is not in conf/task: did you mean 'neqa'?",
    ),
    (("big@8", "gate.tasks={neqa: {magin: 0.1}}"), 2, "gate.tasks.neqa has 'magin': did you mean 'margin'?"),
    (("big@8", "gate.tasks={neqa: {margin: -1}}"), 2, "gate.tasks.neqa.margin is -1: it must be 0 or more"),
    (("big@8", "against=relese", "gate.pinned={release: big@1}"), 2, "did you mean 'release'?"),
    (("big@8", "against=big@8"), 2, "both names mean big step 8"),
    (("big@8", "junit="), 2, "junit= has no value"),
    (("big@8", "junit=."), 2, "junit is '.', which is a folder: name a file"),
    (("big@8", "junit=/proc/gate.xml"), 2, "junit is '/proc/gate.xml', which cannot be written"),
    (("big@8", "markdown=/dev/null/a/gate.md"), 2, "which cannot be written (Not a directory): name a file"),
    (("big@8", "model=tiny/s"), 2, "gate takes no model="),
    (("big@8", "tracking.root=none"), 1, "no results in sqlite:///"),
    (("big@8", "task=hindsight_neglect"), 1, "big step 8 and the checkpoint before, big step 1 have no results"),
]


@pytest.mark.parametrize(
    ("words", "code", "said"), [*MISTAKES, *(pytest.param(*one, marks=pytest.mark.release) for one in MORE)]
)
def test_what_cannot_be_is_one_sentence(gate: Gate, words: tuple[str, ...], code: int, said: str) -> None:
    found, out, err = gate(*words)
    assert (found, out) == (code, "")
    assert err.startswith("evalrun: ")
    assert len(err.splitlines()) == 1
    assert said in err


@pytest.mark.release
def test_other_examples_and_missing_results_have_no_verdict(gate: Gate, filed: Path) -> None:
    code, out, _ = gate("shots@8", "against=big@8", "junit=c.xml")
    said = " ".join(out.split())
    assert code == 1
    assert "neqa (acc) has no verdict: asked with 5 and 0 examples." in said
    assert "memo_trap has no verdict: shots step 8 has no result of memo_trap: evaluate it with task=memo_trap" in said
    assert ElementTree.parse(filed / "c.xml").getroot().get("errors") == "3"


def test_another_tokenizer_than_the_references_is_told(gate: Gate) -> None:
    notes = [json.loads(gate(name, "gate.against=best", "--json")[1])["notes"] for name in ("retold@16", "retold@32")]
    assert not notes[0]
    said = "retold step {} and retold step 32 have different tokenizers: a difference may be the tokenizer's."
    assert notes[1] == [said.format(8), said.format(16)]


def judged(before: np.ndarray, after: np.ndarray, margin: float, others: int = 0) -> list[str]:
    """Verdicts on tasks of which two results have these answers: (tasks, items) each."""
    held = {("a", str(k)): x for k, x in enumerate(before)} | {("b", str(k)): x for k, x in enumerate(after)}

    def row(run: str, task: int) -> dict[str, Any]:
        values = held[run, str(task)]
        about = {"run_id": run, "task": str(task), "title": "t", "metric": "acc", "higher_is_better": True}
        return {**about, "value": float(values.mean()), "stderr": 0.1, "n": len(values), "model": run, "step": 1}

    def items(run: str, task: str, columns: object = None) -> pd.DataFrame:
        return pd.DataFrame({"doc_id": range(len(held[run, task])), "doc_hash": "h", "acc": held[run, task]})

    tasks = [
        GateTask(str(k), [GateThreshold(MARGIN, margin)], row("b", k), 0, [GateReference(row("a", k), "a", 0)])
        for k in range(len(before))
    ]
    return [check.verdict for check in judge(tasks, items, None, 0.05)]


def wrong(rounds: int, falls: tuple[float, ...], n: int = 150, margin: float = 0.05) -> tuple[float, float]:
    """How often a gate over tasks with these true falls passes, and how often it says breach."""
    rng = np.random.default_rng(0)
    passed = breached = 0
    for _ in range(rounds):
        before = (rng.random((len(falls), n)) < 0.7).astype(float)
        change = rng.random((len(falls), n))
        # Of the items that are right a share falls, of the wrong ones a share rises: together the true fall.
        rise = 0.05
        drop = (np.array(falls)[:, None] + 0.3 * rise) / 0.7
        after = np.where(before == 1, change >= drop, change < rise).astype(float)
        found = judged(before, after, margin)
        passed += set(found) == {PASSES}
        breached += BREACH in found
    return passed / rounds, breached / rounds


@pytest.mark.release
def test_the_gate_is_wrong_at_most_as_often_as_it_says() -> None:
    passed, _ = wrong(120, (0.05, -0.05))
    assert passed <= 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / 120)
    _, breached = wrong(60, (0.05, 0.05, 0.05))
    assert breached <= 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / 60)


@pytest.mark.simulation
def test_the_gate_is_wrong_at_most_as_often_as_it_says_in_many_rounds() -> None:
    passed, _ = wrong(4000, (0.05, -0.05))
    assert passed <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 4000)
    _, breached = wrong(2000, (0.05,) * 5)
    assert breached <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 2000)


def test_values_are_judged_in_the_metrics_direction() -> None:
    right = (np.arange(200) < 140).astype(float)
    row = {"run_id": "a", "task": "t", "title": "t", "metric": "acc", "higher_is_better": True, "stderr": 0.03,
           "value": 0.7, "n": 200, "model": "m", "seed": None, "step": 1}  # fmt: skip

    def items(run: str, task: str, columns: object = None) -> pd.DataFrame:
        return pd.DataFrame({"doc_id": range(200), "doc_hash": "h", "acc": right})

    asked = [GateThreshold(AT_LEAST, value) for value in (0.6, 0.7, 0.8)]
    found = judge([GateTask("t", asked, row, 0, [])], items, None, 0.05)
    assert [check.verdict for check in found] == [PASSES, UNDECIDED, BREACH]
    lower = {**row, "higher_is_better": False}
    asked = [GateThreshold(AT_MOST, value) for value in (0.6, 0.7, 0.8)]
    found = judge([GateTask("t", asked, lower, 0, [])], items, None, 0.05)
    assert [check.verdict for check in found] == [BREACH, UNDECIDED, PASSES]


def test_no_items_and_no_number_are_no_pass() -> None:
    row = {"run_id": "a", "task": "t", "title": "t", "metric": "acc", "higher_is_better": True, "stderr": 0.02,
           "value": 0.5, "n": 0, "model": "m", "seed": None, "step": 1}  # fmt: skip
    for own, why in ((row, "no items were scored"), ({**row, "n": 9, "value": np.nan}, "its value is nan")):
        task = GateTask("t", [GateThreshold(MARGIN, 0.1)], own, 0, [GateReference(row, "a", 0)])
        (found,) = judge([task], None, None, 0.05)
        assert found.verdict == UNKNOWN
        assert why in found.why


JOB = """\
set -eu
python -m evalrun gate big@64 gate=strict junit=gate.xml markdown="$GITHUB_STEP_SUMMARY" > gate.txt
echo deployed > deployed
"""


@pytest.mark.release
def test_in_a_made_ci_job(filed: Path, tmp_path: Path) -> None:
    """A shell script like a job's, in a fresh folder with the store: the gate ends it."""
    shutil.copytree(filed / "mlruns", tmp_path / "mlruns")
    (tmp_path / "job.sh").write_text(JOB)
    (tmp_path / "conf" / "gate").mkdir(parents=True)
    (tmp_path / "conf" / "gate" / "strict.yaml").write_text("defaults: [non_inferiority]\nmargin: 0.0\nitems: 0\n")
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    environment = {
        **os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"), "CI": "true",
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "job.sh"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 3, done.stderr
    assert not (tmp_path / "deployed").exists()
    assert "FAILED" in (tmp_path / "gate.txt").read_text()
    suite = ElementTree.parse(tmp_path / "gate.xml").getroot()
    assert suite.get("tests") == "3"
    assert int(suite.get("failures")) >= 1
    assert "Gate non\\_inferiority: big step 64" in (tmp_path / "summary.md").read_text()
